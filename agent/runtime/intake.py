"""The counter where apps hand in events: durable first, then acknowledged.

Everything that arrives in one turn of the loop is committed once, and only then answered
(group commit): the price of a promise is one fsync per turn, however many callers wait for it.

Invariants:
    1. A receipt without fault is given after the commit that holds the events, never before.
    2. A commit that fails stores nothing, acknowledges nothing, and changes no desk.
    3. Order within an app is the order of arrival; an ``init`` of ours stands before the event
       that began its session.
    4. An event with an id of its own is accepted once (``tracking.nucleus.content_hash``).
"""

from __future__ import annotations

import base64
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from agent.adapters.outbox import Outbox
from agent.rules.consent import Consent
from agent.rules.quota import Bucket
from agent.rules.sessions import decide
from agent.rules.stamp import Identity, MachineFacts, Plain, opening, stamp
from agent.runtime.desk import MOST_RECENT_SESSIONS, Desk, Profile
from tracking.endpoints import Origin, Receipt
from tracking.errors import AgentGone, Bug, Damaged, Fault, OverQuota, RequestFault, StorageFault
from tracking.events import Frame, Kind
from tracking.nucleus import content_hash

PROFILE_EVERY_MS = 60_000  #: A session's last sign of life is written at most so often.
KEPT_PASSING = 200  #: Newest events kept for `tail` and the window.
ID_BYTES = 18  #: 144 bits, and 24 base64 characters without padding.
HOUR_MS = 3_600_000

Reply = Callable[[Receipt], None]


def fresh_ids(count: int) -> list[str]:
    """Return unguessable wire ids, 24 URL-safe characters each."""
    text = base64.urlsafe_b64encode(os.urandom(ID_BYTES * count)).decode("ascii")
    return [text[at : at + 24] for at in range(0, 24 * count, 24)]


@dataclass(slots=True)
class Letter:
    """One frame at the counter, and how to answer it."""

    desk: Desk
    frame: Frame
    reply: Reply
    ids: Callable[[list[str]], None] | None = None  #: Hears the wire ids just before the reply.


@dataclass(slots=True)
class Written:
    """What one turn wrote, told to those who care after the commit."""

    at_ms: int
    accepted: int = 0
    desks: list[tuple[Desk, list[bytes]]] = field(default_factory=list)


@dataclass(slots=True)
class _Draft:
    """One desk's part of a turn, until the commit makes it true."""

    profile: Profile
    bodies: list[bytes] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    began: bool = False


