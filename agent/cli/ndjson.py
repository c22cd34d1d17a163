"""The lines of a file as events that can be reported again and again and are stored once.

An event without an id of its own is given one out of the hash of the whole file, its line and
its place in that line. The same file gives the same ids, and the agent recognises repeats by
them; a file that has changed is another file. Events keep their own bytes: an id is put in
front, nothing else is touched.

Each event is judged here by the rules the agent will apply (``tracking.nucleus``), because an
acknowledgement cannot tell: the language acknowledges refused events too, or official clients
would resend them for ever.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from agent.rules.batching import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from tracking.events import Limits
from tracking.nucleus import parse_frame

CHUNK_BYTES = 1024 * 1024
ID_BYTES = 15  #: 120 bits are 20 characters of base64 without padding.


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One event that may be reported."""

    line: int  #: From 1.
    app_id: str
    id: str  #: As acknowledgements name it.
    raw: bytes  #: One JSON object, its id in it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """One line, or one event of a line, that cannot be reported, and why."""

    line: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A sign of life: a state, not an event, so it is not imported."""

    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events of one app, in order, small enough for one frame."""

    app_id: str
    items: tuple[Item, ...]

    def frame(self) -> bytes:
        """Return the line that reports these events."""
        app = msgspec.json.encode(self.app_id)
        events = b",".join(item.raw for item in self.items)
        return b'{"appId":' + app + b',"data":[' + events + b"]}\n"


class _Line(msgspec.Struct):
    """What decides between a frame and a bare event; the rest is parsed by the language."""

    data: msgspec.Raw = msgspec.Raw(b"")
    appId: msgspec.Raw = msgspec.Raw(b"")  # noqa: N815 - the wire's own word


_LINE = msgspec.json.Decoder(_Line)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def digest(stream: BinaryIO) -> bytes:
    """Return the hash of everything in ``stream``, and rewind it."""
    whole = hashlib.blake2b(digest_size=32)
    while chunk := stream.read(CHUNK_BYTES):
        whole.update(chunk)
    stream.seek(0)
    return whole.digest()


def read(
    stream: BinaryIO, *, file_hash: bytes, app_id: str | None, limits: Limits
) -> Iterator[Item | Bad | Heartbeat]:
    """Yield what is in the file, line by line; memory stays below two lines.

    Args:
        stream: The file, at its beginning.
        file_hash: Its :func:`digest`.
        app_id: The app of lines that name none; None if there is no such app.
        limits: What one event and one frame may be.

    """
    number = 0
    while line := stream.readline(limits.frame_bytes + 1):
        number += 1
        if len(line) > limits.frame_bytes:
            while line and not line.endswith(b"\n"):
                line = stream.readline(CHUNK_BYTES)
            yield Bad(line=number, why=f"the line is over {limits.frame_bytes} bytes")
        elif stripped := line.strip():
            yield from _line(stripped, number, file_hash, app_id, limits)


def batches(items: Iterator[Item]) -> Iterator[Batch]:
    """Gather neighbours of one app into frames of at most 500 events and 256 KiB."""
    waiting: list[Item] = []
    size = 0
    for item in items:
        full = len(waiting) >= MAX_BATCH_EVENTS or size + len(item.raw) > MAX_BATCH_BYTES
        if waiting and (full or item.app_id != waiting[0].app_id):
            yield Batch(app_id=waiting[0].app_id, items=tuple(waiting))
            waiting, size = [], 0
        waiting.append(item)
        size += len(item.raw) + 1
    if waiting:
        yield Batch(app_id=waiting[0].app_id, items=tuple(waiting))


def _line(
    line: bytes, number: int, file_hash: bytes, app_id: str | None, limits: Limits
) -> Iterator[Item | Bad | Heartbeat]:
    try:
        found = _LINE.decode(line)
        raws = _LIST.decode(found.data) if bytes(found.data).startswith(b"[") else [None]
        named = msgspec.json.decode(found.appId) if bytes(found.appId) else None
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        yield Bad(line=number, why=f"not a JSON object: {exc}")
        return
    app = named if isinstance(named, str) and named else app_id
    for place, raw in enumerate(raws):
        event = line if raw is None else bytes(raw)
        yield _event(event, number, place, file_hash, app, limits)


def _event(
    raw: bytes, number: int, place: int, file_hash: bytes, app_id: str | None, limits: Limits
) -> Item | Bad | Heartbeat:
    frame = parse_frame(b'{"data":[' + raw + b"]}", limits=limits)
    if frame.refused:
        return Bad(line=number, why=str(frame.refused[0].fault))
    if frame.heartbeats:
        return Heartbeat(line=number)
    if len(frame.events) != 1:
        return Bad(line=number, why="no event in it")
    event = frame.events[0]
    app = event.app_id or app_id
    if app is None:
        return Bad(line=number, why="it names no app, and there is no first one; say --app")
    if event.id is not None:
        return Item(line=number, app_id=app, id=str(event.id), raw=raw)
    made = _made_id(file_hash, number, place)
    return Item(line=number, app_id=app, id=made, raw=_with_id(raw, made))


def _made_id(file_hash: bytes, number: int, place: int) -> str:
    seed = file_hash + number.to_bytes(8, "big") + place.to_bytes(8, "big")
    raw = hashlib.blake2b(seed, digest_size=ID_BYTES).digest()
    return base64.urlsafe_b64encode(raw).decode("ascii")


def _with_id(raw: bytes, made: str) -> bytes:
    """Put an id in front of an object's own bytes."""
    opened = raw.lstrip()[1:]
    if b'"id"' in raw:  # an id that is null: a second one beside it would be refused
        fields: dict[str, Any] = msgspec.json.decode(raw)
        return msgspec.json.encode(fields | {"id": made})
    return b'{"id":"' + made.encode("ascii") + b'",' + opened
