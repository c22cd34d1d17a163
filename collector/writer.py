"""The one thread that writes: frames that wait are committed together, then answered.

The queue is bounded in events: over it a frame is refused with "come back", which costs its
sender nothing, instead of being kept in memory (back-pressure; SECURITY.md, "Memory").
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collector.metrics import Histogram
from collector.store.interface import Fact, Store, Stored
from tracking.errors import OverQuota, StorageFault

log = logging.getLogger("collector.writer")

MOST_WAITING = 50_000  #: Events that may wait for a commit.
MOST_A_COMMIT = 10_000  #: Events in one commit, so that nobody waits for ever.


@dataclass(slots=True)
class _Job:
    rows: Sequence[Stored]
    more: Sequence[Fact]
    done: Callable[[StorageFault | None, int], None]


class Writer:
    """Writes to a store, from a thread of its own.

    Args:
        store: The engine.
        loop: Where futures are resolved.
        most_waiting: Events that may wait.
        commits: Told how long each commit took.

    Attributes:
        failing: The last commit failed; readiness says so.

    """

    def __init__(
        self,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        *,
        most_waiting: int = MOST_WAITING,
        commits: Histogram | None = None,
    ) -> None:
        self.store = store
        self.most_waiting = most_waiting
        self.commits = commits or Histogram()
        self.failing = False
        self.waiting = 0  #: Events that have a place; written by the loop's thread.
        self.written = 0
        self.repeats = 0
        self._loop = loop
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="writer")
        self._thread.start()

    def reserve(self, count: int) -> None:
        """Keep places for events that are going to be written; :meth:`release` gives them back.

        Alone, a frame of any size has a place.

        Raises:
            OverQuota: Too much waits already.

        """
        if self.waiting and self.waiting + count > self.most_waiting:
            raise OverQuota("the collector is behind, keep the events", retry_after_s=1.0)
        self.waiting += count

    @property
    def behind(self) -> bool:
        """Whether what comes now is likely to be refused."""
        return self.waiting >= 0.9 * self.most_waiting

    def release(self, count: int) -> None:
        self.waiting -= count

    async def write(self, rows: Sequence[Stored], more: Sequence[Fact] = ()) -> int:
        """Store rows durably, and other facts with them; return how many rows were new.

        Called on the loop.

        Raises:
            StorageFault: Nothing of them was stored.

        """
        result: asyncio.Future[int] = self._loop.create_future()

        def settle(fault: StorageFault | None, new: int) -> None:
            self.written += new
            self.repeats += len(rows) - new if fault is None else 0
            if result.done():  # its sender is gone; the rows are stored all the same
                return
            if fault is None:
                result.set_result(new)
            else:
                result.set_exception(fault)

        def done(fault: StorageFault | None, new: int) -> None:
            self._loop.call_soon_threadsafe(settle, fault, new)

        with self._wake:
            self._jobs.append(_Job(rows, more, done))
            self._wake.notify()
        return await result

    def close(self) -> None:
        """Write what waits, then end. Blocks; call it off the loop. Twice is as good as once."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._jobs and not self._closing:
                    self._wake.wait()
                if not self._jobs:
                    return
                jobs: list[_Job] = []
                size = 0
                while self._jobs and (not jobs or size + _size(self._jobs[0]) <= MOST_A_COMMIT):
                    jobs.append(self._jobs.popleft())
                    size += _size(jobs[-1])
            self._commit(jobs)

    def _commit(self, jobs: list[_Job]) -> None:
        """One commit for all; answers go out only after it."""
        began_s = time.monotonic()
        try:
            new = self.store.write(
                [row for job in jobs for row in job.rows],
                [fact for job in jobs for fact in job.more],
            )
        except StorageFault as fault:
            self.failing = True
            log.error(  # noqa: TRY400 - a fault is expected; its traceback says nothing
                "could not store events=%d code=%s", sum(len(j.rows) for j in jobs), fault.code
            )
            for job in jobs:
                job.done(fault, 0)
            return
        except Exception:  # a bug; whoever shared the commit with what met it shall not suffer
            if len(jobs) > 1:
                for job in jobs:
                    self._commit([job])
                return
            log.exception("could not store, for a reason nobody thought of")
            jobs[0].done(StorageFault("these events cannot be stored here"), 0)
            return
        self.failing = False
        self.commits.observe(time.monotonic() - began_s)
        for job in jobs:
            took = min(new, len(job.rows))
            new -= took
            job.done(None, took)


def _size(job: _Job) -> int:
    return len(job.rows) + len(job.more)
