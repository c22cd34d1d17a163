"""The process: how it starts, ends, refuses to start, and what its command line says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import websocket
from collectors import PROGRAM, Collector, command, until

pytestmark = pytest.mark.system
Run = Callable[..., Collector]


def event(n: int = 1) -> str:
    return json.dumps({"data": [{"type": "event", "name": "E", "id": n, "machineId": "m"}]})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_within_three_seconds(run: Run, number: int) -> None:
    far_end = run()
    far_end.app("A")
    talker, silent = far_end.ws(), far_end.ws()
    stuck = socket.create_connection(("127.0.0.1", far_end.port))
    stuck.sendall(b"POST /app/A/track HTTP/1.1\r\n")
    talker.send(event())
    assert talker.recv() == '{"reportedIds":[1]}'
    began = time.monotonic()
    far_end.process.send_signal(number)
    for client in (talker, silent):
        frame = client.recv_frame()
        assert frame.opcode == websocket.ABNF.OPCODE_CLOSE
        assert struct.unpack("!H", frame.data[:2]) == (1012,)
    assert far_end.process.wait(3) == 0
    assert time.monotonic() - began < 3
    stuck.close()
    assert not far_end.folder.admin.exists()
    assert far_end.command("status").returncode == 69
    assert len(far_end.command("export", "A").stdout.splitlines()) == 1


def test_it_ends_when_its_parent_does(run: Run) -> None:
    far_end = run("--stdin-eof", stdin=subprocess.PIPE)
    assert far_end.process.stdin is not None
    far_end.process.stdin.write(b"still here\n")
    far_end.process.stdin.flush()
    far_end.app("A")
    assert far_end.say(event()) == {"reportedIds": [1]}
    far_end.process.stdin.close()
    assert far_end.process.wait(5) == 0
    far_end.kill()


def test_a_signal_ends_it_while_it_watches_its_parent(run: Run) -> None:
    far_end = run("--stdin-eof", stdin=subprocess.PIPE)
    assert far_end.stop() == 0
    assert "Fatal" not in Path(far_end.log.name).read_text()
    assert far_end.process.stdin is not None
    far_end.process.stdin.close()


def test_a_second_server_on_the_folder_is_told_who_is_there(run: Run) -> None:
    far_end = run()
    done = far_end.command("serve", "--port", "0")
    assert done.returncode == 75
    assert f"process {far_end.process.pid} serves {far_end.folder.path} already" in done.stderr
    far_end.kill()
    assert run().ready["ready"] is True


def test_a_port_that_is_taken_is_named(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("serve", "--port", str(port), folder=tmp_path / "data")
    assert done.returncode == 78
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("srve",),
        (),
        ("serve", "--prt", "5"),
        ("serve", "--port", "99999"),
        ("serve", "--port", "-1"),
        ("app",),
        ("app", "add"),
        ("token", "add", "A", "--days", "soon"),
        ("export", "A", "--format", "xml"),
    ],
)
def test_a_wrong_word_is_64_and_points_to_the_help(words: tuple[str, ...]) -> None:
    done = command(*words)
    assert done.returncode == 64
    assert "--help" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("serving", [True, False])
def test_apps_tokens_and_export_work_whether_it_serves_or_not(
    run: Run, tmp_path: Path, serving: bool
) -> None:
    far_end = run()
    assert far_end.command("app", "add", "Acme Notes", "--id", "A").returncode == 0
    frame = '{"data":[{"type":"event","name":"E","id":"x","machineId":"m","payload":{"a":  1.0}}]}'
    far_end.say(frame)
    if not serving:
        assert far_end.stop() == 0

    def said(*words: str) -> Any:
        done = far_end.command(*words)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    (listed,) = said("app", "list")
    assert (listed["appId"], listed["name"]) == ("A", "Acme Notes")
    assert far_end.command("app", "add", "Other", "--id", "A").returncode == 64
    assert said("app", "add", "Other", "--id", "A", "--if-missing") == [listed]
    (made,) = said("app", "add", "B")
    assert len(made["appId"]) == 24
    (token,) = said("token", "add", "A", "--scope", "stats:read", "--days", "3")
    assert token["token"].startswith("dat1_")
    assert token["scopes"] == ["stats:read"]
    prefix = token["token"][5:13]
    assert [one["prefix"] for one in said("token", "list", "--json", "A")] == [prefix]
    assert said("token", "list", "--json", made["appId"]) == []
    named = far_end.command("token", "list", "--json", "B")
    assert (named.returncode, made["appId"] in named.stderr) == (64, True), "B is its name"
    assert far_end.command("token", "add", "A", "--scope", "all").returncode == 64
    assert far_end.command("token", "add", "nobody").returncode == 64
    assert said("token", "revoke", token["token"]) == [{"revoked": 1}]
    assert far_end.command("token", "revoke", prefix).returncode == 64
    (exported,) = said("export", "A")
    assert exported["payload"] == {"a": 1.0}
    out = tmp_path / "out.ndjson"
    done = far_end.command("export", "A", "--output", str(out))
    assert done.stderr == "1 event exported\n"
    assert '"payload":{"a":  1.0}' in out.read_text()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert far_end.command("export", "nobody").returncode == 64
    assert far_end.command("export", "A", "--output", str(tmp_path / "no/such")).returncode == 1
    status = far_end.command("status", "--json")
    assert status.returncode == (0 if serving else 69)
    if serving:
        assert json.loads(status.stdout)["apps"] == {"A": 1, made["appId"]: 0}


def test_an_export_shows_how_far_it_is_where_a_person_looks(run: Run, tmp_path: Path) -> None:
    far_end = run()
    far_end.app("A")
    for part in range(4):
        events = [{"name": "E", "id": f"{part}-{n}", "machineId": "m"} for n in range(5000)]
        far_end.say({"data": events})
    ours, theirs = os.openpty()
    out = tmp_path / "out.ndjson"
    process = subprocess.Popen(
        [*PROGRAM, "export", "A", "--output", str(out), "--data-dir", str(far_end.folder.path)],
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone with its last writer
        while more := os.read(ours, 4096):
            shown += more
    os.close(ours)
    assert process.wait(30) == 0
    assert b"exporting" in shown
    assert b"20,000 events exported" in shown
    assert out.read_bytes().count(b"\n") == 20_000


def test_an_export_into_a_closed_pipe_is_no_error_of_ours(run: Run) -> None:
    far_end = run()
    far_end.app("A")
    far_end.say({"data": [{"name": "E" * 200, "id": n, "machineId": "m"} for n in range(5000)]})
    words = [*PROGRAM, "export", "A", "--data-dir", str(far_end.folder.path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(30) in (141, -signal.SIGPIPE)
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert far_end.say(event(7)) == {"reportedIds": [7]}


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_the_folder_and_all_in_it_are_nobody_elses(run: Run, tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "data"
    folder.mkdir(0o777)
    far_end = run(folder=folder, umask=umask)
    far_end.app("A")
    far_end.say({"data": [{"name": "E", "id": n, "machineId": "m"} for n in range(1000)]})
    names = {path.name for path in folder.iterdir()}
    assert {"events.duckdb", "events.duckdb.wal", "accounts.db", "collector.lock"} <= names
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()}
    assert set(modes.values()) == {"0o600"}, modes


def test_a_folder_that_is_a_link_or_somebody_elses_is_refused(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    link = tmp_path / "link"
    link.symlink_to(real)
    file = tmp_path / "file"
    file.touch()
    for path, word in ((link, "is a link"), (file, "is not a folder")):
        done = command("serve", "--port", "0", folder=path)
        assert (done.returncode, word in done.stderr) == (78, True), done.stderr
    if os.getuid() == 0:
        os.chown(real, 12345, 12345)
        done = command("serve", "--port", "0", folder=real)
        assert (done.returncode, "belongs to user 12345" in done.stderr) == (78, True)


def test_links_inside_the_folder_are_not_followed(tmp_path: Path) -> None:
    for name in ("collector.lock", "accounts.db"):
        folder = tmp_path / f"for-{name}"
        folder.mkdir(0o700)
        (folder / name).symlink_to(tmp_path / "victim")
        done = command("serve", "--port", "0", folder=folder)
        assert done.returncode == 1
        assert name in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "victim").exists()


def test_what_cannot_be_opened_is_said_and_ends(tmp_path: Path) -> None:
    for name in ("events.duckdb", "admin.sock"):
        folder = tmp_path / f"for-{name}"
        folder.mkdir(0o700)
        (folder / name).mkdir()
        done = command("serve", "--port", "0", folder=folder)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr


def test_a_folder_deep_down_works(run: Run, tmp_path: Path) -> None:
    deep = tmp_path
    while len(os.fsencode(deep)) < 200:
        deep = deep / "deeper-and-deeper"
    far_end = run(folder=deep / "data")
    far_end.app("A")
    assert far_end.say(event()) == {"reportedIds": [1]}
    assert len(far_end.export()) == 1
    assert far_end.command("status").returncode == 0
    assert far_end.stop() == 0


def test_the_ready_line_is_one_line_of_json(run: Run) -> None:
    far_end = run()
    assert far_end.ready == {"ready": True, "port": far_end.port, "pid": far_end.process.pid}


def test_every_command_has_help_with_an_example() -> None:
    for words in (("serve",), ("app", "add"), ("token", "add"), ("export",), ("status",)):
        done = command(*words, "--help")
        assert done.returncode == 0
        assert "example:\n  homing collector" in done.stdout


def test_a_full_disk_acknowledges_nothing_and_is_forgiven(run: Run) -> None:
    import resource

    far_end = run(preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
    far_end.app("A")
    pid = far_end.process.pid
    assert far_end.say(event(1)) == {"reportedIds": [1]}

    def frame(n: int) -> str:
        # Each text is another: the store would keep a common one once, and then there is room.
        texts = [{"text": os.urandom(8000).hex()} for _ in range(50)]
        events = [
            {"name": "E", "id": f"{n}-{i}", "machineId": "m", "payload": text}
            for i, text in enumerate(texts)
        ]
        return json.dumps({"data": events})

    acknowledged, refused = ["1"], []
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
    for n in range(8):
        raw = frame(n)
        ids = far_end.say(raw)["reportedIds"]
        acknowledged += ids
        if not ids:
            refused.append(raw)
    assert refused
    assert far_end.request("POST", "/app/A/track", refused[-1])[0] == 503
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)

    def recovered() -> bool:
        return bool(far_end.say(refused[0])["reportedIds"])

    until(recovered, 20)
    for raw in refused:
        acknowledged += far_end.say(raw)["reportedIds"]
    stored = [str(e["id"]) for e in far_end.export()]
    assert sorted(stored) == sorted(acknowledged)
    assert far_end.stop() == 0
    assert sorted(str(e["id"]) for e in run().export()) == sorted(acknowledged)
