"""import: whoever wrote the file, each event once, and every line that is none is named."""

from __future__ import annotations

import contextlib
import fcntl
import json
import signal
import struct
import subprocess
import termios
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from collectors import PROGRAM, Collector, command, now_ms, until

from collector.access.accounts import Accounts
from collector.bulk.importing import Reader
from collector.places import Folder
from tracking.dates import iso

Run = Callable[..., Collector]

ODD: list[dict[str, Any]] = [
    {"name": "E", "machineId": "m"},  # neither id nor date
    {"name": "E", "machineId": "m"},  # ... and another one
    {"name": "E", "machineId": "m", "date": 1_795_225_137_000, "id": 1},
    {"name": "E", "machineId": "m", "date": "2026-11-20T10:00:00+02:00", "id": "x", "payload": {}},
    {"name": "E", "machineId": "m", "date": "2021-03-23T06:51:38.633Z", "id": 2},  # not believed
    {"type": "init", "deviceId": "d", "machineId": "m", "userId": "u", "payload": {"plan": "pro"}},
    {"type": "error", "name": "boom", "machineId": "m", "payload": {"stack": "a\nb", "n": 2.0}},
    {"type": "$pageview", "name": "/", "machineId": "m", "id": "p"},
    {"type": "props", "machineId": "m", "userId": "u", "data": {"a": {"b": [1]}}, "id": 7},
]

