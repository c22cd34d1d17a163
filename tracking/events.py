"""Events and frames: what the language talks about, before any wire form.

A :class:`Frame` is one message as it was understood: the events that may be stored, the
heartbeats that may not, what was refused and why, and the ids in the order and JSON type in
which they came, because official clients compare acknowledgements with ``===``
(NUCLEUS.md §3, golden reply).

Invariants:
    1. An :class:`Event` that exists is within :class:`Limits`; refused ones are
       :class:`Refusal` values and never become events.
    2. ``payload`` is the sender's JSON object, byte for byte.
    3. Heartbeats are states: they are never in ``Frame.events``.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from tracking.errors import RequestFault

RawId: TypeAlias = int | float | str  #: An id as the client sent it; echoed in the same JSON type.


class Kind(enum.Enum):
    """What sort of event it is, after the lenient rules (NUCLEUS.md A1, A8)."""

    INIT = "init"
    EVENT = "event"
    ERROR = "error"
    USERID = "userid"
    PROPS = "props"
    HEARTBEAT = "heartbeat"
    OTHER = "other"  #: Page views and types that only a client knows; ``type`` keeps its word.


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what is taken in (SECURITY.md, "Limits on the local API")."""

    frame_bytes: int = 32 * 1024 * 1024  #: One WebSocket frame; SDKs resend a whole queue as one.
    body_bytes: int = 8 * 1024 * 1024  #: One HTTP body.
    event_bytes: int = 32 * 1024  #: One event as JSON.
    name_chars: int = 256
    depth: int = 8  #: Nesting of a payload, the payload itself being 1.
    keys: int = 128  #: Keys per object.


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that happened in an app, as its sender told it.

    Attributes:
        kind: After the lenient rules.
        type: The wire word: ``init``, ``event``, …, ``$pageview``; for ``Kind.OTHER`` verbatim.
        name: Name of an event or an error; ``None`` where the type needs none.
        id: The sender's id in its own JSON type, ``None`` if it sent none.
        date: The sender's date verbatim (text or number), ``None`` if it sent none.
        date_ms: The same as Unix milliseconds, ``None`` if absent or unreadable.
        session_id: As text (A13), quotes of A14 removed; ``None`` if absent.
        user_id: A14 applied; ``None`` if absent or null.
        anon_id: A14 applied; ``None`` if absent or null.
        device_id: ``deviceId ?? machineId`` (A4); ``None`` if both are absent.
        machine_id: ``machineId`` verbatim.
        app_id: ``appId`` inside the event, if any (A15).
        payload: The JSON object as sent (``payload``, or ``data`` for props, A9), else ``None``.
        platform: Verbatim; ``tracking.nucleus.normal_platform`` gives A17's spelling.
        total_ram: Rounded to whole GB (A12).
        language: ``locale ?? language`` (A12), verbatim.
        arch: As text.

    """

    kind: Kind
    type: str
    name: str | None = None
    id: RawId | None = None
    date: int | float | str | None = None
    date_ms: int | None = None
    session_id: str | None = None
    user_id: str | None = None
    anon_id: str | None = None
    device_id: str | None = None
    machine_id: str | None = None
    app_id: str | None = None
    payload: bytes | None = None
    client: str | None = None
    module_version: str | None = None
    platform: str | None = None
    os_version: str | None = None
    total_ram: int | None = None
    version: str | None = None
    language: str | None = None
    arch: str | None = None
    process: str | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One element of ``data`` that will not be stored, and the sentence that says why.

    Attributes:
        index: Position in ``data``.
        id: Its id if it had a readable one; a refused event is still acknowledged
            (SECURITY.md decision 8: an official SDK would resend it for ever).
        fault: Names the field, as in ``data[3].payload``.

    """

    index: int
    id: RawId | None
    fault: RequestFault


class Asked(msgspec.Struct, frozen=True):
    """What a sender wants to read that no official SDK does (``tracking.acknowledging``).

    Attributes:
        wait_s: How long it wants to wait until its events are delivered; None: durable will do.
        imports: They are a person's import, not an app's report.

    """

    wait_s: float | None = None
    imports: bool = False


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One message from an app or an agent, understood.

    Attributes:
        events: What may be stored, in order.
        heartbeats: Signs of life, never stored.
        refused: What may not, and why.
        ids: Every readable id of the frame, in order, in its own JSON type (golden reply).
        confirmation: Top-level token to echo, if ``has_confirmation``.
        anon_id: The normalised anonId to echo, ``None`` if no event had one.
        app_id: Top-level ``appId`` (line frames on the local socket).
        asked: What its sender asks of the reply beyond the golden one, None if nothing.

    """

    events: tuple[Event, ...] = ()
    heartbeats: tuple[Event, ...] = ()
    refused: tuple[Refusal, ...] = ()
    ids: tuple[RawId, ...] = ()
    confirmation: object = None
    has_confirmation: bool = False
    anon_id: str | None = None
    app_id: str | None = None
    asked: Asked | None = None
