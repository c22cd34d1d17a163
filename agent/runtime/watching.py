"""Those who watch: windows and terminals that want the newest status, at most four a second.

A slow watcher skips and never delays: it is told that something changed, and fetches the newest
when it is ready. While nobody watches nothing is built and no timer runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from agent.client import News
from agent.door import Status
from agent.runtime.report import passing

SPACING_S = 0.25  #: Between two messages to one watcher.
MOST_EVENTS = 200  #: Passing events in one message; more are skipped, the oldest first.

Row = tuple[int, str, bytes]


@dataclass(slots=True)
class _Watcher:
    events: bool
    face: bool
    raise_it: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    rows: deque[Row] = field(default_factory=lambda: deque(maxlen=MOST_EVENTS))


class Watchers:
    """Tells everyone who watches.

    Args:
        newest: Builds the status as it is now.
        wanted: Called with True when the first watcher comes, False when the last one leaves.

    Attributes:
        marks_of: Returns what is out of the usual in an event
        (:mod:`agent.runtime.counter.linting`).

    """

    def __init__(self, newest: Callable[[], Status], wanted: Callable[[bool], None]) -> None:
        self.newest = newest
        self.wanted = wanted
        self.marks_of: Callable[[str, bytes], tuple[str, ...]] = lambda *_: ()
        self._all: list[_Watcher] = []
        self._closed = asyncio.Event()

    def changed(self) -> None:
        """Something that the status shows is different."""
        for watcher in self._all:
            watcher.changed.set()

    def passed(self, rows: deque[Row], count: int) -> None:
        """Events passed: the newest ``count`` of ``rows``."""
        for watcher in self._all:
            if watcher.events:
                watcher.rows.extend(islice(rows, max(0, len(rows) - count), None))

    def raise_faces(self) -> bool:
        """Ask every window that watches to come to the front; tell whether there is one."""
        faces = [watcher for watcher in self._all if watcher.face]
        for watcher in faces:
            watcher.raise_it = True
            watcher.changed.set()
        return bool(faces)

    def close(self) -> None:
        """End every watch."""
        self._closed.set()
        self.changed()

    async def news(
        self, *, events: bool, face: bool = False, before: Iterable[Row] = ()
    ) -> AsyncGenerator[News, None]:
        """Yield the status now, and again after changes, until the agent stops.

        Args:
            events: Also tell events as they pass.
            face: It is a window that can be raised.
            before: Events that passed already, told first.

        """
        watcher = _Watcher(events, face)
        watcher.rows.extend(before)
        watcher.changed.set()
        self._all.append(watcher)
        if len(self._all) == 1:
            self.wanted(True)
        try:
            while True:
                await watcher.changed.wait()
                if self._closed.is_set():
                    return
                watcher.changed.clear()
                rows = tuple(watcher.rows)
                watcher.rows.clear()
                raise_it, watcher.raise_it = watcher.raise_it, False
                yield News(
                    status=self.newest(),
                    events=passing(rows, self.marks_of) if rows else (),
                    raise_window=raise_it,
                )
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), SPACING_S)
        finally:
            self._all.remove(watcher)
            if not self._all:
                self.wanted(False)
