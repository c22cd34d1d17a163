"""One truth about apps, keys and tokens for several collectors on one engine.

Each collector keeps its own small file (:mod:`collector.access.accounts_file`), which its command
line may change at any time, also while the engine is away. What changed here since the last look
is told to the engine; what changed there is taken over. Of a row that changed on both sides the
engine's is kept, and one that was removed on either side stays removed, so that a revoked token
cannot come back: not by another collector, and not with an older file that somebody put back.
"""
# ruff: noqa: S608 - the names are the file's own; every value is bound

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from collector.store.clickhouse_shared import AccountRow, Shared
from tracking.errors import StorageFault

Key = tuple[str, str]  #: Table, and its key as JSON.

#: Says when it was used, not what it opens; on its own no reason to call a row another.
_NOTES = frozenset({"used_day"})


class _Table(NamedTuple):
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]


class AccountSync:
    """Keeps an accounts file equal to the engine's.

    Args:
        path: Of the accounts file, which exists.
        shared: The engine's side.
        changed: Called after rows of the file have changed, by this or by a command line: whatever
            is remembered of them is old.

    """

    def __init__(self, path: Path, shared: Shared, changed: Callable[[], None]) -> None:
        self._path = path
        self._base_path = path.with_name(f"{path.name}.shared")
        self._shared = shared
        self._changed = changed
        self._base, self._latest = self._read_base()
        self._mark: tuple[object, ...] = ()

    def sync(self) -> None:
        """Look at both sides. Cheap if nothing changed. Blocks.

        Raises:
            StorageFault: One of them cannot be used.

        """
        mark = self._shared.accounts_mark()
        with self._border() as db:
            here = self._rows(db)
            if (mark, here) == self._mark:
                return
            there = {(row.subject, row.key): row for row in self._shared.accounts()}
            told, taken = self._compare(here, there)
            self._take(db, taken)
            now_here = self._rows(db) if taken else here
        if taken or told:  # there, or here by a command line
            self._changed()
        latest = self._latest | {
            key: row.version for key, row in there.items() if row.version > self._known(key)
        }
        version = max(time.time_ns() // 1_000, max(latest.values(), default=0) + 1)
        self._shared.tell_accounts(
            [
                AccountRow(subject, key, value or there[subject, key].value, value is None, version)
                for (subject, key), value in told.items()
            ]
        )
        latest |= dict.fromkeys(told, version)
        if (now_here, latest) != (self._base, self._latest):
            self._write_base(now_here, latest)
        self._mark = () if told else (mark, now_here)

    def _compare(
        self, here: dict[Key, str], there: dict[Key, AccountRow]
    ) -> tuple[dict[Key, str | None], dict[Key, str | None]]:
        """Return what to tell the engine, and what to take over; None removes a row."""
        told: dict[Key, str | None] = {}
        taken: dict[Key, str | None] = {}
        for key in here.keys() | there.keys():
            ours, base = here.get(key), self._base.get(key)
            row = there.get(key)
            if row is not None and row.version < self._known(key):
                continue  # a replica that lags tells of the past
            theirs = None if row is None or row.gone else row.value
            if ours == theirs:
                continue
            if row is None:  # the engine never heard of it; that is no reason to remove it here
                told[key] = ours
            elif ours == base:
                taken[key] = theirs
            elif theirs is None:  # removed there, and another one here
                came_back = ours is not None and _same(ours, row.value)
                (taken if came_back else told)[key] = None if came_back else ours
            elif theirs == base or ours is None:
                told[key] = ours
            else:
                taken[key] = theirs
        return told, taken

    # --- the file ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _border(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as db:
                db.execute("PRAGMA busy_timeout = 5000")
                yield db
        except sqlite3.DatabaseError as exc:
            raise StorageFault(f"{self._path} cannot be used: {exc}") from exc

    def _rows(self, db: sqlite3.Connection) -> dict[Key, str]:
        """Return every row of every table, by its key."""
        rows: dict[Key, str] = {}
        db.execute("BEGIN")
        try:
            for name, columns, keys in _tables(db):
                listed = ", ".join(columns)
                for row in db.execute(f"SELECT {listed} FROM {name}"):
                    said = dict(zip(columns, map(_plain, row), strict=True))
                    key = json.dumps([said[column] for column in keys])
                    rows[name, key] = json.dumps(said, sort_keys=True)
        finally:
            db.execute("ROLLBACK")
        return rows

    def _take(self, db: sqlite3.Connection, rows: dict[Key, str | None]) -> None:
        if not rows:
            return
        tables = {table.name: table for table in _tables(db)}
        db.execute("BEGIN IMMEDIATE")
        with db:
            for (name, key), value in sorted(rows.items(), key=lambda one: one[1] is not None):
                table = tables.get(name)
                if table is None:  # of a newer collector: what is not known cannot be asked for
                    continue
                where = " AND ".join(f"{column} IS ?" for column in table.key)
                found = [_alive(one) for one in json.loads(key)]
                db.execute(f"DELETE FROM {name} WHERE {where}", found)
                if value is not None:
                    said = {c: _alive(v) for c, v in json.loads(value).items()}
                    columns = [column for column in table.columns if column in said]
                    listed, places = ", ".join(columns), ", ".join("?" for _ in columns)
                    db.execute(
                        f"INSERT OR REPLACE INTO {name} ({listed}) VALUES ({places})",
                        [said[column] for column in columns],
                    )

    def _read_base(self) -> tuple[dict[Key, str], dict[Key, int]]:
        try:
            said = json.loads(self._base_path.read_text("utf-8"))
        except FileNotFoundError:
            return {}, {}
        except (OSError, ValueError) as exc:
            raise StorageFault(f"{self._base_path} cannot be read") from exc
        rows = {(table, key): value for table, key, value, _ in said if value is not None}
        return rows, {(table, key): version for table, key, _, version in said}

    def _known(self, key: Key) -> int:
        """Return the version of a row that was told or heard last."""
        return self._latest.get(key, 0)

    def _write_base(self, rows: dict[Key, str], latest: dict[Key, int]) -> None:
        """Replace the base; half a file is never seen."""
        keys = sorted(rows.keys() | latest.keys())
        text = json.dumps([[*key, rows.get(key), latest.get(key, 0)] for key in keys])
        made = self._base_path.with_name(f"{self._base_path.name}.new")
        try:
            made.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(made, flags, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            made.replace(self._base_path)
        except OSError as exc:
            raise StorageFault(f"{self._base_path} cannot be written") from exc
        self._base, self._latest = rows, latest


def _tables(db: sqlite3.Connection) -> list[_Table]:
    """Return the tables that have a key: the primary one, or else the first that is unique."""
    found = []
    names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    for (name,) in names.fetchall():
        about = db.execute("SELECT * FROM pragma_table_info(?)", (name,)).fetchall()
        key = tuple(row[1] for row in sorted(about, key=lambda row: row[5]) if row[5])
        indexes = db.execute('SELECT name, "unique" FROM pragma_index_list(?)', (name,))
        for index, unique in indexes.fetchall():
            if not key and unique:
                found_in = db.execute("SELECT name FROM pragma_index_info(?)", (index,))
                key = tuple(column for (column,) in found_in)
        if key and not name.startswith("sqlite_"):
            found.append(_Table(name, tuple(row[1] for row in about), key))
    return found


def _plain(value: Any) -> Any:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def _alive(value: Any) -> Any:
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value


def _same(one: str, other: str) -> bool:
    """Say whether two rows are one, but for what is merely noted in it."""
    left, right = json.loads(one), json.loads(other)
    return {k: v for k, v in left.items() if k not in _NOTES} == {
        k: v for k, v in right.items() if k not in _NOTES
    }