class Intake:
    """Takes frames, commits them once a turn, answers.

    Args:
        outbox: Where accepted events live.
        desks: App id → desk; the core adds and removes.
        facts: The machine's slow truths.
        module_version: Ours, for the ``init`` events we write.
        wall_ms: Unix milliseconds.
        mono_s: Monotonic seconds.
        plan: Schedules :meth:`flush` for the end of this turn.
        identify: Called once per desk that has no identity yet; answers with :meth:`identified`.
        fresh_session: A session id, given those that may not be used.
        passing_device: A new deviceId for each session, if the person wants it so.

    """

    def __init__(
        self,
        outbox: Outbox,
        desks: dict[str, Desk],
        *,
        facts: MachineFacts,
        module_version: str,
        wall_ms: Callable[[], int],
        mono_s: Callable[[], float],
        plan: Callable[[], None],
        identify: Callable[[Desk], object],
        fresh_session: Callable[[Iterable[int]], int],
        passing_device: Callable[[], str] | None = None,
    ) -> None:
        self.outbox = outbox
        self.desks = desks
        self.facts = facts
        self.module_version = module_version
        self.wall_ms = wall_ms
        self.mono_s = mono_s
        self.plan = plan
        self.identify = identify
        self.fresh_session = fresh_session
        self.passing_device = passing_device
        self.waiting: list[Letter] = []
        self.unnamed: dict[str, list[Letter]] = {}  # letters of apps whose identity is being made
        self.naming: set[str] = set()
        self.closed = False
        self.passing: deque[tuple[int, str, bytes]] = deque(maxlen=KEPT_PASSING)

    def take(
        self,
        app_id: str,
        frame: Frame,
        origin: Origin,
        reply: Reply,
        *,
        ids: Callable[[list[str]], None] | None = None,
        bucket: Bucket | None = None,
    ) -> None:
        """Accept one frame; ``reply`` hears of it after the commit (invariant 1).

        ``bucket`` is the quota to draw on instead of the app's own: what it left in the spool.
        """
        del origin
        if self.closed:
            reply(Receipt(fault=_stopping(), unacknowledged=_all(frame)))
            return
        desk = self.desks.get(app_id)
        if desk is None or desk.consent is Consent.PENDING:
            reply(Receipt(fault=self.stranger(app_id), unacknowledged=_all(frame)))
            return
        if desk.consent is Consent.DENIED or not frame.events:
            reply(Receipt())  # denied: acknowledged and dropped, no row (SECURITY decision 3)
            return
        wait_s = (bucket or desk.bucket).take(len(frame.events), self.mono_s())
        if wait_s > 0:
            reply(Receipt(fault=_over_quota(desk, wait_s), unacknowledged=_all(frame)))
            return
        letter = Letter(desk, frame, reply, ids)
        if desk.profile.identity is None:
            self.unnamed.setdefault(app_id, []).append(letter)
            self.name(desk)
            return
        if not self.waiting:
            self.plan()
        self.waiting.append(letter)

    def name(self, desk: Desk) -> None:
        """Have an identity made for an allowed app that has none; asked once at a time."""
        if desk.profile.identity is None and desk.app_id not in self.naming:
            self.naming.add(desk.app_id)
            self.identify(desk)

    def stranger(self, app_id: str) -> RequestFault:
        """Count a knock of an app that nobody allowed, and say what to do about it."""
        desk = self.desks.get(app_id)
        if desk is not None:
            desk.knocks += 1
        return RequestFault(
            f"the app {app_id!r} is not allowed on this computer yet",
            status=403,
            field="appId",
            advice=f'Declare it in homing.toml: [[apps]] id = "{app_id}".',
        )

    def identified(self, app_id: str, identity: Identity) -> None:
        """An app's identity was made: what waited for it goes on."""
        self.naming.discard(app_id)
        desk = self.desks.get(app_id)
        if desk is not None and desk.profile.identity is None:
            desk.change(identity=identity)
        letters = self.unnamed.pop(app_id, [])
        if not letters:
            return
        if not self.waiting:
            self.plan()
        self.waiting.extend(letters)

    def unidentified(self, app_id: str, fault: Fault) -> None:
        """An app's identity could not be made: nothing of what waited for it is kept."""
        self.naming.discard(app_id)
        for letter in self.unnamed.pop(app_id, []):
            letter.reply(Receipt(fault=fault, unacknowledged=_all(letter.frame)))

    def close(self) -> None:
        """Take nothing any more; who waits for an identity is told that nothing was kept."""
        self.closed = True
        for app_id in tuple(self.unnamed):
            self.unidentified(app_id, _stopping())

    def flush(self, also: Callable[[], None] | None = None) -> Written:
        """Commit everything that waits, with ``also`` in the same transaction; then answer.

        Raises:
            StorageFault: Only if nothing waited and ``also`` failed; otherwise every waiting
                caller hears of it and the fault is raised all the same, for the status.

        """
        letters, self.waiting = self.waiting, []
        now_ms = self.wall_ms()
        written = Written(now_ms)
        try:
            try:
                drafts, told = self._commit(letters, also, now_ms)
            except Damaged:  # what can be read is in a new file by now
                drafts, told = self._commit(letters, also, now_ms)
        except StorageFault as fault:
            for letter in letters:
                letter.reply(Receipt(fault=fault, unacknowledged=_all(letter.frame)))
            raise
        for app_id, draft in drafts.items():
            desk = self.desks_by_id(letters, app_id)
            desk.repeats += draft.repeats
            if draft.began or desk.dirty or now_ms - desk.written_ms >= PROFILE_EVERY_MS:
                desk.written_ms = now_ms
            desk.profile, desk.dirty = draft.profile, False
            for kind, count in draft.kinds.items():
                self.outbox.count(app_id, now_ms - now_ms % HOUR_MS, kind, count)
            if draft.bodies:
                written.desks.append((desk, draft.bodies))
                written.accepted += len(draft.bodies)
                self.passing.extend((now_ms, app_id, body) for body in draft.bodies[-KEPT_PASSING:])
        for letter, ids in zip(letters, told, strict=True):
            if letter.ids is not None:
                letter.ids(ids)
            letter.reply(Receipt())
        return written

    def _commit(
        self, letters: list[Letter], also: Callable[[], None] | None, now_ms: int
    ) -> tuple[dict[str, _Draft], list[list[str]]]:
        """Store what the letters say, all or nothing; return it, and the wire ids."""
        drafts: dict[str, _Draft] = {}
        with self.outbox.turn():
            if also is not None:
                also()  # first: it writes profiles as they were, the drafts are newer
            told = [self._draft(letter, drafts, now_ms) for letter in letters]
            for app_id, draft in drafts.items():
                self._write(self.desks_by_id(letters, app_id), draft, now_ms)
        return drafts, told

    def desks_by_id(self, letters: list[Letter], app_id: str) -> Desk:
        """Return the desk that the letters of this turn were taken at."""
        desk = self.desks.get(app_id)
        if desk is None:
            desk = next((letter.desk for letter in letters if letter.desk.app_id == app_id), None)
        if desk is None:
            raise Bug(f"no letter of this turn is from {app_id}")
        return desk

    def _draft(self, letter: Letter, drafts: dict[str, _Draft], now_ms: int) -> list[str]:
        """Turn one letter's events into what will be stored; return their wire ids."""
        desk, frame = letter.desk, letter.frame
        draft = drafts.get(desk.app_id)
        if draft is None:
            draft = drafts[desk.app_id] = _Draft(desk.profile)
        events = frame.events
        hashes = [None if e.id is None else content_hash(desk.app_id, e) for e in events]
        asked = [h for h in hashes if h is not None]
        if asked:
            known = self.outbox.recall(asked)
            fresh = []
            for event, digest in zip(events, hashes, strict=True):
                if digest is not None:
                    if digest in known:
                        draft.repeats += 1
                        continue
                    known.add(digest)
                    draft.hashes.append(digest)
                fresh.append(event)
            self.outbox.remember(draft.hashes, now_ms)  # in this turn, so that its own repeats show
            draft.hashes.clear()
            events = tuple(fresh)
        if not events:
            return []
        identity = draft.profile.identity
        if identity is None:
            raise Bug(f"{desk.app_id} was taken in without an identity")
        session, needs_init = decide(
            draft.profile.session,
            now_ms,
            own_init=any(e.kind is Kind.INIT and e.session_id is None for e in events),
            own_session=all(e.session_id is not None for e in events),
            fresh=lambda: self.fresh_session(draft.profile.recent),
        )
        before = draft.profile.session
        recent = draft.profile.recent
        if before is None or session.opened != before.opened:
            draft.began = True
        if before is None or session.session_id != before.session_id:
            draft.began = True
            if self.passing_device is not None:
                identity = msgspec.structs.replace(identity, device_id=self.passing_device())
                draft.profile = _changed(draft.profile, identity=identity)
            recent = (*recent, session.session_id)[-MOST_RECENT_SESSIONS:]
        users = [e.user_id for e in events if e.user_id is not None]
        user_id = users[-1] if users else draft.profile.user_id
        ids = fresh_ids(len(events) + needs_init)
        if needs_init:
            first = events[0]
            draft.bodies.append(
                opening(
                    wire_id=ids.pop(),
                    date_ms=min(first.date_ms or now_ms, now_ms),
                    session_id=session.session_id,
                    identity=identity,
                    user_id=first.user_id or user_id,
                    facts=self.facts,
                    version=desk.version,
                    module_version=self.module_version,
                )
            )
            draft.kinds["init"] += 1
        draft.profile = _changed(draft.profile, session=session, recent=recent, user_id=user_id)
        plain = Plain(session_id=session.session_id, identity=identity, received_ms=now_ms)
        plains = 0
        for event, wire_id in zip(events, ids, strict=True):
            body = plain.stamp(event, wire_id)
            if body is None:
                draft.kinds[event.kind.value] += 1
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
            draft.bodies.append(body)
        if plains:
            draft.kinds[Kind.EVENT.value] += plains
        return ids

    def _write(self, desk: Desk, draft: _Draft, now_ms: int) -> None:
        """Put one desk's part into the open transaction."""
        if desk.stream is None:
            raise Bug(f"{desk.app_id} has no stream")
        if draft.bodies:
            self.outbox.append(desk.stream, draft.bodies, now_ms)
        if draft.began or desk.dirty or now_ms - desk.written_ms >= PROFILE_EVERY_MS:
            self.outbox.keep_profile(desk.app_id, PROFILE.encode(draft.profile))


class ProfileCodec:
    """Profiles as bytes in the outbox; unreadable ones count as absent."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Profile)

    def encode(self, profile: Profile) -> bytes:
        return self._encoder.encode(profile)

    def decode(self, raw: bytes | None) -> Profile:
        """Return the kept profile, or an empty one."""
        if raw is None:
            return Profile()
        try:
            return self._decoder.decode(raw)
        except msgspec.MsgspecError:
            return Profile()


PROFILE = ProfileCodec()


def _changed(profile: Profile, **what: object) -> Profile:
    return msgspec.structs.replace(profile, **what)


def _all(frame: Frame) -> tuple[int, ...]:
    return tuple(range(len(frame.events)))


def _stopping() -> AgentGone:
    return AgentGone("the agent is stopping", advice="Keep the events and come back.")


def _over_quota(desk: Desk, wait_s: float) -> OverQuota:
    return OverQuota(
        f"{desk.app_id} reports faster than its quota; keep the events and come back",
        retry_after_s=wait_s,
        advice="Batch events, or raise limits.events_per_s in homing.toml.",
    )
