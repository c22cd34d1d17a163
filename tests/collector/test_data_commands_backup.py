"""backup: one file with everything, whole or not at all, while events keep coming."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import stat
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from collectors import PROGRAM, Collector, command
from filled_folders import exported, fill

from collector.cli.reach import one_at_a_time
from collector.cli.whole_file import whole_file
from collector.places import Folder
from tracking.errors import Fault

Run = Callable[..., Collector]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A folder with an app of 300 events, closed."""
    return fill(tmp_path / "data", range(300))


def test_a_backup_restores_into_an_empty_folder(filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "monday.homing"
    done = command("backup", str(file), "--json", folder=filled)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["counts"]["events"] == 300
    assert said["bytes"] == file.stat().st_size
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as tar:
        assert tar.getnames() == ["manifest.json", "accounts.db", "events.duckdb"]

    done = command("restore", str(file), "--json", folder=tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["aside"] is None
    assert exported(tmp_path / "new") == exported(filled)
    assert not [path for path in (tmp_path / "new").iterdir() if path.is_dir()]
    for path in (tmp_path / "new").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_file_that_exists_is_replaced_only_on_request(filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.homing"
    file.write_bytes(b"precious")
    refused = command("backup", str(file), folder=filled)
    assert refused.returncode == 64
    assert "--force" in refused.stderr
    assert file.read_bytes() == b"precious"
    assert command("backup", str(file), "--force", folder=filled).returncode == 0
    assert command("restore", str(file), folder=tmp_path / "n").returncode == 0
    assert command("backup", str(tmp_path / "no/such"), folder=filled).returncode == 1


def test_what_was_acknowledged_before_is_in_it_and_of_the_rest_a_prefix(
    run: Run, tmp_path: Path
) -> None:
    far_end = run()
    far_end.app("A")
    acknowledged = [-1] * 4
    stop = threading.Event()

    def report(sender: int) -> None:
        client = far_end.ws()
        number = 0
        while not stop.is_set():
            events = [
                {"name": "E", "id": f"{sender}-{n}", "machineId": f"m{sender}"}
                for n in range(number, number + 50)
            ]
            client.send(json.dumps({"data": events}))
            reply = json.loads(client.recv())
            assert len(reply["reportedIds"]) == 50
            number += 50
            acknowledged[sender] = number - 1

    senders = [threading.Thread(target=report, args=(n,)) for n in range(4)]
    for sender in senders:
        sender.start()
    try:
        while min(acknowledged) < 1_000:
            time.sleep(0.01)
        before = list(acknowledged)
        for n in range(3):
            done = far_end.command("backup", str(tmp_path / f"{n}.homing"))
            assert done.returncode == 0, done.stderr
        assert min(now - was for now, was in zip(acknowledged, before, strict=True)) > 0
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    last = list(acknowledged)
    previous = 0
    for n in range(3):
        folder = tmp_path / f"restored{n}"
        assert command("restore", str(tmp_path / f"{n}.homing"), folder=folder).returncode == 0
        there: dict[int, list[int]] = {0: [], 1: [], 2: [], 3: []}
        for line in exported(folder):
            sender, number = json.loads(line)["id"].split("-")
            there[int(sender)].append(int(number))
        for sender, numbers in there.items():
            assert numbers == list(range(len(numbers)))
            assert before[sender] < len(numbers) <= last[sender] + 51
            assert len(numbers) % 50 == 0, "half a frame"
        assert sum(map(len, there.values())) >= previous
        previous = sum(map(len, there.values()))


def test_two_data_commands_at_once_are_refused_with_a_sentence(
    filled: Path, tmp_path: Path
) -> None:
    with one_at_a_time(Folder(filled), "import"):
        for words in (
            ("backup", str(tmp_path / "b")),
            ("compact",),
            ("import", os.devnull),
            ("demo",),
            ("retention", "A", "--days", "1", "--now"),
        ):
            done = command(*words, folder=filled)
            assert done.returncode == 75, words
            assert f"`import` (process {os.getpid()}) runs on" in done.stderr
    assert command("compact", folder=filled).returncode == 0


def test_a_disk_that_is_too_small_is_seen_before(filled: Path, tmp_path: Path) -> None:
    with (filled / "events.duckdb.wal").open("wb") as wal:
        wal.truncate(1 << 42)  # all holes
    done = command("backup", str(tmp_path / "b"), folder=filled)
    assert done.returncode == 1
    assert "MB free" in done.stderr
    assert not (tmp_path / "b").exists()
    assert not list(filled.glob("snapshot.*"))


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "f"

    def half(end: Callable[[], object]) -> None:
        with whole_file(path, force=True) as file:
            file.write(b"half")
            end()

    def fail(error: BaseException) -> None:
        raise error

    def terminate() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    for error in (KeyboardInterrupt("no"), Fault("no"), OSError("no")):
        with pytest.raises((KeyboardInterrupt, Fault)):
            half(functools.partial(fail, error))
        assert list(tmp_path.iterdir()) == []
    with whole_file(path, force=False) as file:
        file.write(b"whole")
        assert not path.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    with pytest.raises(KeyboardInterrupt):
        half(terminate)
    assert path.read_bytes() == b"whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_snapshot_that_a_kill_left_is_cleared_away(filled: Path, tmp_path: Path) -> None:
    left = filled / "snapshot.0123456789ab"
    left.mkdir()
    (left / "events.duckdb").write_bytes(b"half")
    assert command("backup", str(tmp_path / "b"), folder=filled).returncode == 0
    assert not left.exists()


@pytest.mark.parametrize("serving", [False, True])
def test_a_person_at_a_terminal_sees_a_bar(
    run: Run, filled: Path, tmp_path: Path, serving: bool
) -> None:
    lines = tmp_path / "lines"
    done = command("export", "A", "--output", str(lines), folder=filled)
    assert done.returncode == 0
    if serving:
        run(folder=filled)
    for words, said in (
        (("backup", str(tmp_path / "b")), "backing up"),
        (("import", str(lines)), "importing"),
        (("demo", "--days", "3", "--users", "5"), "making it up"),
        (("compact",), "compacting"),
    ):
        shown = at_a_terminal(*words, "--json", "--data-dir", str(filled))
        assert said in shown


def at_a_terminal(*words: str) -> str:
    """Run a command with a terminal for standard error; return what is seen there."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *words],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone with its last writer
        while more := os.read(ours, 4096):
            shown += more
    os.close(ours)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0, shown
    assert len(out.splitlines()) == 1
    json.loads(out)
    return shown.decode()
