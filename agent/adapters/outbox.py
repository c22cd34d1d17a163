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
    3. Within a stream ``seq`` only grows as long as the process lives, so a cursor stays valid.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.adapters.outbox_file import Reserve, connect, translated
from agent.adapters.salvage import set_aside_and_salvage
from agent.adapters.segments import Batch, Letter, Row, chunks, ids_of, sealed, split
from agent.rules.ledger import Account, Loss
from tracking.errors import Bug, StorageFault

log = logging.getLogger("agent.outbox")

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
SEEN_DAYS, MOST_SEEN = 60, 2_000_000  #: Repeats are recognised so long, or so many.
TALLY_DAYS = 14
TALLY_EVERY_S = 5.0
MOST_LETTERS = 10_000
PRUNE_ROWS = 5_000  #: Deleted at most in one trim, so that no commit is long.
TRUNCATE_WAL_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the outbox may hold: whichever is reached first."""

    events: int = 1_000_000
    bytes: int = 256 * 1024 * 1024
    age_days: float = 30.0


@dataclass(frozen=True, slots=True)
class Lost:
    """Events that were given up, with the reason."""

    app_id: str
    reason: Loss
    events: int


@dataclass(slots=True)
class Pending:
    """What waits in one stream."""

    events: int = 0
    bytes: int = 0
    oldest_ms: int | None = None


@dataclass(slots=True)
class Opening:
    """What was found at the start, for the person who starts it."""

    upgraded_from: int | None = None
    salvaged: int = 0
    damaged: int = 0
    set_aside: Path | None = None
    notices: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Stream:
    id: int
    app_id: str
    upstream: str
    account: Account = field(default_factory=Account)
    bytes: int = 0

    def copy(self) -> _Stream:
        return _Stream(self.id, self.app_id, self.upstream, self.account.copy(), self.bytes)


class Outbox:
    """The queue, its ledger, its dead letters, and what else must survive a restart."""

    def __init__(self, path: Path, bounds: Bounds) -> None:
        self.path = path
        self.bounds = bounds
        self.opening = Opening()
        self._db: sqlite3.Connection
        self._reserve = Reserve(path.with_name(f"{path.name}.reserve"))
        self._streams: dict[int, _Stream] = {}
        self._by_key: dict[tuple[str, str], int] = {}
        self._before: dict[int, _Stream] | None = None  # streams as they were before this turn
        self._next_seq = 1
        self._tally: dict[tuple[int, str, str], int] = {}
        self._tallied_s = time.monotonic()

    # --- opening and closing -------------------------------------------------------------------

    @classmethod
    def open(cls, path: Path, bounds: Bounds, now_ms: int) -> Outbox:
        """Open the outbox, upgrading, salvaging and recounting as needed.

        Raises:
            StorageFault: The folder cannot be used, or the file is from a newer Homing (which
                is left as it is). Damage is no reason: it is set aside.

        """
        outbox = cls(path, bounds)
        outbox._connect(now_ms)
        return outbox

    def _connect(self, now_ms: int) -> None:
        opening = self.opening
        try:
            self._db, upgraded = connect(self.path, opening.notices)
            self._load()
        except sqlite3.DatabaseError as exc:
            self._mend(now_ms, str(exc))
            return
        if upgraded:
            opening.upgraded_from = upgraded
            opening.notices.append(f"The outbox was upgraded from version {upgraded}.")
        self._reserve.refill()

    def _mend(self, now_ms: int, why: str) -> None:
        """Set a damaged file aside, and go on with what could be read of it."""
        found = set_aside_and_salvage(self.path, now_ms, self.opening.notices)
        self._db = found.db
        self._load(salvaging=True)
        opening = self.opening
        opening.salvaged += found.salvaged
        opening.damaged += found.damaged
        opening.set_aside = found.set_aside
        lost = f"{opening.damaged} could not be read" if opening.damaged else "none was lost"
        opening.notices.append(
            f"The outbox was damaged: {opening.salvaged} events were saved, {lost}. "
            f"The old file is kept as {found.set_aside.name}."
        )
        log.error(
            "the outbox was damaged, salvaged what could be read salvaged=%d damaged=%d cause=%s",
            opening.salvaged,
            opening.damaged,
            why,
        )

    def _load(self, *, salvaging: bool = False) -> None:
        """Read streams and counts; compare the ledger with the rows (invariant 2)."""
        self._streams.clear()
        self._by_key.clear()
        for id_, app_id, upstream, accepted, delivered in self._db.execute(
            "SELECT id, app_id, upstream, accepted, delivered FROM stream"
        ):
            account = Account(accepted=accepted, delivered=delivered)
            self._streams[id_] = _Stream(id_, app_id, upstream, account)
            self._by_key[app_id, upstream] = id_
        for id_, reason, events in self._db.execute("SELECT stream, reason, events FROM loss"):
            if id_ in self._streams:
                self._streams[id_].account.lost[Loss(reason)] = events
        for id_, events, size in self._db.execute(
            "SELECT stream, sum(events), sum(bytes) FROM segment INDEXED BY segment_by_stream"
            " GROUP BY stream"
        ):
            self._streams[id_].account.pending = events
            self._streams[id_].bytes = size
        for id_, dead in self._db.execute(
            "SELECT stream, count(*) FROM dead_letter GROUP BY stream"
        ):
            self._streams[id_].account.dead = dead
        (last,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM segment").fetchone()
        self._next_seq = max(self._next_seq, last + 1)
        for stream in self._streams.values():
            self._book_difference(stream, salvaging)

    def _book_difference(self, stream: _Stream, salvaging: bool) -> None:
        """Give a number that does not fit a name, and say so."""
        difference = stream.account.difference
        if difference == 0:
            return
        with self.turn():
            changed = self._touch(stream.id)
            if difference > 0:
                changed.account.lose(Loss.DAMAGED, difference)
                self._write_loss(changed, Loss.DAMAGED)
                self.opening.damaged += difference
            else:
                changed.account.accepted -= difference
                self._write_counts(changed)
        if not salvaging:
            self.opening.notices.append(
                f"The ledger of {stream.app_id} did not fit its rows by {difference:+d}; "
                "it was booked as damage."
            )
            log.error("the ledger did not fit app=%s difference=%d", stream.app_id, difference)

    def close(self) -> None:
        """Close; the write-ahead log is folded in and removed."""
        self._tallied_s = -TALLY_EVERY_S
        try:
            with self.turn():
                pass
        except StorageFault as fault:
            log.warning("could not write the last tallies code=%s", fault.code)
        with translated():
            self._db.close()

    # --- one turn ------------------------------------------------------------------------------

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Do everything in between as one durable transaction.

        Raises:
            StorageFault: Nothing of it was stored; the counts are as before.

        """
        if self._before is not None:
            raise Bug("a turn within a turn")
        self._before = {}
        try:
            with translated():
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    now_s = time.monotonic()
                    due = bool(self._tally) and now_s - self._tallied_s >= TALLY_EVERY_S
                    if due:
                        self._write_tallies()
                    self._db.execute("COMMIT")
                    if due:
                        self._tally.clear()
                        self._tallied_s = now_s
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
        except BaseException as exc:
            for stream in self._before.values():
                self._streams[stream.id] = stream
            if isinstance(exc, StorageFault):
                self._reserve.release()  # so that a deletion can be written to a full disk
            raise
        finally:
            self._before = None

    def _touch(self, stream: int) -> _Stream:
        """Return a stream that is about to change; a failed turn puts it back."""
        if self._before is None:
            raise Bug("changed outside a turn")
        found = self._streams[stream]
        if stream not in self._before:
            self._before[stream] = found
            found = self._streams[stream] = found.copy()
        return found

    def _write_counts(self, stream: _Stream) -> None:
        self._db.execute(
            "UPDATE stream SET accepted = ?, delivered = ? WHERE id = ?",
            (stream.account.accepted, stream.account.delivered, stream.id),
        )

    def _write_loss(self, stream: _Stream, reason: Loss) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO loss VALUES (?, ?, ?)",
            (stream.id, reason.value, stream.account.lost[reason]),
        )

    # --- in ------------------------------------------------------------------------------------

    def stream(self, app_id: str, upstream: str) -> int:
        """Return the number of an app's stream to an upstream, making it if it is new."""
        known = self._by_key.get((app_id, upstream))
        if known is not None:
            return known
        with translated():
            cursor = self._db.execute(
                "INSERT INTO stream (app_id, upstream) VALUES (?, ?)", (app_id, upstream)
            )
        id_ = int(cursor.lastrowid or 0)
        self._streams[id_] = _Stream(id_, app_id, upstream)
        self._by_key[app_id, upstream] = id_
        return id_

    def append(self, stream: int, events: Sequence[bytes], now_ms: int) -> None:
        """Accept events, in this turn, in this order."""
        changed = self._touch(stream)
        for count, body in chunks(events):
            self._insert(changed, count, body, now_ms)
        changed.account.accepted += len(events)
        self._write_counts(changed)

    def _insert(self, stream: _Stream, count: int, body: bytes, accepted_ms: int) -> None:
        self._db.execute(
            "INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._next_seq, stream.id, accepted_ms, count, len(body), sealed(body), body),
        )
        self._next_seq += 1
        stream.account.pending += count
        stream.bytes += len(body)

    def recall(self, hashes: Sequence[bytes]) -> set[bytes]:
        """Return which of these were remembered."""
        found: set[bytes] = set()
        with translated():
            for at in range(0, len(hashes), 500):
                some = hashes[at : at + 500]
                marks = ",".join("?" * len(some))
                found.update(
                    row[0]
                    for row in self._db.execute(
                        f"SELECT hash FROM seen WHERE hash IN ({marks})",  # noqa: S608 - marks only
                        some,
                    )
                )
        return found

    def remember(self, hashes: Sequence[bytes], now_ms: int) -> None:
        """Remember contents, in this turn, so that a repeat is recognised for 60 days."""
        self._db.executemany(
            "INSERT OR IGNORE INTO seen (hash, seen_ms) VALUES (?, ?)",
            [(digest, now_ms) for digest in hashes],
        )

    def count(self, app_id: str, hour_ms: int, kind: str, events: int) -> None:
        """Tally events of a kind.

        Tallies are a picture, not the ledger: they are written with a turn every few seconds, so
        that not every commit pays for their page; a kill costs the picture that much.
        """
        key = (hour_ms, app_id, kind)
        self._tally[key] = self._tally.get(key, 0) + events

    def _write_tallies(self) -> None:
        self._db.executemany(
            "INSERT INTO tally VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " events = events + excluded.events",
            [(*key, events) for key, events in self._tally.items()],
        )

    def tallies(self, since_ms: int, until_ms: int) -> Mapping[str, int]:
        """Return events per kind accepted in the hours that began in [since, until)."""
        with translated():
            rows = self._db.execute(
                "SELECT kind, sum(events) FROM tally WHERE hour_ms >= ? AND hour_ms < ?"
                " GROUP BY kind",
                (since_ms, until_ms),
            )
            found = Counter(dict(rows.fetchall()))
        for (hour_ms, _, kind), events in self._tally.items():
            if since_ms <= hour_ms < until_ms:
                found[kind] += events
        return found

    def profile(self, app_id: str) -> bytes | None:
        """Return what is kept of an app."""
        with translated():
            row = self._db.execute("SELECT profile FROM app WHERE app_id = ?", (app_id,)).fetchone()
        return None if row is None else bytes(row[0])

    def keep_profile(self, app_id: str, profile: bytes) -> None:
        """Keep it, in this turn."""
        self._db.execute("INSERT OR REPLACE INTO app VALUES (?, ?)", (app_id, profile))

    # --- out -----------------------------------------------------------------------------------

    def lease(self, stream: int, after: int, max_events: int, max_bytes: int) -> Batch | None:
        """Return the next segments of a stream after row ``after`` as one batch, None if none.

        Whole segments only; the first one is taken whatever its size.
        """
        with translated():
            chosen: list[int] = []
            events = size = 0
            for seq, count, length in self._db.execute(
                "SELECT seq, events, bytes FROM segment INDEXED BY segment_by_stream"
                " WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?",
                (stream, after, max_events),
            ):
                if chosen and (events + count > max_events or size + length + 1 > max_bytes):
                    break
                chosen.append(seq)
                events, size = events + count, size + length + 1
            if not chosen:
                return None
            rows = self._db.execute(
                "SELECT seq, crc, body FROM segment WHERE stream = ? AND seq BETWEEN ? AND ?"
                " ORDER BY seq",
                (stream, chosen[0], chosen[-1]),
            ).fetchall()
        bad = [seq for seq, crc, body in rows if sealed(body) != crc]
        if bad:
            self._discard(stream, bad)
            return self.lease(stream, after, max_events, max_bytes)
        body = b",".join([row[2] for row in rows])
        return Batch(stream, chosen[0], chosen[-1], body, tuple(ids_of(body)))

    def _discard(self, stream: int, seqs: Iterable[int]) -> None:
        """Book segments whose checksum does not fit as damaged, and drop them."""
        with self.turn():
            for seq in seqs:
                self._lose("seq = ?", (seq,), stream, Loss.DAMAGED)
        log.error("dropped damaged segments app=%s", self._streams[stream].app_id)

    def _lose(self, where: str, values: tuple[int, ...], stream: int, reason: Loss) -> int:
        """Delete segments of a stream and count them as lost; return how many events."""
        changed = self._touch(stream)
        (events, size) = self._db.execute(
            f"SELECT coalesce(sum(events), 0), coalesce(sum(bytes), 0) FROM segment WHERE {where}",  # noqa: S608
            values,
        ).fetchone()
        if events:
            self._db.execute(f"DELETE FROM segment WHERE {where}", values)  # noqa: S608
            changed.account.pending -= events
            changed.bytes -= size
            changed.account.lose(reason, events)
            self._write_loss(changed, reason)
        return int(events)

    def settle(self, batch: Batch, acknowledged: Collection[str]) -> int:
        """Delete what the far end has, in this turn; return how many events that were.

        Ids that are not (or no longer) in the batch's rows change nothing.
        """
        span = (batch.stream, batch.first, batch.last)
        if len(acknowledged) >= batch.count and acknowledged >= set(batch.ids):  # type: ignore[operator]
            (events, size) = self._db.execute(
                "SELECT coalesce(sum(events), 0), coalesce(sum(bytes), 0) FROM segment INDEXED BY"
                " segment_by_stream WHERE stream = ? AND seq BETWEEN ? AND ?",
                span,
            ).fetchone()
            self._db.execute("DELETE FROM segment WHERE stream = ? AND seq BETWEEN ? AND ?", span)
        else:
            events, size = self._take_out(span, acknowledged)
        if events:
            changed = self._touch(batch.stream)
            changed.account.pending -= events
            changed.account.delivered += events
            changed.bytes -= size
            self._write_counts(changed)
        return int(events)

    def _take_out(self, span: tuple[int, int, int], ids: Collection[str]) -> tuple[int, int]:
        """Rewrite the segments that hold some of ``ids``; return events and bytes removed."""
        gone = freed = 0
        rows = self._db.execute(
            "SELECT seq, events, body FROM segment WHERE stream = ? AND seq BETWEEN ? AND ?", span
        ).fetchall()
        for seq, count, body in rows:
            kept = [
                event
                for event, id_ in zip(split(body), ids_of(body), strict=True)
                if id_ not in ids
            ]
            if len(kept) == count:
                continue
            rest = b",".join(kept)
            gone, freed = gone + count - len(kept), freed + len(body) - len(rest)
            if kept:
                self._db.execute(
                    "UPDATE segment SET events = ?, bytes = ?, crc = ?, body = ? WHERE seq = ?",
                    (len(kept), len(rest), sealed(rest), rest, seq),
                )
            else:
                self._db.execute("DELETE FROM segment WHERE seq = ?", (seq,))
        return gone, freed

    # --- dead letters --------------------------------------------------------------------------

    def bury(self, batch: Batch, event_id: str, reason: str, detail: str, now_ms: int) -> bool:
        """Move one event of a batch to the dead letters, in this turn."""
        span = (batch.stream, batch.first, batch.last)
        for body in self._db.execute(
            "SELECT body FROM segment WHERE stream = ? AND seq BETWEEN ? AND ?", span
        ).fetchall():
            for event, id_ in zip(split(body[0]), ids_of(body[0]), strict=True):
                if id_ != event_id:
                    continue
                self._db.execute(
                    "INSERT INTO dead_letter (id, stream, buried_ms, reason, detail, body)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (event_id, batch.stream, now_ms, reason, detail[:200], event),
                )
                gone, freed = self._take_out(span, {event_id})
                changed = self._touch(batch.stream)
                changed.account.pending -= gone
                changed.account.dead += gone
                changed.bytes -= freed
                return True
        return False

    def letters(self, app_id: str | None, limit: int) -> list[Letter]:
        """Return dead letters, newest first."""
        with translated():
            rows = self._db.execute(
                "SELECT d.id, s.app_id, d.buried_ms, d.reason, d.detail, d.body FROM dead_letter d"
                " JOIN stream s ON s.id = d.stream WHERE ?1 IS NULL OR s.app_id = ?1"
                " ORDER BY d.n DESC LIMIT ?2",
                (app_id, limit),
            )
            return [Letter(*row) for row in rows]

    def revive(self, ids: Sequence[str] | None, now_ms: int) -> int:
        """Put dead letters (these, or all) back at the end of their streams, in this turn."""
        revived = 0
        for n, stream, body in self._chosen(ids):
            changed = self._touch(stream)
            self._db.execute("DELETE FROM dead_letter WHERE n = ?", (n,))
            self._insert(changed, 1, bytes(body), now_ms)
            changed.account.dead -= 1
            revived += 1
        return revived

    def drop_letters(self, ids: Sequence[str] | None, reason: Loss = Loss.DROPPED) -> int:
        """Delete dead letters (these, or all), counted as lost, in this turn."""
        dropped = 0
        for n, stream, _ in self._chosen(ids):
            changed = self._touch(stream)
            self._db.execute("DELETE FROM dead_letter WHERE n = ?", (n,))
            changed.account.dead -= 1
            changed.account.lose(reason, 1)
            self._write_loss(changed, reason)
            dropped += 1
        return dropped

    def _chosen(self, ids: Sequence[str] | None) -> list[tuple[int, int, bytes]]:
        rows = self._db.execute("SELECT n, stream, body, id FROM dead_letter ORDER BY n").fetchall()
        wanted = None if ids is None else set(ids)
        return [
            (n, stream, body) for n, stream, body, id_ in rows if wanted is None or id_ in wanted
        ]

    # --- bounds --------------------------------------------------------------------------------

    @property
    def over_bounds(self) -> bool:
        """Whether more is held than may be."""
        streams = self._streams.values()
        return (
            sum(s.account.pending for s in streams) > self.bounds.events
            or sum(s.bytes for s in streams) > self.bounds.bytes
        )

    def trim(self, now_ms: int) -> list[Lost]:
        """Give up what is too old or too much, counted by name; forget what is out of use.

        Too much: the oldest segment of the app that holds the most goes first, so no app can
        push another one out (threat row 28).
        """
        lost: dict[tuple[str, Loss], int] = {}
        with self.turn():
            oldest_ms = now_ms - round(self.bounds.age_days * DAY_MS)
            for id_ in list(self._streams):
                gone = self._lose(
                    "stream = ? AND accepted_ms < ?", (id_, oldest_ms), id_, Loss.EXPIRED
                )
                if gone:
                    lost[self._streams[id_].app_id, Loss.EXPIRED] = gone
            while self.over_bounds:
                greediest = max(self._streams.values(), key=lambda s: (s.bytes, s.account.pending))
                (seq,) = self._db.execute(
                    "SELECT min(seq) FROM segment WHERE stream = ?", (greediest.id,)
                ).fetchone()
                if seq is None:
                    raise Bug("over its bounds without a row")
                gone = self._lose("seq = ?", (seq,), greediest.id, Loss.EVICTED)
                key = greediest.app_id, Loss.EVICTED
                lost[key] = lost.get(key, 0) + gone
            self._forget(now_ms)
        self._reserve.refill()
        return [Lost(app_id, reason, events) for (app_id, reason), events in lost.items()]

    def _forget(self, now_ms: int) -> None:
        """Prune the memory of repeats, old tallies, and too many dead letters."""
        (first, last) = self._db.execute("SELECT min(n), max(n) FROM seen").fetchone()
        if first is not None:
            self._db.execute(
                "DELETE FROM seen WHERE n <= ?1 AND (seen_ms < ?2 OR n <= ?3)",
                (first + PRUNE_ROWS, now_ms - SEEN_DAYS * DAY_MS, last - MOST_SEEN),
            )
        self._db.execute("DELETE FROM tally WHERE hour_ms < ?", (now_ms - TALLY_DAYS * DAY_MS,))
        (letters,) = self._db.execute("SELECT count(*) FROM dead_letter").fetchone()
        if letters > MOST_LETTERS:
            rows = self._db.execute(
                "SELECT id FROM dead_letter ORDER BY n LIMIT ?", (letters - MOST_LETTERS,)
            )
            self.drop_letters([row[0] for row in rows.fetchall()], Loss.OVERFLOWED)

    def tidy(self) -> None:
        """Shrink the write-ahead log, and with it what deleted events left behind."""
        with translated():
            wal = self.path.with_name(f"{self.path.name}-wal")
            if wal.exists() and wal.stat().st_size > TRUNCATE_WAL_BYTES:
                self._db.execute("PRAGMA incremental_vacuum(2000)").fetchall()
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def purge(self, app_id: str) -> int:
        """Delete everything of an app for good: rows, letters, profile; nothing stays on disk.

        Returns:
            How many waiting events and dead letters went, counted as lost.

        """
        gone = 0
        with self.turn():
            for id_ in [s.id for s in self._streams.values() if s.app_id == app_id]:
                gone += self._lose("stream = ?", (id_,), id_, Loss.PURGED)
                rows = self._db.execute("SELECT id FROM dead_letter WHERE stream = ?", (id_,))
                gone += self.drop_letters([row[0] for row in rows.fetchall()], Loss.PURGED)
            self._db.execute("DELETE FROM app WHERE app_id = ?", (app_id,))
            self._db.execute("DELETE FROM tally WHERE app_id = ?", (app_id,))
        with translated():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return gone

    # --- looking -------------------------------------------------------------------------------

    def account(self, stream: int) -> Account:
        """Return a stream's numbers."""
        return self._streams[stream].account

    def accounts(self) -> dict[tuple[str, str], Account]:
        """Return all numbers, by app and upstream."""
        return {(s.app_id, s.upstream): s.account for s in self._streams.values()}

    def pending(self, stream: int) -> Pending:
        """Return what waits in a stream."""
        found = self._streams[stream]
        oldest: int | None = None
        if found.account.pending:
            with translated():
                row = self._db.execute(
                    "SELECT accepted_ms FROM segment INDEXED BY segment_by_stream"
                    " WHERE stream = ? ORDER BY seq LIMIT 1",
                    (stream,),
                ).fetchone()
            oldest = None if row is None else row[0]
        return Pending(found.account.pending, found.bytes, oldest)

    def queued(self, app_id: str | None, limit: int) -> list[Row]:
        """Return waiting events, oldest first."""
        found: list[Row] = []
        for row in self.export(app_id):
            found.append(row)
            if len(found) >= limit:
                break
        return found

    def export(self, app_id: str | None) -> Iterator[Row]:
        """Yield waiting events, oldest first, a segment at a time; may be left and resumed."""
        after = 0
        while True:
            with translated():
                row = self._db.execute(
                    "SELECT g.seq, g.accepted_ms, g.body, s.app_id FROM segment g"
                    " JOIN stream s ON s.id = g.stream"
                    " WHERE g.seq > ?1 AND (?2 IS NULL OR s.app_id = ?2) ORDER BY g.seq LIMIT 1",
                    (after, app_id),
                ).fetchone()
            if row is None:
                return
            after, accepted_ms, body, owner = row
            for event, id_ in zip(split(body), ids_of(body), strict=True):
                yield Row(id_, owner, accepted_ms, event)

    def check(self) -> dict[tuple[str, str], int]:
        """Recount every stream from its rows; return where the ledger does not fit."""
        with translated():
            rows = dict(
                self._db.execute(
                    "SELECT stream, sum(events) FROM segment INDEXED BY segment_by_stream"
                    " GROUP BY stream"
                ).fetchall()
            )
            dead = dict(
                self._db.execute(
                    "SELECT stream, count(*) FROM dead_letter GROUP BY stream"
                ).fetchall()
            )
        wrong = {}
        for stream in self._streams.values():
            account = stream.account.copy()
            account.pending, account.dead = rows.get(stream.id, 0), dead.get(stream.id, 0)
            if account.difference or account.pending != stream.account.pending:
                wrong[stream.app_id, stream.upstream] = account.difference
        return wrong
