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
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from agent.adapters.machine.kernel_watch import KernelWatch

IN_CLOSE_WRITE, IN_MOVED_TO, IN_ONLYDIR = 0x8, 0x80, 0x0100_0000  # linux/inotify.h
IN_Q_OVERFLOW = 0x4000
HEAD = struct.Struct("iIII")  #: Watch, mask, cookie, length of the name that follows.
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


class FolderWatch(KernelWatch):
    """Calls back when files of a folder were finished; several at once are one call.

    Args:
        loop: The core's; :meth:`close` before it ends.
        finished: Called on it with their names; with none if there were too many to say.
        fd: Of :func:`open_watch`; None: nothing is watched.

    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        finished: Callable[[list[str]], None],
        fd: int | None,
    ) -> None:
        self._finished = finished
        super().__init__(loop, fd)

    def _read_from(self, fd: int) -> None:
        try:
            news = os.read(fd, NEWS_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()  # a reader that stays ready would spin
            return
        self._finished(_names(news))


def _names(news: bytes) -> list[str]:
    """Return the names in ``struct inotify_event`` after ``struct inotify_event``."""
    names = []
    at = 0
    while at + HEAD.size <= len(news):
        _, mask, _, length = HEAD.unpack_from(news, at)
        at += HEAD.size
        if mask & IN_Q_OVERFLOW:
            return []
        names.append(os.fsdecode(news[at : at + length].rstrip(b"\0")))
        at += length
    return names
