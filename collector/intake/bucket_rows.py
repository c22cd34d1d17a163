"""What becomes of Bucket calls: events, and facts beside them (BUCKET.md §2, §6).

    user      seen, attributes
    company   seen (it and its user), attributes, membership
    event     an event; membership if it names a company and somebody was there
    feedback  the whole feedback as it is now; its user exists
    the rest  raw, byte for byte; so are calls with fields that nobody knows, and refused items

Pure: what is already stored comes in as :class:`Known`, moments as arguments.

Invariants:
    1. Within one body a later item wins over an earlier one of the same moment, as it would if
       they had come one by one: n=1, n=2, n=1 ends with n=1 (§9, 60).
    2. No moment of an attribute or of a sight lies after the receipt (§6, 19): a clock that is
       ahead must not win over all that comes later.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from collector.intake.rows import stored
from collector.store.interface import (
    CLOCK_NOT_BELIEVED,
    FROM_BUCKET,
    INACTIVE,
    Attribute,
    Fact,
    Feedback,
    Membership,
    RawItem,
    Seen,
    Stored,
)
from tracking import strict_json
from tracking.bucket import (
    Batch,
    Call,
    CompanyCall,
    EventCall,
    FeedbackCall,
    RawCall,
    UserCall,
)
from tracking.dates import FUTURE_MS
from tracking.events import Event, Kind

SOURCE: Final = "bucket"
QUARANTINED: Final = "quarantined"
_HALVES: Final = struct.Struct(">qq")


class _Dated(msgspec.Struct):
    """The date of an item as it was said."""

    timestamp: int | float | str | None = None


_DATE: Final = msgspec.json.Decoder(_Dated)


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows already of those whom a batch names.

    Attributes:
        companies: By user, the moment in which they were last seen in a company, and which.
        feedback: By id.

    """

    companies: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    feedback: Mapping[str, Feedback] = field(default_factory=dict)


