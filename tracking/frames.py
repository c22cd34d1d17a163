"""Frames in: whatever an official client ever sent, understood (NUCLEUS.md §2, §5).

There are two roads. The quick one decodes a compact frame into typed structs in one go, and
*proves* that nothing was lost on the way: encoded again, the structs are as long as the frame
was. Nothing that they could drop or change (a second key, an unknown one, a blank, an escape
that was not needed) makes an encoding longer, so equal length means that nothing was. Whatever
cannot be proved takes the patient road of :mod:`tracking.lenient`, element by element.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Annotated, Final, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import astuple

from tracking import strict_json
from tracking.dates import parse_ms
from tracking.errors import RequestFault
from tracking.events import Event, Frame, Kind, Limits, RawId, Refusal
from tracking.lenient import (
    KINDS,
    MAX_DATE_CHARS,
    MAX_ELEMENTS,
    read_event,
    read_top_level,
    unquoted,
)
from tracking.strict_json import ENCODER, Integer

DEFAULT_LIMITS: Final = Limits()
_CHUNK: Final = 64  #: Elements that the quick road tries at a time in a frame it could not take.
_MANY: Final = 1024 * 1024  #: Bytes from which on it pays to look for too many elements.
_DESCRIBED: Final = 1000  #: Refusals of one frame that get a sentence of their own.
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


class _Elements(msgspec.Struct, gc=False):
    data: list[Raw]


_ELEMENTS: Final = msgspec.json.Decoder(_Elements)
_LEAN: Final = msgspec.json.Decoder(_LeanFrame)
_FULL: Final = msgspec.json.Decoder(_FullFrame)
_FIRST_FACT: Final = len(_Lean.__struct_fields__)
# Hashing or looking up a member of an enum runs Python; these are compared a million times.
_EVENT, _ERROR, _HEARTBEAT, _OTHER = Kind.EVENT, Kind.ERROR, Kind.HEARTBEAT, Kind.OTHER
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


_ENOUGH: Final = RequestFault("bad as well; only the first 1000 bad events are described")


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
            if len(self.refused) >= _DESCRIBED:
                found = Refusal(index=found.index, id=found.id, fault=_ENOUGH)
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
    understood = _try_quick(data, limits, require_ids)
    if understood is not None:
        return understood
    steps = _patient(data, limits, require_ids)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast(Frame, done.value)


def parse_in_steps(
    raw: bytes | str, *, limits: Limits = DEFAULT_LIMITS, require_ids: bool = False
) -> Generator[None, None, Frame]:
    """Do the same as :func:`parse_frame`, and yield now and then on the patient road.

    A large frame that needs patience takes seconds; whoever serves others too can do so at each
    yield.
    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else bytes(raw)
    understood = _try_quick(data, limits, require_ids)
    if understood is not None:
        return understood
    return (yield from _patient(data, limits, require_ids))


def _try_quick(data: bytes, limits: Limits, require_ids: bool) -> Frame | None:
    if len(data) > _MANY and data.count(b"{") > 4 * MAX_ELEMENTS:
        return _refused(_too_many())  # before anybody decodes millions of them
    understood = _quick(data, limits, require_ids)
    return None if understood is None else understood.frame()


def _patient(data: bytes, limits: Limits, require_ids: bool) -> Generator[None, None, Frame]:
    """Understand a frame piece by piece; what cannot be understood is refused by itself."""
    try:
        top = yield from read_top_level(data.removeprefix(_BOM))
        if len(top.elements) > MAX_ELEMENTS:
            raise _too_many()
    except RequestFault as fault:
        return _refused(fault)
    understood = _Understood()
    for at in range(0, len(top.elements), _CHUNK):
        yield
        chunk = top.elements[at : at + _CHUNK]
        small = b'{"data":[' + b",".join(chunk) + b"]}"
        quick = _quick(small, limits, require_ids) if len(top.elements) > 1 else None
        if quick is not None:
            understood.extend(quick)
            continue
        for n, element in enumerate(chunk, at):
            text = element.decode("utf-8", "surrogateescape")
            understood.add(read_event(text, n, limits, require_ids=require_ids))
    understood.app_id = top.app_id
    frame = understood.frame(confirmation=top.confirmation, has_confirmation=top.has_confirmation)
    return frame if top.asked is None else msgspec.structs.replace(frame, asked=top.asked)


def _refused(fault: RequestFault) -> Frame:
    return Frame(refused=(Refusal(index=-1, id=None, fault=fault),))


def _too_many() -> RequestFault:
    return RequestFault(f"data has more than {MAX_ELEMENTS} elements", field="data", status=413)


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
    return _build(bare, compact, limits, require_ids, sent=wire.data, original=data)


def _build(
    wire: _LeanFrame | _FullFrame,
    data: bytes,
    limits: Limits,
    require_ids: bool,
    *,
    sent: Sequence[_Lean] | None = None,
    original: bytes = b"",
) -> _Understood | None:
    """Build the events of a frame that lost nothing in decoding; None if one needs patience.

    Args:
        wire: The frame.
        data: Its bytes, compact.
        limits: What is too much.
        require_ids: As in :func:`parse_frame`.
        sent: The same events with their payloads as sent, if those were not compact.
        original: The frame's bytes then.

    """
    escaped = b"\\" in data  # no backslash: no NUL, and no quotes inside a text (A14)
    if (escaped and b"\\u0000" in data) or len(wire.data) > MAX_ELEMENTS:
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
    if not _fits(original or data, payloads, sent_bytes, limits):
        return None
    if wire.appId is not UNSET:
        understood.app_id = unquoted(wire.appId)
    return understood


def _fits(data: bytes, payloads: list[bytes], sent_bytes: list[int], limits: Limits) -> bool:
    """Return whether payloads and sizes are proved to be within the limits."""
    if payloads and not strict_json.proof(limits).holds(payloads):
        return False
    if len(data) <= limits.event_bytes:
        return True
    # No event is larger than the largest payload and all that is not payload together.
    sizes = sent_bytes or list(map(len, payloads))
    if max(sizes, default=0) + len(data) - sum(sizes) <= limits.event_bytes:
        return True
    elements = _ELEMENTS.decode(data).data
    return max((memoryview(e).nbytes for e in elements), default=0) <= limits.event_bytes


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
