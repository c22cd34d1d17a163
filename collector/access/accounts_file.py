"""The SQLite file of the accounts: its tables, its connections, and the border to its errors.

It may be changed by the command line while a server runs, so nothing here is remembered between
two calls. Any thread may call; several processes may.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from tracking.errors import StorageFault

SCHEMA = """
CREATE TABLE IF NOT EXISTS app (
    app_id TEXT PRIMARY KEY, name TEXT NOT NULL, tracking_key TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL, retention_days INTEGER, demo INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS token (
    prefix TEXT NOT NULL, digest BLOB NOT NULL UNIQUE, app_id TEXT NOT NULL, scopes TEXT NOT NULL,
    created_ms INTEGER NOT NULL, expires_ms INTEGER, used_day INTEGER
);
CREATE INDEX IF NOT EXISTS token_by_prefix ON token (prefix);
CREATE TABLE IF NOT EXISTS publishable_key (app_id TEXT PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS secret_key (
    app_id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, created_ms INTEGER NOT NULL
);
"""
#: Columns that the first files did not have, by what adds them; in the order of SCHEMA.
LATER = {
    "retention_days": "ALTER TABLE app ADD COLUMN retention_days INTEGER",
    "demo": "ALTER TABLE app ADD COLUMN demo INTEGER NOT NULL DEFAULT 0",
}


class AccountsFile:
    """The opened file.

    Raises:
        StorageFault: It cannot be used; so says every call that follows.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            os.close(os.open(path, flags, 0o600))
            # Two connections: who asks, on the loop, never waits for a disk or another process.
            self._changes = self._connect()
            self._changes.execute("PRAGMA journal_mode = WAL").fetchall()
            self._changes.execute("PRAGMA synchronous = FULL")
            self._changes.executescript(SCHEMA)
            self._migrate(self._changes)
            self._db = self._connect()
        except (OSError, sqlite3.DatabaseError) as exc:
            raise StorageFault(f"{path} cannot be used: {exc}") from exc

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA busy_timeout = 5000")
        return db

    @staticmethod
    def _migrate(db: sqlite3.Connection) -> None:
        """Add what an older file has not; two processes may try at once."""

        def columns() -> set[str]:
            return {row[1] for row in db.execute("PRAGMA table_info(app)")}

        if columns() >= LATER.keys():
            return
        db.execute("BEGIN IMMEDIATE")
        with db:
            there = columns()
            for name, statement in LATER.items():
                if name not in there:
                    db.execute(statement)

    def close(self) -> None:
        with self._lock, self._changing:
            self._db.close()
            self._changes.close()

    @contextlib.contextmanager
    def border(self, *, changing: bool = False) -> Iterator[sqlite3.Connection]:
        """Lend the connection for asking, or the one for changing, and translate its errors."""
        with self._changing if changing else self._lock:
            try:
                yield self._changes if changing else self._db
            except sqlite3.DatabaseError as exc:
                raise StorageFault(f"{self.path} cannot be used: {exc}") from exc
