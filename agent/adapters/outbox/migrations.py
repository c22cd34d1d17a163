"""The outbox's tables, and how an older file becomes today's.

``PRAGMA user_version`` says which file it is. Each step is one transaction and ends with the
write-ahead log folded in, so the version can be read from the file's first bytes without opening
it. A file from the future is refused and left as it is.

    1   one row per event; ledger beside it
    2   one row per *segment*: the events of one app that were accepted in one commit, because
        rows are what SQLite charges for (about 2 µs each); dead letters, repeats, tallies
    3   what each upstream of an app was given and has confirmed, by day: for the dual run
    4   what was confirmed, by hour and device, with a digest: to be compared with a collector
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import msgspec

from agent.adapters.outbox.segments import chunks, ids_of, owner_seal, sealed

VERSION = 4
NEWEST_BELIEVED = 999  #: A larger number in the header is damage, not the future.
VERSION_AT = 60  #: Where the file's header keeps ``user_version``, four bytes, big end first.

V2 = """
CREATE TABLE stream (
    id INTEGER PRIMARY KEY,
    app_id TEXT NOT NULL,
    upstream TEXT NOT NULL,
    accepted INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    UNIQUE (app_id, upstream)
);
CREATE TABLE loss (
    stream INTEGER NOT NULL, reason TEXT NOT NULL, events INTEGER NOT NULL,
    PRIMARY KEY (stream, reason)
) WITHOUT ROWID;
CREATE TABLE segment (
    seq INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    accepted_ms INTEGER NOT NULL,
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX segment_by_stream ON segment (stream, seq, events, bytes, accepted_ms);
CREATE TABLE dead_letter (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    stream INTEGER NOT NULL,
    buried_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (id, stream)
);
CREATE TABLE seen (hash BLOB PRIMARY KEY, day INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE seen_day (day INTEGER PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE app (app_id TEXT PRIMARY KEY, profile BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE tally (
    hour_ms INTEGER NOT NULL, app_id TEXT NOT NULL, kind TEXT NOT NULL, events INTEGER NOT NULL,
    PRIMARY KEY (hour_ms, app_id, kind)
) WITHOUT ROWID;
"""
V3 = """
CREATE TABLE daily (
    day TEXT NOT NULL, stream INTEGER NOT NULL,
    accepted INTEGER NOT NULL, delivered INTEGER NOT NULL, dead INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    PRIMARY KEY (day, stream)
) WITHOUT ROWID;
"""
V4 = """
CREATE TABLE reckoning (
    stream INTEGER NOT NULL, hour_ms INTEGER NOT NULL, device TEXT NOT NULL,
    events INTEGER NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL,
    PRIMARY KEY (stream, hour_ms, device)
) WITHOUT ROWID;
CREATE TABLE reckoned (stream INTEGER PRIMARY KEY, since_ms INTEGER NOT NULL);
"""


def _statements(text: str) -> list[str]:
    return [words for words in text.split(";") if words.strip()]


def _tables(statements: list[str]) -> set[str]:
    return {words.split()[2] for words in statements if words.split()[1] == "TABLE"}


STATEMENTS = _statements(V2 + V3 + V4)
TABLES = _tables(STATEMENTS)
OF_2 = _tables(_statements(V2))
OF_3 = _tables(_statements(V2 + V3))
FROM_1 = {"stream", "loss", "app"}  #: Tables of version 1 that are the same in later ones.


class Newer(Exception):
    """The file was written by a newer Homing.

    Args:
        version: What the file says.

    """

    def __init__(self, version: int) -> None:
        super().__init__(f"version {version}")
        self.version = version


def refuse_newer(path: Path) -> None:
    """Look at a file's header without opening it as a database.

    Raises:
        Newer: It is from the future; nothing was changed, not even its write-ahead log.

    """
    with path.open("rb") as file:
        file.seek(VERSION_AT)
        found = int.from_bytes(file.read(4), "big")
    _refuse_newer(found)


def _refuse_newer(found: int) -> None:
    if VERSION < found <= NEWEST_BELIEVED:
        raise Newer(found)


def upgrade(db: sqlite3.Connection) -> int:
    """Bring an open database to today's tables; return the older version it had, or 0.

    Raises:
        Newer: The file is from the future; nothing was changed.
        sqlite3.DatabaseError: It is damaged; the caller sets it aside.

    """
    (found,) = db.execute("PRAGMA user_version").fetchone()
    _refuse_newer(found)
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if found == VERSION and tables >= TABLES:
        return 0
    if found == 3 and tables >= OF_3:
        _in_one(db, _add_reckoning)
        return 3
    if found == 2 and tables >= OF_2:
        _in_one(db, _add_daily)
        return 2
    if found == 1 and tables >= FROM_1 | {"event"}:
        _in_one(db, _to_segments)
        return 1
    if found == 0 and not tables:
        _in_one(db, _create)
        return 0
    raise sqlite3.DatabaseError(f"version {found} with the tables {sorted(tables)}")


def _in_one(db: sqlite3.Connection, step: Callable[[sqlite3.Connection], None]) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        step(db)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _create(db: sqlite3.Connection) -> None:
    for statement in STATEMENTS:
        db.execute(statement)


def _add_daily(db: sqlite3.Connection) -> None:
    """2 → 4: three tables more."""
    for statement in _statements(V3 + V4):
        db.execute(statement)


def _add_reckoning(db: sqlite3.Connection) -> None:
    """3 → 4: two tables more."""
    for statement in _statements(V4):
        db.execute(statement)


def _to_segments(db: sqlite3.Connection) -> None:
    """1 → 4: events that stood together become segments; order, numbers and ledger stay.

    What is no event any more is left out: the ledger, which knows what was accepted, counts it.
    """
    for statement in STATEMENTS:
        kind, name = statement.split()[1:3]
        if kind == "INDEX" or name not in FROM_1:
            db.execute(statement)
    seals = {
        id_: owner_seal(app_id, upstream)
        for id_, app_id, upstream in db.execute("SELECT id, app_id, upstream FROM stream")
    }
    for (stream, first, accepted_ms), run in groupby(_runs(db), key=lambda event: event[0]):
        seq = first
        for count, body in chunks([body for _, body in run]):
            db.execute(
                "INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?)",
                (seq, stream, accepted_ms, count, len(body), sealed(seals[stream], body), body),
            )
            seq += count
    db.execute("DROP TABLE event")


def _runs(db: sqlite3.Connection) -> Iterator[tuple[tuple[int, int, int], bytes]]:
    """Yield the good events of version 1, each with its run: (stream, first number, accepted_ms).

    A run has consecutive numbers, one stream, one time, and at most 500 events, so that no more
    than that is in memory.
    """
    run, next_seq, length = (0, 0, 0), 0, 0
    for seq, stream, accepted_ms, raw in db.execute(
        "SELECT e.seq, e.stream, e.accepted_ms, e.body FROM event e JOIN stream s"
        " ON s.id = e.stream ORDER BY e.seq"
    ):
        body = raw if isinstance(raw, bytes) else str(raw).encode()
        try:
            good = len(ids_of(body)) == 1
        except msgspec.MsgspecError:
            good = False
        if not good:
            continue
        if (stream, accepted_ms) != (run[0], run[2]) or seq != next_seq or length == 500:
            run, length = (stream, seq, accepted_ms), 0
        next_seq, length = seq + 1, length + 1
        yield run, body
