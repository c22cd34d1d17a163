"""How a server ends: it says so, sends clients away one after another, and keeps what it took.

    first signal ─► not ready, no new WebSockets ─► 1012 to each, spread ─► doors close ─► commit
    second       ─► the spreading ends at once; what was taken is committed all the same
    third        ─► the process dies as any does

A thousand clients that lose their connection in one instant come back in one instant; sent away
one by one they come back one by one (RFC 6455 §7.2.3 asks the same of them).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

CLOSES_PER_S = 100.0  #: A few clients need no spreading; from here on more take longer.
LOOK_S = 0.01  #: Between two looks at something that is about to end.


class Guest(Protocol):
    """A connection that can be asked to go."""

    def shutdown(self) -> None: ...


G = TypeVar("G", bound=Guest)


@dataclass(slots=True)
class Ending:
    """Hears the signals, and the end of the parent."""

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def listen(self, *, stdin_eof: bool) -> None:
        """Hear SIGTERM and SIGINT from now on.

        Args:
            stdin_eof: The end of standard input means the same as a signal.

        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ask)
        if not stdin_eof:
            return

        def until_eof() -> None:
            # Not sys.stdin: its lock, held by a thread, is fatal when the interpreter ends.
            with contextlib.suppress(OSError):
                while os.read(0, 4096):
                    pass
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self.stopping.set)

        threading.Thread(target=until_eof, name="parent", daemon=True).start()

    def ask(self) -> None:
        """One more signal came."""
        if not self.stopping.is_set():
            self.stopping.set()
            return
        self.hurry.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)


async def settled(busy: Callable[[], bool], most_s: float) -> None:
    """Wait until something is done, or for so many seconds."""
    end_s = asyncio.get_running_loop().time() + most_s
    while busy() and asyncio.get_running_loop().time() < end_s:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(LOOK_S)


def spread_s(count: int, most_s: float) -> float:
    """Return over how many seconds so many clients are sent away."""
    return min(most_s, count / CLOSES_PER_S)


async def send_away(
    guests: list[G],
    over_s: float,
    hurry: asyncio.Event,
    *,
    shuffle: Callable[[list[Any]], None] = random.shuffle,
) -> None:
    """Ask guests to go, evenly over some seconds, in an order by chance.

    Args:
        guests: Whom.
        over_s: Seconds from the first to the last.
        hurry: Ends the waiting.
        shuffle: Chance.

    """
    loop = asyncio.get_running_loop()
    shuffle(guests)
    began_s = loop.time()
    for number, guest in enumerate(guests):
        early_s = began_s + over_s * number / len(guests) - loop.time()
        if early_s > 0 and not hurry.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(hurry.wait(), early_s)
        guest.shutdown()
