"""What blocks, done beside the loop on a thread that nobody has to wait for.

A keyring waits for a person, a Data API for a road. ``asyncio.to_thread`` would lend such work a
thread of a small pool that the loop, and the interpreter after it, wait for at their end: one
silent keyring and the agent could not stop. These threads are left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def off_loop(work: Callable[[], T], *, name: str) -> T:
    """Return what ``work`` returns, called on a thread of its own.

    Cancelled, it stops waiting; the thread ends when its work does.

    Args:
        work: Blocks; must not touch what the loop owns.
        name: Of the thread.

    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return  # nobody waits any more
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # None only where T allows it

    def run() -> None:
        result: T | None = None
        wrong: BaseException | None = None
        try:
            result = work()
        except BaseException as exc:
            wrong = exc
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it who asked
            loop.call_soon_threadsafe(tell, result, wrong)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
