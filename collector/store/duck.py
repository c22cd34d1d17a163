"""The embedded engine: DuckDB, one file, one process.

Invariants:
    1. ``write`` has returned ⇒ the rows survive a kill and a cut of power: DuckDB syncs its
       write-ahead log at every commit (seen with strace: one fdatasync each).
    2. An event is stored once. Content keys of what arrived in the last days are in memory as
       64-bit numbers; a hit there, and anything older, is looked up exactly, by time and key
       (STORE.md, "De-duplication that works"). The window is the whole file.
    3. One thread writes; readers have cursors of their own, each used by one thread at a time.

A primary key would cost five times the file and fall to 870 events/s (STORE.md), so there is
none.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from collector.store import queries
from collector.store.interface import Glance, Store, Stored
from tracking.errors import StorageFault

VERSION = 1
DAY_MS = 86_400_000
RECENT_DAYS = 3  #: Keys in memory; older events are looked up in the file.
SLICE = 5_000
READ_S = 10.0
MEMORY = "256MB"

TEXTS = frozenset(Stored.__annotations__) - {
    "key_a",
    "key_b",
    "ts",
    "recv_ts",
    "avail_ram",
    "flags",
}


def _type_of(column: str) -> str:
    return "VARCHAR" if column in TEXTS else "BIGINT"


COLUMNS = ", ".join(f"{name} {_type_of(name)} NOT NULL" for name in Stored._fields)
SCHEMA = (
    "CREATE TABLE schema_version (version INTEGER NOT NULL)",
    f"CREATE TABLE events ({COLUMNS})",  # noqa: S608 - columns are our own names
    "CREATE TABLE device (app_id VARCHAR NOT NULL, device_id VARCHAR NOT NULL,"
    " first_ts BIGINT NOT NULL)",
    f"INSERT INTO schema_version VALUES ({VERSION})",
)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Translate DuckDB's errors of the world; misuse stays a bug."""
    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.FatalException) as exc:
        text = str(exc).splitlines()[0][:200]
        raise StorageFault(f"the store cannot be used: {text}") from exc


