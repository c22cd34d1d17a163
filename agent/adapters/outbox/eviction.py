"""What leaves the queue without having been delivered, and whose turn it is.

Every method needs an open turn and does one slice of the work, so that no commit is long.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.adapters.outbox.rows import SLICE_BYTES, SLICE_ROWS, SegmentRows
from agent.adapters.outbox.streams import Stream, Streams
from agent.rules.ledger import Loss
from tracking.errors import Damaged


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


def summed(lost: Iterable[Lost]) -> list[Lost]:
    """Return one entry per app and reason."""
    sums: dict[tuple[str, Loss], int] = {}
    for one in lost:
        sums[one.app_id, one.reason] = sums.get((one.app_id, one.reason), 0) + one.events
    return [Lost(app_id, reason, events) for (app_id, reason), events in sums.items()]


class Eviction:
    """Decides which segments go, oldest first.

    Args:
        bounds: What may be held.
        streams: Who holds what.
        rows: From where it goes.

    """

    def __init__(self, bounds: Bounds, streams: Streams, rows: SegmentRows) -> None:
        self.bounds = bounds
        self._streams = streams
        self._rows = rows

    def _spare(self) -> tuple[int, int]:
        """Return how many events and bytes are too many; negative while there is room."""
        events = size = 0
        for stream in self._streams:
            events, size = events + stream.account.pending, size + stream.bytes
        return events - self.bounds.events, size - self.bounds.bytes

    @property
    def over(self) -> bool:
        """Whether more is held than may be."""
        return max(self._spare()) > 0

    def held(self, app_id: str) -> float:
        """Return the part of the bounds that an app fills, by whichever is nearer."""
        return sum(map(self._share, self._streams.of(app_id)))

    def expire(self, oldest_ms: int) -> list[Lost]:
        """Give up a slice of what was accepted before ``oldest_ms``."""
        lost: list[Lost] = []
        for stream in self._streams:
            if not stream.account.pending:
                continue
            up_to = size = 0
            for seq, accepted_ms, events, length in self._rows.oldest(stream.id, SLICE_ROWS):
                if accepted_ms >= oldest_ms or size > SLICE_BYTES:
                    break
                up_to, size = seq + events - 1, size + length
            if up_to:
                gone = self._rows.give_up(stream.id, up_to, Loss.EXPIRED)
                lost.append(Lost(stream.app_id, Loss.EXPIRED, gone))
        return lost

    def evict(self) -> list[Lost]:
        """Give up a slice of the app that holds the most, until it fits or another holds more."""
        held: dict[str, float] = {}
        for stream in self._streams:
            held[stream.app_id] = held.get(stream.app_id, 0.0) + self._share(stream)
        greediest, *others = sorted(held, key=lambda app_id: held[app_id], reverse=True)
        next_most = held[others[0]] if others else 0.0
        stream = max(self._streams.of(greediest), key=self._share)
        spare_events, spare_bytes = self._spare()
        up_to = events = size = 0
        for seq, _, count, length in self._rows.oldest(stream.id, SLICE_ROWS):
            fits = events >= spare_events and size >= spare_bytes
            left = held[greediest] - self._part(events, size)
            if up_to and (fits or left < next_most or size > SLICE_BYTES):
                break
            up_to = seq + count - 1
            events, size = events + count, size + length
        if not up_to:
            raise Damaged("the ledger knows of waiting events that no row holds")
        gone = self._rows.give_up(stream.id, up_to, Loss.EVICTED)
        return [Lost(greediest, Loss.EVICTED, gone)]

    def purge(self, stream: int) -> int:
        """Give up a slice of a stream whose app was turned off; return how many events."""
        up_to = size = 0
        for seq, _, events, length in self._rows.oldest(stream, SLICE_ROWS):
            up_to, size = seq + events - 1, size + length
            if size > SLICE_BYTES:
                break
        if not up_to:
            raise Damaged("the ledger knows of waiting events that no row holds")
        return self._rows.give_up(stream, up_to, Loss.PURGED)

    def _share(self, stream: Stream) -> float:
        return self._part(stream.account.pending, stream.bytes)

    def _part(self, events: int, size: int) -> float:
        """Return how much of the bounds this is, by whichever is nearer."""
        return max(events / self.bounds.events, size / self.bounds.bytes)
