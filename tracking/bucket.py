"""Calls of the Bucket tracking API, as any client ever wrote them (BUCKET.md §2, §6).

A body comes in as bytes, a :class:`Batch` comes out: the calls that may be kept, and of each
that may not the sentence that says why. Ids are read from their digits, never through a float:
``9007199254740993`` stays what it is, and ``1234567890`` and ``"1234567890"`` are one user.

Invariants:
    1. Nothing in a body raises. What cannot be understood is a :class:`Rejection`.
    2. A bad item of ``bulk`` spoils itself, not its neighbours (§6, 11): official clients throw
       away all hundred items of a batch that is refused.
    3. ``attributes`` is the sender's JSON object and ``raw`` the sender's whole item, byte for
       byte; fields that nobody knows stay in ``raw``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from typing import Final, TypeAlias, cast

import msgspec

from tracking import strict_json
from tracking.bucket_fields import Fields
from tracking.errors import RequestFault
from tracking.events import Limits

BODY_VALIDATION_FAILED: Final = "BODY_VALIDATION_FAILED"
INVALID_API_KEY: Final = "INVALID_API_KEY"
UNKNOWN_ERROR: Final = "UNKNOWN_ERROR"
FEATURE_NOT_FOUND: Final = "FEATURE_NOT_FOUND"
FEEDBACK_PROMPTING_DISABLED: Final = "FEEDBACK_PROMPTING_DISABLED"

RAW_TYPES: Final = frozenset({"feature-flag-event", "prompt-event", "channel-status-event"})
MAX_ITEMS: Final = 10_000  #: Of one bulk body; official clients send at most 100.
DEFAULT_LIMITS: Final = Limits()
_CHUNK: Final = 64  #: Items understood between two looks at other people's requests.
_MOST_SEARCHED: Final = 1024 * 1024  #: Bytes; searched in a tenth of a second at worst.
_BOM: Final = b"\xef\xbb\xbf"


class UserCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Somebody is there, and this is what is known of them.

    Attributes:
        attributes: The JSON object as sent, None if absent or null.
        active: ``context.active``; None counts as true (§2.2).
        timestamp_ms: Unix milliseconds, None if the sender gave none.
        extra: It has fields that nobody knows; they are in ``raw`` only.
        raw: The whole item as sent.

    """

    user_id: str
    attributes: bytes | None = None
    active: bool | None = None
    timestamp_ms: int | None = None
    extra: bool = False
    raw: bytes


class CompanyCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A company, and perhaps a user who belongs to it."""

    company_id: str
    user_id: str | None = None
    attributes: bytes | None = None
    active: bool | None = None
    timestamp_ms: int | None = None
    extra: bool = False
    raw: bytes


class EventCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A user did something, for a company or for their default one."""

    event: str
    user_id: str
    company_id: str | None = None
    attributes: bytes | None = None
    active: bool | None = None
    timestamp_ms: int | None = None
    extra: bool = False
    raw: bytes


class FeedbackCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a user thinks of a feature: a score, a comment or both.

    Attributes:
        feature_id: The seeds' name of the feature; None if only ``key`` was sent.
        key: The feature's key, as the browser SDKs send it (§6, 8).
        score: 1 to 5, None if absent (0 and null are, §6, 7).
        feedback_id: Names an earlier feedback that this one completes.

    """

    user_id: str
    feature_id: str | None = None
    key: str | None = None
    company_id: str | None = None
    score: float | None = None
    comment: str | None = None
    feedback_id: str | None = None
    prompt_id: str | None = None
    question: str | None = None
    prompted_question: str | None = None
    source: str | None = None
    timestamp_ms: int | None = None
    raw: bytes


class RawCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An item that is only kept: flag checks, prompts, channels (§2, bulk).

    Attributes:
        type: One of :data:`RAW_TYPES`.
        user_id: Whom it is about, as far as that can be read, so that a person can be erased.

    """

    type: str
    user_id: str | None = None
    timestamp_ms: int | None = None
    raw: bytes


