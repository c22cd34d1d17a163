"""Where questions are asked: a few threads of their own, so that nothing else waits for them.

Heavy questions have two threads and a short queue, light ones (the glance, what is live) two
others; ingest has its own writer. Who comes when the queue is full is told to come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from tracking.errors import OverQuota, StorageFault

T = TypeVar("T")
AT_ONCE = 2  #: Questions of one weight that the store works at.
MOST_WAITING = 32


@dataclass(slots=True)
class _Lane:
    name: str
    pool: ThreadPoolExecutor = field(init=False)
    busy: int = 0

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=f"ask-{self.name}")


class Threads:
    """Runs questions off the loop.

    Args:
        within_s: How long one may take from its beginning; the engine is interrupted then.

    """

    def __init__(self, within_s: float) -> None:
        self.within_s = within_s
        self._heavy, self._light = _Lane("heavy"), _Lane("light")

    async def run(self, question: Callable[[], T], *, heavy: bool = True) -> T:
        """Return what a question returns.

        Raises:
            OverQuota: Too many wait already (429, come back).
            StorageFault: It did not come to an end, or waited for its turn too long (503).

        """
        lane = self._heavy if heavy else self._light
        if lane.busy >= AT_ONCE + MOST_WAITING:
            raise OverQuota("too many questions at once", retry_after_s=1.0)
        lane.busy += 1
        work = asyncio.get_running_loop().run_in_executor(lane.pool, question)
        # Freed when the thread is, not when whoever asked has gone.
        work.add_done_callback(lambda done: self._freed(lane, done))
        try:
            return await asyncio.wait_for(asyncio.shield(work), 3 * self.within_s)
        except TimeoutError as exc:
            raise StorageFault("the store took too long to answer") from exc

    @staticmethod
    def _freed(lane: _Lane, done: asyncio.Future[T]) -> None:
        lane.busy -= 1
        if not done.cancelled():
            done.exception()  # whoever asked was told, or has gone

    def close(self) -> None:
        for lane in (self._heavy, self._light):
            lane.pool.shutdown(wait=False, cancel_futures=True)
