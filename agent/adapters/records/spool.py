"""The folder in which apps leave events while no agent runs; its files are told in docs/spool.md.

Anything may be in it: half a line, a link, a file of another program's. A file is opened without
following a link and looked at before it is believed; one of somebody else's is left alone. What
cannot be read as an event is kept aside with the reason, and its neighbours are not.

A file is *taken* by renaming it, and read after that: a writer that still had it open looks at
the name after its write and writes again elsewhere. Nothing here knows who may report, or what
becomes of the events (:mod:`agent.runtime.counter.spooling`).

Any thread; it blocks.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from agent.adapters.machine.private_files import FILE_MODE, OTHERS, make_folder, write_private
from tracking.events import Frame, Limits
from tracking.nucleus import APP_ID, parse_frame

NAME: Final = re.compile(r"([0-9a-f]{16})-[A-Za-z0-9_-]{8,64}\.ndjson(\.taken)?", re.ASCII)
TAKEN: Final = ".taken"
ASIDE: Final = "aside"  #: Folder of what could not be read as an event.
WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH
LINE_BYTES: Final = 64 * 1024  #: Twice what an event may have.
FRAME_EVENTS, FRAME_BYTES = 500, 256 * 1024  #: Handed in together.
READ_BYTES: Final = 256 * 1024
UNSETTLED_S: Final = 1.0  #: A file that was written so recently may be in the middle of a line.
BEGUN_S: Final = 60.0  #: A file without a header is somebody's beginning for so long.
ASIDE_BYTES: Final = 256 * 1024  #: Of one file's lines that are kept; the others are counted.
ASIDE_ALL_BYTES, ASIDE_DAYS = 8 * 1024 * 1024, 30
DAY_S: Final = 86_400.0
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


@dataclass(slots=True)
class Aside:
    """Lines that are no events, with the reason, up to a bound; beyond it they are counted."""

    kept: list[tuple[str, bytes]] = field(default_factory=list)
    lines: int = 0
    size: int = 0

    def add(self, why: str, line: bytes) -> None:
        self.lines += 1
        if self.size + len(line) <= ASIDE_BYTES:
            self.size += len(line)
            self.kept.append((why, line))


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
            strange.append((path, str(exc)))
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
            lines: list[bytes] = []
            size = 0
            for line in self._lines(fd):
                if self._is_event(line):
                    lines.append(line)
                    size += len(line)
                if len(lines) >= FRAME_EVENTS or size >= FRAME_BYTES:
                    yield self._frame(lines)
                    lines, size = [], 0
            if lines:
                yield self._frame(lines)
        finally:
            os.close(fd)

    def _lines(self, fd: int) -> Iterator[bytes]:
        """Yield whole lines without the header; what is torn or endless goes aside."""
        tail = b""
        endless = False  # in the middle of a line that is longer than any
        first = True
        while chunk := self._chunk(fd, in_line=bool(tail)):
            *whole, tail = (tail + chunk).split(b"\n")
            for line in whole:
                if endless:
                    endless = False
                elif first:
                    first = False  # the survey has read the header
                elif len(line) > LINE_BYTES:
                    self.aside.add(f"a line of {len(line)} bytes", line[:LINE_BYTES])
                elif line:
                    yield line
            if len(tail) > LINE_BYTES:
                if not endless:
                    self.aside.add("a line without an end", tail[:LINE_BYTES])
                endless, tail = True, b""
        if tail and not endless:
            self.aside.add("torn: the last line has no end", tail)

    def _chunk(self, fd: int, *, in_line: bool) -> bytes:
        """Read on; at the end of a file in the middle of a line, once more a moment later."""
        chunk = os.read(fd, READ_BYTES)
        if not chunk and in_line and time.time() - os.fstat(fd).st_mtime < UNSETTLED_S:
            time.sleep(UNSETTLED_S)
            chunk = os.read(fd, READ_BYTES)
        return chunk

    def _is_event(self, line: bytes) -> bool:
        """Tell whether a line may be joined with others; count or keep it if not."""
        try:
            said = _LINE.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            self.aside.add(f"no JSON object: {exc}", line)
            return False
        if said.id is not None and said.date is not None:
            return True
        if isinstance(said.dropped, int) and not isinstance(said.dropped, bool):
            self.dropped += max(0, said.dropped)
        elif said.spool is None:  # two writers that began one file wrote two headers
            self.aside.add("an event needs an id and a date of its own here", line)
        return False

    def _frame(self, lines: list[bytes]) -> Frame:
        frame = parse_frame(b'{"data":[' + b",".join(lines) + b"]}", limits=self.limits)
        for refusal in frame.refused:
            self.aside.add(str(refusal.fault), lines[max(refusal.index, 0)])
        return frame


def remove(path: Path) -> None:
    """Delete a file whose events are committed, or unwanted."""
    path.unlink(missing_ok=True)


def forget(folder: Path, app_id: str) -> int:
    """Delete all that an app left, also what was kept aside; return how many events that was.

    Raises:
        OSError: Not all of it could be deleted.

    """
    events = sum(found.events for found in survey(folder, 0.0).files if found.app_id == app_id)
    for place in (folder, folder / ASIDE):
        with contextlib.suppress(FileNotFoundError):
            for path in tuple(place.iterdir()):
                if path.name.removeprefix(".").startswith(prefix(app_id)):
                    path.unlink(missing_ok=True)
    return events


def keep_aside(folder: Path, name: str, aside: Aside) -> Path:
    """Keep the lines of one file that are no events; return where.

    Written whole under the file's own name, so an import that is repeated writes it again.

    Raises:
        Fault: It cannot be written.

    """
    make_folder(folder / ASIDE)
    kept = [{"why": why, "line": line.decode("utf-8", "replace")} for why, line in aside.kept]
    rows = [msgspec.json.encode(row) for row in kept]
    if aside.lines > len(kept):
        rows.append(msgspec.json.encode({"more": aside.lines - len(kept)}))
    path = folder / ASIDE / name.removesuffix(TAKEN)
    write_private(path, b"\n".join(rows) + b"\n")
    return path


def set_aside(folder: Path, path: Path) -> Path:
    """Move a file that is no spool file out of the way; return where.

    Raises:
        Fault: There is no place to put it.
        OSError: It cannot be moved.

    """
    make_folder(folder / ASIDE)
    kept = folder / ASIDE / path.name.removesuffix(TAKEN)
    path.rename(kept)
    os.utime(kept)  # it lies here from now on, however old it is
    return kept


def prune_aside(folder: Path, now_s: float) -> None:
    """Delete what has lain aside for 30 days, and the oldest of more than 8 MiB."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder / ASIDE) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                seen = entry.stat(follow_symlinks=False)
                found.append((seen.st_mtime, seen.st_size, entry.path))
    total = 0
    for mtime, size, name in sorted(found, reverse=True):
        total += size
        if total > ASIDE_ALL_BYTES or now_s - mtime > ASIDE_DAYS * DAY_S:
            with contextlib.suppress(OSError):
                Path(name).unlink()


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
