"""The queue's rows: segments in order of acceptance, lent whole, deleted when the far end has them.

``seq`` is the number of a segment's first event, so a segment of n events owns the numbers from
``seq`` to ``seq + n - 1``: it can be cut into smaller ones without losing its place.

Statements name their index, because the order of a stream is the whole point of it: SQLite must
never walk the bodies of one app to find those of another. What is read is compared with its
checksum and its index; the first thing that does not fit is :class:`Damaged`, before it is sent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence, Set
from itertools import starmap

import msgspec

from agent.adapters.outbox.segments import (
    FRAME_BYTES,
    Batch,
    chunks,
    ids_of,
    laid_out,
    sealed,
    split,
)
from agent.adapters.outbox.streams import Stream, Streams
from agent.rules.ledger import Loss
from tracking.errors import Damaged

MOST_SEQ = 1 << 62  #: A number above is damage.
SLICE_ROWS = 1_000  #: Rows given up at most in one step.
SLICE_BYTES = 8 * 1024 * 1024  #: And bytes, so that no commit is long.

ADD = "INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?)"
AHEAD = (
    "SELECT seq, events, bytes FROM segment INDEXED BY segment_by_stream"
    " WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?"
)
SPAN = (
    "SELECT seq, events, bytes, crc, body FROM segment INDEXED BY segment_by_stream"
    " WHERE stream = ? AND seq BETWEEN ? AND ? ORDER BY seq"
)
SUM = (
    "SELECT coalesce(sum(events), 0), coalesce(sum(bytes), 0) FROM segment"
    " INDEXED BY segment_by_stream WHERE stream = ? AND seq BETWEEN ? AND ?"
)
REMOVE = "DELETE FROM segment INDEXED BY segment_by_stream WHERE stream = ? AND seq BETWEEN ? AND ?"
OLDEST = (
    "SELECT seq, accepted_ms, events, bytes FROM segment INDEXED BY segment_by_stream"
    " WHERE stream = ? ORDER BY seq LIMIT ?"
)
TOTALS = (
    "SELECT stream, sum(events), sum(bytes), min(events), max(bytes) FROM segment"
    " INDEXED BY segment_by_stream GROUP BY stream"
)


class SegmentRows:
    """The table ``segment``; every change needs an open turn.

    Args:
        db: The outbox's database.
        streams: Whose accounts change with the rows.
        next_seq: The number of the next event, if one is known to be used up already.

    """

    def __init__(self, db: sqlite3.Connection, streams: Streams, next_seq: int = 1) -> None:
        self._db = db
        self._streams = streams
        for id_, events, size, least, most in db.execute(TOTALS):
            stream = streams.get(id_)
            if stream is None:
                raise Damaged(f"segments of a stream {id_} that is not there")
            if not (isinstance(least, int) and isinstance(most, int) and least > 0):
                raise Damaged("segments of a size that nobody wrote")
            stream.account.pending, stream.bytes = events, size
        last = db.execute("SELECT seq, events FROM segment ORDER BY seq DESC LIMIT 1").fetchone()
        if last is not None and not 0 < last[0] < MOST_SEQ:
            raise Damaged("a segment with a number that nobody gave")
        self.next_seq = next_seq if last is None else max(next_seq, last[0] + last[1])

    def add(self, stream: Stream, events: Sequence[bytes], now_ms: int) -> None:
        """Put events at the end of a stream."""
        for count, body in laid_out(events):
            row = (self.next_seq, stream.id, now_ms, count, len(body))
            self._db.execute(ADD, (*row, sealed(stream.seal, body), body))
            self.next_seq += count
            stream.account.pending += count
            stream.bytes += len(body)

    def lease(self, stream: Stream, after: int, max_events: int, max_bytes: int) -> Batch | None:
        """Return the next whole segments after number ``after``; the first whatever its size.

        Raises:
            Damaged: What is on disk is not what was written.

        """
        chosen: list[tuple[int, int, int]] = []
        events, size = 0, FRAME_BYTES
        for seq, count, length in self._db.execute(AHEAD, (stream.id, after, max_events)):
            if chosen and (events + count > max_events or size + length + 1 > max_bytes):
                break
            chosen.append((seq, count, length))
            events, size = events + count, size + length + 1
            if events >= max_events or size >= max_bytes:
                break
        if not chosen:
            return None
        first, (last, count, _) = chosen[0][0], chosen[-1]
        rows = self._db.execute(SPAN, (stream.id, first, last)).fetchall()
        if [row[:3] for row in rows] != chosen:
            raise Damaged("the index of the outbox does not fit its rows")
        body = b",".join(_bodies(stream, rows))
        return Batch(stream.id, first, last + count - 1, body, _ids(body, events))

    def cut(self, batch: Batch, max_events: int, max_bytes: int) -> None:
        """Cut the one segment of ``batch`` into pieces that fit, each with its own number."""
        stream = self._streams.touch(batch.stream)
        (accepted_ms,) = self._db.execute(
            "SELECT accepted_ms FROM segment WHERE seq = ?", (batch.first,)
        ).fetchone()
        self._db.execute("DELETE FROM segment WHERE seq = ?", (batch.first,))
        seq, size = batch.first, 0
        for count, body in chunks(split(batch.body), max_events, max_bytes):
            row = (seq, stream.id, accepted_ms, count, len(body))
            self._db.execute(ADD, (*row, sealed(stream.seal, body), body))
            seq, size = seq + count, size + len(body)
        stream.bytes += size - len(batch.body)

    def settle(self, batch: Batch, acknowledged: Collection[str]) -> tuple[int, Sequence[bytes]]:
        """Delete what the far end has; return how many events that were, and their bodies."""
        gone: Sequence[bytes] = ()
        ids = acknowledged if isinstance(acknowledged, Set) else frozenset(acknowledged)
        if len(ids) >= batch.count and ids >= set(batch.ids):
            span = (batch.stream, batch.first, batch.last)
            events, size = self._db.execute(SUM, span).fetchone()
            if events == batch.count:
                self._db.execute(REMOVE, span)
                self._gone(batch.stream, events, size)
                gone = (batch.body,)
            elif events:  # a part of it went before
                gone = self.take_out(batch, ids)
        else:
            gone = self.take_out(batch, ids)
            events = len(gone)
        if events:
            self._streams.touch(batch.stream).account.delivered += events
        return int(events), gone

    def take_out(self, batch: Batch, ids: Set[str]) -> list[bytes]:
        """Rewrite the segments of a batch without these events; return those, in order."""
        taken: list[bytes] = []
        stream = self._streams[batch.stream]
        rows = self._db.execute(SPAN, (batch.stream, batch.first, batch.last)).fetchall()
        for (seq, count, length, _, _), body in zip(rows, _bodies(stream, rows), strict=True):
            known = _ids(body, count)
            if ids.isdisjoint(known):
                continue
            kept: list[bytes] = []
            for event, id_ in zip(split(body), known, strict=True):
                (taken if id_ in ids else kept).append(event)
            rest = b",".join(kept)
            if kept:
                self._db.execute(
                    "UPDATE segment SET events = ?, bytes = ?, crc = ?, body = ? WHERE seq = ?",
                    (len(kept), len(rest), sealed(stream.seal, rest), rest, seq),
                )
            else:
                self._db.execute("DELETE FROM segment WHERE seq = ?", (seq,))
            self._gone(batch.stream, count - len(kept), length - len(rest))
        return taken

    def oldest(self, stream: int, rows: int = 1) -> Iterator[tuple[int, int, int, int]]:
        """Yield the oldest rows of a stream: (seq, accepted_ms, events, bytes)."""
        yield from self._db.execute(OLDEST, (stream, rows))

    def give_up(self, stream: int, up_to: int, reason: Loss) -> int:
        """Delete a stream's segments up to number ``up_to``, counted as lost; return how many."""
        span = (stream, 0, up_to)
        events, size = self._db.execute(SUM, span).fetchone()
        if events:
            self._db.execute(REMOVE, span)
            self._gone(stream, events, size)
            self._streams.touch(stream).account.lose(reason, events)
        return int(events)

    def hand_over(self, stream: int, to: int) -> int:
        """Put a slice of a stream's oldest segments at the end of another; return how many events.

        Raises:
            Damaged: What is on disk is not what was written.

        """
        giver, taker = self._streams.touch(stream), self._streams.touch(to)
        moved = size = 0
        row = self.read(stream, 0)
        while row is not None and moved < SLICE_ROWS and size < SLICE_BYTES:
            last, accepted_ms, body = row
            events = split(body)
            self._db.execute(REMOVE, (stream, 0, last))
            self._gone(stream, len(events), len(body))
            giver.account.accepted -= len(events)
            self.add(taker, events, accepted_ms)
            taker.account.accepted += len(events)
            moved, size = moved + len(events), size + len(body)
            row = self.read(stream, last)
        return moved

    def _gone(self, stream: int, events: int, size: int) -> None:
        changed = self._streams.touch(stream)
        changed.account.pending -= events
        changed.bytes -= size

    # --- looking -------------------------------------------------------------------------------

    def read(self, stream: int, after: int) -> tuple[int, int, bytes] | None:
        """Return the next segment of a stream: its last number, accepted_ms, body."""
        row = self._db.execute(
            "SELECT seq, accepted_ms, events, bytes, crc, body FROM segment"
            " INDEXED BY segment_by_stream WHERE stream = ? AND seq > ? ORDER BY seq LIMIT 1",
            (stream, after),
        ).fetchone()
        if row is None:
            return None
        seq, accepted_ms, events, body = self._checked(stream, row)
        return seq + events - 1, accepted_ms, body

    def read_back(self, stream: int, before: int) -> tuple[int, int, bytes] | None:
        """Return the segment before another: its first number, accepted_ms, body."""
        row = self._db.execute(
            "SELECT seq, accepted_ms, events, bytes, crc, body FROM segment"
            " INDEXED BY segment_by_stream WHERE stream = ? AND seq < ? ORDER BY seq DESC LIMIT 1",
            (stream, before),
        ).fetchone()
        if row is None:
            return None
        seq, accepted_ms, _, body = self._checked(stream, row)
        return seq, accepted_ms, body

    def _checked(
        self, stream: int, row: tuple[int, int, int, int, int, bytes]
    ) -> tuple[int, int, int, bytes]:
        seq, accepted_ms, events, length, crc, raw = row
        (body,) = _bodies(self._streams[stream], [(seq, events, length, crc, raw)])
        _ids(body, events)
        return seq, accepted_ms, events, body

    def look_through(self, after: int, rows: int) -> tuple[int | None, list[str]]:
        """Compare up to ``rows`` rows with their checksums and their index entries.

        Returns:
            Where to go on (None at the end), and a sentence for each row that does not fit.

        """
        found: list[str] = []
        seq = after
        for seq, stream, events, length, crc, body, entry in self._db.execute(
            "SELECT g.seq, g.stream, g.events, g.bytes, g.crc, g.body, i.events FROM"
            " (SELECT * FROM segment NOT INDEXED WHERE seq > ? ORDER BY seq LIMIT ?) g LEFT JOIN"
            " segment i INDEXED BY segment_by_stream ON i.stream = g.stream AND i.seq = g.seq",
            (after, rows),
        ):
            owner = self._streams.get(stream)
            try:
                if owner is None or entry != events:
                    raise Damaged("its index entry does not fit")
                _ids(_bodies(owner, [(seq, events, length, crc, body)])[0], events)
            except Damaged as fault:
                found.append(f"segment {seq}: {fault}")
        return (None if seq == after else seq), found

    def totals(self) -> dict[int, int]:
        """Return how many events each stream has, by its index."""
        return {id_: events for id_, events, *_ in self._db.execute(TOTALS)}


def _bodies(stream: Stream, rows: Sequence[tuple[int, int, int, int, bytes]]) -> list[bytes]:
    """Return the bodies of rows (seq, events, bytes, crc, body) that are as they were written."""

    def checked(seq: int, _events: int, length: int, crc: int, body: bytes) -> bytes:
        if not isinstance(body, bytes) or len(body) != length:
            raise Damaged(f"segment {seq} is not as long as it was")
        if sealed(stream.seal, body) != crc:
            raise Damaged(f"segment {seq} does not fit its checksum")
        return body

    return list(starmap(checked, rows))


def _ids(body: bytes, events: int) -> tuple[str, ...]:
    try:
        ids = ids_of(body)
    except msgspec.MsgspecError as exc:
        raise Damaged("a segment is not made of events") from exc
    if len(ids) != events:
        raise Damaged(f"a segment holds {len(ids)} events and claims {events}")
    return ids
