"""Two vocabularies for one happening, and what each word of one becomes in the other.

Apps speak Nucleus (``init``, ``event``, ``error``, ``userid``, ``props``, page views) or Bucket
(``user``, ``company``, ``event``, ``feedback``, and items that a vendor's SDK keeps for itself).
A far end that speaks the other language is told the same in its own words. :data:`TABLE` says
which words, how well they fit, and what is lost; docs/upstreams.md shows it to people, and a test
compares the two. What cannot be said at all is refused when the upstream is set up
(:func:`sayable`): nothing is dropped later that a person did not name.

Invariants:
    1. Every word of both languages has exactly one row.
    2. What the sender said is never overwritten by what is added: a key that is taken keeps the
       sender's value, and the addition gets a name of its own or, if it says the same, none.
    3. Numbers keep their digits: they never pass through a float, and a whole number that is too
       long for Nucleus becomes text.
    4. The same happening becomes the same bytes, however often it is asked.

Source: the strict client columns of BUCKET.md §2.1, §6 and NUCLEUS.md §5.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from agent.rules.stamp import Identity, MachineFacts
from agent.rules.ways import Kind as UpstreamKind
from agent.rules.ways import Language
from tracking.bucket import (
    RAW_TYPES,
    Call,
    CompanyCall,
    EventCall,
    FeedbackCall,
    RawCall,
    UserCall,
)
from tracking.errors import Bug
from tracking.events import Event, Kind, Limits
from tracking.nucleus import iso
from tracking.strict_json import MAX_INTEGER

#: How a Bucket far end wants to be spoken to (BUCKET.md §1, §6): the key in the path and one call
#: a request, or Bearer and ``/bulk``.
Profile: TypeAlias = Literal["tracking-v1", "front"]

PROFILES: Final[dict[UpstreamKind, Profile]] = {
    "homing": "front",
    "bucket": "tracking-v1",
    "bucket-bulk": "front",
}  #: Of the kinds of upstream that know Bucket. One that knows no feedback has it left out.
METHODS: Final[dict[Profile, frozenset[str]]] = {
    "tracking-v1": frozenset({"user", "company", "event", "feedback"}),
    "front": frozenset({"user", "company", "event", "feedback", *RAW_TYPES}),
}  #: What each profile can be told.

_LIMITS: Final = Limits()


class Fidelity(enum.Enum):
    """How well a word of one language fits in the other."""

    EXACT = "exact"
    APPROXIMATE = "approximate"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True)
class Row:
    """One word, and what becomes of it.

    Attributes:
        source: The language that the word is of.
        kind: The word; for Nucleus, :class:`tracking.events.Kind`'s value.
        becomes: The words of the other language, in the order in which they are said.
        fidelity: How well they fit.
        sentence: What a person should know before choosing such an upstream.

    """

    source: Language
    kind: str
    becomes: tuple[str, ...]
    fidelity: Fidelity
    sentence: str


_EXACT, _ABOUT, _NOT = Fidelity.EXACT, Fidelity.APPROXIMATE, Fidelity.IMPOSSIBLE

TABLE: Final = (
    Row(
        "nucleus",
        "init",
        ("user",),
        _ABOUT,
        "The payload, platform, osVersion, version and language become attributes of the user;"
        " that the app was started is not counted.",
    ),
    Row(
        "nucleus",
        "event",
        ("event",),
        _EXACT,
        "The payload becomes the attributes; whoever has no userId goes by anonId, else deviceId.",
    ),
    Row(
        "nucleus",
        "error",
        ("event",),
        _ABOUT,
        "An event named `error:NAME` with message and stack as attributes.",
    ),
    Row(
        "nucleus",
        "userid",
        ("user",),
        _ABOUT,
        "What was said before under the anonymous id stays with that id.",
    ),
    Row(
        "nucleus",
        "props",
        ("user",),
        _ABOUT,
        "Nucleus replaces all properties, Bucket adds to them: one that was left out stays.",
    ),
    Row(
        "nucleus",
        "other",
        ("event",),
        _ABOUT,
        "Page views and types of one client's own become an event named by the type; the name of"
        " the page is its attribute `name`.",
    ),
    Row(
        "bucket",
        "user",
        ("userid", "props"),
        _ABOUT,
        "Bucket adds attributes, Nucleus replaces them all: send full sets. The device is this"
        " computer, and `context.active` is not said.",
    ),
    Row(
        "bucket",
        "company",
        (),
        _NOT,
        "Nucleus knows no companies.",
    ),
    Row(
        "bucket",
        "event",
        ("event",),
        _ABOUT,
        "The attributes become the payload, with the company as its key `companyId`; the device is"
        " this computer, and `context.active` is not said.",
    ),
    Row(
        "bucket",
        "feedback",
        (),
        _NOT,
        "Nucleus knows no feedback.",
    ),
    *(
        Row("bucket", kind, (), _NOT, "Kept by a vendor's SDK for its own server alone.")
        for kind in sorted(RAW_TYPES)
    ),
)

_ROWS: Final = {(row.source, row.kind): row for row in TABLE}
KINDS: Final[dict[Language, tuple[str, ...]]] = {
    "nucleus": tuple(row.kind for row in TABLE if row.source == "nucleus"),
    "bucket": tuple(row.kind for row in TABLE if row.source == "bucket"),
}  #: The words of each language, for settings that name some to leave out.


def sayable(kind: str, language: Language, profile: Profile = "front") -> bool:
    """Return whether a far end that speaks ``language`` can be told a happening of this kind.

    Args:
        kind: A word of either language. ``event`` is one of both, and sayable in both.
        language: The far end's.
        profile: Of a far end that speaks Bucket.

    Raises:
        Bug: No language has such a word.

    """
    methods = METHODS[profile]
    if kind in KINDS[language]:
        return language == "nucleus" or kind in methods
    row = _ROWS.get(("bucket" if language == "nucleus" else "nucleus", kind))
    if row is None:
        raise Bug(f"no language has the word {kind!r}")
    if row.fidelity is Fidelity.IMPOSSIBLE:
        return False
    return language == "nucleus" or methods.issuperset(row.becomes)


def kind_of(call: Call) -> str:
    """Return the word of a Bucket call, as ``bulk`` names it in ``type``."""
    match call:
        case UserCall():
            return "user"
        case CompanyCall():
            return "company"
        case EventCall():
            return "event"
        case FeedbackCall():
            return "feedback"
        case RawCall(type=type_):
            return type_


# --- Nucleus told in Bucket's words --------------------------------------------------------------


class Said(NamedTuple):
    """A Bucket call: its word, and its JSON object without ``type``."""

    kind: str
    call: bytes


def to_bucket(
    event: Event,
    *,
    identity: Identity,
    received_ms: int,
    facts: MachineFacts,
    version: str = "",
) -> Said:
    """Tell an event of Nucleus in Bucket's words.

    Ids are text, the timestamp is when it happened, attributes are flat (BUCKET.md §2.1): an
    object or an array inside the payload becomes its JSON as text, and null is left out (A10).

    Args:
        event: As its sender told it; not a heartbeat, which is a state and never queued.
        identity: The app's own ids, for an event that names nobody.
        received_ms: When it happened, for an event that does not say.
        facts: Told with ``init`` where the sender left them out.
        version: The app's, from the settings; empty if unknown.

    Raises:
        Bug: It is a heartbeat.

    """
    who = (
        event.user_id or event.anon_id or identity.anon_id or event.device_id or identity.device_id
    )
    attributes = _flat(event.payload)
    call: dict[str, object] = {"userId": who}
    kind = "user"
    match event.kind:
        case Kind.INIT:
            _add_facts(attributes, event, facts, version)
        case Kind.USERID | Kind.PROPS:
            pass
        case Kind.EVENT:
            kind, call["event"] = "event", event.name or event.type
        case Kind.ERROR:
            name = f"error:{event.name or ''}"[: _LIMITS.name_chars]
            kind, call["event"] = "event", name
        case Kind.OTHER:
            kind, call["event"] = "event", event.type
            if event.name is not None:
                _add(attributes, "name", event.name)
        case Kind.HEARTBEAT:
            raise Bug("a heartbeat was to be told in Bucket's words")
    if attributes:
        call["attributes"] = attributes
    call["timestamp"] = iso(received_ms if event.date_ms is None else event.date_ms)
    return Said(kind, msgspec.json.encode(call))


_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _flat(payload: bytes | None) -> dict[str, object]:
    """Return the members of a payload as scalars, each number by its digits."""
    flat: dict[str, object] = {}
    for key, raw in (_MEMBERS.decode(payload) if payload is not None else {}).items():
        text = bytes(raw).strip()
        if text[:1] in (b"{", b"["):
            flat[key] = text.decode()
        elif text != b"null":
            flat[key] = msgspec.Raw(text)
    return flat


def _add(members: dict[str, object], key: str, value: str) -> None:
    """Add what must not be lost; under a longer name if the sender has taken this one."""
    while key in members:
        key += "_"
    if len(members) < _LIMITS.keys:
        members[key] = value


def _add_facts(members: dict[str, object], event: Event, facts: MachineFacts, version: str) -> None:
    """Add what an ``init`` says beside its payload, where the payload does not say it."""
    for key, value in (
        ("platform", event.platform or facts.platform),
        ("osVersion", event.os_version or facts.os_version),
        ("version", event.version or version),
        ("language", event.language or facts.language),
    ):
        if value and key not in members and len(members) < _LIMITS.keys:
            members[key] = value


# --- Bucket told in Nucleus's words --------------------------------------------------------------


def to_nucleus(call: Call) -> list[Event]:
    """Tell a call of Bucket in Nucleus's words, in the order in which they are to be accepted.

    The events have no ids, session or device: the stamp fills those in, as it does for an app
    that speaks Nucleus (``agent.rules.stamp``). What cannot be said is an empty list; whoever
    asks has made sure of :func:`sayable` when the upstream was set up.
    """
    match call:
        case UserCall(user_id=user_id, attributes=attributes, timestamp_ms=at_ms):
            told = [Event(kind=Kind.USERID, type="userid", user_id=user_id, date_ms=at_ms)]
            payload = _fitting(attributes)
            if payload is not None and _MEMBERS.decode(payload):
                props = Event(
                    kind=Kind.PROPS,
                    type="props",
                    user_id=user_id,
                    date_ms=at_ms,
                    payload=payload,
                )
                told.append(props)
            return told
        case EventCall():
            return [
                Event(
                    kind=Kind.EVENT,
                    type="event",
                    name=call.event,
                    user_id=call.user_id,
                    date_ms=call.timestamp_ms,
                    payload=_with_company(_fitting(call.attributes), call.company_id),
                )
            ]
        case CompanyCall() | FeedbackCall() | RawCall():
            return []


def _with_company(attributes: bytes | None, company_id: str | None) -> bytes | None:
    if company_id is None:
        return attributes
    members: dict[str, object] = dict(_MEMBERS.decode(attributes or b"{}"))
    _add(members, "companyId", company_id)
    return msgspec.json.encode(members)


_LONG: Final = re.compile(rb"[0-9]{16}")  #: Shorter whole numbers are within ±2⁵³.
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def _fitting(attributes: bytes | None) -> bytes | None:
    """Return attributes as a payload; whole numbers over 2⁵³, which Nucleus refuses, as text."""
    if attributes is None or _LONG.search(attributes) is None:
        return attributes
    return _fit(attributes)


def _fit(raw: bytes) -> bytes:
    raw = raw.strip()
    if raw[:1] == b"{":
        members = _MEMBERS.decode(raw)
        return msgspec.json.encode({key: msgspec.Raw(_fit(bytes(v))) for key, v in members.items()})
    if raw[:1] == b"[":
        return msgspec.json.encode([msgspec.Raw(_fit(bytes(v))) for v in _ITEMS.decode(raw)])
    if raw.removeprefix(b"-").isdigit() and abs(int(raw)) > MAX_INTEGER:
        return b'"' + raw + b'"'
    return raw