class Rows:
    """Collects what is to be stored of one batch.

    Args:
        app_id: Whose calls they are.
        received_ms: When they arrived.
        known: See :class:`Known`.
        once: Names this request among all of the app, so that its repeat makes the same events;
            empty if it has no ``Idempotency-Key``, and then every event is another one (§6, 12).

    """

    def __init__(self, app_id: str, received_ms: int, known: Known, once: str = "") -> None:
        self.app_id = app_id
        self.received_ms = received_ms
        self.once = once
        self.events: list[Stored] = []
        self._raw: list[RawItem] = []
        self._seen: dict[tuple[str, str], Seen] = {}
        self._attributes: dict[tuple[str, str, str], Attribute] = {}
        self._memberships: dict[tuple[str, str], Membership] = {}
        self._linked: dict[tuple[str, int], int] = {}  #: By user and moment, the last receipt.
        self._feedback: dict[str, Feedback] = dict(known.feedback)
        self._said: set[str] = set()  #: Feedback that this batch wrote.
        self._companies = dict(known.companies)

    @property
    def facts(self) -> list[Fact]:
        """Everything but the events."""
        return [
            *self._seen.values(),
            *self._attributes.values(),
            *self._memberships.values(),
            *(self._feedback[one] for one in self._said),
            *self._raw,
        ]

    def add(self, batch: Batch) -> Rows:
        """Take a batch; return self."""
        for one in batch.accepted:
            self._take(one.index, one.call)
        for bad in batch.rejected:
            note = f"item {bad.index}: {bad.message}"
            self._keep_raw(QUARANTINED, bad.user_id, note, bad.raw)
        return self

    def _take(self, index: int, call: Call) -> None:
        match call:
            case UserCall():
                at_ms = self._at(call.timestamp_ms)
                self._see("user", call.user_id, at_ms, active=call.active)
                self._describe("user", call.user_id, call.attributes, at_ms)
                self._keep_extra("user", call)
            case CompanyCall():
                at_ms = self._at(call.timestamp_ms)
                self._see("company", call.company_id, at_ms, active=call.active)
                self._describe("company", call.company_id, call.attributes, at_ms)
                if call.user_id is not None:
                    self._see("user", call.user_id, at_ms, active=call.active)
                    self._link(call.user_id, call.company_id, at_ms)
                self._keep_extra("company", call)
            case EventCall():
                self._event(index, call)
                self._keep_extra("event", call)
            case FeedbackCall():
                self._opine(call)
            case RawCall():
                self._keep_raw(call.type, call.user_id, "", call.raw)

    def _at(self, timestamp_ms: int | None) -> int:
        """Return the moment of a call (invariant 2)."""
        return self.received_ms if timestamp_ms is None else min(timestamp_ms, self.received_ms)

    def _see(self, kind: str, id_: str, at_ms: int, *, active: bool | None) -> None:
        last_ms = 0 if active is False else at_ms
        old = self._seen.get((kind, id_))
        if old is not None:
            at_ms, last_ms = min(at_ms, old.first_ts), max(last_ms, old.last_ts)
        self._seen[kind, id_] = Seen(self.app_id, kind, id_, at_ms, last_ms)

    def _describe(self, kind: str, id_: str, attributes: bytes | None, at_ms: int) -> None:
        if attributes is None:
            return
        text = attributes.decode()
        for key, start, end in strict_json.members(text, 0, "attributes"):
            old = self._attributes.get((kind, id_, key))
            if old is None or at_ms >= old.ts:
                self._attributes[kind, id_, key] = Attribute(
                    self.app_id, kind, id_, key, text[start:end], at_ms, self.received_ms
                )

    def _link(self, user_id: str, company_id: str, at_ms: int) -> None:
        old = self._memberships.get((user_id, company_id))
        if old is None or at_ms >= old.ts:
            # Several companies of one user at one moment: the last of them is the default.
            recv_ms = self._linked.get((user_id, at_ms), self.received_ms - 1) + 1
            self._linked[user_id, at_ms] = recv_ms
            link = Membership(self.app_id, user_id, company_id, at_ms, recv_ms)
            self._memberships[user_id, company_id] = link
        if at_ms >= self._companies.get(user_id, (0, ""))[0]:
            self._companies[user_id] = (at_ms, company_id)

    def _event(self, index: int, call: EventCall) -> None:
        company_id = call.company_id
        if company_id is None:
            _, company_id = self._companies.get(call.user_id, (0, ""))
        elif call.active is not False:
            self._link(call.user_id, company_id, self._at(call.timestamp_ms))
        said_ms, at_ms = call.timestamp_ms, self.received_ms
        if said_ms is not None and said_ms <= self.received_ms + FUTURE_MS:
            at_ms = said_ms
        event = Event(
            kind=Kind.EVENT,
            type="event",
            name=call.event,
            date=None if said_ms is None else _DATE.decode(call.raw).timestamp,
            date_ms=said_ms,
            user_id=call.user_id,
            payload=call.attributes,
        )
        row = stored(self.app_id, "", event, self.received_ms, at_ms)
        key_a, key_b = _HALVES.unpack(self._key(index))
        flags = row.flags | FROM_BUCKET | (INACTIVE if call.active is False else 0)
        if said_ms is not None and at_ms != said_ms:
            flags |= CLOCK_NOT_BELIEVED
        self.events.append(
            row._replace(key_a=key_a, key_b=key_b, company_id=company_id, flags=flags)
        )

    def _key(self, index: int) -> bytes:
        """Return the content key of an event: five equal ones are five (§9, 25)."""
        if not self.once:
            return secrets.token_bytes(16)
        said = msgspec.json.encode([self.app_id, SOURCE, self.once, index])
        return hashlib.blake2b(said, digest_size=16).digest()

    def _opine(self, call: FeedbackCall) -> None:
        feedback_id = call.feedback_id
        assert feedback_id is not None, "the endpoint gives every feedback its id"
        at_ms = self._at(call.timestamp_ms)
        self._see("user", call.user_id, at_ms, active=False)  # §2.2: it never moves last seen
        # An answer in two steps sends its score first; what is not said again stays as it was.
        old = self._feedback.get(feedback_id)
        self._feedback[feedback_id] = Feedback(
            app_id=self.app_id,
            feedback_id=feedback_id,
            feature=call.feature_id or call.key or "",
            user_id=call.user_id,
            company_id=call.company_id or (old.company_id if old else ""),
            score=float(call.score or (old.score if old else 0)),
            comment=call.comment or (old.comment if old else ""),
            source=call.source or (old.source if old else ""),
            question=call.question or (old.question if old else ""),
            prompt_id=call.prompt_id or (old.prompt_id if old else ""),
            ts=old.ts if old else at_ms,
            recv_ts=self.received_ms,
            raw=call.raw.decode(),
        )
        self._said.add(feedback_id)

    def _keep_extra(self, type_: str, call: UserCall | CompanyCall | EventCall) -> None:
        if call.extra:
            self._keep_raw(type_, call.user_id, "fields that nobody knows", call.raw)

    def _keep_raw(self, type_: str, user_id: str | None, note: str, raw: bytes) -> None:
        self._raw.append(
            RawItem(
                app_id=self.app_id,
                recv_ts=self.received_ms,
                source=SOURCE,
                type=type_,
                user_id=user_id or "",
                note=note,
                raw=raw.decode("utf-8", "replace"),
            )
        )
