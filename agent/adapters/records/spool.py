"""The folder in which apps leave events while no agent runs; its files are told in docs/spool.md.

Anything may be in it: half a line, a link, a file of another program's. A file is opened without
following a link and looked at before it is believed; one of somebody else's is left alone. What
cannot be read as an event is told (:mod:`agent.adapters.records.aside`), and its neighbours are
taken.

A file is *taken* by renaming it, and read after that: a writer that still had it open looks at
the name after its write and writes again elsewhere. Nothing here knows who may report, or what
becomes of the events (:mod:`agent.runtime.counter.spooling`).

Any thread; it blocks.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from agent.adapters.machine.private_files import FILE_MODE, OTHERS, make_folder
from agent.adapters.records.aside import ASIDE, TAKEN, Aside
from tracking.events import Frame, Limits
from tracking.nucleus import APP_ID, parse_frame

NAME: Final = re.compile(r"([0-9a-f]{16})-[A-Za-z0-9_-]{8,64}\.ndjson(\.taken)?", re.ASCII)
WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH
LINE_BYTES: Final = 64 * 1024  #: Twice what an event may have.
FRAME_EVENTS, FRAME_BYTES = 500, 256 * 1024  #: Handed in together.
READ_BYTES: Final = 256 * 1024
UNSETTLED_S: Final = 1.0  #: A file that was written so recently may be in the middle of a line.
BEGUN_S: Final = 60.0  #: A file without a header is somebody's beginning for so long.
#: A part of an event that every event has; another one's name is the app's own.
_PART: Final = re.compile(r"data\[\d+\]\.(id|date|type|name|userId|payload)\b")
_DROPPED: Final = b'\n{"dropped":'


class Found(NamedTuple):
    """A file of the spool that an agent can read."""

    path: Path
    app_id: str
    events: int  #: Whole lines of events, by their newlines.


class Survey(NamedTuple):
    """What lies in the folder."""

    files: tuple[Found, ...] = ()  #: Oldest first.
    strange: tuple[tuple[Path, str], ...] = ()  #: Not to be touched, and why.
    unreadable: tuple[tuple[Path, str], ...] = ()  #: No spool files, and why.


class Forgotten(NamedTuple):
    """What went of an app, and what could not."""

    events: int  #: In the files that went.
    left: tuple[str, ...]  #: Paths and why; empty if nothing is left.


class _Line(msgspec.Struct):
    """What is asked of a line before it is joined with others; unknown keys are checked, too."""

    spool: object = None
    appId: object = None  # noqa: N815 - the format's own word
    id: object = None
    date: object = None
    dropped: object = None


_LINE: Final = msgspec.json.Decoder(_Line)


def prefix(app_id: str) -> str:
    """Return how the names of an app's files begin; a digest, so no id is a path (row 33)."""
    return hashlib.sha256(app_id.encode()).hexdigest()[:16] + "-"


def prepare(folder: Path) -> None:
    """Make the spool's folder, ours alone.

    Raises:
        Fault: It is a link, a file or somebody else's, or cannot be made.

    """
    make_folder(folder)


