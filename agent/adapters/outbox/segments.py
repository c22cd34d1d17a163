"""Segments: the events of one app that were accepted together, as one value on disk.

The body is the events' JSON objects joined by commas, which is just what stands between the
brackets of a wire frame. Its checksum starts from the name of the stream it belongs to, so it
tells a damaged body and also a body that ended up under somebody else's name. :class:`Batch` is a
run of segments of one stream, lent to a connection.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from agent.rules.batching import MAX_BATCH_BYTES, MAX_BATCH_EVENTS

FRAME_BYTES = len(b'{"data":[]}')  #: What a frame adds to its events.

PAGE_ROOM_BYTES = 4096 - 35 - 40  #: Of a body that stays on its page: SQLite's overhead, and ours.
ROW_BYTES = 4096 // 5 - 40


class _Id(msgspec.Struct):
    id: str


_ids = msgspec.json.Decoder(list[_Id])
_objects = msgspec.json.Decoder(list[msgspec.Raw])


def ids_of(body: bytes) -> tuple[str, ...]:
    """Return the ids of a body's events, in order.

    Raises:
        msgspec.MsgspecError: It is not a body.

    """
    return tuple([event.id for event in _ids.decode(b"[" + body + b"]")])


def split(body: bytes) -> list[bytes]:
    """Return a body's events one by one.

    Raises:
        msgspec.MsgspecError: It is not a body.

    """
    return [bytes(event) for event in _objects.decode(b"[" + body + b"]")]


def owner_seal(app_id: str, upstream: str) -> int:
    """Return where the checksums of a stream's bodies start."""
    return zlib.crc32(f"{app_id}\0{upstream}".encode())


def sealed(owner: int, body: bytes) -> int:
    """Return the checksum of a body.

    Args:
        owner: Of its stream, from :func:`owner_seal`.
        body: Events joined by commas.

    """
    return zlib.crc32(body, owner)


def chunks(
    events: Sequence[bytes],
    max_events: int = MAX_BATCH_EVENTS,
    max_bytes: int = MAX_BATCH_BYTES,
) -> Iterator[tuple[int, bytes]]:
    """Cut events into bodies that fit a frame, in order: (count, body).

    One event alone is a body whatever its size.
    """
    start, size = 0, FRAME_BYTES
    for at, event in enumerate(events):
        if at > start and (at - start >= max_events or size + len(event) + 1 > max_bytes):
            yield at - start, b",".join(events[start:at])
            start, size = at, FRAME_BYTES
        size += len(event) + 1
    if start < len(events):
        yield len(events) - start, b",".join(events[start:])


def laid_out(events: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """Cut events into bodies that waste no disk, in order: (count, body).

    A row that fills more than half of a page has the page for itself, up to twice its size; so
    what fits on one page is cut into rows of which five fit on it. Longer bodies go over several
    pages and fill them.
    """
    at = 0
    for count, body in chunks(events):
        if ROW_BYTES < len(body) <= PAGE_ROOM_BYTES:
            yield from chunks(events[at : at + count], max_bytes=ROW_BYTES + FRAME_BYTES)
        else:
            yield count, body
        at += count


@dataclass(frozen=True, slots=True)
class Batch:
    """Segments lent together: all rows of ``stream`` from ``first`` to ``last``.

    Attributes:
        body: Their events joined by commas.
        ids: The events' wire ids, in order.

    """

    stream: int
    first: int
    last: int
    body: bytes = field(repr=False)
    ids: tuple[str, ...] = field(repr=False)

    @property
    def count(self) -> int:
        """How many events."""
        return len(self.ids)

    @property
    def size(self) -> int:
        """How large the frame is that carries them, in bytes."""
        return len(self.body) + FRAME_BYTES


@dataclass(frozen=True, slots=True)
class Row:
    """One event that waits, as a person may look at it."""

    id: str
    app_id: str
    accepted_ms: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: refused for good, kept for a person.

    Attributes:
        queue: The name of the stream that it is of.

    """

    id: str
    app_id: str
    queue: str
    buried_ms: int
    reason: str
    detail: str
    body: bytes
