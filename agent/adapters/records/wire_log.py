"""The ring on disk: what was said on every wire, within bounds, the oldest forgotten first.

Sixteen files at most, each a sixteenth of the bounds; what is over them goes by whole files, so
between fifteen and sixteen sixteenths are kept, and nothing is ever rewritten to make room. A file
covers at most a day, so that age can be kept, too. Nothing is synced to the disk: a killed process
loses what it had not handed to the kernel (:mod:`agent.runtime.wire` says when it does), a cut of
power some seconds more.

Everything here blocks, and takes one caller at a time (:mod:`agent.runtime.wire` sees to that);
only what :meth:`WireRing.newest_first` returned may be walked while others write. The folder is
0700, the files 0600, and a link in a file's place is refused (threat rows 30, 31).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.machine.private_files import make_folder, sync_folder
from agent.adapters.records.wire_segments import (
    SUFFIX,
    Block,
    Record,
    Segment,
    blocks_of,
    encode_block,
    records_of,
)
from tracking.errors import StorageFault

log = logging.getLogger("agent.wire_log")

FILES = 16
DAY_MS = 86_400_000
BLOCK_BYTES = 512 * 1024  #: Of records, before they are compressed: what a reader unpacks at once.
ZEROS = bytes(64 * 1024)


@dataclass(frozen=True, slots=True)
class Room:
    """How much is kept; any 0 keeps nothing."""

    bytes: int
    days: int
    records: int

    @property
    def none(self) -> bool:
        """Whether nothing is to be kept."""
        return not (self.bytes and self.days and self.records)


class WireRing:
    """The files of a folder, as a ring.

    Args:
        folder: Ours alone; made at the first write.
        room: The bounds.

    Attributes:
        healed_bytes: Torn or damaged bytes found so far.

    """

    def __init__(self, folder: Path, room: Room) -> None:
        self.folder = folder
        self.room = room
        self.healed_bytes = 0
        self._segments: list[Segment] = []
        self._found = False
        self._file: int | None = None

    # --- in ------------------------------------------------------------------------------------

    @property
    def last_n(self) -> int:
        """The number of the newest record, 0 if there is none."""
        self._find()
        return self._segments[-1].last_n if self._segments else 0

    def append(self, records: Sequence[Record], now_ms: int) -> None:
        """Write records, in the order of their numbers, and forget what is over the bounds.

        Raises:
            StorageFault: The disk is full, read-only or not ours; nothing of them is kept.

        """
        try:
            self._find()
            for part in _parts(records):
                self._write(encode_block(part), part)
            self._trim(now_ms)
        except OSError as exc:
            self._let_go()
            raise _unusable(self.folder, exc) from exc

    def _write(self, block: bytes, records: Sequence[Record]) -> None:
        room = self.room
        if len(block) > room.bytes:
            raise StorageFault(f"one frame of {len(block)} bytes is more than wire.max_mib")
        segment = self._segments[-1] if self._file is not None else None
        if segment is None or (
            segment.size + len(block) > room.bytes // FILES
            or segment.count >= max(1, room.records // FILES)
            or records[-1].at_ms - segment.first_ms >= DAY_MS
        ):
            segment = self._begin(records[0].n)
        assert self._file is not None
        written = os.write(self._file, block)
        if written < len(block):  # a full disk takes a part; a torn block is worth nothing
            os.ftruncate(self._file, segment.size)
            raise OSError(28, "no space left on device")
        times = [record.at_ms for record in records]
        where = Block(segment.size, len(block), records[0].n, records[-1].n, min(times), max(times))
        segment.add(where, len(records))

    def _begin(self, n: int) -> Segment:
        """Begin a new file."""
        self._let_go()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        path = self.folder / f"{n:016d}{SUFFIX}"
        self._file = os.open(path, flags, 0o600)
        self._segments.append(Segment(path))
        return self._segments[-1]

    def _let_go(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _trim(self, now_ms: int) -> None:
        """Forget whole files until the rest is within the bounds; the newest one stays."""
        room, segments = self.room, self._segments
        while len(segments) > 1 and (
            sum(segment.size for segment in segments) > room.bytes
            or sum(segment.count for segment in segments) > room.records
            or segments[0].last_ms < now_ms - room.days * DAY_MS
        ):
            segments.pop(0).path.unlink(missing_ok=True)

    def _find(self) -> None:
        """Look at what an earlier process left, once."""
        if self._found:
            return
        make_folder(self.folder)
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            segment = Segment.find(path)
            self.healed_bytes += segment.damaged
            if segment.count:
                self._segments.append(segment)
            else:
                path.unlink()
        for left in self.folder.glob(f".*{SUFFIX}.new"):
            left.unlink()  # of a forgetting that a crash interrupted: the whole file is still there
        self._segments.sort(key=lambda segment: segment.first_n)
        self._found = True
        if self.healed_bytes:
            log.info("cut a torn record of the wire off bytes=%d", self.healed_bytes)

    # --- out -----------------------------------------------------------------------------------

    def newest_first(self) -> Iterator[Record]:
        """Return the records, the newest first; files that go meanwhile are left out.

        Raises:
            StorageFault: The folder cannot be read.

        """
        try:
            if self._found or self.folder.is_dir():
                self._find()
        except OSError as exc:
            raise _unusable(self.folder, exc) from exc
        return _walk(list(self._segments))

    def held(self) -> tuple[int, int, int | None]:
        """Return how many records and bytes there are, and from when the oldest is."""
        if not self._found and not self.folder.is_dir():
            return 0, 0, None
        self._find()
        segments = self._segments
        oldest = min((segment.first_ms for segment in segments), default=None)
        return sum(s.count for s in segments), sum(s.size for s in segments), oldest

    # --- forgetting ----------------------------------------------------------------------------

    def forget(self, app_id: str | None) -> int:
        """Forget an app's records (None: all); their bytes are overwritten; return how many.

        Each file is written anew without them, takes the old one's name, and the old one's bytes
        are overwritten and given back. A crash in between leaves the old file or the new one.

        Raises:
            StorageFault: The disk refuses; some of it may still be there, the same again is safe.

        """
        try:
            if not self._found and not self.folder.is_dir():
                return 0
            self._find()
            self._let_go()
            gone, kept = 0, []
            for segment in self._segments:
                rest, lost = self._without(segment, app_id)
                gone += lost
                if rest is not None:
                    kept.append(rest)
            self._segments = kept
            sync_folder(self.folder)
        except OSError as exc:
            self._found, self._segments = False, []  # look again, for who knows how far it got
            raise _unusable(self.folder, exc) from exc
        return gone

    def _without(self, segment: Segment, app_id: str | None) -> tuple[Segment | None, int]:
        """Return a segment without an app's records, None if nothing is left, and how many went."""
        content = segment.read()
        fresh, lost, written = Segment(segment.path), 0, bytearray()
        for block in blocks_of(content):
            if isinstance(block, int):
                lost += 1  # unreadable: it may have been theirs
                continue
            records = records_of(content, block)
            left = [one for one in records if app_id is not None and one.app_id != app_id]
            lost += len(records) - len(left)
            if not left:
                continue
            said = bytes(content[block.at : block.at + block.size])
            if len(left) < len(records):
                said = encode_block(left)
            times = [one.at_ms for one in left]
            span = (left[0].n, left[-1].n, min(times), max(times))
            fresh.add(Block(len(written), len(said), *span), len(left))
            written += said
        if not lost:
            return segment, 0
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(segment.path, flags), "rb+") as old:
            if written:
                beside = segment.path.with_name(f".{segment.path.name}.new")
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                beside.unlink(missing_ok=True)
                with os.fdopen(os.open(beside, flags, 0o600), "wb") as file:
                    file.write(written)
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(segment.path)
            else:
                segment.path.unlink()
            _blank(old.fileno())
        return (fresh if written else None), lost

    def close(self) -> None:
        """Let the newest file go."""
        self._let_go()


def _blank(file: int) -> None:
    """Overwrite a file that has no name any more."""
    left = os.fstat(file).st_size
    while left > 0:
        left -= os.write(file, ZEROS[:left])
    os.fsync(file)


def _walk(segments: Sequence[Segment]) -> Iterator[Record]:
    for segment in reversed(segments):
        for records in segment.newest_first():
            yield from reversed(records)


def _parts(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Cut records into what is written as one block."""
    start, size = 0, 0
    for at, record in enumerate(records):
        size += len(record.body)
        if size >= BLOCK_BYTES:
            yield records[start : at + 1]
            start, size = at + 1, 0
    if start < len(records):
        yield records[start:]


def _unusable(folder: Path, exc: OSError) -> StorageFault:
    return StorageFault(
        f"{folder}: {os.strerror(exc.errno or 0).lower()}",
        advice="Check the disk, or set wire.max_mib to 0 to keep no record of the wire.",
    )
