"""The record of the wire as files: how records lie in a segment, and what a torn one is worth.

A segment is a file of blocks. A block is what was written at once: a header that says how long it
is, which numbers and which time it covers, and a checksum over all of it; then its records,
compressed together, because frames of one app are much alike.

    | magic 4 | crc32 4 | bytes 4 | raw bytes 4 | first n 8 | last n 8 | first ms 8 | last ms 8 |
    | zlib(msgpack([record, …])) |

A killed process leaves at worst a block that is not whole at the end of the newest file: it is cut
off at the next start. A block that was damaged later is skipped, and counted.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

MAGIC = b"HWB1"
HEADER = struct.Struct(">4sIIIQQQQ")
SEALED_FROM = 8  #: The checksum covers everything after itself.
SUFFIX = ".wire"
LEVEL = 1  #: Of zlib: half the size of level 0 costs 10 ns a byte, level 6 five times as much.
MOST_RAW_BYTES = 64 * 1024 * 1024  #: A block that says more is damaged.
SENT, RECEIVED = "sent", "received"
VERDICT = "verdict"  #: Kind of a record that says how an earlier one ended.


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One thing that was said on a wire, or the verdict on one that was.

    Attributes:
        n: Its number; they only grow.
        at_ms: When, Unix milliseconds.
        app_id: Whose.
        upstream: The way out's name.
        direction: ``sent`` or ``received``.
        kind: ``frame``, ``http``, ``handshake``, ``proxy``, ``data-api``, or ``verdict``.
        head: The request or status line, empty for frames.
        size: Bytes on the wire, before anything was masked.
        peer: Who was at the other end: the certificate, or why there is none.
        verdict: What became of it; empty while nobody knows.
        of: Of a verdict: the number of what it is about.
        body: The bytes, secrets masked.

    """

    n: int
    at_ms: int
    app_id: str
    upstream: str
    direction: str
    kind: str
    head: str
    size: int
    peer: str
    verdict: str
    of: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """Where a block lies in its segment, and what its header says of it."""

    at: int
    size: int
    first_n: int
    last_n: int
    first_ms: int
    last_ms: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Record])


def encode_block(records: Sequence[Record]) -> bytes:
    """Return records, at least one, as a block."""
    raw = _encoder.encode(records)
    packed = zlib.compress(raw, LEVEL)
    times = [record.at_ms for record in records]
    said = HEADER.pack(
        MAGIC,
        0,
        len(packed),
        len(raw),
        records[0].n,
        records[-1].n,
        max(0, min(times)),
        max(0, *times),
    )
    crc = zlib.crc32(packed, zlib.crc32(said[SEALED_FROM:]))
    return said[:4] + crc.to_bytes(4, "big") + said[SEALED_FROM:] + packed


def blocks_of(content: bytes) -> Iterator[Block | int]:
    """Yield the blocks of a segment, and where there is none, how many bytes were skipped."""
    at = 0
    while at < len(content):
        block = _block_at(content, at)
        if block is not None:
            yield block
            at += block.size
            continue
        after = content.find(MAGIC, at + 1)
        while after >= 0 and _block_at(content, after) is None:
            after = content.find(MAGIC, after + 1)
        until = len(content) if after < 0 else after
        yield until - at
        at = until


def _block_at(content: bytes, at: int) -> Block | None:
    """Return the block at a place, None if it is not whole or not what was written."""
    body = at + HEADER.size
    if body > len(content) or content[at : at + 4] != MAGIC:
        return None
    _, crc, size, raw, first_n, last_n, first_ms, last_ms = HEADER.unpack_from(content, at)
    if raw > MOST_RAW_BYTES or body + size > len(content):
        return None
    view = memoryview(content)
    if zlib.crc32(view[body : body + size], zlib.crc32(view[at + SEALED_FROM : body])) != crc:
        return None
    return Block(at, HEADER.size + size, first_n, last_n, first_ms, last_ms)


def records_of(content: bytes, block: Block) -> list[Record]:
    """Return the records of a block."""
    packed = memoryview(content)[block.at + HEADER.size : block.at + block.size]
    return _decoder.decode(zlib.decompressobj().decompress(packed, MOST_RAW_BYTES))


class Segment:
    """One file of the ring.

    Attributes:
        path: Its file.
        size: Bytes that are whole blocks.
        count: Records.
        first_n: Of its first record, 0 if it has none.
        last_n: Of its last.
        first_ms: The earliest time in it.
        last_ms: The latest.
        damaged: Bytes that could not be read.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = self.count = self.damaged = 0
        self.first_n = self.last_n = 0
        self.first_ms = self.last_ms = 0

    def add(self, block: Block, count: int) -> None:
        """Count a block in."""
        if not self.count:
            self.first_n, self.first_ms = block.first_n, block.first_ms
        self.size += block.size
        self.count += count
        self.last_n = block.last_n
        self.first_ms = min(self.first_ms, block.first_ms)
        self.last_ms = max(self.last_ms, block.last_ms)

    @classmethod
    def find(cls, path: Path) -> Segment:
        """Read what a segment holds; what is torn at its end is cut off.

        Raises:
            OSError: It cannot be read, is a link, somebody else's, or no file.

        """
        segment = cls(path)
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags), "rb+", buffering=0) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
                raise PermissionError(errno.EPERM, "not a file of ours")
            if found.st_nlink != 1:
                raise PermissionError(errno.EPERM, "a file of ours has one name")
            os.fchmod(file.fileno(), 0o600)
            content = file.readall()
            end = 0
            for block in blocks_of(content):
                if isinstance(block, int):
                    segment.damaged += block
                    continue
                # Numbers are given one by one, so this is at most too many after a forgetting.
                segment.add(block, block.last_n - block.first_n + 1)
                end = block.at + block.size
            if end < len(content):
                file.truncate(end)
            segment.size = end
        return segment

    def read(self) -> bytes:
        """Return its content; empty if it has gone meanwhile."""
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(self.path, flags), "rb") as file:
                return file.read(self.size)
        except FileNotFoundError:
            return b""

    def newest_first(self) -> Iterator[list[Record]]:
        """Yield the records block by block, the newest block first."""
        content = self.read()
        whole = [block for block in blocks_of(content) if isinstance(block, Block)]
        for block in reversed(whole):
            yield records_of(content, block)
