"""Frames in: whatever an official client ever sent, understood (NUCLEUS.md §2, §5).

There are two roads. The quick one decodes a compact frame into typed structs in one go, and
*proves* that nothing was lost on the way: encoded again, the structs are as long as the frame
was. Nothing that they could drop or change (a second key, an unknown one, a blank, an escape
that was not needed) makes an encoding longer, so equal length means that nothing was. Whatever
cannot be proved takes the patient road of :mod:`tracking.lenient`, element by element.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from tracking import strict_json
from tracking.dates import parse_ms
from tracking.errors import RequestFault
from tracking.events import Event, Frame, Kind, Limits, RawId, Refusal
from tracking.lenient import KINDS, MAX_DATE_CHARS, NAMED, read_event, unquoted
from tracking.strict_json import ENCODER, Integer

DEFAULT_LIMITS: Final = Limits()
_CHUNK: Final = 64  #: Elements that the quick road tries at a time in a frame it could not take.
_BOM: Final = b"\xef\xbb\xbf"

_Text = str | None | UnsetType
_Number = Integer | str | None | UnsetType
_Date = Integer | Annotated[str, msgspec.Meta(max_length=MAX_DATE_CHARS)] | None | UnsetType


class _Wire(msgspec.Struct, omit_defaults=True, gc=False, rename="camel"):
    """One event as most clients write it. Floats are left out: their text can grow."""

    type: _Text = UNSET
    name: _Text = UNSET
    id: _Number = UNSET
    date: _Date = UNSET
    session_id: _Number = UNSET
    user_id: _Text = UNSET
    anon_id: _Text = UNSET
    device_id: _Text = UNSET
    machine_id: _Text = UNSET
    app_id: _Text = UNSET
    payload: Raw | UnsetType = UNSET
    client: _Text = UNSET
    module_version: _Text = UNSET
    platform: _Text = UNSET
    os_version: _Text = UNSET
    total_ram: Integer | UnsetType | None = UNSET
    version: _Text = UNSET
    language: _Text = UNSET
    locale: _Text = UNSET
    arch: _Text = UNSET
    process: _Text = UNSET


class _WireFrame(msgspec.Struct, omit_defaults=True, gc=False):
    data: list[_Wire]
    appId: str | UnsetType = UNSET  # noqa: N815 - the wire's name


_FRAME: Final = msgspec.json.Decoder(_WireFrame)
_ELEMENTS: Final = msgspec.json.Decoder(list[_Wire])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def parse_frame(
    raw: bytes | str, *, limits: Limits = DEFAULT_LIMITS, require_ids: bool = False
) -> Frame:
    """Understand one frame. Never raises on content.

    Args:
        raw: The frame, text or UTF-8 bytes (A16).
        limits: What is too much. The size of the whole frame is the transport's to bound.
        require_ids: Refuse events that name neither a device nor a person (A19). The collector
            does; the agent fills the device in.

    Returns:
        What was understood. A frame that is no frame has one :class:`Refusal` of index -1.

    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else bytes(raw)
    try:
        wire = _FRAME.decode(data)
    except _UNREADABLE:
        return _patient(data, limits, require_ids)
    if len(ENCODER.encode(wire)) != len(data):
        return _patient(data, limits, require_ids)
    understood = _quick(wire.data, data, limits, require_ids)
    if understood is None:
        return _patient(data, limits, require_ids)
    events, heartbeats = understood
    return Frame(
        events=tuple(events),
        heartbeats=tuple(heartbeats),
        ids=tuple([w.id for w in wire.data if w.id is not None and w.id is not UNSET]),
        anon_id=_anon_id_of(events, heartbeats),
        app_id=None if wire.appId is UNSET else unquoted(wire.appId),
    )


