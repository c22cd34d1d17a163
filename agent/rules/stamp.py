"""What an event looks like when it leaves: the sender's words, and ours where it left gaps.

Pure. Ids, times, the profile and the facts come in. What the sender said stays as it said it;
only missing deviceId, anonId, sessionId and date are filled in, and the machine facts on
``init`` and ``error``, which require them (seed 000, "Extra events data").

The id on the wire is always ours: 144 random bits as 24 URL-safe characters, so that a far end
cannot guess an acknowledgement (SECURITY.md, "Hostile-server inventory") and two senders that
both count from 1 cannot collide (NUCLEUS.md W7).
"""

from __future__ import annotations

from typing import Any

import msgspec

from tracking.events import Event, Kind
from tracking.nucleus import Outgoing, encode_event, iso

CLIENT = "homing"


class MachineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Slow truths about the machine; shapes as in seed 000."""

    platform: str
    os_version: str
    total_ram: int
    language: str
    arch: str


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who an app's events come from: kept for ever once made, one per app."""

    device_id: str
    anon_id: str


def wire_session(text: str) -> int | str:
    """Return a session id in the seed's type: an integer wherever it is one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else text


def stamp(
    event: Event,
    *,
    wire_id: str,
    received_ms: int,
    session_id: int,
    identity: Identity,
    facts: MachineFacts,
    version: str,
    module_version: str,
) -> bytes:
    """Encode one accepted event as it will go on the wire.

    Args:
        event: As its sender told it.
        wire_id: Ours, unguessable.
        received_ms: Fills in a missing or unreadable date.
        session_id: The app's session by our rule; used where the event names none.
        identity: The app's device and anonymous ids; used where the event names none.
        facts: Told with ``init`` and ``error`` where the sender left them out.
        version: The app's version from the settings, empty if unknown.
        module_version: Ours, told when the sender names no client of its own.

    """
    kind = event.kind
    payload = None if event.payload is None else msgspec.Raw(event.payload)
    date_ms = received_ms if event.date_ms is None else event.date_ms
    words: dict[str, Any] = {}
    if kind is not Kind.EVENT or event.client is not None or event.module_version is not None:
        words = _extras(event, facts, version, module_version)
    if event.user_id is not None:
        words["user_id"] = event.user_id
    if event.machine_id is not None:
        words["machine_id"] = event.machine_id
    if event.name is not None:
        words["name"] = event.name
    return encode_event(
        Outgoing(
            type=event.type,
            id=wire_id,
            date=iso(date_ms),
            session_id=session_id if event.session_id is None else wire_session(event.session_id),
            anon_id=event.anon_id or identity.anon_id,
            device_id=event.device_id or identity.device_id,
            payload=payload,
            **words,
        )
    )


class Plain:
    """Stamps the plain events of one frame: a name, a payload, perhaps a date, nothing else.

    Most events are plain, and for them everything but the id is known once per frame; so the
    parts are joined as bytes. The result equals :func:`stamp`'s, byte for byte (tested).

    Args:
        session_id: The app's session.
        identity: The app's ids.
        received_ms: Date of events that name none.

    """

    __slots__ = ("_date", "_heads", "_tail")

    def __init__(self, *, session_id: int, identity: Identity, received_ms: int) -> None:
        self._date = iso(received_ms).encode()
        self._heads: dict[str, bytes] = {}
        tail = {"sessionId": session_id, "anonId": identity.anon_id}
        whole = msgspec.json.encode(tail | {"deviceId": identity.device_id})
        self._tail = b'",' + whole[1:-1]

    def stamp(self, event: Event, wire_id: str) -> bytes | None:
        """Encode an event if it is plain, else return None."""
        if (
            event.kind is not Kind.EVENT
            or event.type != "event"
            or event.name is None
            or event.session_id is not None
            or event.device_id is not None
            or event.user_id is not None
            or event.anon_id is not None
            or event.client is not None
            or event.module_version is not None
        ):
            return None
        name = event.name
        head = self._heads.get(name)
        if head is None:
            head = b'{"type":"event","name":' + msgspec.json.encode(name) + b',"id":"'
            self._heads[name] = head
        date = self._date if event.date_ms is None else iso(event.date_ms).encode()
        if event.payload is None:
            return b"".join((head, wire_id.encode(), b'","date":"', date, self._tail, b"}"))
        return b"".join(
            (
                head,
                wire_id.encode(),
                b'","date":"',
                date,
                self._tail,
                b',"payload":',
                event.payload,
                b"}",
            )
        )


def _extras(event: Event, facts: MachineFacts, version: str, module_version: str) -> dict[str, Any]:
    """Return the facts that an event carries beyond the basic ones."""
    words: dict[str, Any] = {
        "client": event.client,
        "module_version": event.module_version,
        "platform": event.platform,
        "os_version": event.os_version,
        "total_ram": event.total_ram,
        "version": event.version,
        "language": event.language,
        "locale": event.language,
        "arch": event.arch,
        "process": event.process,
    }
    if event.kind in (Kind.INIT, Kind.ERROR):
        fill: dict[str, Any] = {
            "platform": facts.platform,
            "os_version": facts.os_version,
            "total_ram": facts.total_ram,
            "version": version or "0.0.0",
            "language": facts.language,
            "locale": facts.language,
            "arch": facts.arch,
        }
        if event.client is None:
            fill |= {"client": CLIENT, "module_version": module_version}
        words |= {key: value for key, value in fill.items() if words[key] is None}
    return {key: value for key, value in words.items() if value is not None}


def opening(
    *,
    wire_id: str,
    date_ms: int,
    session_id: int,
    identity: Identity,
    user_id: str | None,
    facts: MachineFacts,
    version: str,
    module_version: str,
) -> bytes:
    """Encode the ``init`` that the agent puts before the first event of a session."""
    return stamp(
        opening_event(date_ms, user_id),
        wire_id=wire_id,
        received_ms=date_ms,
        session_id=session_id,
        identity=identity,
        facts=facts,
        version=version,
        module_version=module_version,
    )


def opening_event(date_ms: int, user_id: str | None) -> Event:
    """Return the same before it is stamped, for a far end that is told it in other words."""
    return Event(kind=Kind.INIT, type="init", user_id=user_id, date_ms=date_ms)
