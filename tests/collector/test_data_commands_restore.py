"""restore: nothing is touched before all is well, and nobody who was erased comes back."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from collectors import NOW, PROGRAM, Collector, command, now_ms, row
from filled_folders import counted, entries, exported, fill, tar_of

from collector.bulk import backup
from collector.cli.reach import one_at_a_time
from collector.intake.tombstones import Tombstones, key_of
from collector.places import RESTORING, Folder, ServerLock
from collector.store.duck import DuckStore

Run = Callable[..., Collector]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A folder with an app of 300 events, closed."""
    return fill(tmp_path / "data", range(300))


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
            "extra": tar_of(parts),
            "missing": tar_of(parts),
        }[how]
    )
    before = entries(filled)
    done = command("restore", str(file), folder=filled)
    assert done.returncode == 1, done.stdout
    assert "damaged" in done.stderr or "no backup" in done.stderr
    assert "Traceback" not in done.stderr
    assert entries(filled) == before
    assert not [path for path in filled.iterdir() if path.is_dir()]


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
        file.write_bytes(tar_of(parts))
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


def test_a_restore_elsewhere_says_that_the_key_of_the_erasures_is_missing(
    filled: Path, tmp_path: Path
) -> None:
    file, new = tmp_path / "a.homing", Folder(tmp_path / "new").prepare().path
    erase(filled, "u3", NOW)
    assert command("backup", str(file), folder=filled).returncode == 0
    done = command("restore", str(file), "--json", folder=new)
    assert json.loads(done.stdout)["erasuresUnreadable"] == 1
    assert "tombstones.key" in done.stderr
    assert "u3" not in users(new)
    shutil.copy(filled / "tombstones.key", new)
    done = command("restore", str(file), "--json", folder=new)
    assert json.loads(done.stdout)["erasuresUnreadable"] == 0
    assert done.stderr == ""


def test_a_disk_too_full_for_a_name_in_the_lock_still_locks(filled: Path) -> None:
    folder = Folder(filled)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with one_at_a_time(folder, "compact"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert command("compact", folder=filled).returncode == 75
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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
        count = counted(folder.path)
        assert count == (300 if begun or step >= 5 else 100), step
        if count == 300:
            assert counted(folder.path / "aside") == 100
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
        ServerLock.take(Folder(filled)).release()
        assert counted(filled) in (300, 400)


def test_an_old_backup_comes_with_a_warning(filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.homing"
    folder = Folder(filled)
    with backup.snapshot_folder(folder) as snapshot, file.open("wb") as to:
        for path in (folder.events, folder.accounts):
            (snapshot / path.name).write_bytes(path.read_bytes())
        old = now_ms() - 40 * 86_400_000
        backup.pack(snapshot, to, backup.head_of(snapshot, old), lambda _done, _of: None)
    done = command("restore", str(file), folder=filled)
    assert done.returncode == 0
    assert "40 days old" in done.stderr


def test_folders_that_were_set_aside_are_named_until_they_are_removed(
    run: Run, filled: Path, tmp_path: Path
) -> None:
    """An erasure does not go there, and so whoever relies on it is told."""
    file = tmp_path / "a.homing"
    assert command("backup", str(file), folder=filled).returncode == 0
    assert command("restore", str(file), folder=filled).returncode == 0
    (aside,) = [path for path in filled.iterdir() if path.name.startswith("before-restore-")]
    far_end = run(folder=filled)
    token = far_end.app("A", "admin")
    status, receipt, _ = far_end.request(
        "DELETE", "/api/v1/apps/A/users/u1?receipt=1", headers={"Authorization": token}
    )
    assert status == 200
    assert json.loads(receipt["statement"])["setAside"] == 1
    told = f"{aside} still holds what was there before the restore"
    for words in (("status",), ("compact",)):
        assert told in far_end.command(*words).stdout
        assert json.loads(far_end.command(*words, "--json").stdout)["setAside"] == [str(aside)]
    with contextlib.closing(DuckStore(aside / "events.duckdb", NOW)) as store:
        assert store.ask("SELECT count(*) > 0 FROM {events} WHERE user_id = 'u1'", {}) == [(True,)]
    shutil.rmtree(aside)
    for words in (("status",), ("compact",)):
        assert "still holds" not in far_end.command(*words).stdout
        assert json.loads(far_end.command(*words, "--json").stdout)["setAside"] == []
    status, receipt, _ = far_end.request(
        "DELETE", "/api/v1/apps/A/users/u2?receipt=1", headers={"Authorization": token}
    )
    assert json.loads(receipt["statement"])["setAside"] == 0