def _quick(
    wires: list[_Wire], data: bytes, limits: Limits, require_ids: bool
) -> tuple[list[Event], list[Event]] | None:
    """Build the events of a frame that lost nothing in decoding; None if one needs patience."""
    escaped = b"\\" in data  # no backslash: no NUL, and no quotes inside a text (A14)
    if escaped and b"\\u0000" in data:
        return None
    events: list[Event] = []
    heartbeats: list[Event] = []
    payloads: list[bytes] = []
    longest = limits.name_chars
    for w in wires:
        word = w.type or "event"
        kind = KINDS.get(word, Kind.OTHER)
        name = w.name or None
        if name is None:
            if kind in NAMED:
                return None
        elif kind not in NAMED and kind is not Kind.OTHER:
            name = None
        elif len(name) > longest:
            return None
        if kind is Kind.OTHER and (len(word) > longest or word == "nucleus:heartbeat"):
            return None
        machine_id = w.machine_id or None
        device_id = w.device_id or machine_id
        user_id, anon_id, app_id = w.user_id or None, w.anon_id or None, w.app_id or None
        session_id = w.session_id
        if session_id is UNSET or session_id is None or session_id == "":
            session = None
        else:
            session = str(session_id)
        if escaped:
            user_id, anon_id = unquoted(user_id), unquoted(anon_id)
            app_id, session = unquoted(app_id), unquoted(session)
        if require_ids and not (device_id or anon_id or user_id) and kind is not Kind.HEARTBEAT:
            return None
        if w.payload is UNSET:
            payload = None
        else:
            payload = bytes(w.payload)
            if payload == b"null":
                payload = None
            else:
                payloads.append(payload)
        id_ = w.id if w.id is not UNSET else None
        date = w.date if w.date is not UNSET else None
        if (
            w.client is UNSET
            and w.platform is UNSET
            and w.module_version is UNSET
            and w.os_version is UNSET
            and w.total_ram is UNSET
            and w.version is UNSET
            and w.locale is UNSET
            and w.language is UNSET
            and w.arch is UNSET
            and w.process is UNSET
        ):
            event = Event(
                kind=kind,
                type=word,
                name=name,
                id=id_,
                date=date,
                date_ms=parse_ms(date),
                session_id=session,
                user_id=user_id,
                anon_id=anon_id,
                device_id=device_id,
                machine_id=machine_id,
                app_id=app_id,
                payload=payload,
            )
        else:
            event = Event(
                kind=kind,
                type=word,
                name=name,
                id=id_,
                date=date,
                date_ms=parse_ms(date),
                session_id=session,
                user_id=user_id,
                anon_id=anon_id,
                device_id=device_id,
                machine_id=machine_id,
                app_id=app_id,
                payload=payload,
                client=w.client or None,
                module_version=w.module_version or None,
                platform=w.platform or None,
                os_version=w.os_version or None,
                total_ram=w.total_ram if w.total_ram and w.total_ram > 0 else None,
                version=w.version or None,
                language=w.locale or w.language or None,
                arch=w.arch or None,
                process=w.process or None,
            )
        (heartbeats if kind is Kind.HEARTBEAT else events).append(event)
    if payloads and not strict_json.proof(limits).holds(payloads):
        return None
    if len(data) > limits.event_bytes and wires:
        lines = ENCODER.encode_lines(wires)
        if max(map(len, lines.split(b"\n"))) > limits.event_bytes:
            return None
    return events, heartbeats


