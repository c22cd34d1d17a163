"""Segments: the events of one app that were accepted together, as one value on disk.

The body is the events' JSON objects joined by commas, which is just what stands between the
brackets of a wire frame; a checksum tells a damaged one. :class:`Batch` is a run of segments of
one stream, lent to a connection.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from agent.rules.batching import MAX_BATCH_BYTES, MAX_BATCH_EVENTS


class _Id(msgspec.Struct):
    id: str


_ids = msgspec.json.Decoder(list[_Id])
_objects = msgspec.json.Decoder(list[msgspec.Raw])


def ids_of(body: bytes) -> list[str]:
    """Return the ids of a body's events, in order."""
    return [event.id for event in _ids.decode(b"[" + body + b"]")]


def split(body: bytes) -> list[bytes]:
    """Return a body's events one by one."""
    return [bytes(event) for event in _objects.decode(b"[" + body + b"]")]


def sealed(body: bytes) -> int:
    """Return the checksum of a body."""
    return zlib.crc32(body)


def chunks(events: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """Cut events into bodies that fit a batch: (count, body)."""
    start, size = 0, 0
    for at, event in enumerate(events):
        if at > start and (
            at - start >= MAX_BATCH_EVENTS or size + len(event) + 1 > MAX_BATCH_BYTES
        ):
            yield at - start, b",".join(events[start:at])
            start, size = at, 0
        size += len(event) + 1
    if start < len(events):
        yield len(events) - start, b",".join(events[start:])


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
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Row:
    """One event that waits, as a person may look at it."""

    id: str
    app_id: str
    accepted_ms: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: refused for good, kept for a person."""

    id: str
    app_id: str
    buried_ms: int
    reason: str
    detail: str
    body: bytes
