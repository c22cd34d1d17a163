"""The Nucleus tracking API on the wire: frames in, golden replies out, and the other way round.

Reading is lenient: whatever an official client ever sent is understood (NUCLEUS.md §2, §5).
Writing is strict: the canonical frames of NUCLEUS.md §5. Nothing here reads a clock, and no
content raises.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from msgspec import Raw

from tracking.dates import event_ms, iso, newest, parse_ms
from tracking.errors import Bug
from tracking.events import Event, Frame
from tracking.frames import DEFAULT_LIMITS, parse_frame, parse_in_steps
from tracking.strict_json import ENCODER

__all__ = [
    "APP_ID",
    "DEFAULT_LIMITS",
    "Outgoing",
    "Reply",
    "content_hash",
    "device_of",
    "encode_event",
    "event_ms",
    "golden_reply",
    "heartbeat",
    "iso",
    "newest",
    "normal_language",
    "normal_platform",
    "parse_frame",
    "parse_in_steps",
    "parse_ms",
    "parse_reply",
    "wrap",
]

APP_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)  #: Use ``fullmatch``.


class Outgoing(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """One event as we send it: the strict column of NUCLEUS.md §5; what is None is left out.

    Attributes:
        id: Unique text, kept with the event for ever (A2).
        date: ISO 8601, UTC, milliseconds, ``Z`` (:func:`iso`).
        session_id: An integer of our own, or what the app itself called its session.
        total_ram: Whole gigabytes.
        payload: A JSON object that passed :func:`parse_frame`, byte for byte.

    """

    type: str
    name: str | None = None
    id: str | int | float | None = None
    date: str | int | float | None = None
    session_id: int | str | None = None
    anon_id: str | None = None
    device_id: str | None = None
    machine_id: str | None = None
    user_id: str | None = None
    client: str | None = None
    module_version: str | None = None
    platform: str | None = None
    os_version: str | None = None
    total_ram: int | None = None
    version: str | None = None
    language: str | None = None
    locale: str | None = None
    arch: str | None = None
    process: str | None = None
    payload: Raw | None = None


class Reply(msgspec.Struct, frozen=True):
    """What a far end answered. Unreadable is empty.

    Attributes:
        ids: The acknowledged ids as text, as JavaScript's ``String()`` writes them.
        anon_id: The id that the far end wants us to use, None if it said nothing.
        confirmed: It echoed a confirmation token.

    """

    ids: tuple[str, ...] = ()
    anon_id: str | None = None
    confirmed: bool = False


# --- answering ---------------------------------------------------------------------------------


def golden_reply(
    frame: Frame, *, unacknowledged: Collection[int] = (), tell_anon_id: bool = True
) -> bytes:
    """Return the answer that every official client understands (NUCLEUS.md §3).

    Swift ends the app it lives in when it meets a key it does not know, so there is nothing but
    the ids, the token that the frame brought and the anonId that its events had.

    Args:
        frame: As parsed.
        unacknowledged: Indexes into ``frame.events`` of those that are not safe. An id shared
            with one of them is left out altogether: clients drop whatever has that id. The
            token is left out as well, because it acknowledges the whole queue.
        tell_anon_id: Say which anonId its events had; to a page nobody tells an id.

    """
    reply: dict[str, object] = {"reportedIds": frame.ids}
    if unacknowledged:
        unsafe = {frame.events[n].id for n in unacknowledged}
        reply["reportedIds"] = [id_ for id_ in frame.ids if id_ not in unsafe]
    elif frame.has_confirmation:
        reply["confirmation"] = frame.confirmation
    if tell_anon_id and frame.anon_id is not None:
        reply["anonId"] = frame.anon_id
    return ENCODER.encode(reply)


def content_hash(app_id: str, event: Event) -> bytes:
    """Return 16 bytes that a repeat of this event has too, and no other event.

    Raises:
        Bug: The event has no id; without one, two events may rightly be alike.

    """
    if event.id is None:
        raise Bug("content_hash of an event without an id")
    head = [app_id, event.id, event.type, event.name, event.date, event.session_id]
    digest = hashlib.blake2b(ENCODER.encode(head), digest_size=16)
    digest.update(b"\0")  # no JSON contains it, so the parts cannot flow into one another
    digest.update(event.payload or b"")
    return digest.digest()


# --- writing -----------------------------------------------------------------------------------


def encode_event(event: Outgoing) -> bytes:
    """Return one event as canonical JSON."""
    return ENCODER.encode(event)


def wrap(events: Sequence[bytes]) -> bytes:
    """Return a frame of encoded events."""
    return b'{"data":[' + b",".join(events) + b"]}"


def heartbeat(device_id: str, machine_id: str, session_id: int | str | None) -> bytes:
    """Return the frame of the minute's sign of life (A5)."""
    beat = Outgoing(
        type="heartbeat", device_id=device_id, machine_id=machine_id, session_id=session_id
    )
    return wrap([encode_event(beat)])


class _ReplyWire(msgspec.Struct, rename="camel"):
    reported_ids: object = None
    anon_id: object = None
    confirmation: object = None


_REPLY: Final = msgspec.json.Decoder(_ReplyWire)


def parse_reply(raw: bytes | str) -> Reply:
    """Read what a far end answered; whatever cannot be read says nothing."""
    try:
        wire = _REPLY.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Reply()
    ids = wire.reported_ids if isinstance(wire.reported_ids, list) else []
    return Reply(
        ids=tuple([text for text in map(_id_text, ids) if text is not None]),
        anon_id=wire.anon_id if isinstance(wire.anon_id, str) and wire.anon_id else None,
        confirmed=bool(wire.confirmation),
    )


def _id_text(id_: object) -> str | None:
    if isinstance(id_, str):
        return id_
    if isinstance(id_, bool) or not isinstance(id_, (int, float)):
        return None
    return str(int(id_)) if isinstance(id_, int) or id_.is_integer() else str(id_)


# --- names -------------------------------------------------------------------------------------


def device_of(event: Event) -> str | None:
    """Return what tells this device from others (A4, A19), None if nothing does."""
    return event.device_id or event.anon_id or event.user_id


def normal_platform(raw: str | None) -> str | None:
    """Return the platform in A17's spelling, None if there is none."""
    word = (raw or "").strip().lower()
    for prefix, name in (
        ("darwin", "mac"),
        ("mac", "mac"),
        ("win", "win"),
        ("linux", "linux"),
        ("ios", "ios"),
        ("ipad", "ios"),
        ("android", "android"),
    ):
        if word.startswith(prefix):
            return name
    return word or None


def normal_language(raw: str | None) -> str | None:
    """Return the language for statistics (A12): the first subtag, lower case."""
    word = re.split(r"[-_.@]", (raw or "").strip().lower(), maxsplit=1)[0]
    return None if word in ("", "c", "posix") else word
