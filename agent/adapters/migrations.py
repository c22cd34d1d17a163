"""The outbox's tables, and how an older file becomes today's.

``PRAGMA user_version`` says which file it is. Each step is one transaction; a file from the
future is refused and left as it is.

    1   one row per event; ledger beside it
    2   one row per *segment*: the events of one app that were accepted in one commit, because
        rows are what SQLite charges for (about 2 µs each)
"""

from __future__ import annotations

import sqlite3
import zlib

VERSION = 2

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
    id TEXT NOT NULL UNIQUE,
    stream INTEGER NOT NULL,
    buried_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE seen (n INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, seen_ms INTEGER NOT NULL);
CREATE TABLE app (app_id TEXT PRIMARY KEY, profile BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE tally (
    hour_ms INTEGER NOT NULL, app_id TEXT NOT NULL, kind TEXT NOT NULL, events INTEGER NOT NULL,
    PRIMARY KEY (hour_ms, app_id, kind)
) WITHOUT ROWID;
"""

V1 = """
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
"""  #: As the first prototype wrote it; kept so that the upgrade stays tested.


def upgrade(db: sqlite3.Connection) -> int:
    """Bring an open database to today's tables; return the version it had.

    Raises:
        Newer: The file is from the future; nothing was changed.
        sqlite3.DatabaseError: It cannot be read; the caller sets it aside.

    """
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise Newer(found)
    if found == 0:
        _in_one(db, V2)
    elif found == 1:
        _to_segments(db)
    return int(found)


class Newer(Exception):
    """The file was written by a newer Homing.

    Args:
        version: What the file says.

    """

    def __init__(self, version: int) -> None:
        super().__init__(f"version {version}")
        self.version = version


def _in_one(db: sqlite3.Connection, script: str) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in script.split(";"):
            if statement.strip():
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _to_segments(db: sqlite3.Connection) -> None:
    """1 → 2: every event becomes a segment of its own; order and ledger stay."""
    db.execute("BEGIN IMMEDIATE")
    try:
        known = {"stream", "loss", "app"}
        for statement in V2.split(";"):
            words = statement.split()
            if words and not (words[:2] == ["CREATE", "TABLE"] and words[2] in known):
                db.execute(statement)
        rows = db.execute("SELECT seq, stream, accepted_ms, body FROM event ORDER BY seq")
        for seq, stream, accepted_ms, body in rows.fetchall():
            raw = bytes(body) if isinstance(body, bytes) else str(body).encode()
            db.execute(
                "INSERT INTO segment VALUES (?, ?, ?, 1, ?, ?, ?)",
                (seq, stream, accepted_ms, len(raw), zlib.crc32(raw), raw),
            )
        db.execute("DROP TABLE event")
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
