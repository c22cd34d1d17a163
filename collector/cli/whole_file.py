"""A file that is there whole or not at all, for its owner alone."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from collector.lasting import sync
from tracking.errors import DiskFull, RequestFault, StorageFault


@contextlib.contextmanager
def whole_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Give a file beside the one that is wanted; at the end it is synced and takes the name.

    Whatever goes wrong, a Ctrl-C or a SIGTERM included, it is removed and what was there stays.

    Raises:
        RequestFault: There is such a file, and nobody said that it may be replaced.
        DiskFull: The disk is full.
        StorageFault: It cannot be written.

    """
    refuse_existing(path, force=force)
    part = part_of(path)
    with ended_softly(), _translated(path):
        part.unlink(missing_ok=True)  # of a process that had our number and was killed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                part.replace(path)
                sync(path.parent)
            except BaseException:
                part.unlink(missing_ok=True)
                raise


def refuse_existing(path: Path, *, force: bool) -> None:
    """Refuse a name that is taken.

    Raises:
        RequestFault: It is, and nobody said that it may be replaced, or by something else.

    """
    if path.is_dir() or (os.path.lexists(path) and not path.is_file()):
        raise RequestFault(f"{path} is no file")
    if path.exists() and not force:
        raise RequestFault(f"{path} exists already", advice="Say --force to replace it.")


def part_of(path: Path) -> Path:
    """Return where a file is written before it has its name."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


@contextlib.contextmanager
def ended_softly() -> Iterator[None]:
    """Let a SIGTERM end this the way Ctrl-C does, so that what is half done is cleared away."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Late:
    """A context in which Ctrl-C and SIGTERM are noted and nothing more: there is no way back.

    Attributes:
        came: One of them did.

    """

    def __init__(self) -> None:
        self.came = False
        self._before: list[tuple[int, Any]] = []

    def __enter__(self) -> Late:
        def note(_number: int, _frame: FrameType | None) -> None:
            self.came = True

        for number in (signal.SIGINT, signal.SIGTERM):
            self._before.append((number, signal.signal(number, note)))
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before:
            signal.signal(number, before)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as exc:
        import errno

        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(f"{path} cannot be written: {exc.strerror}") from exc
        raise StorageFault(f"{path} cannot be written: {exc.strerror or exc}") from exc
