"""backup and restore: one file, whole or not at all, and nobody who was erased comes back."""

from __future__ import annotations

import contextlib
import functools
import io
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
from collectors import NOW, PROGRAM, Collector, command, row

from collector import backup
from collector.accounts import Accounts
from collector.cli.reach import one_at_a_time
from collector.cli.whole_file import whole_file
from collector.places import RESTORING, Folder, ServerLock
from collector.store.duck import DuckStore
from collector.tombstones import Tombstones, key_of
from tracking.errors import Fault

Run = Callable[..., Collector]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A folder with an app of 300 events, closed."""
    return fill(tmp_path / "data", range(300))


def fill(path: Path, numbers: range) -> Path:
    folder = Folder(path).prepare()
    with contextlib.closing(Accounts(folder.accounts)) as accounts:
        accounts.add_app("A", NOW, app_id="A", if_missing=True)
    with contextlib.closing(DuckStore(folder.events, NOW)) as store:
        store.write([row(event_id=str(n), user_id=f"u{n % 7}", ts=NOW + n) for n in numbers])
    return path


def exported(folder: Path) -> list[str]:
    done = command("export", "A", folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def entries(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, but for locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


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


def test_a_restore_sets_aside_what_was_there_and_says_where(filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.homing"
    assert command("backup", str(file), folder=filled).returncode == 0
    before = exported(filled)
    fill(filled, range(300, 400))
    done = command("restore", str(file), folder=filled)
    assert done.returncode == 0, done.stderr
    assert exported(filled) == before
    (aside,) = [path for path in filled.iterdir() if path.is_dir()]
    assert str(aside) in done.stdout
    assert len(exported(aside)) == 400


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


def test_a_restore_is_refused_while_a_server_runs(run: Run, filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.homing"
    far_end = run(folder=filled)
    assert far_end.command("backup", str(file)).returncode == 0
    refused = far_end.command("restore", str(file))
    assert refused.returncode == 75
    assert str(far_end.process.pid) in refused.stderr
    assert len(far_end.export()) == 300


def _damaged(file: Path, at: float) -> bytes:
    raw = bytearray(file.read_bytes())
    raw[int(at * len(raw))] ^= 1
    return bytes(raw)


@pytest.mark.parametrize("how", ["early", "middle", "late", "short", "none", "extra", "missing"])
def test_a_damaged_backup_changes_nothing(filled: Path, tmp_path: Path, how: str) -> None:
    file = tmp_path / "a.homing"
    assert command("backup", str(file), folder=filled).returncode == 0
    raw = file.read_bytes()
    with tarfile.open(file) as tar:
        parts = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
    if how == "extra":
        parts["evil.sh"] = b"#!/bin/sh"
    if how == "missing":
        del parts["events.duckdb"]
    file.write_bytes(
        {
            "early": bytes([raw[0] ^ 1]) + raw[1:],
            "middle": _damaged(file, 0.5),
            "late": raw.replace(parts.get("events.duckdb", b"?")[-4096:], b"\1" * 4096),
            "short": raw[: len(raw) // 2],
            "none": b"\0" * 20_000,
            "extra": _tar(parts),
            "missing": _tar(parts),
        }[how]
    )
    before = entries(filled)
    done = command("restore", str(file), folder=filled)
    assert done.returncode == 1, done.stdout
    assert "damaged" in done.stderr or "no backup" in done.stderr
    assert "Traceback" not in done.stderr
    assert entries(filled) == before
    assert not [path for path in filled.iterdir() if path.is_dir()]


def _tar(parts: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, text in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
    return made.getvalue()


@pytest.mark.parametrize("which", ["format", "schema"])
def test_a_backup_of_a_newer_format_is_refused(filled: Path, tmp_path: Path, which: str) -> None:
    file = tmp_path / "a.homing"
    if which == "schema":
        import duckdb

        with contextlib.closing(duckdb.connect(str(filled / "events.duckdb"))) as db:
            db.execute("UPDATE schema_version SET version = version + 1")
        with backup.snapshot_folder(Folder(filled)) as snapshot, file.open("wb") as to:
            for name in ("events.duckdb", "accounts.db"):
                (snapshot / name).write_bytes((filled / name).read_bytes())
            backup.pack(snapshot, to, backup.head_of(snapshot, NOW), lambda _d, _o: None)
    else:
        assert command("backup", str(file), folder=filled).returncode == 0
        with tarfile.open(file) as tar:
            parts = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
        parts["manifest.json"] = json.dumps({"format": backup.FORMAT + 1}).encode()
        file.write_bytes(_tar(parts))
    done = command("restore", str(file), folder=tmp_path / "new")
    assert done.returncode == 1
    assert "newer Homing" in done.stderr
    assert not (tmp_path / "new/events.duckdb").exists()


def erase(folder: Path, user: str, at_ms: int) -> None:
    """Erase somebody as a server does it: a tombstone, then the rows."""
    with contextlib.closing(DuckStore(folder / "events.duckdb", NOW)) as store:
        tombstones = Tombstones(key_of(folder / "tombstones.key"))
        store.write([], tombstones.bury("A", [user], [], at_ms))
        store.erase("A", users=[user], devices=[])


def users(folder: Path) -> set[str]:
    return {json.loads(line)["userId"] for line in exported(folder)}


def test_who_was_erased_after_the_backup_does_not_come_back(filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.homing"
    erase(filled, "u1", NOW)
    with contextlib.closing(DuckStore(filled / "events.duckdb", NOW)) as store:
        store.write([row(event_id='"later"', user_id="u1", ts=NOW + 9_000)])  # made anew
    assert command("backup", str(file), folder=filled).returncode == 0
    erase(filled, "u3", NOW + 10_000)
    done = command("restore", str(file), "--json", folder=filled)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["erasedAgain"] == 1
    assert users(filled) == {"u0", "u1", "u2", "u4", "u5", "u6"}
    assert b"u3" not in json.dumps(exported(filled)).encode()
    # The tombstone came along: a second restore knows it too.
    assert command("restore", str(file), folder=filled).returncode == 0
    assert "u3" not in users(filled)


def test_without_the_tombstones_a_restore_asks(filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.homing"
    assert command("backup", str(file), folder=filled).returncode == 0
    erase(filled, "u3", NOW + 10_000)
    (filled / "tombstones.key").unlink()
    refused = command("restore", str(file), folder=filled)
    assert refused.returncode == 1
    assert "--lose-erasures" in refused.stderr
    assert "u3" not in users(filled)
    (filled / "events.duckdb").write_bytes(b"damaged" * 10_000)
    refused = command("restore", str(file), folder=filled)
    assert refused.returncode == 1
    assert "--lose-erasures" in refused.stderr
    assert command("restore", str(file), "--lose-erasures", folder=filled).returncode == 0
    assert "u3" in users(filled)


def test_a_restore_that_is_cut_anywhere_is_finished_by_who_comes_next(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.homing"
    assert command("backup", str(file), folder=filled).returncode == 0
    fill(filled, range(300, 400))
    real = Path.replace

    class Cut(BaseException):
        """The power goes."""

    cuts = 0
    for step in range(12):
        folder = Folder(tmp_path / f"cut{step}").prepare()
        fill(folder.path, range(1_000, 1_100))
        with backup.stage_folder(folder) as stage:
            backup.unpack(file, stage, lambda _d, _o: None)
            left = step

            def replace(self: Path, target: Path) -> Path:
                nonlocal left
                if left == 0:
                    raise Cut
                left -= 1
                return real(self, target)

            monkeypatch.setattr(Path, "replace", replace)
            try:
                backup.put_into_place(folder, stage, folder.path / "aside")
            except Cut:
                cuts += 1
            monkeypatch.setattr(Path, "replace", real)
            begun = (folder.path / RESTORING).exists()
        ServerLock.take(folder).release()
        assert not (folder.path / RESTORING).exists()
        count = len(exported(folder.path))
        assert count == (300 if begun or step >= 5 else 100), step
        if count == 300:
            assert len(exported(folder.path / "aside")) == 100
        assert not list(folder.path.glob("restore.*"))
    assert 5 <= cuts < 12


def test_a_kill_in_a_restore_leaves_the_old_or_the_new(filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.homing"
    assert command("backup", str(file), folder=filled).returncode == 0
    fill(filled, range(300, 400))
    words = [*PROGRAM, "restore", str(file), "--data-dir", str(filled)]
    began = time.monotonic()
    subprocess.run(words, check=True, timeout=60, stdout=subprocess.DEVNULL)
    whole_s = time.monotonic() - began
    for n in range(4):
        fill(filled, range(300, 400))
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(whole_s * (0.55 + n * 0.12))
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert len(exported(filled)) in (300, 400)


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
