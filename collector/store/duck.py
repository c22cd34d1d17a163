"""The embedded engine: DuckDB, one file, one process.

Invariants:
    1. ``write`` has returned ⇒ the rows survive a kill and a cut of power: DuckDB syncs its
       write-ahead log at every commit (seen with strace: one fdatasync each).
    2. An event is stored once. :mod:`collector.store.window` says of which rows that is certain
       without a look; the others are looked up in the file, by key and by their own date.
    3. Who writes, erases, rewrites or copies holds one lock; readers have cursors of their own
       (:mod:`collector.store.duck_file`), each used by one thread at a time.
    4. What the file holds is what is remembered: after an error that leaves a commit in doubt,
       the file is opened and read again before anything else is written.

A primary key would cost five times the file and fall to 870 events/s (STORE.md), so there is
none.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import duckdb

from collector.store import duck_erasure, duck_migration, duck_rewrite, queries
from collector.store.duck_file import Cursor, DuckFile, translated
from collector.store.duck_reading import SLICE, DuckReading
from collector.store.duck_schema import SCHEMA, VERSION
from collector.store.interface import TABLES, Fact, Progress, Seen, Store, Stored, unseen
from collector.store.sights import Sights
from collector.store.window import Window
from tracking.errors import StorageFault

log = logging.getLogger("collector.store")

P = ParamSpec("P")
T = TypeVar("T")


def _alone(
    change: Callable[Concatenate[DuckStore, P], T],
) -> Callable[Concatenate[DuckStore, P], T]:
    """Let one at a time change the file, and only a file of which nothing is in doubt."""

    @functools.wraps(change)
    def method(store: DuckStore, /, *args: P.args, **more: P.kwargs) -> T:
        with store._changing:
            if store._in_doubt:
                store._reopen()
            return change(store, *args, **more)

    return method


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class DuckStore(DuckReading, Store):
    """Events and devices in one DuckDB file.

    Args:
        path: Of the file; its folder exists and is ours.
        now_ms: Decides which keys are recent.
        progress: Told how far a migration is, events of events; None: the log is told.

    Raises:
        StorageFault: The file cannot be used, or a newer Homing wrote it.

    """

    def __init__(
        self, path: Path, now_ms: int, progress: Callable[[int, int], None] | None = None
    ) -> None:
        self.path = path
        self._progress = progress
        self._now_ms = now_ms
        self._changing = threading.RLock()
        super().__init__(DuckFile(path))
        self._in_doubt = False
        self._open()
        try:
            self._load()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        self._file.open()
        try:
            with translated():
                duck_rewrite.remove_leftovers(self.path)  # it is open: nobody else is at work
                version = self._format()
                if version < VERSION:
                    self._file.close_alone()
                    duck_migration.migrate(self.path, version, self._progress)
                    self._file.open()
                self._writer = self._file.writer
                self._appenders = {
                    shape: self._writer.appender(name) for shape, name in TABLES.items()
                }
        except BaseException:
            self._file.close_alone()
            raise

    def _reopen(self) -> None:
        """Read again what the file holds, after a commit that may or may not have been made."""
        with self._file.alone():
            self._file.close_alone()
            self._open()
            self._load()
        self._in_doubt = False

    def _format(self) -> int:
        """Return the format of the file; a new one gets its tables."""
        tables, ours = self._one(
            "SELECT count(*), count(*) FILTER (table_name = 'schema_version')"
            " FROM information_schema.tables"
        )
        if tables and not ours:
            raise StorageFault(f"{self.path} is a database of something else; it was left as it is")
        if not tables:
            self._file.writer.execute("BEGIN")
            for statement in SCHEMA:
                self._file.writer.execute(statement)
            self._file.writer.execute("COMMIT")
            return VERSION
        (version,) = self._one("SELECT max(version) FROM schema_version")
        if version not in range(1, VERSION + 1):
            raise StorageFault(
                f"{self.path} was written by a newer Homing (format {version})",
                advice="Use that version for it; the file was left as it is.",
            )
        return int(version)

    def _one(self, query: str) -> tuple[Any, ...]:
        row = self._file.writer.execute(query).fetchone()
        return () if row is None else tuple(row)

    def _load(self) -> None:
        """Read the keys of the last days, and when everybody was first seen."""
        window, first = Window(self._now_ms), Sights()
        with translated():
            cursor = self._writer.execute(queries.RECENT, {"since": window.since_ms})
            while rows := cursor.fetchmany(SLICE):
                window.remember(rows)
            cursor = self._writer.execute(
                "SELECT app_id, kind, id, min(first_ts) FROM seen"
                " WHERE first_ts > 0 AND kind <> 'company' GROUP BY ALL"
            )
            while rows := cursor.fetchmany(SLICE):
                for row in rows:
                    first.put(*row)
            unswept, since = self._one("SELECT sum(deleted)::BIGINT, min(since_ms) FROM unswept")
        self._unswept: int = unswept or 0
        self.unswept_since_ms: int = since or 0  #: When the oldest of them were deleted.
        self._window, self._first = window, first

    # --- writing -------------------------------------------------------------------------------

    @_alone
    def write(self, rows: Sequence[Stored], more: Sequence[Fact] = ()) -> int:
        fresh = self._unknown(rows)
        if not fresh and not more:
            return 0
        firsts = self._firsts(fresh)
        with self._transaction():
            self._append(fresh, [*more, *firsts])
        for first in firsts:
            self._first.put(*first[:4])
        if fresh:
            self._now_ms = max(self._now_ms, fresh[-1].recv_ts)
            self._window.remember([(row.recv_ts, row.said_ts, row.key_a) for row in fresh])
            self._window.move_on(fresh[-1].recv_ts)
        return len(fresh)

    def _firsts(self, fresh: list[Stored]) -> list[Seen]:
        """Return whom these events show for the first time, or earlier than was known."""
        least: dict[tuple[str, str, str], int] = {}
        for row in fresh:
            for kind, id_ in (("device", row.device_id), ("user", row.user_id)):
                if id_:
                    who = (row.app_id, kind, id_)
                    least[who] = min(row.ts, least.get(who, row.ts))
        known = self._first.get
        return [
            Seen(*who, ts, 0)
            for who, ts in least.items()
            if (first := known(*who)) is None or ts < first
        ]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        """Make changes together; if it is not certain that they were made, they are in doubt."""
        try:
            with translated():
                self._writer.execute("BEGIN")
                try:
                    yield self._writer
                    self._writer.execute("COMMIT")
                except BaseException:
                    for appender in self._appenders.values():
                        with contextlib.suppress(duckdb.Error):
                            appender.clear()
                    with contextlib.suppress(duckdb.Error):
                        self._writer.execute("ROLLBACK")
                    raise
        except StorageFault:
            self._in_doubt = True
            raise

    def _append(self, fresh: list[Stored], more: Sequence[Fact]) -> None:
        by_table: defaultdict[type, list[Any]] = defaultdict(list)
        if fresh:
            by_table[Stored] = fresh
        for fact in more:
            by_table[type(fact)].append(fact)
        for shape, rows in by_table.items():
            self._appenders[shape].append_rows(rows)
            self._appenders[shape].flush()

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
                with translated():
                    known = self._writer.execute(queries.KNOWN, {**span, "keys": keys})
                    found.update((a, b) for a, b in known.fetchall())
        return found

    # --- forgetting ----------------------------------------------------------------------------

    @_alone
    def erase(self, app_id: str, *, users: Sequence[str], devices: Sequence[str]) -> int:
        users, devices = ([id_ for id_ in dict.fromkeys(ids) if id_] for ids in (users, devices))
        if not users and not devices:
            return 0
        with self._transaction() as cursor:
            done = duck_erasure.erase(cursor, app_id, users, devices)
            self._owe(done.rows)
        return self._erased(app_id, done)

    @_alone
    def purge(self, app_id: str, before_ms: int) -> int:
        with self._transaction() as cursor:
            done = duck_erasure.purge(cursor, app_id, before_ms)
            self._owe(done.rows)
        return self._erased(app_id, done)

    @_alone
    def drop_app(self, app_id: str) -> None:
        with self._transaction() as cursor:
            done = duck_erasure.drop_app(cursor, app_id)
            self._owe(done.rows)
        self._erased(app_id, done)

    def _owe(self, rows: int) -> None:
        if rows:
            self._writer.execute("INSERT INTO unswept VALUES (?, ?)", [rows, _wall_ms()])

    def _erased(self, app_id: str, done: duck_erasure.Erased) -> int:
        """Remember what the file holds now; return how many rows it lost."""
        if done.rows:
            self._unswept += done.rows
            self.unswept_since_ms = self.unswept_since_ms or _wall_ms()
        for kind, id_ in done.unseen:
            self._first.forget(app_id, kind, id_)
        for first in done.firsts:
            self._first.put(*first[:4])
        return done.rows

    @_alone
    def compact(self, progress: Progress = unseen) -> None:
        del progress  # nothing to wait for: it is rewritten here
        duck_rewrite.require_room(self.path.parent, self.size_bytes())
        try:
            self.checkpoint()
            duck_rewrite.rewrite(self.path, self._writer)
        except BaseException:
            self._in_doubt = True  # a disk that failed may have cost the engine more
            raise
        try:
            with self._file.alone():  # who reads is only held up for the change of files
                self._file.close_alone()
                try:
                    duck_rewrite.put_into_place(self.path)
                finally:
                    self._in_doubt = True  # until it is open again
                    self._open()
                    self._in_doubt = False
        except StorageFault:
            duck_rewrite.remove_leftovers(self.path)
            raise
        self._unswept = self.unswept_since_ms = 0

    @property
    def unswept(self) -> int:
        return self._unswept

    # --- the file ------------------------------------------------------------------------------

    @_alone
    def backup(self, target: Path, progress: Callable[[int, int], None]) -> None:
        """Copy the store into a file while it serves; writes wait meanwhile, readers do not.

        Erased rows are not in it: what is still to be swept is swept first.

        Args:
            target: Written beside itself, then put in its place, synced.
            progress: Told how many bytes of how many are copied.

        Raises:
            StorageFault: There is no room, or a disk fails; what was there before is still there.

        """
        if self._unswept:
            self.compact()
        self.checkpoint()
        duck_rewrite.copy(self.path, target, progress)

    @_alone
    def checkpoint(self) -> None:
        """Put what stands in the write-ahead log into the file."""
        with translated():
            self._writer.execute("CHECKPOINT")

    def size_bytes(self) -> int:
        return self._file.size_bytes()

    def close(self) -> None:
        with self._changing:
            self._file.close()