class DuckStore(Store):
    """Events and devices in one DuckDB file.

    Args:
        path: Of the file; its folder exists and is ours.
        now_ms: Decides which keys are recent.

    """

    def __init__(self, path: Path, now_ms: int) -> None:
        self.path = path
        with _translated():
            self._db = duckdb.connect(str(path), config={"threads": 2, "memory_limit": MEMORY})
            self._migrate()
            self._writer = self._db.cursor()
            self._events = self._writer.appender("events")
            self._devices = self._writer.appender("device")
            self._readers = threading.local()
            self._recent: dict[int, set[int]] = defaultdict(set)
            self._first: dict[tuple[str, str], int] = {}
            self._load(now_ms)

    def _migrate(self) -> None:
        (tables,) = self._one(
            "SELECT count(*) FROM information_schema.tables WHERE table_name = 'schema_version'"
        )
        if not tables:
            self._db.execute("BEGIN")
            for statement in SCHEMA:
                self._db.execute(statement)
            self._db.execute("COMMIT")
            return
        (version,) = self._one("SELECT max(version) FROM schema_version")
        if version > VERSION:
            raise StorageFault(
                f"{self.path} was written by a newer Homing (format {version})",
                advice="Install that version again; the file was left as it is.",
            )

    def _one(self, query: str) -> tuple[Any, ...]:
        row = self._db.execute(query).fetchone()
        return () if row is None else tuple(row)

    def _load(self, now_ms: int) -> None:
        """Read the keys of the last days, and when each device was first seen."""
        cursor = self._db.execute(
            "SELECT recv_ts // 86400000, key_a FROM events WHERE recv_ts >= $since",
            {"since": (now_ms // DAY_MS - RECENT_DAYS) * DAY_MS},
        )
        while rows := cursor.fetchmany(SLICE):
            for day, key in rows:
                self._recent[day].add(key)
        cursor = self._db.execute(
            "SELECT app_id, device_id, min(first_ts) FROM device GROUP BY app_id, device_id"
        )
        while rows := cursor.fetchmany(SLICE):
            for app_id, device_id, first in rows:
                self._first[app_id, device_id] = first

    # --- writing -------------------------------------------------------------------------------

    def write(self, rows: Sequence[Stored]) -> int:
        fresh = self._unknown(rows)
        if not fresh:
            return 0
        firsts: dict[tuple[str, str], int] = {}
        for row in fresh:
            device = (row.app_id, row.device_id)
            known = firsts.get(device, self._first.get(device))
            if known is None or row.ts < known:
                firsts[device] = row.ts
        with _translated():
            self._writer.execute("BEGIN")
            try:
                self._events.append_rows(fresh)
                self._events.flush()
                if firsts:
                    self._devices.append_rows([(*key, first) for key, first in firsts.items()])
                    self._devices.flush()
                self._writer.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(duckdb.Error):
                    self._events.clear()
                    self._devices.clear()
                with contextlib.suppress(duckdb.Error):
                    self._writer.execute("ROLLBACK")
                raise
        self._first |= firsts
        for row in fresh:
            self._recent[row.recv_ts // DAY_MS].add(row.key_a)
        self._forget(fresh[-1].recv_ts)
        return len(fresh)

    def _unknown(self, rows: Sequence[Stored]) -> list[Stored]:
        """Return the rows that are not stored, each content once (invariant 2)."""
        once = {(row.key_a, row.key_b): row for row in reversed(rows)}
        doubtful: list[Stored] = []
        days = list(self._recent.values())
        for row in once.values():
            old = row.ts < row.recv_ts - (RECENT_DAYS - 1) * DAY_MS
            if old or any(row.key_a in day for day in days):
                doubtful.append(row)
        known = self._stored(doubtful) if doubtful else set()
        kept = [row for row in rows if (row.key_a, row.key_b) not in known]
        seen: set[tuple[int, int]] = set()
        fresh = []
        for row in kept:
            key = (row.key_a, row.key_b)
            if key not in seen:
                seen.add(key)
                fresh.append(row)
        return fresh

    def _stored(self, rows: Sequence[Stored]) -> set[tuple[int, int]]:
        """Look content keys up in the file.

        A repeat carries the same date, so the time narrows the search to a few blocks; only an
        event without a date of its own has the time of its arrival, and is sought everywhere.
        """
        dated = [row.ts for row in rows if row.ts != row.recv_ts]
        undated = len(dated) < len(rows)
        with _translated():
            found = self._writer.execute(
                queries.KNOWN,
                {
                    "low": 0 if undated else min(dated),
                    "high": 1 << 62 if undated else max(dated),
                    "keys": [row.key_a for row in rows],
                },
            ).fetchall()
        return {(a, b) for a, b in found}

    def _forget(self, now_ms: int) -> None:
        oldest = now_ms // DAY_MS - RECENT_DAYS
        for day in [day for day in self._recent if day < oldest]:
            del self._recent[day]

    # --- reading -------------------------------------------------------------------------------

    def _read(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        with _translated():
            return self._cursor().execute(query, values).fetchall()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """Return this thread's own cursor."""
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._readers, "cursor", None)
        if cursor is None:
            cursor = self._readers.cursor = self._db.cursor()
        return cursor

    def quickglance(self, app_id: str, now_ms: int) -> Glance:
        start, middle, end = now_ms - 2 * DAY_MS, now_ms - DAY_MS, now_ms + 1
        span = {"app": app_id, "start": start, "middle": middle, "end": end}
        ((starts, errors, starts_before, errors_before),) = self._read(
            queries.STARTS_AND_ERRORS, **span
        )
        ((installs, installs_before),) = self._read(queries.INSTALLS, **span)
        ((users,),) = self._read(queries.USERS, app=app_id, start=middle, end=end)
        ((users_before,),) = self._read(queries.USERS, app=app_id, start=start, end=middle)
        return Glance(
            installs,
            users,
            starts,
            errors,
            installs_before,
            users_before,
            starts_before,
            errors_before,
        )

    def newest(self, app_id: str, since_ms: int, limit: int) -> list[tuple[Stored, bool]]:
        rows = self._read(queries.NEWEST, app=app_id, since=since_ms, limit=limit)
        return [(Stored(*row[:-1]), bool(row[-1])) for row in rows]

    def export(self, app_id: str) -> Iterator[list[Stored]]:
        with _translated():
            cursor = self._db.cursor()
            found = cursor.execute(
                queries.EXPORT, {"app": app_id, "until": time.time_ns() // 1_000_000}
            )
            while rows := found.fetchmany(SLICE):
                yield [Stored(*row) for row in rows]

    def count(self, app_id: str) -> int:
        return int(self._read(queries.COUNT, app=app_id)[0][0])

    def close(self) -> None:
        with contextlib.suppress(duckdb.Error):
            self._writer.close()
        self._db.close()
