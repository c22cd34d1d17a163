"""A descriptor on which the kernel tells something, read by the core's loop: nothing is polled."""

from __future__ import annotations

import abc
import asyncio
import os


class KernelWatch(abc.ABC):
    """Reads a descriptor whenever it has something, until it is closed.

    Args:
        loop: The core's; :meth:`close` before it ends.
        fd: Ours to close; None: nothing is watched.

    """

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int | None) -> None:
        self._loop = loop
        self._fd = fd
        if fd is not None:
            loop.add_reader(fd, self._ready)

    @property
    def watching(self) -> bool:
        """Whether anything will be noticed."""
        return self._fd is not None

    def close(self) -> None:
        """Watch no longer; twice is harmless."""
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None

    def _ready(self) -> None:
        if self._fd is not None:
            self._read_from(self._fd)

    @abc.abstractmethod
    def _read_from(self, fd: int) -> None:
        """Read what is there; close what fails, for a reader that stays ready would spin."""
