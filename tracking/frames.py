"""Frames in: whatever an official client ever sent, understood (NUCLEUS.md §2, §5).

There are two roads. The quick one decodes a compact frame into typed structs in one go, and
*proves* that nothing was lost on the way: encoded again, the structs are as long as the frame
was. Nothing that they could drop or change (a second key, an unknown one, a blank, an escape
that was not needed) makes an encoding longer, so equal length means that nothing was. Whatever
cannot be proved takes the patient road of :mod:`tracking.lenient`, element by element.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import astuple

from tracking import strict_json
from tracking.dates import parse_ms
from tracking.errors import RequestFault
from tracking.events import Event, Frame, Kind, Limits, RawId, Refusal
from tracking.lenient import KINDS, MAX_DATE_CHARS, read_event, unquoted
from tracking.strict_json import ENCODER, Integer

DEFAULT_LIMITS: Final = Limits()
_CHUNK: Final = 64  #: Elements that the quick road tries at a time in a frame it could not take.
_BOM: Final = b"\xef\xbb\xbf"

_Text = str | None | UnsetType
_Number = Integer | str | None | UnsetType
_Date = Integer | Annotated[str, msgspec.Meta(max_length=MAX_DATE_CHARS)] | None | UnsetType


class _Lean(msgspec.Struct, omit_defaults=True, gc=False, rename="camel"):
    """One event without facts. Floats are left out: their text can grow."""

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


class _Full(_Lean, omit_defaults=True, gc=False, rename="camel"):
    """One event with what an `init` says besides."""

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


class _LeanFrame(msgspec.Struct, omit_defaults=True, gc=False):
    data: list[_Lean]
    appId: str | UnsetType = UNSET  # noqa: N815 - the wire's name


class _FullFrame(msgspec.Struct, omit_defaults=True, gc=False):
    data: list[_Full]
    appId: str | UnsetType = UNSET  # noqa: N815 - the wire's name


_LEAN: Final = msgspec.json.Decoder(_LeanFrame)
_FULL: Final = msgspec.json.Decoder(_FullFrame)
_FIRST_FACT: Final = len(_Lean.__struct_fields__)
# Hashing or looking up a member of an enum runs Python; these are compared a million times.
_EVENT, _ERROR, _HEARTBEAT, _OTHER = Kind.EVENT, Kind.ERROR, Kind.HEARTBEAT, Kind.OTHER
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Understood:
    """What was understood so far, in the order of the frame."""

    __slots__ = ("anon_id", "app_id", "events", "heartbeats", "ids", "refused")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.heartbeats: list[Event] = []
        self.refused: list[Refusal] = []
        self.ids: list[RawId] = []
        self.anon_id: str | None = None  #: The newest, should old ones wait in a sender's queue.
        self.app_id: str | None = None

    def add(self, found: Event | Refusal) -> None:
        """Take one more element."""
        if found.id is not None:
            self.ids.append(found.id)
        if isinstance(found, Refusal):
            self.refused.append(found)
            return
        if found.anon_id is not None:
            self.anon_id = found.anon_id
        (self.heartbeats if found.kind is _HEARTBEAT else self.events).append(found)

    def extend(self, other: _Understood) -> None:
        """Take what was understood of the elements that follow."""
        self.events += other.events
        self.heartbeats += other.heartbeats
        self.ids += other.ids
        if other.anon_id is not None:
            self.anon_id = other.anon_id

    def frame(self, *, confirmation: object = None, has_confirmation: bool = False) -> Frame:
        """Return it as a frame."""
        return Frame(
            events=tuple(self.events),
            heartbeats=tuple(self.heartbeats),
            refused=tuple(self.refused),
            ids=tuple(self.ids),
            confirmation=confirmation,
            has_confirmation=has_confirmation,
            anon_id=self.anon_id,
            app_id=self.app_id,
        )


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
    understood = _quick(data, limits, require_ids)
    return _patient(data, limits, require_ids) if understood is None else understood.frame()


def _quick(data: bytes, limits: Limits, require_ids: bool) -> _Understood | None:
    """Take the quick road; None if something cannot be proved."""
    try:
        wire: _LeanFrame | _FullFrame = _LEAN.decode(data)
        if len(ENCODER.encode(wire)) == len(data):
            return _build(wire, data, limits, require_ids)
        wire = _FULL.decode(data)
        if len(ENCODER.encode(wire)) == len(data):
            return _build(wire, data, limits, require_ids)
        # Blanks between the tokens, as Python's json writes them, say nothing: prove it without.
        compact = msgspec.json.format(data, indent=-1)
        if len(compact) == len(data):
            return None
        bare = _FULL.decode(compact)
        if len(ENCODER.encode(bare)) != len(compact):
            return None
    except _UNREADABLE:
        return None
    return _build(bare, compact, limits, require_ids, sent=wire.data, sent_size=len(data))


def _build(
    wire: _LeanFrame | _FullFrame,
    data: bytes,
    limits: Limits,
    require_ids: bool,
    *,
    sent: Sequence[_Lean] | None = None,
    sent_size: int = 0,
) -> _Understood | None:
    """Build the events of a frame that lost nothing in decoding; None if one needs patience.

    Args:
        wire: The frame.
        data: Its bytes, compact.
        limits: What is too much.
        require_ids: As in :func:`parse_frame`.
        sent: The same events with their payloads as sent, if those were not compact.
        sent_size: The frame's bytes then.

    """
    escaped = b"\\" in data  # no backslash: no NUL, and no quotes inside a text (A14)
    if escaped and b"\\u0000" in data:
        return None
    understood = _Understood()
    events, ids = understood.events, understood.ids
    payloads: list[bytes] = []
    sent_bytes: list[int] = []
    longest = limits.name_chars
    lean = isinstance(wire, _LeanFrame)
    for n, item in enumerate(wire.data):
        values = astuple(item)  # one call, and no attribute looked up twenty times
        (
            word,
            name,
            id_,
            date,
            session_id,
            user_id,
            anon_id,
            device_id,
            machine_id,
            app_id,
            payload,
        ) = values if lean else values[:_FIRST_FACT]
        word = word or "event"
        kind = KINDS.get(word, _OTHER)
        name = name or None
        if kind is _EVENT or kind is _ERROR:
            if name is None:
                return None
        elif kind is not _OTHER:
            name = None
        elif len(word) > longest or word == "nucleus:heartbeat":
            return None
        if name is not None and len(name) > longest:
            return None
        machine_id = machine_id or None
        device_id = device_id or machine_id
        user_id, anon_id, app_id = user_id or None, anon_id or None, app_id or None
        if session_id is UNSET or session_id is None or session_id == "":
            session_id = None
        else:
            session_id = str(session_id)
        if escaped:
            user_id, anon_id = unquoted(user_id), unquoted(anon_id)
            app_id, session_id = unquoted(app_id), unquoted(session_id)
        if require_ids and not (device_id or anon_id or user_id) and kind is not _HEARTBEAT:
            return None
        if payload is UNSET:
            payload = None
        else:
            payload = proved = bytes(payload)
            if payload == b"null":
                payload = None
            else:
                payloads.append(proved)
                if sent is not None:
                    payload = bytes(cast(Raw, sent[n].payload))
                    sent_bytes.append(len(payload))
        date = None if date is UNSET else date
        event = Event(
            kind=kind,
            type=word,
            name=name,
            id=None if id_ is UNSET else id_,
            date=date,
            date_ms=None if date is None else parse_ms(date),
            session_id=session_id,
            user_id=user_id,
            anon_id=anon_id,
            device_id=device_id,
            machine_id=machine_id,
            app_id=app_id,
            payload=payload,
        )
        if not lean:
            event = _with_facts(event, item)
        if event.id is not None:
            ids.append(event.id)
        if anon_id is not None:
            understood.anon_id = anon_id
        if kind is _HEARTBEAT:
            understood.heartbeats.append(event)
        else:
            events.append(event)
    if not _fits(wire, data, payloads, sent_bytes, sent_size, limits):
        return None
    if wire.appId is not UNSET:
        understood.app_id = unquoted(wire.appId)
    return understood


def _fits(
    wire: _LeanFrame | _FullFrame,
    data: bytes,
    payloads: list[bytes],
    sent_bytes: list[int],
    sent_size: int,
    limits: Limits,
) -> bool:
    """Return whether payloads and sizes are proved to be within the limits."""
    if payloads and not strict_json.proof(limits).holds(payloads):
        return False
    if (sent_size or len(data)) <= limits.event_bytes:
        return True
    # No event is larger than the largest payload and all that is not payload together.
    sizes = sent_bytes or list(map(len, payloads))
    if max(sizes, default=0) + (sent_size or len(data)) - sum(sizes) <= limits.event_bytes:
        return True
    if sent_size or not wire.data:
        return False
    lines = ENCODER.encode_lines(wire.data)
    return max(map(len, lines.split(b"\n"))) <= limits.event_bytes


def _with_facts(event: Event, wire: _Lean) -> Event:
    assert isinstance(wire, _Full)
    # In two steps: CPython passes more than 15 keywords through a dict, at three times the price.
    return msgspec.structs.replace(
        event,
        client=wire.client or None,
        module_version=wire.module_version or None,
        platform=wire.platform or None,
        os_version=wire.os_version or None,
        total_ram=wire.total_ram if wire.total_ram and wire.total_ram > 0 else None,
        version=wire.version or None,
        language=wire.locale or wire.language or None,
        arch=wire.arch or None,
        process=wire.process or None,
    )


def _patient(data: bytes, limits: Limits, require_ids: bool) -> Frame:
    """Understand a frame piece by piece; what cannot be understood is refused by itself."""
    text = data.removeprefix(_BOM).decode("utf-8", "surrogateescape")
    try:
        tops, pieces = _top_level(text, strict_json.skip_space(text))
    except RequestFault as fault:
        return Frame(refused=(Refusal(index=-1, id=None, fault=fault),))
    understood = _Understood()
    for at in range(0, len(pieces), _CHUNK):
        chunk = [text[start:end] for start, end in pieces[at : at + _CHUNK]]
        small = f'{{"data":[{",".join(chunk)}]}}'.encode("utf-8", "surrogateescape")
        quick = _quick(small, limits, require_ids) if len(pieces) > 1 else None
        if quick is not None:
            understood.extend(quick)
            continue
        for n, piece in enumerate(chunk, at):
            understood.add(read_event(piece, n, limits, require_ids=require_ids))
    understood.app_id = _app_id(tops.get("appId"))
    has_confirmation, confirmation = _confirmation(tops.get("confirmation"))
    return understood.frame(confirmation=confirmation, has_confirmation=has_confirmation)


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
