"""What a damaged write-ahead log still holds.

SQLite believes the log up to the first frame whose checksum does not fit, and forgets what
follows without a word: one flipped byte would silently undo every commit behind it. The checksums
are a chain, though, and each frame carries its own link, so a later frame can be proved with the
one before it (https://www.sqlite.org/fileformat2.html#the_write_ahead_log). :func:`forgotten`
says whether SQLite has overlooked commits, :func:`newest_pages` gets back what can be proved.

A torn end, as a crash or a cut of power leaves it, is no damage: nobody was promised a commit
whose last frame never reached the disk.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.outbox.carving import PAGE_BYTES

HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES
MAGIC = 0x377F0682  #: Its last bit says that checksums read numbers big end first.
KNOWN_FRAMES_AT = 16  #: Where the -shm file keeps how many frames SQLite believes.

Sums = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Frame:
    page: int
    commit: bool
    salts: bytes
    sums: Sums
    at: int  # of its header in the log


def forgotten(path: Path) -> int:
    """Return how many commits SQLite, which has the file open, did not believe.

    Args:
        path: Of the database; its log has just been recovered and not written to since.

    """
    log, shared = _beside(path, "-wal"), _beside(path, "-shm")
    try:
        size = log.stat().st_size
        if size <= HEADER_BYTES:
            return 0
        with shared.open("rb") as file:
            file.seek(KNOWN_FRAMES_AT)
            (known,) = struct.unpack("=I", file.read(4))
        with log.open("rb") as file:
            head = file.read(HEADER_BYTES)
            if not _is_header(head):
                raw = head + file.read()
                return sum(frame.commit for frame in _of_salts(raw, _newest_salts(raw)))
            commits = 0
            for at in range(HEADER_BYTES + known * FRAME_BYTES, size, FRAME_BYTES):
                file.seek(at)
                frame = _frame(file.read(FRAME_HEADER_BYTES), at)
                if frame is not None and frame.salts == head[16:24]:  # others: damaged, or older
                    commits += frame.commit
            return commits
    except (FileNotFoundError, struct.error):
        return 0


def newest_pages(log: Path) -> dict[int, bytes]:
    """Return the newest provable version of every page that the log holds."""
    try:
        raw = log.read_bytes()
    except FileNotFoundError:
        return {}
    head = raw[:HEADER_BYTES]
    good = _is_header(head)
    salts = head[16:24] if good else _newest_salts(raw)
    before: Sums | None = struct.unpack_from(">II", head, 24) if good else None
    pages: dict[int, bytes] = {}
    waiting: dict[int, bytes] = {}  # proved, but its commit has not come yet
    for frame in _of_salts(raw, salts):
        if before is not None and _proved(raw, frame, before):
            start = frame.at + FRAME_HEADER_BYTES
            waiting[frame.page] = raw[start : start + PAGE_BYTES]
        before = frame.sums
        if frame.commit:
            pages.update(waiting)
            waiting.clear()
    return pages


def _of_salts(raw: bytes, salts: bytes) -> Iterator[_Frame]:
    """Yield the frames since the log was last begun anew, those with damaged headers left out."""
    for at in range(HEADER_BYTES, len(raw) - FRAME_BYTES + 1, FRAME_BYTES):
        frame = _frame(raw[at : at + FRAME_HEADER_BYTES], at)
        if frame is not None and frame.salts == salts:
            yield frame


def _newest_salts(raw: bytes) -> bytes:
    """Return the salts of the newest frames when the log's own header cannot say.

    The first salt grows by one each time the log is begun anew; only frames that prove
    themselves have a say.
    """
    newest, before = b"", None
    for at in range(HEADER_BYTES, len(raw) - FRAME_BYTES + 1, FRAME_BYTES):
        frame = _frame(raw[at : at + FRAME_HEADER_BYTES], at)
        if frame is None:
            continue
        proved = before is not None and _proved(raw, frame, before.sums)
        if proved and frame.salts > newest:
            newest = frame.salts
        before = frame
    return newest


def _frame(head: bytes, at: int) -> _Frame | None:
    if len(head) < FRAME_HEADER_BYTES:
        return None
    page, size, first, second = struct.unpack_from(">II8xII", head)
    return _Frame(page, size != 0, head[8:16], (first, second), at) if page else None


def _is_header(head: bytes) -> bool:
    if len(head) < HEADER_BYTES or struct.unpack_from(">I", head)[0] | 1 != MAGIC | 1:
        return False
    return _sums(head[:24], (0, 0)) == struct.unpack_from(">II", head, 24)


def _proved(raw: bytes, frame: _Frame, before: Sums) -> bool:
    start = frame.at + FRAME_HEADER_BYTES
    covered = raw[frame.at : frame.at + 8] + raw[start : start + PAGE_BYTES]
    return _sums(covered, before) == frame.sums


def _sums(data: bytes, start: Sums) -> Sums:
    """Go on with a checksum; SQLite writes the logs of this machine in its own byte order."""
    words = memoryview(data).cast("I")
    first, second = start
    for at in range(0, len(words), 2):
        first = first + words[at] + second & 0xFFFFFFFF
        second = second + words[at + 1] + first & 0xFFFFFFFF
    return first, second


def _beside(path: Path, end: str) -> Path:
    return path.with_name(f"{path.name}{end}")