#: Seed 001, "User Session Events" and "Live Events".
ROWS: list[dict[str, Any]] = [
    {
        "app_id": "A",
        "platform": "win",
        "user_id": "test_user",
        "machine_id": "xxxxxxxxxx",
        "version": "0.0.0",
        "locale": "en",
        "renderer": None,
        "module_version": "2.6.0",
        "avail_ram": 4,
        "type": "init",
        "time": "2021-03-23T09:31:49.647Z",
        "country": "US",
        "arch": "x64",
        "first_time": False,
        "session_id": "xxxx",
        "error_hash": None,
        "os_version": "8.1",
        "data": {"plan": "pro"},
        "duration": None,
    }
]
ROWS += [
    ROWS[0] | {"type": "ITEM_PLAYED", "time": "2021-04-12T10:05:05.673Z", "renderer": True},
    ROWS[0] | {"type": "error:uncaughtException", "time": "2021-04-12T10:06:00.000Z"},
    ROWS[0] | {"type": "nucleus:userid", "time": "2021-04-12T10:07:00.000Z", "data": None},
]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder with two apps and no event."""
    return with_apps(tmp_path / "empty")


def with_apps(path: Path) -> Path:
    folder = Folder(path).prepare()
    with contextlib.closing(Accounts(folder.accounts)) as accounts:
        for app_id in ("A", "B"):
            accounts.add_app(app_id, now_ms(), app_id=app_id, if_missing=True)
    return path


def read(folder: Path, file: Path, *words: str, code: int = 0) -> dict[str, Any]:
    done = command("import", str(file), "--json", *words, folder=folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return dict(json.loads(done.stdout))


def exported(folder: Path, app: str = "A", *words: str) -> list[dict[str, Any]]:
    done = command("export", app, *words, folder=folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def written(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_an_export_comes_back_as_it_was_and_twice_is_once(
    run: Run, tmp_path: Path, empty: Path
) -> None:
    far_end = run()
    far_end.app("A")
    far_end.say({"data": ODD})
    file = tmp_path / "events.ndjson"
    assert far_end.command("export", "A", "--output", str(file)).returncode == 0
    lines = file.read_text()
    assert len(lines.splitlines()) == len(ODD)

    assert read(empty, file)["imported"] == len(ODD)
    assert command("export", "A", folder=empty).stdout == lines
    again = read(empty, file)
    assert (again["imported"], again["repeats"]) == (0, len(ODD))
    # Its own server knows them as well, and so does who sends them again to the new one.
    said = read(far_end.folder.path, file)
    assert (said["imported"], said["repeats"]) == (0, len(ODD))
    other = run(folder=empty)
    other.say({"data": ODD[2:5]})
    assert command("export", "A", folder=empty).stdout == lines


def test_a_file_becomes_another_apps_without_touching_the_first(run: Run, tmp_path: Path) -> None:
    far_end = run()
    far_end.app("A")
    far_end.app("B")
    far_end.say({"data": ODD})
    file = tmp_path / "events.ndjson"
    assert far_end.command("export", "A", "--output", str(file)).returncode == 0
    folder = far_end.folder.path
    assert read(folder, file, "--app", "B")["imported"] == len(ODD)
    assert read(folder, file, "--app", "B")["imported"] == 0
    theirs = [line | {"appId": "A"} for line in exported(folder, "B")]
    ours = exported(folder)
    for line in (*theirs, *ours):
        line.pop("key", None)
    assert theirs == ours


@pytest.mark.parametrize(
    ("shape", "serving"),
    [("lines", False), ("lines", True), ("answer", False), ("pretty", True), ("list", False)],
)
def test_rows_of_the_data_api_are_read_in_every_shape(
    run: Run, tmp_path: Path, empty: Path, shape: str, serving: bool
) -> None:
    file = tmp_path / "rows.json"
    text = {
        "lines": "".join(json.dumps(row) + "\n" for row in ROWS),
        "answer": json.dumps({"data": ROWS}),
        "pretty": json.dumps({"data": ROWS}, indent=2),
        "list": json.dumps(ROWS, indent=1),
    }[shape]
    file.write_text(text)
    if serving:
        run(folder=empty)
    assert read(empty, file)["imported"] == 4
    assert read(empty, file) == {
        "imported": 0,
        "repeats": 4,
        "facts": 0,
        "refused": 0,
        "errors": [],
    }
    first, played, error, userid = exported(empty)
    assert first == {
        "type": "init",
        "date": "2021-03-23T09:31:49.647Z",
        "receivedAt": "2021-03-23T09:31:49.647Z",
        "appId": "A",
        "sessionId": "xxxx",
        "userId": "test_user",
        "deviceId": "xxxxxxxxxx",
        "country": "US",
        "moduleVersion": "2.6.0",
        "platform": "win",
        "osVersion": "8.1",
        "totalRam": 4,
        "version": "0.0.0",
        "language": "en",
        "arch": "x64",
        "payload": {"plan": "pro"},
    }
    assert (played["type"], played["name"], played["process"]) == (
        "event",
        "ITEM_PLAYED",
        "renderer",
    )
    assert (error["type"], error["name"]) == ("error", "uncaughtException")
    assert userid["type"] == "userid"
    assert "payload" not in userid


def test_what_the_agent_exports_is_read(tmp_path: Path, empty: Path) -> None:
    event = {"type": "event", "name": "E", "id": "a", "date": iso(now_ms()), "deviceId": "d"}
    file = written(
        tmp_path / "f",
        [
            {"appId": "A", "data": [event]},
            {"appId": "A", "data": [event | {"id": "b"}, event | {"id": "c"}]},
            {"appId": "nobody", "data": [event]},
            event | {"id": "d"},
        ],
    )
    said = read(empty, file, code=1)
    assert (said["imported"], said["refused"]) == (3, 2)
    assert [(e["line"], e["why"]) for e in said["errors"]] == [
        (3, "data[0]: there is no app 'nobody' here"),
        (4, "it names no app; say --app"),
    ]
    assert read(empty, file, "--app", "A")["imported"] == 1
    assert {e["id"] for e in exported(empty)} == {"a", "b", "c", "d"}


def test_every_refused_line_is_named_and_takes_nobody_with_it(tmp_path: Path, empty: Path) -> None:
    good = {"type": "event", "name": "E", "date": "2024-01-01T00:00:00.000Z", "deviceId": "d"}
    future = iso(now_ms() + 3_600_000)
    lines = [
        json.dumps(good | {"id": "first"}),
        "{broken",
        "",
        json.dumps(good | {"date": future}),
        json.dumps(good | {"deviceId": None}),
        json.dumps(ROWS[0] | {"time": "when?"}),
        json.dumps(ROWS[0] | {"machine_id": None, "user_id": None}),
        json.dumps(ROWS[0] | {"data": [1]}),
        '{"fact":"stay","appId":"A","deviceId":"d","since":"2026-01-01","until":"2026-01-02"}',
        '{"fact":"king","appId":"A"}',
        json.dumps(good | {"payload": {"a": "x" * 40_000}}),
        '"\\u001b[2Jtext"',
        *["[" * 20_000],
        *['{"type":"heartbeat","deviceId":"d"}'] * 15,
        json.dumps(good | {"id": "last"}),
    ]
    file, errors = tmp_path / "f", tmp_path / "errors"
    file.write_text("\n".join(lines))
    done = command("import", str(file), "--app", "A", "--errors", str(errors), folder=empty)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("2 events imported, 0 were here already, 0 facts, 26 refused.")
    told = [json.loads(line) for line in errors.read_text().splitlines()]
    assert [one["line"] for one in told] == [2, *range(4, 29)]
    assert "in the future" in told[1]["why"]
    assert done.stderr.count("\nline ") + done.stderr.startswith("line ") == 20
    assert f"... and 6 more; all are in {errors}" in done.stderr
    assert "\x1b" not in done.stderr
    assert [e["id"] for e in exported(empty)] == ["first", "last"]
    assert exported(empty)[0]["date"] == "2024-01-01T00:00:00.000Z", "older than sixty days"
    refused = command("import", str(file), "--app", "A", "--errors", str(errors), folder=empty)
    assert refused.returncode == 64, "the file with the errors exists"
    assert command("import", str(file), "--app", "nobody", folder=empty).returncode == 64
    assert command("import", str(tmp_path / "no"), folder=empty).returncode == 1


def test_an_import_that_was_killed_is_run_again(tmp_path: Path, empty: Path) -> None:
    event = {"name": "E", "deviceId": "d", "date": "2025-01-01T00:00:00.000Z"}
    file = written(tmp_path / "f", [event | {"id": n} for n in range(40_000)])
    words = [*PROGRAM, "import", str(file), "--app", "A", "--data-dir", str(empty)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    wal = empty / "events.duckdb.wal"
    until(lambda: wal.exists() and wal.stat().st_size > 300_000, 30)
    process.kill()
    process.wait(10)
    said = read(empty, file, "--app", "A")
    assert said["repeats"] >= 4_000, "the kill came before anything was stored"
    assert said["imported"] + said["repeats"] == 40_000
    ids = sorted(e["id"] for e in exported(empty))
    assert ids == list(range(40_000))


def unread(pipe: IO[bytes]) -> int:
    """Return how many bytes of a pipe its reader has yet to read."""
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))
    return int(count)


def test_ctrl_c_ends_an_import_and_leaves_no_half_file(tmp_path: Path, empty: Path) -> None:
    errors = tmp_path / "errors"
    words = [*PROGRAM, "import", "-", "--app", "A", "--errors", str(errors)]
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [*words, "--data-dir", str(empty)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        until(lambda: list(tmp_path.glob(".errors.*.part")), 20)
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        until(lambda pipe=process.stdin: unread(pipe) == 0, 20)  # it waits for more
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert b"Traceback" not in err
        assert b"Run it again" in err
        assert not list(tmp_path.glob("*errors*"))
        assert not list(tmp_path.glob(".errors*"))
    assert command("compact", folder=empty).returncode == 0, "nothing holds the folder"


def test_ctrl_c_in_mid_write_is_no_error_and_the_rest_comes_later(
    tmp_path: Path, empty: Path
) -> None:
    event = {"name": "E", "deviceId": "d", "date": "2025-01-01T00:00:00.000Z"}
    file = written(tmp_path / "f", [event | {"id": n} for n in range(60_000)])
    words = [*PROGRAM, "import", str(file), "--app", "A", "--data-dir", str(empty)]
    wal = empty / "events.duckdb.wal"
    for _ in range(5):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        until(lambda: wal.exists() and wal.stat().st_size > 100_000, 30)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, b"Traceback" in err) == (130, False), err
    said = read(empty, file, "--app", "A")
    assert said["imported"] + said["repeats"] == 60_000
    assert len(exported(empty)) == 60_000


def test_memory_does_not_grow_with_the_file() -> None:
    line = json.dumps({"name": "E", "deviceId": "d", "payload": {"text": "x" * 100}}).encode()

    class Endless:
        """A file of so many lines that nobody keeps."""

        def __init__(self, left: int) -> None:
            self.left = left

        def readline(self, most: int) -> bytes:
            assert most > len(line)
            self.left -= 1
            return b"" if self.left < 0 else line + b"\n"

    def peak(lines: int) -> int:
        reader: Any = Reader(Endless(lines), lambda _: True, "A", now_ms())  # type: ignore[arg-type]
        tracemalloc.start()
        try:
            batches: Iterator[Any] = reader.batches()
            assert sum(len(batch.rows) for batch in batches) == lines
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(24_000) < 1.2 * peak(8_000)
