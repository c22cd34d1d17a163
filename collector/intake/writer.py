"""The one thread that writes: frames that wait are committed together, then answered.

The queue is bounded in events: over it a frame is refused with "come back", which costs its
sender nothing, instead of being kept in memory (back-pressure; SECURITY.md, "Memory").

What whoever was erased left in somebody's queue is not stored
(:mod:`collector.intake.tombstones`), and names beyond the bound are folded
(:mod:`collector.intake.catalogue`), here and nowhere else: so it holds for every way in,
and an erasure that waits for its turn (:meth:`Writer.run`) has nothing pass by.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from collector.intake.catalogue import NAMES, Catalogue
from collector.intake.tombstones import TOMBSTONES, Tombstones
from collector.metrics import Histogram
from collector.store.interface import Fact, Named, Store, Stored
from tracking.errors import OverQuota, StorageFault

log = logging.getLogger("collector.intake.writer")

MOST_WAITING = 50_000  #: Events that may wait for a commit.
MOST_A_COMMIT = 10_000  #: Events in one commit, so that nobody waits for ever.


T = TypeVar("T")


class Written(NamedTuple):
    """What became of rows: the others are repeats.

    Attributes:
        new: Stored.
        erased: Not stored, because whom they name was erased.

    """

    new: int = 0
    erased: int = 0


@dataclass(slots=True)
class _Job:
    rows: Sequence[Stored]
    more: Sequence[Fact]
    done: Callable[[StorageFault | None, Written], None]


@dataclass(slots=True)
class _Task:
    """Something that is done to the store between two commits."""

    do: Callable[[], Any]
    done: Callable[[BaseException | None, Any], None]


class Writer:
    """Writes to a store, from a thread of its own.

    Args:
        store: The engine.
        loop: Where futures are resolved.
        most_waiting: Events that may wait.
        commits: Told how long each commit took.
        tombstones: Whose events are not stored.
        catalogue: Which names are counted.
        now_ms: Unix milliseconds; only for tombstones.

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
        tombstones: Tombstones | None = None,
        catalogue: Catalogue | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.store = store
        self.most_waiting = most_waiting
        self.commits = commits or Histogram()
        self.tombstones = tombstones
        self.catalogue = catalogue
        self.now_ms = now_ms
        self.failing = False
        self.waiting = 0  #: Events that have a place; written by the loop's thread.
        self.written = 0
        self.repeats = 0
        self._loop = loop
        self.erased = 0
        self._jobs: deque[_Job | _Task] = deque()
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
        return (await self.put(rows, more)).new

    async def put(self, rows: Sequence[Stored], more: Sequence[Fact] = ()) -> Written:
        """Do as :meth:`write` does; return what became of the rows."""
        result: asyncio.Future[Written] = self._loop.create_future()

        def settle(fault: StorageFault | None, done: Written) -> None:
            self.written += done.new
            self.erased += done.erased
            self.repeats += len(rows) - done.new - done.erased if fault is None else 0
            if result.done():  # its sender is gone; the rows are stored all the same
                return
            if fault is None:
                result.set_result(done)
            else:
                result.set_exception(fault)

        def done(fault: StorageFault | None, written: Written) -> None:
            self._loop.call_soon_threadsafe(settle, fault, written)

        self._queue(_Job(rows, more, done))
        return await result

    async def run(self, do: Callable[[], T]) -> T:
        """Do something to the store after all that waits now, on the thread that writes.

        Whatever is to disappear from a store in service disappears here (erase, purge, drop_app):
        nothing that was taken before is written after, and what is remembered of the store is
        read again. Called on the loop.
        """
        result: asyncio.Future[T] = self._loop.create_future()

        def settle(exc: BaseException | None, value: T) -> None:
            if not result.done():
                if exc is None:
                    result.set_result(value)
                else:
                    result.set_exception(exc)

        def done(exc: BaseException | None, value: T) -> None:
            self._loop.call_soon_threadsafe(settle, exc, value)

        self._queue(_Task(do, done))
        return await result

    def remember(self) -> None:
        """Read what the store holds of names and tombstones. Blocks; before serving, or a task.

        Raises:
            StorageFault: It cannot be read.

        """
        if self.catalogue is not None:
            self.catalogue.load(self.store.ask(NAMES, {}))
        if self.tombstones is not None:
            self.tombstones.load(self.store.ask(TOMBSTONES, {}))
            self.tombstones.expire(self.now_ms())

    def _queue(self, job: _Job | _Task) -> None:
        with self._wake:
            self._jobs.append(job)
            self._wake.notify()

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
                while self._jobs and isinstance(first := self._jobs[0], _Job):
                    if jobs and size + _size(first) > MOST_A_COMMIT:
                        break
                    self._jobs.popleft()
                    jobs.append(first)
                    size += _size(first)
                task = None if jobs else self._jobs.popleft()
            if isinstance(task, _Task):
                self._perform(task)
            else:
                self._commit(jobs)

    def _perform(self, task: _Task) -> None:
        try:
            value = task.do()
            self.remember()
        except BaseException as exc:  # whoever asked for it hears of it
            with contextlib.suppress(StorageFault):
                self.remember()  # it may have been done in part
            task.done(exc, None)
        else:
            task.done(None, value)

    def _commit(self, jobs: list[_Job]) -> None:
        """One commit for all; answers go out only after it."""
        began_s = time.monotonic()
        batch = _Batch()
        try:
            self._admit(jobs, batch)
            new = self.store.write(batch.rows, batch.more)
        except StorageFault as fault:
            self._take_back(batch)
            self.failing = True
            log.error(  # noqa: TRY400 - a fault is expected; its traceback says nothing
                "could not store events=%d code=%s", sum(len(j.rows) for j in jobs), fault.code
            )
            for job in jobs:
                job.done(fault, Written())
            return
        except Exception:  # a bug; whoever shared the commit with what met it shall not suffer
            self._take_back(batch)
            if len(jobs) > 1:
                for job in jobs:
                    self._commit([job])
                return
            log.exception("could not store, for a reason nobody thought of")
            jobs[0].done(StorageFault("these events cannot be stored here"), Written())
            return
        self.failing = False
        self.commits.observe(time.monotonic() - began_s)
        for job, erased in zip(jobs, batch.erased, strict=True):
            took = min(new, len(job.rows) - erased)
            new -= took
            job.done(None, Written(took, erased))

    def _admit(self, jobs: list[_Job], batch: _Batch) -> None:
        """Make of jobs what is written: nobody who was erased, no name beyond the bound."""
        now_ms = self.now_ms()
        for job in jobs:
            rows, more = job.rows, job.more
            if self.tombstones is not None:
                rows = self.tombstones.rows(rows, now_ms)
                more = self.tombstones.facts(more, now_ms)
            batch.erased.append(len(job.rows) - len(rows))
            batch.rows += rows
            batch.more += more
        if self.catalogue is not None:
            batch.rows, batch.names = self.catalogue.fold(batch.rows)
            batch.more += batch.names

    def _take_back(self, batch: _Batch) -> None:
        if self.catalogue is not None:
            self.catalogue.take_back(batch.names)


@dataclass(slots=True)
class _Batch:
    """What one commit writes."""

    rows: list[Stored] = field(default_factory=list)
    more: list[Fact] = field(default_factory=list)
    erased: list[int] = field(default_factory=list)
    names: list[Named] = field(default_factory=list)


def _size(job: _Job) -> int:
    return len(job.rows) + len(job.more)