def survey(folder: Path, now_s: float) -> Survey:
    """Look at every file; ``now_s`` is the wall clock, in seconds."""
    files: list[tuple[float, Found]] = []
    strange: list[tuple[Path, str]] = []
    unreadable: list[tuple[Path, str]] = []
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return Survey()
    for path in paths:
        match = NAME.fullmatch(path.name)
        if match is None:
            continue  # a writer's own beginning, `aside`, or nothing of ours
        try:
            fd = _open(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as exc:
            strange.append((path, in_words(exc)))
            continue
        try:
            found = os.fstat(fd)
            begun = not match[2] and now_s - found.st_mtime < BEGUN_S
            header = os.pread(fd, LINE_BYTES, 0)
            if not header and not begun:
                path.unlink(missing_ok=True)
                continue
            app_id, why = _header(header.partition(b"\n"), match[1])
            if app_id:
                files.append((found.st_mtime, Found(path, app_id, _count(fd))))
            elif not (begun and b"\n" not in header):
                unreadable.append((path, why))
        finally:
            os.close(fd)
    files.sort()
    return Survey(tuple(found for _, found in files), tuple(strange), tuple(unreadable))


def take(path: Path) -> Path:
    """Claim a file; return its new name. One that was taken before keeps its own."""
    if path.name.endswith(TAKEN):
        return path
    taken = path.with_name(path.name + TAKEN)
    path.rename(taken)
    return taken


class Reader:
    """Reads a file that was taken, from its beginning, a frame at a time.

    Attributes:
        aside: Lines that are no events, so far.
        dropped: Events that the writer had no room for, so far.

    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self.limits = limits
        self.aside = Aside()
        self.dropped = 0
        self._frames = self._read()

    def next(self) -> Frame | None:
        """Return the next events, at most 500 or 256 KiB of lines; None at the end.

        Raises:
            OSError: The file cannot be read.

        """
        return next(self._frames, None)

    def close(self) -> None:
        """Stop reading; twice is harmless."""
        self._frames.close()

    def _read(self) -> Generator[Frame, None, None]:
        fd = _open(self.path)
        try:
            lines: list[tuple[int, bytes]] = []
            size = 0
            for number, line in self._lines(fd):
                if self._is_event(number, line):
                    lines.append((number, line))
                    size += len(line)
                if len(lines) >= FRAME_EVENTS or size >= FRAME_BYTES:
                    yield self._frame(lines)
                    lines, size = [], 0
            if lines:
                yield self._frame(lines)
        finally:
            os.close(fd)

    def _lines(self, fd: int) -> Iterator[tuple[int, bytes]]:
        """Yield whole lines with their numbers, but the header; torn or endless ones go aside."""
        tail = b""
        endless = False  # in the middle of a line that is longer than any
        number = 0  # of the last line that was whole
        while chunk := self._chunk(fd, in_line=bool(tail)):
            *whole, tail = (tail + chunk).split(b"\n")
            for line in whole:
                number += 1
                if endless:
                    endless = False
                elif number == 1:
                    pass  # the survey has read the header
                elif len(line) > LINE_BYTES:
                    self.aside.add(number, f"a line of {len(line)} bytes", len(line))
                elif line:
                    yield number, line
            if len(tail) > LINE_BYTES:
                if not endless:
                    self.aside.add(number + 1, "a line without an end", len(tail))
                endless, tail = True, b""
        if tail and not endless:
            self.aside.add(number + 1, "torn: the last line has no end", len(tail))

    def _chunk(self, fd: int, *, in_line: bool) -> bytes:
        """Read on; at the end of a file in the middle of a line, once more a moment later."""
        chunk = os.read(fd, READ_BYTES)
        if not chunk and in_line and time.time() - os.fstat(fd).st_mtime < UNSETTLED_S:
            time.sleep(UNSETTLED_S)
            chunk = os.read(fd, READ_BYTES)
        return chunk

    def _is_event(self, number: int, line: bytes) -> bool:
        """Tell whether a line may be joined with others; count it if not."""
        try:
            said = _LINE.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            self.aside.add(number, f"no JSON object: {exc}", len(line))
            return False
        if said.id is not None and said.date is not None:
            return True
        if isinstance(said.dropped, int) and not isinstance(said.dropped, bool):
            self.dropped += max(0, said.dropped)
        elif said.spool is None:  # two writers that began one file wrote two headers
            why = "an event needs an id and a date of its own here"
            self.aside.add(number, why, len(line))
        return False

    def _frame(self, lines: list[tuple[int, bytes]]) -> Frame:
        joined = b",".join(line for _, line in lines)
        frame = parse_frame(b'{"data":[' + joined + b"]}", limits=self.limits)
        for refusal in frame.refused:
            number, line = lines[max(refusal.index, 0)]
            part = _PART.match(refusal.fault.field or "")
            why = f"its {part[1]} cannot be an event's" if part else "it cannot be an event"
            self.aside.add(number, why, len(line))
        return frame


def remove(path: Path) -> None:
    """Delete a file whose events are committed, or unwanted."""
    path.unlink(missing_ok=True)


def in_words(exc: Exception) -> str:
    """Return why something here cannot be used, for a person."""
    if not isinstance(exc, OSError) or exc.errno is None:
        return str(exc)
    return "it is a link" if exc.errno == errno.ELOOP else os.strerror(exc.errno).lower()


def forget(folder: Path, app_id: str) -> Forgotten:
    """Delete all that an app left, also what was kept aside, and an empty folder of such a name.

    What cannot be deleted is told and does not keep the others here.
    """
    events = {found.path: found.events for found in survey(folder, 0.0).files}
    gone, left = 0, []
    for place in (folder, folder / ASIDE):
        try:
            paths = tuple(place.iterdir())
        except FileNotFoundError:
            continue
        except OSError as exc:
            left.append(f"{place}: {in_words(exc)}")
            continue
        for path in paths:
            if not path.name.removeprefix(".").startswith(prefix(app_id)):
                continue
            try:
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink(missing_ok=True)
                gone += events.get(path, 0)
            except OSError as exc:
                left.append(f"{path}: {in_words(exc)}")
    return Forgotten(gone, tuple(left))


def _open(path: Path) -> int:
    """Open a file of the spool for reading, and believe nothing about it.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not to be touched; the message says why.
        OSError: It cannot be opened.

    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    fd = os.open(path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a regular file")
        if sys.platform != "win32":
            if found.st_uid != os.getuid():
                raise ValueError(f"it belongs to user {found.st_uid}")
            if found.st_nlink != 1:
                raise ValueError(f"it has {found.st_nlink} names")
            if found.st_mode & WRITABLE:
                raise ValueError("others can write to it")
            if stat.S_IMODE(found.st_mode) & OTHERS:
                os.fchmod(fd, FILE_MODE)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _header(begins: tuple[bytes, bytes, bytes], digest: str) -> tuple[str, str]:
    """Return the app of a file, or an empty text and why there is none."""
    line, newline, _ = begins
    try:
        said = _LINE.decode(line) if newline else _Line()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = _Line()
    if said.spool != 1 or not isinstance(said.appId, str) or not APP_ID.fullmatch(said.appId):
        return "", "it does not begin with a header of version 1"
    if not prefix(said.appId).startswith(digest):
        return "", "its header names another app than its name"
    return said.appId, ""


def _count(fd: int) -> int:
    """Return how many whole lines are events; the header is none."""
    lines, at, seam = 0, 0, b""
    while chunk := os.pread(fd, READ_BYTES, at):
        at += len(chunk)
        lines += chunk.count(b"\n") - (seam + chunk).count(_DROPPED)
        seam = chunk[1 - len(_DROPPED) :]
    return max(0, lines - 1)
