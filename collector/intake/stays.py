"""Stays: from when to when a device was there, by its heartbeats and its open sockets.

    Presence, Ingest ──► Stays (memory) ──► StayLog (timers) ──► Writer ──► Beat rows

A heartbeat is a state and no event: it is not stored by itself. What is stored is the stay that
it is part of, one row for each cell of 30 minutes and each writing of it, because a session's
silences are 30 minutes long and so can be told by cells alone (see ``Beat``).

An open socket is a stay without a word (official clients are silent while idle), so nothing wakes
up for it: all of them are written together, every five minutes. What has ended is written within
a second. A kill loses at most those five minutes of a stay, and never an event.

Invariants:
    1. Both ends of every :class:`Beat` lie in one cell, and the first is not after the last.
    2. Every moment at which a device was heard, or its socket opened or closed, is in a
       :class:`Beat` of it, of those taken so far and those that the next takes give.
    3. Of a stay that began before whom it names was erased, nothing is told any more: to go on
       being connected makes nobody anew.
    4. A stay does not bridge cells in which nobody looked: the machine slept, its clock was set.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from collector.store.interface import Beat, Stored
from tracking.errors import StorageFault

log = logging.getLogger("collector.intake.stays")

CELL_MS = 30 * 60_000
UNSEEN_MS = 10 * 60_000  #: Twice what lies between two looks; after more than this nobody looked.
ALL_S = 300.0  #: Between two writings of stays that go on.
RETRY_S = 30.0  #: After a write that failed: the writer says so each time.
ENDED_S = 1.0  #: Within which those are written that have ended, all of them together.
MOST = 100_000  #: Stays in memory; five times the connections that one process serves.
MOST_A_WRITE = 10_000


class Who(NamedTuple):
    """Whose stay it is: the first columns of a :class:`Beat`."""

    app_id: str
    device_id: str
    session_id: str
    user_id: str


@dataclass(slots=True)
class _Stay:
    first_ms: int
    last_ms: int
    since_ms: int
    sockets: int = 0
    fresh: bool = True  #: Says more than was taken.


class Stays:
    """Keeps stays; the module docstring gives the invariants. Knows no clock and no disk.

    Args:
        most: How many, and how many rows of those that have ended.
        buried: Whether whom a row names was erased after it.

    Attributes:
        ended: What has ended and was not taken yet.
        dropped: Stays for which there was no room.

    """

    def __init__(self, most: int = MOST, buried: Callable[[Beat], bool] = lambda _: False) -> None:
        self.most = most
        self.buried = buried
        self.ended: list[Beat] = []
        self.dropped = 0
        self._stays: dict[Who, _Stay] = {}

    def __len__(self) -> int:
        return len(self._stays)

    def heard(self, who: Who, now_ms: int) -> None:
        """A sign of life came, and nothing is open that would tell how long it holds."""
        self._at(who, now_ms)

    def opened(self, who: Who, now_ms: int) -> None:
        """From now on one more socket says that it is there."""
        stay = self._at(who, now_ms)
        if stay is not None:
            stay.sockets += 1

    def closed(self, who: Who, now_ms: int) -> None:
        """One socket less says so."""
        stay = self._stays.get(who)
        if stay is None:
            return  # there was no room for it
        self._extend(who, stay, now_ms)
        stay.sockets -= 1
        if stay.sockets <= 0:
            self._end(who, stay)
            del self._stays[who]

    def take(self, now_ms: int) -> list[Beat]:
        """Return what was not taken yet: what has ended, and what goes on, as of now."""
        for who, stay in list(self._stays.items()):
            if stay.sockets:
                self._extend(who, stay, now_ms)
            self._end(who, stay)
            if not stay.sockets:
                del self._stays[who]
        return self.take_ended()

    def end(self, now_ms: int) -> list[Beat]:
        """Return what was not taken yet; every socket counts as closed."""
        beats = self.take(now_ms)
        self._stays.clear()  # what closes later has been told
        return beats

    def take_ended(self) -> list[Beat]:
        """Return what has ended."""
        beats, self.ended = self.ended, []
        return beats

    def give_back(self, beats: Sequence[Beat]) -> None:
        """Keep what could not be written; it is taken again."""
        room = max(0, self.most - len(self.ended))
        self.dropped += max(0, len(beats) - room)
        self.ended[:0] = beats[len(beats) - room :] if room else []

    def _at(self, who: Who, now_ms: int) -> _Stay | None:
        stay = self._stays.get(who)
        if stay is not None:
            self._extend(who, stay, now_ms)
        elif len(self._stays) < self.most:
            stay = self._stays[who] = _Stay(now_ms, now_ms, now_ms)
        else:
            self.dropped += 1
        return stay

    def _extend(self, who: Who, stay: _Stay, now_ms: int) -> None:
        gap_ms = now_ms - stay.last_ms
        cell = now_ms // CELL_MS
        if gap_ms == 0:
            return
        if gap_ms < 0 or stay.last_ms // CELL_MS != cell:
            first_ms = now_ms
            if stay.sockets and 0 < gap_ms <= UNSEEN_MS:
                first_ms = cell * CELL_MS
                stay.last_ms = first_ms - 1
                stay.fresh = True
            self._end(who, stay)
            stay.first_ms = first_ms
        stay.last_ms = now_ms
        stay.fresh = True

    def _end(self, who: Who, stay: _Stay) -> None:
        """Let be taken what was not; what goes on in this cell is told again as a whole."""
        if stay.fresh:
            stay.fresh = False
            if self.buried(Beat(*who, stay.since_ms, stay.since_ms)):
                return
            if len(self.ended) < 2 * self.most:
                self.ended.append(Beat(*who, stay.first_ms, stay.last_ms))
            else:
                self.dropped += 1


class Storing(Protocol):
    """What writes: :class:`collector.intake.writer.Writer`."""

    def write(self, rows: Sequence[Stored], more: Sequence[Beat]) -> Awaitable[int]: ...


class StayLog:
    """Writes stays, all together and seldom. Called on the loop.

    Args:
        writer: Commits.
        now_ms: Unix milliseconds.
        buried: Whether whom a row names was erased after it.
        all_s: Between two writings of stays that go on.
        ended_s: Until those are written that have ended.

    """

    def __init__(
        self,
        writer: Storing,
        now_ms: Callable[[], int],
        *,
        buried: Callable[[Beat], bool] = lambda _: False,
        all_s: float = ALL_S,
        ended_s: float = ENDED_S,
    ) -> None:
        self.stays = Stays(buried=buried)
        self.writer = writer
        self.now_ms = now_ms
        self.all_s = all_s
        self.ended_s = ended_s
        self._timers: dict[Callable[[], list[Beat]], asyncio.TimerHandle] = {}
        self._writing: asyncio.Task[None] | None = None
        self._to_write: list[Beat] = []
        self._told = 0
        self._finished = False

    def heard(self, who: Who) -> None:
        self.stays.heard(who, self.now_ms())
        self._arm()

    def opened(self, who: Who) -> None:
        self.stays.opened(who, self.now_ms())
        self._arm()

    def closed(self, who: Who) -> None:
        self.stays.closed(who, self.now_ms())
        self._arm()

    async def finish(self) -> None:
        """Write everything; sockets that are still open count as closed now."""
        self._finished = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._begin(self.stays.end(self.now_ms()))
        if self._writing is not None:
            await self._writing
        if self.stays.ended:
            log.warning("stays were not written count=%d", len(self.stays.ended))

    def _everything(self) -> list[Beat]:
        return self.stays.take(self.now_ms())

    def _arm(self) -> None:
        """Set the timers that are wanted and not set."""
        if self._finished:
            return
        if len(self.stays):
            self._set(self._everything, self.all_s)
        if self.stays.ended:
            self._set(self.stays.take_ended, self.ended_s)

    def _set(self, take: Callable[[], list[Beat]], seconds: float) -> None:
        if take not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[take] = loop.call_later(seconds, self._due, take)

    def _due(self, take: Callable[[], list[Beat]]) -> None:
        del self._timers[take]
        self._begin(take())
        self._arm()

    def _begin(self, beats: list[Beat]) -> None:
        self._to_write += beats
        if self._to_write and (self._writing is None or self._writing.done()):
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._to_write:
            beats, self._to_write = self._to_write[:MOST_A_WRITE], self._to_write[MOST_A_WRITE:]
            try:
                await self.writer.write([], beats)
            except StorageFault:  # the writer has said so
                self.stays.give_back([*beats, *self._to_write])
                self._to_write = []
                if not self._finished:
                    self._set(self.stays.take_ended, RETRY_S)
                break
        if self.stays.dropped > self._told:
            log.warning("stays were dropped count=%d", self.stays.dropped - self._told)
            self._told = self.stays.dropped
        self._arm()