Call: TypeAlias = UserCall | CompanyCall | EventCall | FeedbackCall | RawCall


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A call and its place in the body."""

    index: int
    call: Call


class Rejection(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An item that is not kept as what it was meant to be.

    Attributes:
        index: Its place in the body; -1 if the body as a whole is wrong.
        code: One of the vendor's (§4).
        errors: Each names a field: ``userId: Required``.
        user_id: Whom it is about, as far as that can be read.
        raw: The item as sent, cut off at the size that an item may have.

    """

    index: int
    code: str = BODY_VALIDATION_FAILED
    errors: tuple[str, ...]
    user_id: str | None = None
    raw: bytes = b""

    @property
    def message(self) -> str:
        return "; ".join(self.errors)


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One body, understood: items in their order."""

    accepted: tuple[Accepted, ...] = ()
    rejected: tuple[Rejection, ...] = ()


def parse_body(method: str, body: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Batch:
    """Understand the body of one request. Never raises on content.

    Args:
        method: ``user``, ``company``, ``event``, ``events``, ``feedback``, ``bulk``, or one of
            :data:`RAW_TYPES` for paths that take such items by themselves, alone or in an array.
        body: As received; its size is the transport's to bound.
        limits: ``event_bytes`` bounds an item, ``depth`` and ``keys`` its attributes,
            ``name_chars`` ids and names.

    """
    steps = parse_in_steps(method, body, limits=limits)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast(Batch, done.value)


def parse_in_steps(
    method: str, body: bytes, *, limits: Limits = DEFAULT_LIMITS
) -> Generator[None, None, Batch]:
    """Do the same as :func:`parse_body`, and yield now and then in a long bulk body."""
    body = body.removeprefix(_BOM)
    many = method == "bulk" or (method in RAW_TYPES and body.lstrip()[:1] == b"[")
    if not many:
        return _batch([_parse_item(0, method, body, limits)])
    try:
        items = _items(body)
    except RequestFault as fault:
        return Batch(rejected=(Rejection(index=-1, errors=(str(fault),)),))
    found: list[Accepted | Rejection] = []
    for at in range(0, len(items), _CHUNK):
        if at:
            yield
        found += [
            _parse_item(n, method, item, limits)
            for n, item in enumerate(items[at : at + _CHUNK], at)
        ]
    return _batch(found)


def _batch(found: list[Accepted | Rejection]) -> Batch:
    return Batch(
        accepted=tuple(one for one in found if isinstance(one, Accepted)),
        rejected=tuple(one for one in found if isinstance(one, Rejection)),
    )


_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_ANY: Final = msgspec.json.Decoder(msgspec.Raw)
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _items(body: bytes) -> list[bytes]:
    """Take the array of a bulk body apart.

    Raises:
        RequestFault: It is none, is empty, or has too many items.

    """
    try:
        found: list[msgspec.Raw] = _ITEMS.decode(body)
    except _NOT_JSON:
        items = _searched(body)
    else:
        _check_count(len(found))  # before millions of them are copied
        items = [bytes(item) for item in found]
    if not items:
        raise RequestFault("body: Expected at least one item")
    return items


def _searched(body: bytes) -> list[bytes]:
    """Find the borders of items, one of which may be what spoils the body.

    Half a surrogate pair does, which JavaScript writes when it cuts a text through a sign.

    Raises:
        RequestFault: It is no array, or there is too much to search: everybody waits meanwhile.

    """
    text = body.decode("utf-8", "surrogateescape")
    at = strict_json.skip_space(text)
    if text[at : at + 1] != "[":
        raise RequestFault("body: Expected an array")
    if len(body) > _MOST_SEARCHED:
        raise RequestFault("body: Not JSON")
    places = list(itertools.islice(strict_json.elements(text, at, "body"), MAX_ITEMS + 1))
    _check_count(len(places))
    if strict_json.end_of(text, at, "body") != len(text):
        raise RequestFault("body: Expected an array and nothing behind it")
    return [text[a:b].encode("utf-8", "surrogateescape") for a, b in places]


def _check_count(count: int) -> None:
    if count > MAX_ITEMS:
        raise RequestFault(f"body: Expected at most {MAX_ITEMS} items")


def _parse_item(index: int, method: str, item: bytes, limits: Limits) -> Accepted | Rejection:
    """Understand one item, or say what is wrong with it."""
    fields: Fields | None = None
    try:
        raw = bytes(_ANY.decode(item))
        if len(raw) > limits.event_bytes:
            raise RequestFault(f"body: {len(raw)} bytes, the limit is {limits.event_bytes}")
        fields = Fields(raw.decode(), limits)
        call = _call(method, fields, raw)
        errors = tuple(fields.errors)
    except _NOT_JSON as exc:
        call, errors = None, (f"body: Not JSON: {exc}",)
    except RequestFault as fault:
        call, errors = None, (str(fault),)
    if call is not None and not errors:
        return Accepted(index, call)
    user_id = fields.glimpse("userId") if fields is not None else None
    raw = item.strip()[: limits.event_bytes]
    return Rejection(index=index, errors=errors, user_id=user_id, raw=raw)


def _call(method: str, fields: Fields, raw: bytes) -> Call | None:
    """Return the call; it counts only if the fields have no errors."""
    if method == "bulk":
        method = fields.glimpse_text("type") or ""
    elif method == "events":
        method = "event"  # the seeds' prose against their own examples (§6, 1)
    if method in RAW_TYPES:
        return _raw(method, fields, raw)
    make = _MAKE.get(method)
    if make is None:
        known = ", ".join([*_MAKE, *sorted(RAW_TYPES)])
        fields.errors.append(f"type: Expected one of {known}")
        return None
    return make(fields, raw)


_SHARED: Final = frozenset({"type", "userId", "attributes", "context", "timestamp"})
_USER: Final = _SHARED
_COMPANY: Final = _SHARED | {"companyId"}
_EVENT: Final = _SHARED | {"companyId", "event"}


def _user(fields: Fields, raw: bytes) -> UserCall:
    return UserCall(
        user_id=fields.id("userId", required=True) or "",
        attributes=fields.attributes(),
        active=fields.active(),
        timestamp_ms=fields.timestamp_ms(),
        extra=not fields.members.keys() <= _USER,
        raw=raw,
    )


def _company(fields: Fields, raw: bytes) -> CompanyCall:
    return CompanyCall(
        company_id=fields.id("companyId", required=True) or "",
        user_id=fields.id("userId"),
        attributes=fields.attributes(),
        active=fields.active(),
        timestamp_ms=fields.timestamp_ms(),
        extra=not fields.members.keys() <= _COMPANY,
        raw=raw,
    )


def _event(fields: Fields, raw: bytes) -> EventCall:
    return EventCall(
        event=fields.name("event") or "",
        user_id=fields.id("userId", required=True) or "",
        company_id=fields.id("companyId"),
        attributes=fields.attributes(),
        active=fields.active(),
        timestamp_ms=fields.timestamp_ms(),
        extra=not fields.members.keys() <= _EVENT,
        raw=raw,
    )


def _feedback(fields: Fields, raw: bytes) -> FeedbackCall:
    call = FeedbackCall(
        user_id=fields.id("userId", required=True) or "",
        feature_id=fields.id("featureId", empty=True),
        key=fields.text("key"),
        company_id=fields.id("companyId"),
        score=fields.score(),
        comment=fields.text("comment"),
        feedback_id=fields.glimpse("feedbackId"),
        prompt_id=fields.glimpse("promptId"),
        question=fields.glimpse_text("question"),
        prompted_question=fields.glimpse_text("promptedQuestion"),
        source=fields.glimpse_text("source"),
        timestamp_ms=fields.timestamp_ms(),  # its context is ignored (§6, 6)
        raw=raw,
    )
    if not fields.errors and call.feature_id is None and call.key is None:
        fields.errors.append("featureId: Required, or key in its place")
    if not fields.errors and call.score is None and call.comment is None:
        fields.errors.append("score: Required, or comment in its place")
    return call


def _raw(type_: str, fields: Fields, raw: bytes) -> RawCall:
    return RawCall(
        type=type_,
        user_id=fields.glimpse("userId") or fields.glimpse("evalContext", "user", "id"),
        timestamp_ms=fields.glimpse_ms("timestamp"),
        raw=raw,
    )


_MAKE: Final[dict[str, Callable[[Fields, bytes], Call]]] = {
    "user": _user,
    "company": _company,
    "event": _event,
    "feedback": _feedback,
}