def _patient(data: bytes, limits: Limits, require_ids: bool) -> Frame:
    """Understand a frame piece by piece; what cannot be understood is refused by itself."""
    text = data.removeprefix(_BOM).decode("utf-8", "surrogateescape")
    try:
        start = strict_json.skip_space(text)
        tops, pieces = _top_level(text, start)
    except RequestFault as fault:
        return Frame(refused=(Refusal(index=-1, id=None, fault=fault),))
    events: list[Event] = []
    heartbeats: list[Event] = []
    refused: list[Refusal] = []
    ids: list[RawId] = []
    for at in range(0, len(pieces), _CHUNK):
        chunk = [text[start:end] for start, end in pieces[at : at + _CHUNK]]
        if _quick_chunk(chunk, limits, require_ids, events, heartbeats, ids):
            continue
        for n, piece in enumerate(chunk, at):
            found = read_event(piece, n, limits, require_ids=require_ids)
            if isinstance(found, Refusal):
                refused.append(found)
            else:
                (heartbeats if found.kind is Kind.HEARTBEAT else events).append(found)
            if found.id is not None:
                ids.append(found.id)
    has_confirmation, confirmation = _confirmation(tops.get("confirmation"))
    return Frame(
        events=tuple(events),
        heartbeats=tuple(heartbeats),
        refused=tuple(refused),
        ids=tuple(ids),
        confirmation=confirmation,
        has_confirmation=has_confirmation,
        anon_id=_anon_id_of(events, heartbeats),
        app_id=_app_id(tops.get("appId")),
    )


def _top_level(text: str, start: int) -> tuple[dict[str, str], list[tuple[int, int]]]:
    """Find the elements and the other members of a frame in any of A16's forms.

    Raises:
        RequestFault: It is no frame.

    """
    tops: dict[str, tuple[int, int]] = {}
    at, end = start, len(text)
    if text[start : start + 1] == "{":
        for key, value, value_end in strict_json.members(text, start, "frame"):
            if key in tops:
                raise RequestFault(f"the frame names the key {strict_json.clip(key)} twice")
            if len(tops) > 64:
                raise RequestFault("the frame has more than 64 keys beside data")
            tops[key] = value, value_end
        if "data" not in tops:
            raise RequestFault("the frame has no `data`", field="data")
        at, end = tops.pop("data")
    if strict_json.end_of(text, start, "frame") != len(text):
        raise RequestFault("the frame is not JSON: something follows it")
    match text[at : at + 1]:
        case "[":
            pieces = list(strict_json.elements(text, at, "data"))
        case "{":
            pieces = [(at, end)]
        case _:
            raise RequestFault(
                f"data must be an array of events, got {strict_json.clip(text[at:end])}",
                field="data",
            )
    return {key: text[a:b] for key, (a, b) in tops.items()}, pieces


def _quick_chunk(
    chunk: list[str],
    limits: Limits,
    require_ids: bool,
    events: list[Event],
    heartbeats: list[Event],
    ids: list[RawId],
) -> bool:
    """Try the quick road for some elements of a frame that could not take it whole."""
    data = f"[{','.join(chunk)}]".encode("utf-8", "surrogatepass")
    try:
        wires = _ELEMENTS.decode(data)
    except _UNREADABLE:
        return False
    if len(ENCODER.encode(wires)) != len(data):
        return False
    understood = _quick(wires, data, limits, require_ids)
    if understood is None:
        return False
    events += understood[0]
    heartbeats += understood[1]
    ids += [w.id for w in wires if w.id is not None and w.id is not UNSET]
    return True


def _anon_id_of(events: list[Event], heartbeats: list[Event]) -> str | None:
    """Return the frame's anonId: the newest, should old ones wait in the sender's queue."""
    for event in (*reversed(heartbeats), *reversed(events)):
        if event.anon_id is not None:
            return event.anon_id
    return None


def _confirmation(text: str | None) -> tuple[bool, object]:
    """Return whether there is a token to echo, and the token. Only scalars can be tokens."""
    if text is None or text[0] in "[{":
        return False, None
    try:
        value = strict_json.decode(text, "confirmation", keys=0)
        strict_json.check_value(value, "confirmation")
    except RequestFault:
        return False, None
    return True, value


def _app_id(text: str | None) -> str | None:
    if text is None or not text.startswith('"'):
        return None
    try:
        value = strict_json.decode(text, "appId", keys=0)
        strict_json.check_value(value, "appId")
    except RequestFault:
        return None
    return unquoted(str(value))
