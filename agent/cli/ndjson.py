"""The lines of a file as events that can be reported again and again and are stored once.

An event without an id of its own is given one out of the hash of the whole file, its line and
its place in that line. The same file gives the same ids, and the agent recognises repeats by
them; a file that has changed is another file. Events keep their own bytes: an id is put in
front, nothing else is touched.

Each event is judged here by the language's own rules (``tracking.nucleus``), so that a bad one
is named by its line before anything is sent. The agent's settings may be stricter still; what
it refuses it names in its answer (:mod:`agent.cli.lane`).
"""

from __future__ import annotations

import base64
import codecs
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from agent.rules.batching import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from tracking.events import Event, Frame, Limits
from tracking.nucleus import APP_ID, golden_reply, parse_frame, parse_reply

CHUNK_BYTES = 1024 * 1024
LARGEST = Limits(event_bytes=256 * 1024)  #: What the settings can allow at most.
IMPORTED = b'],"ack":"durable","import":true}\n'  #: Not an app's report (tracking.acknowledging).
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
        return b'{"appId":' + app + b',"data":[' + events + IMPORTED


class _Line(msgspec.Struct):
    """What decides between a frame and a bare event; the rest is parsed by the language.

    A bare event may have ``data`` too: the properties of one of type ``props`` (A9).
    """

    data: msgspec.Raw = msgspec.Raw(b"")
    type: msgspec.Raw = msgspec.Raw(b"")
    name: msgspec.Raw = msgspec.Raw(b"")
    appId: msgspec.Raw = msgspec.Raw(b"")  # noqa: N815 - the wire's own word


Found = Item | Bad | Heartbeat

_LINE = msgspec.json.Decoder(_Line)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def digest(stream: BinaryIO) -> bytes:
    """Return the hash of everything in ``stream``, and rewind it."""
    whole = hashlib.blake2b(digest_size=32)
    while chunk := stream.read(CHUNK_BYTES):
        whole.update(chunk)
    stream.seek(0)
    return whole.digest()


def read(stream: BinaryIO, *, file_hash: bytes, app_id: str | None) -> Iterator[Found]:
    """Yield what is in the file, line by line; memory stays below two lines.

    Args:
        stream: The file, at its beginning.
        file_hash: Its :func:`digest`.
        app_id: The app of lines that name none; None if there is no such app.

    """
    longest = LARGEST.frame_bytes
    number = 0
    while line := stream.readline(longest + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)  # Windows' editors put one there
        if len(line) > longest:
            while line and not line.endswith(b"\n"):
                line = stream.readline(CHUNK_BYTES)
            yield Bad(line=number, why=f"the line is over {longest} bytes")
        elif stripped := line.strip():
            yield from _line(stripped, number, file_hash, app_id)


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


def _line(line: bytes, number: int, file_hash: bytes, app_id: str | None) -> Iterator[Found]:
    try:
        found = _LINE.decode(line)
        raws = _elements(found, line)
        named = msgspec.json.decode(found.appId) if bytes(found.appId) else None
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        yield Bad(line=number, why=f"not a JSON object: {exc}")
        return
    app = named if isinstance(named, str) and named else app_id
    for place, raw in enumerate(raws):
        yield _event(raw, number, _made_id(file_hash, number, place), app)


def _elements(found: _Line, line: bytes) -> list[bytes]:
    data = bytes(found.data)
    if data.startswith(b"["):
        return [bytes(raw) for raw in _LIST.decode(data)]
    bare = not data or bytes(found.type) or bytes(found.name)
    return [line if bare else data]


def _event(raw: bytes, number: int, made: str, app_id: str | None) -> Found:
    frame = parse_frame(b'{"data":[' + raw + b"]}", limits=LARGEST)
    if frame.refused:
        return Bad(line=number, why=str(frame.refused[0].fault).replace("data[0].", ""))
    if frame.heartbeats:
        return Heartbeat(line=number)
    if len(frame.events) != 1:
        return Bad(line=number, why="no event in it")
    event = frame.events[0]
    app = event.app_id or app_id
    if app is None:
        return Bad(line=number, why="it names no app, and there is no first one; say --app")
    if not APP_ID.fullmatch(app):
        return Bad(line=number, why=f"appId must be 1 to 64 of A-Z a-z 0-9 _ -, got {app!r}")
    if event.id is None:
        return Item(line=number, app_id=app, id=made, raw=_with_id(raw, made))
    return Item(line=number, app_id=app, id=_as_acknowledged(event), raw=raw)


def _as_acknowledged(event: Event) -> str:
    """Return an event's own id as an answer will read; numbers have JavaScript's spelling."""
    if isinstance(event.id, str):
        return event.id
    (text,) = parse_reply(golden_reply(Frame(ids=(event.id or 0,)))).ids
    return text


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
