"""Linux says when a file in a folder was finished: closed after writing, or renamed into it.

inotify(7) with ``IN_CLOSE_WRITE | IN_MOVED_TO`` only: a file that is still being written says
nothing, and an idle folder wakes nobody. Python has no inotify, so it is called by ctypes.
Elsewhere, or where the kernel refuses (its watches are used up), there is none, and whoever wants
to know looks when there is a reason to.

All on the core's thread, for the loop's readers belong to it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

IN_CLOSE_WRITE, IN_MOVED_TO, IN_ONLYDIR = 0x8, 0x80, 0x0100_0000  # linux/inotify.h
NEWS_BYTES = 64 * 1024


def open_watch(folder: Path) -> int | None:
    """Return a descriptor that can be read when a file in ``folder`` was finished, None if none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        fd = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if fd < 0:
            return None
        mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR
        if libc.inotify_add_watch(fd, os.fsencode(folder), mask) < 0:
            os.close(fd)
            return None
    except (OSError, AttributeError):  # a C library without it
        return None
    return fd


class FolderWatch:
    """Calls back when files of a folder were finished; several at once are one call.

    Args:
        loop: The core's; :meth:`close` before it ends.
        finished: Called on it.
        fd: Of :func:`open_watch`; None: nothing is watched.

    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, finished: Callable[[], None], fd: int | None
    ) -> None:
        self._loop = loop
        self._finished = finished
        self._fd = fd
        if fd is not None:
            loop.add_reader(fd, self._ready)

    @property
    def watching(self) -> bool:
        """Whether a finished file will be noticed."""
        return self._fd is not None

    def close(self) -> None:
        """Watch no longer; twice is harmless."""
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None

    def _ready(self) -> None:
        if self._fd is None:
            return
        try:
            while os.read(self._fd, NEWS_BYTES):
                pass  # what happened does not matter: who is called looks for itself
        except BlockingIOError:
            self._finished()
        except OSError:
            self.close()  # a reader that stays ready would spin
