"""Looking into the outbox: numbers, waiting events, dead letters, a whole recount.

Nothing here changes what waits; yet a look may find damage, which is mended before the look is
repeated.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.adapters.outbox.file import translated
from agent.adapters.outbox.keepsakes import Keepsakes
from agent.adapters.outbox.letters import DeadLetters
from agent.adapters.outbox.rows import SegmentRows
from agent.adapters.outbox.segments import Row, ids_of, split
from agent.adapters.outbox.streams import Streams
from agent.rules.ledger import Account
from tracking.errors import Damaged

CHECK_ROWS = 200  #: Rows compared with their checksums in one step.
NEIGHBOURS = 20_000  #: So many ids are remembered to know the copies of one commit by.

T = TypeVar("T")

LAST_SEQ = 2**62  #: No segment has a higher number.


@dataclass(slots=True)
class Pending:
    """What waits in one stream."""

    events: int = 0
    bytes: int = 0
    oldest_ms: int | None = None


class OutboxView(abc.ABC):
    """What can be seen of an outbox."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._streams: Streams
        self._rows: SegmentRows
        self._letters: DeadLetters
        self._keepsakes: Keepsakes

    @abc.abstractmethod
    def _mend(self, why: str) -> None:
        """Replace a damaged file by what can be read of it."""

    def _look(self, look: Callable[[], T]) -> T:
        """Read; damage that shows is mended, and the look repeated."""
        try:
            with translated(self.path):
                return look()
        except Damaged as fault:
            if self._streams.in_turn:
                raise
            self._mend(str(fault))
        with translated(self.path):
            return look()

    def account(self, stream: int) -> Account:
        """Return a stream's numbers."""
        return self._streams[stream].account

    def accounts(self) -> dict[tuple[str, str], Account]:
        """Return all numbers, by app and upstream."""
        return {(s.app_id, s.upstream): s.account for s in self._streams}

    def pending(self, stream: int) -> Pending:
        """Return what waits in a stream."""
        found = self._streams[stream]
        oldest: int | None = None
        if found.account.pending:
            rows = self._look(lambda: list(self._rows.oldest(stream)))
            oldest = rows[0][1] if rows else None
        return Pending(found.account.pending, found.bytes, oldest)

    def queued(self, app_id: str | None, limit: int) -> list[Row]:
        """Return waiting events, oldest first."""
        found: list[Row] = []
        for row in self.export(app_id):
            found.append(row)
            if len(found) >= limit:
                break
        return found

    def newest(self, app_id: str | None, limit: int) -> list[Row]:
        """Return the newest waiting events, newest first, each of one of its queues only."""
        firsts = {stream.app_id: stream for stream in reversed(list(self._streams))}
        found: list[Row] = []
        for stream in firsts.values():
            if app_id not in (None, stream.app_id):
                continue
            before, left = LAST_SEQ, limit
            while left > 0 and (
                row := self._look(lambda: self._rows.read_back(stream.id, before))  # noqa: B023
            ):
                before, accepted_ms, body = row
                events = list(zip(split(body), ids_of(body), strict=True))[-left:]
                left -= len(events)
                found += [
                    Row(id_, stream.app_id, accepted_ms, event) for event, id_ in reversed(events)
                ]
        found.sort(key=lambda one: one.accepted_ms, reverse=True)
        return found[:limit]

    def export(self, app_id: str | None) -> Iterator[Row]:
        """Yield waiting events, oldest first within an app; may be left and resumed.

        An event that waits on several queues of its app is one event, and yielded once: copies
        of one commit have neighbouring numbers. One that was put at the end again later, from
        the dead letters, may come twice.
        """
        known = (stream.app_id for stream in self._streams)
        for app in dict.fromkeys(known) if app_id is None else [app_id]:
            seen: dict[str, None] = {}
            for accepted_ms, body in self._segments([s.id for s in self._streams.of(app)]):
                for event, id_ in zip(split(body), ids_of(body), strict=True):
                    if id_ not in seen:
                        yield Row(id_, app, accepted_ms, event)
                    seen[id_] = None
                while len(seen) > NEIGHBOURS:
                    del seen[next(iter(seen))]

    def _segments(self, streams: list[int]) -> Iterator[tuple[int, bytes]]:
        """Yield the segments of several streams in the order of their numbers."""
        after = dict.fromkeys(streams, 0)
        heads: dict[int, tuple[int, int, bytes]] = {}
        while True:
            for stream in streams:
                if stream not in heads and stream in after:
                    row = self._look(lambda: self._rows.read(stream, after[stream]))  # noqa: B023
                    if row is None:
                        del after[stream]
                    else:
                        heads[stream] = row
            if not heads:
                return
            first = min(heads, key=lambda stream: heads[stream][0])
            after[first], accepted_ms, body = heads.pop(first)
            yield accepted_ms, body

    def check(self) -> Iterator[str | None]:
        """Recount from the rows, a slice at a time, so that a million events never block.

        Yields:
            None after a slice in which all was well, else a sentence per finding.

        """
        after: int | None = 0
        while after is not None:
            start_at = after
            after, findings = self._look(lambda: self._rows.look_through(start_at, CHECK_ROWS))  # noqa: B023
            yield from findings or (None,)
        totals = self._look(self._rows.totals)
        dead = self._look(self._letters.totals)
        for stream in self._streams:
            counted = (totals.get(stream.id, 0), dead.get(stream.id, 0))
            account = stream.account
            if counted != (account.pending, account.dead) or not account.balanced:
                yield (
                    f"{stream.app_id}: {counted[0]} waiting and {counted[1]} dead in the rows, "
                    f"{account.pending} and {account.dead} in the ledger, "
                    f"difference {account.difference:+d}"
                )
