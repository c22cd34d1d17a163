"""From what an app handed in to what its queues will hold: ids, sessions, dates, languages.

A :class:`Draft` is one app's part of a turn. It changes no desk and no disk: the commit makes it
true, or it is thrown away.

What is stored of a Nucleus event is its wire form (:mod:`agent.rules.stamp`). What is stored of
a Bucket call is one JSON object, in this order: ``id`` (ours), ``at`` (Unix milliseconds of when
it was handed in), ``type`` (``user``, ``company``, …) and ``call`` (the app's own JSON, byte for
byte, or what the mapping made). The queue finds ids in both alike.
"""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from agent.adapters.outbox.outbox import Outbox
from agent.rules.mapping import kind_of, to_bucket, to_nucleus
from agent.rules.sessions import Session, decide
from agent.rules.stamp import Identity, MachineFacts, Plain, opening, opening_event, stamp
from agent.runtime.counter.desk import MOST_RECENT_SESSIONS, Desk, Lane
from agent.runtime.counter.profile import Profile, naming
from agent.runtime.counter.waiting import Streams
from tracking.bucket import Call, FeedbackCall
from tracking.errors import Bug
from tracking.events import Event, Kind
from tracking.nucleus import content_hash

#: Groups of wire ids and the queue that each is on; None for those that somebody may wait for.
#: An id that stands in no other group is on no queue: its far ends have agreed to leave it out.
Placed = list[tuple[int | None, list[str]]]

ID_BYTES = 18  #: 144 bits, and 24 base64 characters without padding.


def fresh_ids(count: int) -> list[str]:
    """Return unguessable wire ids, 24 URL-safe characters each."""
    text = base64.urlsafe_b64encode(os.urandom(ID_BYTES * count)).decode("ascii")
    return [text[at : at + 24] for at in range(0, 24 * count, 24)]


def streams_of(placed: Placed) -> Streams:
    """Return the streams that each id is on which somebody may wait for."""
    found: dict[str, tuple[int, ...]] = {}
    for stream, ids in placed:
        if stream is None:
            found |= dict.fromkeys(ids, ())
    for stream, ids in placed:
        if stream is not None:
            for wire_id in ids:
                if wire_id in found:
                    found[wire_id] += (stream,)
    return found


def bucket_item(wire_id: str, at_ms: int, kind: str, call: bytes) -> bytes:
    """Return what is stored of a Bucket call."""
    return b'{"id":"%b","at":%d,"type":%b,"call":%b}' % (
        wire_id.encode(),
        at_ms,
        msgspec.json.encode(kind),
        call,
    )


@dataclass(slots=True)
class Draft:
    """One desk's part of a turn, until the commit makes it true.

    Attributes:
        profile: As it will be.
        shown: What was accepted, each once, as people see it pass.
        queues: Stream → what is added to it.
        kinds: How many of each word.
        repeats: How many were known already.
        began: A session began: the profile is to be written.
        named: Persons whom the profile does not know yet.

    """

    profile: Profile
    shown: list[bytes] = field(default_factory=list)
    queues: dict[int, list[bytes]] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    began: bool = False
    named: dict[str, None] = field(default_factory=dict)

    def name(self, persons: Iterable[str | None]) -> None:
        """Have these persons known, so that their deletion can be asked for."""
        for person in persons:
            if person and person not in self.profile.named:
                self.named[person] = None

    def close(self) -> None:
        """Take into the profile who was named in this turn; that is to be written with it."""
        if self.named:
            self.profile, self.began = naming(self.profile, self.named), True
            self.named = {}

    def put(self, stream: int, bodies: Sequence[bytes]) -> None:
        """Add to a queue."""
        queue = self.queues.get(stream)
        if queue is None:
            self.queues[stream] = list(bodies)
        else:
            queue.extend(bodies)


