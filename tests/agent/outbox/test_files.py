"""The outbox's files are ours alone, whatever lies at their paths; older ones are upgraded."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from yard import append, event, events, findings, ids_in, settle, whole

from agent.adapters.outbox import migrations
from agent.adapters.outbox.file import Trust, examine
from agent.adapters.outbox.outbox import Outbox
from agent.rules.ledger import Account
from tracking.errors import StorageFault

Open = Callable[..., Outbox]


@pytest.fixture
def folder(path: Path) -> Path:
    path.parent.mkdir(mode=0o700)
    return path.parent


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def works(box: Outbox) -> None:
    stream = box.stream("acme", "nucleus")
    append(box, stream, events(0, 3))
    assert settle(box, whole(box, stream)) >= 3
    assert findings(box) == []


@pytest.mark.usefixtures("no_umask")
def test_nobody_else_may_read_any_of_the_files(path: Path, open_box: Open) -> None:
    works(open_box())
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    names = ("outbox.db", "outbox.db-wal", "outbox.db-shm", "outbox.db.reserve")
    assert modes == dict.fromkeys(names, 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("end", ["", ".reserve"])
def test_a_folder_in_the_way_is_moved_aside(folder: Path, open_box: Open, end: str) -> None:
    (folder / f"outbox.db{end}").mkdir()
    (folder / f"outbox.db{end}" / "inside").write_text("kept")
    box = open_box()
    works(box)
    (aside,) = folder.glob("outbox.db*.foreign-*")
    assert (aside / "inside").read_text() == "kept"
    assert end or aside.name in box.opening.notices[0]


@pytest.mark.parametrize("end", ["", "-wal", "-shm", ".reserve"])
def test_a_link_is_not_followed(folder: Path, tmp_path: Path, open_box: Open, end: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    victim.chmod(0o644)
    (folder / f"outbox.db{end}").symlink_to(victim)
    box = open_box()
    works(box)
    assert victim.read_bytes() == b"precious"
    assert stat.S_IMODE(victim.stat().st_mode) == 0o644
    assert end == ".reserve" or any("a link" in said for said in box.opening.notices)


def test_a_link_to_nowhere_makes_no_file_there(
    folder: Path, tmp_path: Path, open_box: Open
) -> None:
    (folder / "outbox.db").symlink_to(tmp_path / "victim")
    works(open_box())
    assert not (tmp_path / "victim").exists()


def test_a_second_name_for_the_file_sees_nothing_new(
    path: Path, tmp_path: Path, open_box: Open, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.outbox")
    box = open_box()
    append(box, box.stream("acme", "nucleus"), events(0, 5))
    box.close()
    spy = tmp_path / "spy"
    spy.hardlink_to(path)
    before = spy.read_bytes()
    box = open_box()
    assert ids_in(box) == [f"e{n}" for n in range(5)]
    works(box)
    box.close()
    assert spy.read_bytes() == before
    assert path.stat().st_nlink == 1
    assert box.opening.notices


@pytest.mark.parametrize("end", ["", ".reserve"])
def test_a_file_with_two_names_is_not_changed(
    end: str, folder: Path, tmp_path: Path, open_box: Open, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.outbox")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious" * 1000)
    (folder / f"outbox.db{end}").hardlink_to(victim)
    works(open_box())
    assert victim.read_bytes() == b"precious" * 1000


def test_a_file_that_others_could_open_is_replaced_and_its_events_kept(
    path: Path, open_box: Open, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.outbox")
    box = open_box()
    append(box, box.stream("acme", "nucleus"), events(0, 5))
    box.close()
    path.chmod(0o666)
    with path.open("rb") as spy:
        box = open_box()
        assert ids_in(box) == [f"e{n}" for n in range(5)]
        assert os.fstat(spy.fileno()).st_ino != path.stat().st_ino
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert all(stat.S_IMODE(one.stat().st_mode) == 0o600 for one in path.parent.iterdir())
    works(box)


def test_somebody_elses_file_is_not_read(
    folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"theirs")
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    notices: list[str] = []
    assert examine(path, notices) is Trust.FRESH
    (aside,) = folder.glob("outbox.db.foreign-*")
    assert aside.read_bytes() == b"theirs"
    assert f"a file of user {owner}" in notices[0]
    assert path.stat().st_size == 0


def test_a_log_without_its_database_is_not_replayed(path: Path, open_box: Open) -> None:
    box = open_box()
    append(box, box.stream("acme", "nucleus"), events(0, 5))
    log = path.with_name("outbox.db-wal")
    kept = log.read_bytes()
    box.close()
    path.unlink()
    log.write_bytes(kept)
    box = open_box()
    assert ids_in(box) == []
    works(box)


def test_a_path_with_signs_of_an_address_is_a_path(tmp_path: Path, open_box: Open) -> None:
    where = tmp_path / "a?mode=memory#b%20c" / "outbox.db"
    works(open_box(where))
    assert where.exists()


# --- versions ----------------------------------------------------------------------------------


VERSION_1 = """
CREATE TABLE stream (
    id INTEGER PRIMARY KEY, app_id TEXT NOT NULL, upstream TEXT NOT NULL,
    accepted INTEGER NOT NULL DEFAULT 0, delivered INTEGER NOT NULL DEFAULT 0,
    UNIQUE (app_id, upstream)
);
CREATE TABLE loss (
    stream INTEGER NOT NULL, reason TEXT NOT NULL, events INTEGER NOT NULL,
    PRIMARY KEY (stream, reason)
) WITHOUT ROWID;
CREATE TABLE event (
    seq INTEGER PRIMARY KEY, stream INTEGER NOT NULL, accepted_ms INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE app (app_id TEXT PRIMARY KEY, profile BLOB NOT NULL) WITHOUT ROWID;
"""


def tables_of_1(path: Path, rows: int) -> None:
    """A file as the first version left it."""
    path.touch(mode=0o600)
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(VERSION_1)
    db.execute("PRAGMA user_version = 1")
    db.execute("INSERT INTO stream VALUES (3, 'acme', 'nucleus', ?, 7)", (rows + 7 + 2,))
    db.execute("INSERT INTO loss VALUES (3, 'expired', 2)")
    db.execute("INSERT INTO app VALUES ('acme', ?)", (b"{}",))
    for n in range(rows):
        body = event(n)  # the first version wrote text as well as bytes
        db.execute(
            "INSERT INTO event VALUES (?, 3, 1, ?)", (10 + 2 * n, body if n % 2 else body.decode())
        )
    db.commit()
    db.close()


def test_a_file_of_version_1_is_upgraded_with_every_event(
    folder: Path, path: Path, open_box: Open
) -> None:
    tables_of_1(path, 1500)
    box = open_box()
    assert box.opening.upgraded_from == 1
    assert len(box.opening.notices) == 1
    stream = box.stream("acme", "nucleus")
    assert ids_in(box) == [f"e{n}" for n in range(1500)]
    account = box.account(stream)
    assert (account.accepted, account.delivered, account.pending) == (1509, 7, 1500)
    assert account.balanced
    assert box.profile("acme") == b"{}"
    assert findings(box) == []
    assert settle(box, whole(box, stream)) == 500
    box.close()
    again = open_box()
    assert again.opening.notices == []
    assert len(ids_in(again)) == 1000


def test_rows_of_version_1_that_are_no_events_are_counted(
    folder: Path, path: Path, open_box: Open, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.outbox")
    tables_of_1(path, 10)
    db = sqlite3.connect(path)
    db.execute("UPDATE event SET body = ? WHERE seq = 12", (b"{no json",))
    db.execute("UPDATE event SET body = '{}' WHERE seq = 14")
    db.commit()
    db.close()
    box = open_box()
    assert box.opening.damaged == 2
    assert len(ids_in(box)) == 8
    works(box)


def test_a_damaged_file_of_version_1_keeps_its_undamaged_events(
    folder: Path, path: Path, open_box: Open, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.outbox")
    tables_of_1(path, 1500)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 4096 // 2 * 4096)
        file.write(bytes(4096))
    box = open_box()
    assert 1300 <= len(ids_in(box)) < 1500
    assert box.account(box.stream("acme", "nucleus")).balanced
    works(box)


@pytest.mark.parametrize("logged", [False, True])
def test_a_file_of_a_newer_version_is_refused_and_not_touched(
    path: Path, tmp_path: Path, open_box: Open, logged: bool
) -> None:
    box = open_box()
    append(box, box.stream("acme", "nucleus"), events(0, 5))
    box.close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {migrations.VERSION + 1}")
    db.execute("CREATE TABLE from_the_future (x)")
    if logged:  # as a newer one that crashed leaves it
        db.commit()
        kept = {name: (path.parent / name).read_bytes() for name in ("outbox.db", "outbox.db-wal")}
        db.close()
        for name, raw in kept.items():
            (path.parent / name).write_bytes(raw)
    else:
        db.close()
    before = {one.name: one.read_bytes() for one in path.parent.iterdir()}
    with pytest.raises(StorageFault, match="newer Homing"):
        open_box()
    after = {one.name: one.read_bytes() for one in path.parent.iterdir()}
    after.pop("outbox.db-shm", None)
    before.pop("outbox.db-shm", None)
    assert after == before


def test_an_empty_file_is_an_empty_outbox(folder: Path, path: Path, open_box: Open) -> None:
    path.touch(mode=0o600)
    box = open_box()
    assert box.opening.notices == []
    works(box)
    assert box.account(1) == Account(accepted=3, delivered=3)
