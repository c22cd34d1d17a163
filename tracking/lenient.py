"""Frames and events as any client ever wrote them: the lenient half of NUCLEUS.md §5.

Takes the text of one element of ``data`` and gives an :class:`Event`, or the
:class:`Refusal` that says which field is wrong. Slow and patient: :mod:`tracking.nucleus`
has a quick road for frames written the strict way, and both roads lead to the same event.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice
from typing import Final

import msgspec

from tracking import strict_json
from tracking.acknowledging import asked_of_frame
from tracking.dates import parse_ms
from tracking.errors import RequestFault
from tracking.events import Asked, Event, Kind, Limits, RawId, Refusal

KINDS: Final = {kind.value: kind for kind in Kind if kind is not Kind.OTHER}
NAMED: Final = frozenset({Kind.EVENT, Kind.ERROR})  #: Kinds that need a name (seed 000).
MAX_DATE_CHARS: Final = 64  #: A longer one is no date; it counts as absent (A6).

_LEGACY: Final = {  # names that clients before `type` used for more than events (A1)
    "init": Kind.INIT,
    "nucleus:userid": Kind.USERID,
    "nucleus:beacon": Kind.USERID,
    "nucleus:props": Kind.PROPS,
    "nucleus:heartbeat": Kind.HEARTBEAT,
}
_FIELDS: Final = frozenset(
    {"type", "event", "name", "id", "date", "sessionId", "userId", "anonId", "deviceId"}
    | {"machineId", "appId", "payload", "data", "client", "appType", "moduleVersion", "process"}
    | {"platform", "osVersion", "totalRam", "version", "language", "locale", "arch"}
)
MAX_ELEMENTS: Final = 262_144  #: Twice what 32 MiB of ordinary events are; junk is smaller.
_MOST_MEMBERS: Final = 65_536  #: Of an event; more are more than 256 KiB, whatever they are.
_MAX_TOPS: Final = 64
_SHELLS: Final = 2  #: A14: "repeat once".


def unquoted(text: str | None) -> str | None:
    """Return the text without the literal quotes that astrolytics wraps round ids (A14).

    Nothing is left of an empty text: an empty id identifies nobody.
    """
    for _ in range(_SHELLS):
        if not text or text[0] != '"' or text[-1] != '"' or len(text) < 2:
            break
        try:
            inner = strict_json.decode(text, "", keys=0)
        except RequestFault:
            break
        if not isinstance(inner, str):
            break
        text = inner
    return text or None


def named_kind(
    type_: str | None, event: str | None, name: str | None
) -> tuple[Kind, str, str | None]:
    """Return the kind, the wire word and the name out of ``type``, ``event`` and ``name`` (A1)."""
    if type_:
        kind = KINDS.get(type_, Kind.OTHER)
        if type_ == "nucleus:heartbeat":  # never stored, whichever field says so
            kind = Kind.HEARTBEAT
        name = name or event
    elif not event:
        kind = Kind.EVENT  # A8
    elif event in _LEGACY:
        kind = _LEGACY[event]
    elif event.startswith("error:"):
        kind, name = Kind.ERROR, event.removeprefix("error:")
    else:
        kind, name = Kind.EVENT, event
    word = type_ if type_ and kind is Kind.OTHER else kind.value
    if kind not in NAMED and kind is not Kind.OTHER:
        name = None
    return kind, word, name or None


class TopLevel(msgspec.Struct, frozen=True):
    """A frame taken apart, its elements not yet looked at."""

    elements: list[bytes]
    app_id: str | None
    confirmation: object
    has_confirmation: bool
    asked: Asked | None


class _Split(msgspec.Struct, omit_defaults=True):
    """The frame of nearly everybody, of which msgspec finds the elements."""

    data: list[msgspec.Raw]
    appId: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815 - the wire's name
    confirmation: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    ack: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    timeout: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    imports: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="import")


_OTHERS: Final = (
    *((key, key) for key in ("appId", "confirmation", "ack", "timeout")),
    ("import", "imports"),
)
_SPLIT: Final = msgspec.json.Decoder(_Split)


def read_top_level(data: bytes) -> Generator[None, None, TopLevel]:
    """Find the elements and the other members of a frame in any of A16's forms, in steps.

    Raises:
        RequestFault: It is no frame.

    """
    try:
        split = _SPLIT.decode(data)
        if len(strict_json.ENCODER.encode(split)) != len(data):
            return (yield from _read_any_top_level(data.decode("utf-8", "surrogateescape")))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return (yield from _read_any_top_level(data.decode("utf-8", "surrogateescape")))
    others = {
        key: bytes(raw).decode("utf-8", "surrogateescape")
        for key, name in _OTHERS
        if isinstance(raw := getattr(split, name), msgspec.Raw)
    }
    return _top_level([bytes(raw) for raw in split.data], others)


def _read_any_top_level(text: str) -> Generator[None, None, TopLevel]:
    """Walk a frame that msgspec cannot read, or of which it would drop something.

    Raises:
        RequestFault: It is no frame.

    """
    start = at = strict_json.skip_space(text)
    end = len(text)
    tops: dict[str, tuple[int, int]] = {}
    if text[start : start + 1] == "{":
        for found in strict_json.members_in_steps(text, start, "frame"):
            if found is None:
                yield
                continue
            key, value, value_end = found
            if key in tops:
                raise RequestFault(f"the frame names the key {strict_json.clip(key)} twice")
            if len(tops) > _MAX_TOPS:
                raise RequestFault(f"the frame has more than {_MAX_TOPS} keys beside data")
            tops[key] = value, value_end
        if "data" not in tops:
            raise RequestFault("the frame has no `data`", field="data")
        at, end = tops.pop("data")
    if (yield from strict_json.end_in_steps(text, start, "frame")) != len(text):
        raise RequestFault("the frame is not JSON: something follows it")
    match text[at : at + 1]:
        case "[":
            places = []
            for place in strict_json.elements_in_steps(text, at, "data"):
                places += [place] if place else []
                if place is None or not len(places) % 4_096:
                    yield
                if len(places) > MAX_ELEMENTS:  # refused by who asked
                    break
        case "{":
            places = [(at, end)]
        case _:
            raise RequestFault(
                f"data must be an array of events, got {strict_json.clip(text[at:end])}",
                field="data",
            )
    elements = [text[a:b].encode("utf-8", "surrogateescape") for a, b in places]
    return _top_level(elements, {key: text[a:b] for key, (a, b) in tops.items()})


def _top_level(elements: list[bytes], others: dict[str, str]) -> TopLevel:
    has_confirmation, confirmation = strict_json.scalar(others, "confirmation")
    _, app_id = strict_json.scalar(others, "appId")
    return TopLevel(
        elements=elements,
        app_id=unquoted(app_id) if isinstance(app_id, str) else None,
        confirmation=confirmation,
        has_confirmation=has_confirmation,
        asked=asked_of_frame(others),
    )


def read_event(text: str, index: int, limits: Limits, *, require_ids: bool) -> Event | Refusal:
    """Understand one element of ``data``.

    Args:
        text: The element; half surrogates stand for bytes that were not UTF-8.
        index: Its position, for the path in a refusal.
        limits: What is too much.
        require_ids: Refuse an event that names neither a device nor a person (A19).

    """
    field = f"data[{index}]"
    reader = _Reader(field, limits)
    try:
        reader.open(text)
        return reader.event(require_ids=require_ids)
    except RequestFault as fault:
        return Refusal(index=index, id=reader.id, fault=fault)


class _Reader:
    """Reads the members of one element; ``id`` is known as soon as it could be read."""

    def __init__(self, field: str, limits: Limits) -> None:
        self.field = field
        self.limits = limits
        self.id: RawId | None = None
        self.members: dict[str, str] = {}

    def open(self, text: str) -> None:
        """Take the element apart."""
        if not text.startswith("{"):
            raise RequestFault(
                f"{self.field} must be an object, got {strict_json.clip(text)}", field=self.field
            )
        twice: str | None = None
        for key, start, end in islice(strict_json.members(text, 0, self.field), _MOST_MEMBERS):
            if key in self.members and twice is None:
                twice = key
            self.members[key] = text[start:end]
        # First of all, so that whatever is wrong with the rest, the event is acknowledged.
        fault = self._read_id()
        if fault is not None:
            raise fault
        if twice is not None:
            raise RequestFault(
                f"{self.field} names the key {strict_json.clip(twice)} twice", field=self.field
            )
        unknown = len(self.members.keys() - _FIELDS)
        if unknown > self.limits.keys:
            raise RequestFault(
                f"{self.field} has {unknown} unknown keys, the limit is {self.limits.keys}",
                field=self.field,
            )
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > self.limits.event_bytes:
            raise RequestFault(
                f"{self.field} is {size} bytes, the limit is {self.limits.event_bytes}",
                field=self.field,
            )

    def event(self, *, require_ids: bool) -> Event:
        """Build the event."""
        kind, word, name = named_kind(self._text("type"), self._text("event"), self._text("name"))
        self._check_name("type", word)
        if kind in NAMED and name is None:
            raise RequestFault(f"{self.field}.name is missing", field=f"{self.field}.name")
        self._check_name("name", name)
        user_id, anon_id = unquoted(self._text("userId")), unquoted(self._text("anonId"))
        machine_id = self._text("machineId") or None
        device_id = self._text("deviceId") or machine_id  # A4
        if require_ids and kind is not Kind.HEARTBEAT and not (device_id or anon_id or user_id):
            raise RequestFault(
                f"{self.field}.deviceId is missing, and so are anonId and userId",
                field=f"{self.field}.deviceId",
            )
        date = self._date()
        return Event(
            kind=kind,
            type=word,
            name=name,
            id=self.id,
            date=date,
            date_ms=parse_ms(date),
            session_id=unquoted(self._text("sessionId")),
            user_id=user_id,
            anon_id=anon_id,
            device_id=device_id,
            machine_id=machine_id,
            app_id=unquoted(self._text("appId")),
            payload=self._payload(kind),
            client=self._fact("client") or self._fact("appType"),
            module_version=self._fact("moduleVersion"),
            platform=self._fact("platform"),
            os_version=self._fact("osVersion"),
            total_ram=self._ram(),
            version=self._fact("version"),
            language=self._fact("locale") or self._fact("language"),  # A12
            arch=self._fact("arch"),
            process=self._fact("process"),
        )

    def _read_id(self) -> RequestFault | None:
        """Find the id; return what is wrong with it."""
        field = f"{self.field}.id"
        text = self.members.get("id", "null")
        try:
            value = self._value("id")
            strict_json.check_value(value, field)
        except RequestFault as fault:
            # A number that JavaScript rounded already is the number it compares with.
            if text.lstrip("-").isdecimal() and len(text) <= 20:
                self.id = int(text)
            return fault
        match value:
            case None:
                return None
            case bool() | dict() | list():
                return RequestFault(
                    f"{field} must be text or a number, got {strict_json.clip(text)}", field=field
                )
            case str() | int() | float():
                self.id = value
                return None
            case _:
                raise AssertionError(value)

    def _value(self, key: str) -> object:
        """Return a member decoded; of an array or an object only that it is one."""
        text = self.members.get(key)
        if text is None:
            return None
        if text[0] in "[{":
            return {} if text[0] == "{" else []
        return strict_json.decode(text, f"{self.field}.{key}", keys=0)

    def _text(self, key: str) -> str | None:
        """Return what should be text as text; numbers pass, as apps number their users."""
        if key not in self.members:
            return None
        field = f"{self.field}.{key}"
        value = self._value(key)
        strict_json.check_value(value, field)
        match value:
            case None:
                return None
            case str():
                return value
            case bool() | dict() | list():
                shown = strict_json.clip(self.members[key])
                raise RequestFault(f"{field} must be text, got {shown}", field=field)
            case float() if value.is_integer():
                return str(int(value))
            case _:
                return str(value)

    def _fact(self, key: str) -> str | None:
        """Return text that only describes the machine: worth less than the event, so optional."""
        if key not in self.members:
            return None
        value = self._value(key)
        if isinstance(value, (bool, dict, list, strict_json.Unfit)):
            return None
        return self._text(key) or None

    def _ram(self) -> int | None:
        """Return whole gigabytes (A12)."""
        try:
            ram = round(float(self._fact("totalRam") or "x"))
        except (ValueError, OverflowError):
            return None
        return ram if 0 < ram <= strict_json.MAX_INTEGER else None

    def _date(self) -> int | float | str | None:
        """Return the date verbatim; what cannot be one counts as absent (A6)."""
        try:
            value = self._value("date")
            strict_json.check_value(value, "")
        except RequestFault:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return None
        if isinstance(value, str) and len(value) > MAX_DATE_CHARS:
            return None
        return value

    def _payload(self, kind: Kind) -> bytes | None:
        """Return the payload's bytes as sent, after the search (A9)."""
        key = "payload"
        if self.members.get(key, "null") == "null" and kind in (Kind.PROPS, Kind.USERID):
            key = "data"
        text = self.members.get(key, "null")
        if text == "null":
            return None
        field = f"{self.field}.{key}"
        sent = text.encode("utf-8", "surrogatepass")
        if b"\\u0000" in sent or not strict_json.proof(self.limits).holds([sent]):
            strict_json.check_object(text, field, self.limits)
        return sent

    def _check_name(self, key: str, name: str | None) -> None:
        if name is not None and len(name) > self.limits.name_chars:
            field = f"{self.field}.{key}"
            raise RequestFault(
                f"{field} is {len(name)} characters, the limit is {self.limits.name_chars}",
                field=field,
            )
