"""The embedded engine: DuckDB, one file, one process.

Invariants:
    1. ``write`` has returned ⇒ the rows survive a kill and a cut of power: DuckDB syncs its
       write-ahead log at every commit (seen with strace: one fdatasync each).
    2. An event is stored once. :mod:`collector.store.window` says of which rows that is certain
       without a look; the others are looked up in the file, by key and by their own date.
    3. One thread writes; readers have cursors of their own, each used by one thread at a time.
    4. What the file holds is what is remembered: after an error that leaves a commit in doubt,
       the file is opened and read again before anything else is written.

A primary key would cost five times the file and fall to 870 events/s (STORE.md), so there is
none.
"""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from collector.store import queries
from collector.store.dialect import DUCKDB, render
from collector.store.duck_schema import SCHEMA, VERSION
from collector.store.interface import TABLES, Fact, Glance, Seen, Store, Stored
from collector.store.window import DAY_MS, Window
from tracking.errors import StorageFault

SLICE = 5_000
READ_S = 10.0  #: A question that takes longer is given up.
# The engine can read files and load code; it is not to, whatever is asked of it.
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": 2,
    "memory_limit": "256MB",
    "preserve_insertion_order": True,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "enable_external_access": False,
    "lock_configuration": True,
}


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Translate DuckDB's errors of the world; misuse stays a bug."""
    try:
        yield
    except duckdb.InterruptException as exc:
        raise StorageFault("the store took too long to answer") from exc
    except (
        duckdb.IOException,
        duckdb.OutOfMemoryException,
        duckdb.FatalException,
        duckdb.ConnectionException,
        duckdb.TransactionException,
    ) as exc:
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
        self._in_doubt = False
        self._open(now_ms)

    def _open(self, now_ms: int) -> None:
        self._readers = threading.local()
        self._window = Window(now_ms)
        self._first: dict[tuple[str, str, str], int] = {}  # by app, kind, id
        with _translated():
            self._db = duckdb.connect(str(self.path), config=CONFIG)
            try:
                self._migrate()
                self._writer = self._db.cursor()
                self._appenders = {
                    shape: self._writer.appender(name) for shape, name in TABLES.items()
                }
                self._load()
            except BaseException:
                self._db.close()
                raise
        self._in_doubt = False

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
        if version != VERSION:
            age = "a newer" if version > VERSION else "an unfinished"
            raise StorageFault(
                f"{self.path} was written by {age} Homing (format {version})",
                advice="Use that version for it; the file was left as it is.",
            )

    def _one(self, query: str) -> tuple[Any, ...]:
        row = self._db.execute(query).fetchone()
        return () if row is None else tuple(row)

    def _load(self) -> None:
        """Read the keys of the last days, and when each device was first seen."""
        cursor = self._db.execute(queries.RECENT, {"since": self._window.since_ms})
        while rows := cursor.fetchmany(SLICE):
            self._window.remember(rows)
        cursor = self._db.execute(
            "SELECT app_id, kind, id, min(first_ts) FROM seen WHERE first_ts > 0 GROUP BY ALL"
        )
        while rows := cursor.fetchmany(SLICE):
            for app_id, kind, id_, first in rows:
                self._first[app_id, kind, id_] = first

    # --- writing -------------------------------------------------------------------------------

    def write(self, rows: Sequence[Stored], more: Sequence[Fact] = ()) -> int:
        if self._in_doubt:
            self.close()
            self._open(rows[-1].recv_ts if rows else self._window.now_ms)
        fresh = self._unknown(rows)
        if not fresh and not more:
            return 0
        firsts = self._firsts(fresh)
        try:
            with _translated():
                self._commit(fresh, [*more, *firsts])
        except StorageFault:
            self._in_doubt = True
            raise
        for first in firsts:
            self._first[first[:3]] = first.first_ts
        if fresh:
            self._window.remember([(row.recv_ts, row.said_ts, row.key_a) for row in fresh])
            self._window.move_on(fresh[-1].recv_ts)
        return len(fresh)

    def _firsts(self, fresh: list[Stored]) -> list[Seen]:
        """Return whom these events show for the first time, or earlier than was known."""
        firsts: dict[tuple[str, str, str], int] = {}
        known = self._first
        for row in fresh:
            for kind, id_ in (("device", row.device_id), ("user", row.user_id)):
                if id_:
                    who = (row.app_id, kind, id_)
                    first = firsts.get(who) or known.get(who)
                    if first is None or row.ts < first:
                        firsts[who] = row.ts
        return [Seen(*who, first, 0) for who, first in firsts.items()]

    def _commit(self, fresh: list[Stored], more: Sequence[Fact]) -> None:
        by_table: defaultdict[type, list[Any]] = defaultdict(list)
        if fresh:
            by_table[Stored] = fresh
        for fact in more:
            by_table[type(fact)].append(fact)
        self._writer.execute("BEGIN")
        try:
            for shape, rows in by_table.items():
                self._appenders[shape].append_rows(rows)
                self._appenders[shape].flush()
            self._writer.execute("COMMIT")
        except BaseException:
            for appender in self._appenders.values():
                with contextlib.suppress(duckdb.Error):
                    appender.clear()
            with contextlib.suppress(duckdb.Error):
                self._writer.execute("ROLLBACK")
            raise

    def _unknown(self, rows: Sequence[Stored]) -> list[Stored]:
        """Return the rows that are not stored, each content once, in their order (invariant 2)."""
        once: dict[tuple[int, int], Stored] = {}
        for row in rows:
            once.setdefault((row.key_a, row.key_b), row)
        doubtful = self._window.doubtful(once.values())
        for key in self._stored(doubtful):
            once.pop(key, None)
        return list(once.values())

    def _stored(self, rows: Sequence[Stored]) -> set[tuple[int, int]]:
        """Look content keys up in the file; their own dates narrow the search to a few blocks."""
        found: set[tuple[int, int]] = set()
        dated = [row for row in rows if row.said_ts]
        undated = [row for row in rows if not row.said_ts]
        for some in (dated, undated):
            if some:
                dates = [row.said_ts for row in some]
                span = {"low": min(dates), "high": max(dates)}
                keys = [row.key_a for row in some]
                with _translated():
                    known = self._writer.execute(queries.KNOWN, {**span, "keys": keys})
                    found.update((a, b) for a, b in known.fetchall())
        return found

    # --- reading -------------------------------------------------------------------------------

    @property
    def dialect(self) -> str:
        return "duckdb"

    def ask(
        self, text: str, values: Mapping[str, object], *, deadline_s: float = READ_S
    ) -> list[tuple[Any, ...]]:
        return self._read(render(text, DUCKDB), deadline_s, **values)

    def _read(self, query: str, deadline_s: float = READ_S, /, **values: object) -> list[tuple[Any, ...]]:
        cursor = self._cursor()
        late = threading.Timer(deadline_s, cursor.interrupt)
        late.start()
        try:
            with _translated():
                return cursor.execute(query, values).fetchall()
        finally:
            late.cancel()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """Return this thread's own cursor."""
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._readers, "cursor", None)
        if cursor is None:
            with _translated():
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
            found = cursor.execute(queries.EXPORT, {"app": app_id})
            while rows := found.fetchmany(SLICE):
                yield [Stored(*row) for row in rows]

    def count(self, app_id: str) -> int:
        return int(self._read(queries.COUNT, app=app_id)[0][0])

    # --- forgetting ----------------------------------------------------------------------------

    def erase(self, app_id: str, *, users: Sequence[str], devices: Sequence[str]) -> int:
        raise NotImplementedError  # replaced in the next commit

    def purge(self, app_id: str, before_ms: int) -> int:
        raise NotImplementedError

    def drop_app(self, app_id: str) -> None:
        raise NotImplementedError

    def compact(self) -> None:
        raise NotImplementedError

    @property
    def unswept(self) -> int:
        return 0

    def size_bytes(self) -> int:
        return self.path.stat().st_size

    def close(self) -> None:
        with contextlib.suppress(duckdb.Error):
            self._writer.close()
        with contextlib.suppress(duckdb.Error):
            self._db.close()
