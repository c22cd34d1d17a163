"""The outbox: every accepted event, on disk, until the far end has it.

A row of ``segment`` is written when events are accepted and deleted when the far end has
acknowledged them; there is no third state on disk. Which segments are *lent* to the live
connection is a fact about that connection and lives in memory: after a crash everything
unacknowledged is offered again, and the far end recognises repeats by the events' own ids.

Only the core thread calls this module. SQLite is told so (``check_same_thread`` stays on).

Invariants:
    1. ``turn()`` has ended well ⇒ what was appended survives a cut of power (WAL with
       synchronous=FULL); it has ended with a fault ⇒ nothing of the turn is stored.
    2. accepted = delivered + pending + dead + lost, per stream: the counts change in the very
       transaction that changes the rows, and are compared with the rows at every start.
    3. Within a stream numbers only grow as long as the process lives, so a cursor stays valid.
    4. Damage never stops the agent: at the start and at work the file is replaced by what can be
       read of it (:mod:`agent.adapters.outbox.salvage`), and what is missing is counted.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from agent.adapters.outbox.daily import Counting
from agent.adapters.outbox.eviction import Bounds, Eviction, Lost, summed
from agent.adapters.outbox.file import disk_full, translated, unusable
from agent.adapters.outbox.handing_over import OutboxStreams
from agent.adapters.outbox.keepsakes import DAY_MS, Keepsakes
from agent.adapters.outbox.letters import DeadLetters
from agent.adapters.outbox.opening import Opening, replace, start
from agent.adapters.outbox.reserve import Reserve
from agent.adapters.outbox.rows import SegmentRows
from agent.adapters.outbox.segments import Batch, Letter, Row
from agent.adapters.outbox.streams import Streams
from agent.adapters.outbox.view import Pending
from agent.rules.ledger import Loss
from tracking.errors import Damaged, DiskFull, StorageFault

log = logging.getLogger("agent.outbox")

VACUUM_PAGES = 500  #: Given back to the disk in one tidying: about 15 ms, measured.

__all__ = ["Batch", "Bounds", "Letter", "Lost", "Opening", "Outbox", "Pending", "Row"]


class Outbox(OutboxStreams):
    """The queue, its ledger, its dead letters, and what else must survive a restart.

    Attributes:
        opening: What was found at the start; damage found later is added to it.
        on_notice: Hears a sentence for the person when damage was found after the start.
        counting: Whose days are counted; changed in place.
        reckoned: Whose confirmed events are summed up; changed by :meth:`reckon` alone.

    """

    def __init__(self, path: Path, bounds: Bounds) -> None:
        super().__init__(path)
        self.bounds = bounds
        self.opening = Opening()
        self.on_notice: Callable[[str], None] | None = None
        self.counting = Counting()
        self.reckoned: set[int] = set()
        self._reserve = Reserve(path.with_name(f"{path.name}.reserve"))
        self._db: sqlite3.Connection
        self._closed = False
        self._appended = 0  # bytes, in this turn
        self._eviction: Eviction

    # --- opening and closing -------------------------------------------------------------------

    @classmethod
    def open(cls, path: Path, bounds: Bounds, now_ms: int) -> Outbox:
        """Open the outbox, upgrading, salvaging and recounting as needed.

        Raises:
            StorageFault: The folder cannot be used, or the file is from a newer Homing (which
                is left as it is). Damage is no reason: it is set aside.

        """
        del now_ms  # what is too old goes with the first trim, not while somebody waits
        outbox = cls(path, bounds)
        outbox._db = start(path, outbox.opening, outbox._reserve, outbox._load)
        outbox._balance()
        outbox._reserve.hold()
        return outbox

    def _load(self, db: sqlite3.Connection) -> None:
        """Read streams and counts; a stream that is known keeps its number."""
        before = list(getattr(self, "_streams", ()))
        next_seq = self._rows.next_seq if hasattr(self, "_rows") else 1
        tallied = self._keepsakes.tallied if hasattr(self, "_keepsakes") else {}
        streams = Streams(db)
        streams.counting = self.counting
        streams.reckoning.streams = self.reckoned
        for stream in before:
            streams.add(stream.app_id, stream.upstream, stream.id)
        rows = SegmentRows(db, streams, next_seq)
        self._letters = DeadLetters(db, streams, rows)
        self._streams, self._rows, self._keepsakes = streams, rows, Keepsakes(db, tallied)
        self._eviction = Eviction(self.bounds, streams, rows)

    def _balance(self) -> None:
        """Compare the ledger with the rows; give what does not fit a name (invariant 2)."""
        off = {s.id: s.account.difference for s in self._streams if not s.account.balanced}
        if not off:
            return
        try:
            with self.turn():
                for id_, difference in off.items():
                    account = self._streams.touch(id_).account
                    if difference > 0:
                        account.lose(Loss.DAMAGED, difference)
                    else:  # rows of a settlement that was undone: they are delivered once more
                        again = min(-difference, account.delivered)
                        account.delivered -= again
                        account.accepted += -difference - again
        except StorageFault as fault:
            log.warning("could not book a difference code=%s", fault.code)
        for id_, difference in off.items():
            self.opening.book(self._streams[id_].app_id, self._streams[id_].upstream, difference)

    def _mend(self, why: str) -> None:
        """Replace a damaged file by what can be read of it, while the agent runs."""
        told = len(self.opening.notices)
        books = {s.id: s for s in self._streams}
        known = [(s.id, s.app_id, s.upstream) for s in books.values()]
        self._db = replace(self.path, self._db, why, self.opening, self._reserve, known, self._load)
        self._streams.counting = Counting()  # the same numbers as before are no day's events
        try:
            with self.turn():  # the ledger in memory is whole, whatever became of the one on disk
                for id_, stream in books.items():
                    self._streams.touch(id_).account.take_over(stream.account)
        except StorageFault as fault:
            log.warning("could not write the ledger code=%s", fault.code)
        self._streams.counting = self.counting
        self._balance()
        for notice in self.opening.notices[told:]:
            if self.on_notice is not None:
                self.on_notice(notice)

    def close(self) -> None:
        """Close, once; the write-ahead log is folded in and removed."""
        if self._closed:
            return
        self._closed = True
        try:
            with self.turn():
                self._keepsakes.write_tallies()
        except StorageFault as fault:
            log.warning("could not write the last tallies code=%s", fault.code)
        with translated(self.path):
            self._db.close()

    # --- one turn ------------------------------------------------------------------------------

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Do everything in between as one durable transaction.

        Raises:
            StorageFault: Nothing of it was stored; the counts are as before. Damage is mended
                by then, so that the next turn may well succeed.

        """
        self._streams.begin()
        self._appended = 0
        settled = False
        try:
            with translated(self.path):
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._streams.write()
                    self._keepsakes.write_tallies_if_due()
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            settled = True
        except Damaged as fault:
            self._streams.put_back()
            self._mend(str(fault))
            raise
        except DiskFull:
            self._make_room()
            raise
        finally:
            self._keepsakes.turn_ended(well=settled)
            if settled:
                self._streams.end()
            elif self._streams.in_turn:
                self._streams.put_back()
        if not self._reserve.held:
            with contextlib.suppress(StorageFault):
                self.tidy()  # room is needed, for the next deletion too

    def _make_room(self) -> None:
        """Give the reserve back and fold the log in, so that deletions can be written to it."""
        self._reserve.release()
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextmanager
    def _own_turn(self) -> Iterator[None]:
        """Open a turn, unless one is open."""
        if self._streams.in_turn:
            yield
        else:
            with self.turn():
                yield

    # --- in ------------------------------------------------------------------------------------

    def stream(self, app_id: str, upstream: str) -> int:
        """Return the number of an app's stream to an upstream, making it if it is new."""
        return self._streams.add(app_id, upstream).id

    def append(self, stream: int, events: Sequence[bytes], now_ms: int) -> None:
        """Accept events, in this turn, in this order.

        Raises:
            DiskFull: There is no room, or only what deletions need.

        """
        changed = self._streams.touch(stream)
        self._appended += sum(map(len, events))
        if not self._room_for(self._appended):
            raise disk_full()
        self._rows.add(changed, events, now_ms)
        changed.account.accepted += len(events)

    def accepts(self) -> bool:
        """Return whether there is room for another event."""
        try:
            return self._room_for(0)
        except StorageFault:
            return False

    def _room_for(self, size: int) -> bool:
        try:
            return self._reserve.hold() and self._reserve.room_for(size)
        except OSError as exc:
            raise unusable(self.path.parent, exc) from exc

    def recall(self, hashes: Sequence[bytes]) -> set[bytes]:
        """Return which of these contents were remembered."""
        return self._look(lambda: self._keepsakes.recall(hashes))

    def remember(self, hashes: Sequence[bytes], now_ms: int) -> None:
        """Remember contents, in this turn, so that a repeat is recognised for 60 days."""
        self._keepsakes.remember(hashes, now_ms)

    def count(self, app_id: str, hour_ms: int, kind: str, events: int) -> None:
        """Tally events of a kind; written with a turn every few seconds."""
        self._keepsakes.count(app_id, hour_ms, kind, events)

    def tallies(self, since_ms: int, until_ms: int) -> Mapping[str, int]:
        """Return events per kind accepted in the hours that began in [since, until)."""
        return self._look(lambda: self._keepsakes.tallies(since_ms, until_ms))

    def profile(self, app_id: str) -> bytes | None:
        """Return what is kept of an app."""
        return self._look(lambda: self._keepsakes.profile(app_id))

    def keep_profile(self, app_id: str, profile: bytes) -> None:
        """Keep it, in this turn."""
        self._keepsakes.keep_profile(app_id, profile)

    # --- out -----------------------------------------------------------------------------------

    def lease(self, stream: int, after: int, max_events: int, max_bytes: int) -> Batch | None:
        """Return the next segments of a stream after number ``after`` as one batch, None if none.

        Segments are lent whole; one that alone is larger than the bounds is cut on disk first.
        """
        batch = self._look(
            lambda: self._rows.lease(self._streams[stream], after, max_events, max_bytes)
        )
        if batch is None or batch.count == 1:
            return batch
        if batch.count > max_events or batch.size > max_bytes:
            with contextlib.suppress(StorageFault), self._own_turn():
                self._rows.cut(batch, max_events, max_bytes)
                return self._rows.lease(self._streams[stream], after, max_events, max_bytes)
        return batch

    def settle(self, batch: Batch, acknowledged: Collection[str]) -> int:
        """Delete what the far end has, in this turn; return how many events that were.

        Ids that are not (or no longer) in the batch's rows change nothing.
        """
        events, gone = self._rows.settle(batch, acknowledged)
        self._streams.reckoning.add(batch.stream, gone)
        return events

    # --- dead letters --------------------------------------------------------------------------

    def bury(self, batch: Batch, event_id: str, reason: str, detail: str, now_ms: int) -> bool:
        """Move one event of a batch to the dead letters, in this turn."""
        return self._letters.bury(batch, event_id, reason, detail, now_ms)

    def letters(self, app_id: str | None, limit: int) -> list[Letter]:
        """Return dead letters, newest first."""
        return self._look(lambda: self._letters.newest(app_id, limit))

    def revive(self, ids: Sequence[str] | None, now_ms: int) -> int:
        """Put dead letters (these, or all) back at the end of their streams, in this turn."""
        return self._letters.revive(ids, now_ms)

    def drop_letters(self, ids: Sequence[str] | None) -> int:
        """Delete dead letters (these, or all), counted as lost, in this turn."""
        return self._letters.drop(ids)

    # --- bounds --------------------------------------------------------------------------------

    @property
    def over_bounds(self) -> bool:
        """Whether more is held than may be."""
        return self._eviction.over

    def held(self, app_id: str) -> float:
        """Return the part of the bounds that an app fills, from 0."""
        return self._eviction.held(app_id)

    def trim(self, now_ms: int) -> list[Lost]:
        """Give up what is too old or too much, counted by name; forget what is out of use.

        Too old: at most one slice a call, for nobody waits for it. Too much: until it fits, the
        oldest segments of the app that holds the most first, so no app can push another one out
        (threat row 28).
        """
        lost: list[Lost] = []
        with self.turn():
            lost += self._eviction.expire(now_ms - round(self.bounds.age_days * DAY_MS))
            self._letters.drop_oldest_of_too_many()
            self._keepsakes.prune(now_ms)
            self._streams.daily.prune()
            self._streams.reckoning.prune(now_ms)
        while self.over_bounds:
            with self.turn():
                lost += self._eviction.evict()
        self._reserve.hold()
        return summed(lost)

    def purge(self, app_id: str) -> int:
        """Delete everything of an app for good, as :meth:`purging` does; return how many went."""
        return sum(self.purging(app_id))

    def purging(self, app_id: str) -> Iterator[int]:
        """Delete everything of an app for good: rows, letters, profile; nothing stays on disk.

        Files that were set aside after damage go too: they may hold the app's events.

        Yields:
            How many waiting events and dead letters went, counted as lost, after each
            transaction; others may be made in between, though none that adds to this app.

        Raises:
            StorageFault: Not all of it could be deleted; what went is gone.

        """
        for stream in self._streams.of(app_id):
            while self._streams[stream.id].account.pending:
                with self.turn():
                    gone = self._eviction.purge(stream.id)
                yield gone
        with self.turn():
            gone = sum(self._letters.drop_of(stream.id) for stream in self._streams.of(app_id))
            self._keepsakes.forget(app_id)
            self._streams.reckoning.forget(stream.id for stream in self._streams.of(app_id))
        self.tidy()
        for aside in self.path.parent.glob(f"{self.path.name}.damaged-*"):
            aside.unlink(missing_ok=True)
        yield gone

    def tidy(self) -> bool:
        """Fold the write-ahead log in, with it what deleted events left there; give room back.

        Returns:
            Whether there is more room to give back: one call does a few milliseconds of it.

        """

        def fold_in() -> bool:
            # executescript, for execute steps this pragma once: one page
            self._db.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return bool(self._db.execute("PRAGMA freelist_count").fetchone()[0])

        return self._look(fold_in)