class _Stamped(NamedTuple):
    """Events with their wire ids and wire forms, side by side."""

    events: Sequence[Event]
    ids: list[str]
    bodies: list[bytes]

    def without(self, kinds: frozenset[str]) -> _Stamped:
        """Return those that are of no such kind."""
        rows = zip(self.events, self.ids, self.bodies, strict=True)
        kept = [row for row in rows if row[0].kind.value not in kinds]
        return _Stamped(
            [row[0] for row in kept], [row[1] for row in kept], [row[2] for row in kept]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafting:
    """Turns events and calls into drafts.

    Attributes:
        outbox: Remembers what was accepted before.
        facts: The machine's slow truths.
        module_version: Ours, for the ``init`` events we write.
        fresh_session: A session id, given those that may not be used.
        passing_device: A new deviceId for each session, if the person wants it so.

    """

    outbox: Outbox
    facts: MachineFacts
    module_version: str
    fresh_session: Callable[[Iterable[int]], int]
    passing_device: Callable[[], str] | None = None

    def add_events(
        self, desk: Desk, draft: Draft, events: tuple[Event, ...], now_ms: int
    ) -> Placed:
        """Add Nucleus events; return what tells where each of them will wait.

        Within an open turn of the outbox: an event with an id of its own is looked up and
        remembered there.
        """
        events = self._fresh(desk, draft, events, now_ms)
        if not events:
            return []
        if _may_be_asked(desk):
            for who in events:
                if who.user_id or who.anon_id or who.device_id:
                    draft.name((who.user_id, who.anon_id, who.device_id))
        stamped, own = self._stamped(desk, draft, events, draft.kinds, now_ms)
        draft.shown.extend(stamped.bodies)
        placed: Placed = [(None, stamped.ids[own:])]
        for lane in desk.lanes:
            if lane.way.events != "elsewhere":
                ids = self._put(desk, draft, lane, stamped, now_ms)
                placed.append((lane.stream, ids))
        return placed

    def add_calls(self, desk: Desk, draft: Draft, calls: Sequence[Call], now_ms: int) -> Placed:
        """Add Bucket calls; return what tells where each of them will wait."""
        if _may_be_asked(desk):
            draft.name(call.user_id for call in calls)
        placed: Placed = []
        for call, wire_id in zip(calls, fresh_ids(len(calls)), strict=True):
            kind = kind_of(call)
            item = bucket_item(wire_id, now_ms, kind, _raw(call))
            draft.shown.append(item)
            draft.kinds[kind] += 1
            placed.append((None, [wire_id]))
            mapped = []
            for lane in desk.lanes:
                if kind in lane.way.leave_out or lane.way.calls == "elsewhere":
                    continue
                if lane.way.calls == "said":
                    draft.put(lane.stream, (item,))
                    placed.append((lane.stream, [wire_id]))
                else:
                    mapped.append(lane)
            if mapped:
                placed += self._told(desk, draft, mapped, call, now_ms)
        return placed

    def _told(
        self, desk: Desk, draft: Draft, mapped: Sequence[Lane], call: Call, now_ms: int
    ) -> Placed:
        """Tell a call in Nucleus's words on these lanes."""
        events = tuple(to_nucleus(call))
        if not events:
            return []
        stamped, own = self._stamped(desk, draft, events, Counter(), now_ms)
        if own:  # whoever hears of this session's later events hears of its beginning
            draft.shown.append(stamped.bodies[0])
        placed: Placed = [(None, stamped.ids[own:])]
        for lane in desk.lanes:
            if lane in mapped:
                draft.put(lane.stream, stamped.bodies)
                placed.append((lane.stream, stamped.ids))
            elif own and lane.way.events == "said":
                draft.put(lane.stream, stamped.bodies[:own])
        return placed

    def _put(
        self, desk: Desk, draft: Draft, lane: Lane, stamped: _Stamped, now_ms: int
    ) -> list[str]:
        """Add events to one queue, in its language; return the ids of those that are on it."""
        if lane.way.leave_out:
            stamped = stamped.without(lane.way.leave_out)
        if lane.way.events == "said":
            draft.put(lane.stream, stamped.bodies)
        else:
            draft.put(lane.stream, list(self._mapped(desk, draft, stamped, now_ms)))
        return stamped.ids

    def _mapped(self, desk: Desk, draft: Draft, stamped: _Stamped, now_ms: int) -> Iterator[bytes]:
        identity = _identity(desk, draft)
        for event, wire_id in zip(stamped.events, stamped.ids, strict=True):
            said = to_bucket(
                event,
                identity=identity,
                received_ms=now_ms,
                facts=self.facts,
                version=desk.version,
            )
            yield bucket_item(wire_id, now_ms, said.kind, said.call)

    def _fresh(
        self, desk: Desk, draft: Draft, events: tuple[Event, ...], now_ms: int
    ) -> tuple[Event, ...]:
        """Return the events that were not accepted before, and remember them."""
        hashes = [None if e.id is None else content_hash(desk.app_id, e) for e in events]
        asked = [h for h in hashes if h is not None]
        if not asked:
            return events
        known = self.outbox.recall(asked)
        fresh, remembered = [], []
        for event, digest in zip(events, hashes, strict=True):
            if digest is not None:
                if digest in known:
                    draft.repeats += 1
                    continue
                known.add(digest)
                remembered.append(digest)
            fresh.append(event)
        self.outbox.remember(remembered, now_ms)  # in this turn, so that its own repeats show
        return tuple(fresh)

    def _stamped(
        self,
        desk: Desk,
        draft: Draft,
        events: tuple[Event, ...],
        kinds: Counter[str],
        now_ms: int,
    ) -> tuple[_Stamped, int]:
        """Give events their ids, session and what they left out; count them in ``kinds``.

        Returns:
            The events, and how many of ours (an ``init`` that is owed) stand before them.

        """
        session, needs_init = self._session(desk, draft, events, now_ms)
        identity = _identity(desk, draft)
        users = [e.user_id for e in events if e.user_id is not None]
        user_id = users[-1] if users else draft.profile.user_id
        if user_id != draft.profile.user_id:
            draft.profile = msgspec.structs.replace(draft.profile, user_id=user_id)
        ids = fresh_ids(len(events) + needs_init)
        bodies: list[bytes] = []
        told: tuple[Event, ...] = events
        if needs_init:
            date_ms = min(events[0].date_ms or now_ms, now_ms)
            user = events[0].user_id or user_id
            told = (opening_event(date_ms, user), *events)
            bodies.append(
                opening(
                    wire_id=ids[0],
                    date_ms=date_ms,
                    session_id=session.session_id,
                    identity=identity,
                    user_id=user,
                    facts=self.facts,
                    version=desk.version,
                    module_version=self.module_version,
                )
            )
            draft.kinds["init"] += 1
        plain = Plain(session_id=session.session_id, identity=identity, received_ms=now_ms)
        plains = 0
        for event, wire_id in zip(events, ids[1:] if needs_init else ids, strict=True):
            body = plain.stamp(event, wire_id)
            if body is None:
                kinds[event.kind.value] += 1
                body = stamp(
                    event,
                    wire_id=wire_id,
                    received_ms=now_ms,
                    session_id=session.session_id,
                    identity=identity,
                    facts=self.facts,
                    version=desk.version,
                    module_version=self.module_version,
                )
            else:
                plains += 1
            bodies.append(body)
        if plains:
            kinds["event"] += plains
        return _Stamped(told, ids, bodies), int(needs_init)

    def _session(
        self, desk: Desk, draft: Draft, events: tuple[Event, ...], now_ms: int
    ) -> tuple[Session, bool]:
        """Decide the session of these events, and whether an ``init`` of ours is owed."""
        before, recent = draft.profile.session, draft.profile.recent
        session, needs_init = decide(
            before,
            now_ms,
            own_init=any(e.kind is Kind.INIT and e.session_id is None for e in events),
            own_session=all(e.session_id is not None for e in events),
            fresh=lambda: self.fresh_session(draft.profile.recent),
        )
        if before is None or session.opened != before.opened:
            draft.began = True
        if before is None or session.session_id != before.session_id:
            draft.began = True
            if self.passing_device is not None:
                identity = msgspec.structs.replace(
                    _identity(desk, draft), device_id=self.passing_device()
                )
                draft.profile = msgspec.structs.replace(draft.profile, identity=identity)
            recent = (*recent, session.session_id)[-MOST_RECENT_SESSIONS:]
        draft.profile = msgspec.structs.replace(draft.profile, session=session, recent=recent)
        return session, needs_init


def _identity(desk: Desk, draft: Draft) -> Identity:
    identity = draft.profile.identity
    if identity is None:
        raise Bug(f"{desk.app_id} was taken in without an identity")
    return identity


def _may_be_asked(desk: Desk) -> bool:
    """Return whether any far end of an app may know a deletion; Bucket's own API does not."""
    return any(lane.way.kind in ("nucleus", "homing") for lane in desk.lanes)


def _raw(call: Call) -> bytes:
    """Return a call as its sender wrote it; a feedback with the id that its sender was told."""
    if (
        isinstance(call, FeedbackCall)
        and call.feedback_id is not None
        and b'"feedbackId"' not in call.raw
    ):
        named = b',"feedbackId":' + msgspec.json.encode(call.feedback_id)
        return call.raw.rstrip()[:-1] + named + b"}"
    return call.raw
