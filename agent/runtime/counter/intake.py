"""The counter where apps hand in events: durable first, then acknowledged.

Everything that arrives in one turn of the loop is committed once, and only then answered
(group commit): the price of a promise is one fsync per turn, however many callers wait for it,
and however many far ends an app reports to.

Invariants:
    1. A receipt without fault is given after the commit that holds the events, never before.
    2. A commit that fails stores nothing, acknowledges nothing, and changes no desk.
    3. Order within an app is the order of arrival, on each of its queues; an ``init`` of ours
       stands before the event that began its session.
    4. An event with an id of its own is accepted once (``tracking.nucleus.content_hash``). Bucket
       calls have none: five equal ones are five. A request of theirs is known again by its
       ``Idempotency-Key`` alone (BUCKET.md §6, 12).
    5. What is accepted is put on every queue of the app in one transaction, or on none.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from agent.adapters.outbox.outbox import Outbox
from agent.rules.consent import Consent
from agent.rules.quota import Bucket
from agent.rules.stamp import Identity, MachineFacts
from agent.rules.ways import Language
from agent.runtime.counter.desk import Desk
from agent.runtime.counter.drafting import Draft, Drafting, Placed, streams_of
from agent.runtime.counter.fairness import Fairness
from agent.runtime.counter.letter import Letter, Reply
from agent.runtime.counter.profile import PROFILE
from agent.runtime.counter.screening import Screening
from agent.runtime.counter.unspoken import Tongues, to_write
from agent.runtime.counter.waiting import Streams
from tracking.bucket import Batch
from tracking.endpoints import Origin, Receipt
from tracking.errors import AgentGone, Bug, Damaged, Fault, RequestFault, StorageFault
from tracking.events import Frame

PROFILE_EVERY_MS = 60_000  #: A session's last sign of life is written at most so often.
KEPT_PASSING = 200  #: Newest events kept for `tail` and the window.
HOUR_MS = 3_600_000
DIGEST_BYTES = 16


@dataclass(slots=True)
class Written:
    """What one turn wrote, told to those who care after the commit."""

    at_ms: int
    accepted: int = 0
    queued: int = 0  #: The same, once for each queue that it is on.
    desks: list[tuple[Desk, list[bytes]]] = field(default_factory=list)


class Intake:
    """Takes frames and calls, commits them once a turn, answers.

    Args:
        outbox: Where accepted events live.
        desks: App id → desk; the core adds and removes.
        gate: Turns a frame away, or not (None): app, events, origin.
        facts: The machine's slow truths.
        module_version: Ours, for the ``init`` events we write.
        wall_ms: Unix milliseconds.
        mono_s: Monotonic seconds.
        plan: Schedules :meth:`flush` for the end of this turn.
        identify: Called once per desk that has no identity yet; answers with :meth:`identified`.
        fresh_session: A session id, given those that may not be used.
        fairness: Says who has to wait.
        screening: Takes away what is not to be kept.
        passing_device: A new deviceId for each session, if the person wants it so.
        changed: Hears that the status has something new to say.

    """

    def __init__(
        self,
        outbox: Outbox,
        desks: dict[str, Desk],
        *,
        gate: Callable[[str, int, Origin], Receipt | None],
        facts: MachineFacts,
        module_version: str,
        wall_ms: Callable[[], int],
        mono_s: Callable[[], float],
        plan: Callable[[], None],
        identify: Callable[[Desk], object],
        fresh_session: Callable[[Iterable[int]], int],
        fairness: Fairness | None = None,
        screening: Screening | None = None,
        passing_device: Callable[[], str] | None = None,
        changed: Callable[[], None] | None = None,
    ) -> None:
        self.outbox = outbox
        self.fairness = fairness or Fairness()
        self.screening = screening or Screening()
        self.desks = desks
        self.gate = gate
        self.wall_ms = wall_ms
        self.mono_s = mono_s
        self.plan = plan
        self.identify = identify
        self.changed = changed
        self.tongues = Tongues()
        self.drafting = Drafting(
            outbox=outbox,
            facts=facts,
            module_version=module_version,
            fresh_session=fresh_session,
            passing_device=passing_device,
        )
        self.waiting: list[tuple[Desk, Letter]] = []
        self.unnamed: dict[str, list[Letter]] = {}  # letters of apps whose identity is being made
        self.naming: set[str] = set()
        self.closed = False
        self.passing: deque[tuple[int, str, bytes]] = deque(maxlen=KEPT_PASSING)

    # --- taking -------------------------------------------------------------------------------

    def take(
        self,
        app_id: str,
        frame: Frame,
        origin: Origin,
        reply: Reply,
        *,
        ids: Callable[[Streams], None] | None = None,
        bucket: Bucket | None = None,
    ) -> None:
        """Accept one frame; ``reply`` hears of it after the commit (invariant 1).

        Args:
            app_id: Whose.
            frame: As parsed.
            origin: Where it came from.
            reply: Called once.
            ids: Hears, just before the reply, what the events were named (:class:`Letter`).
            bucket: Counts them in place of the app's own quota.

        """
        self._take(Letter(app_id, frame.events, (), reply, ids), "nucleus", origin, bucket)

    def take_calls(
        self,
        app_id: str,
        batch: Batch,
        origin: Origin,
        reply: Reply,
        *,
        repeat: str = "",
        ids: Callable[[Streams], None] | None = None,
    ) -> None:
        """Accept the good calls of one Bucket request; ``reply`` hears of it after the commit.

        Args:
            app_id: Whose.
            batch: As parsed; feedback has its id. Rejected items are counted: their sender is
                told, and nothing of them is kept.
            origin: Where it came from.
            reply: Called once, as by :meth:`take`. A request that is known again has a receipt
                without fault: its events are safe since the first time.
            repeat: The request's ``Idempotency-Key``, empty if it has none.
            ids: As in :meth:`take`.

        """
        self.count_refused(app_id, len(batch.rejected))
        calls = tuple(one.call for one in batch.accepted)
        self._take(Letter(app_id, (), calls, reply, ids, repeat), "bucket", origin, None)

    def count_refused(self, app_id: str, count: int) -> None:
        """Count bad events of an app that may report; of another nothing is counted."""
        desk = self.desks.get(app_id)
        if desk is not None and desk.consent is Consent.ALLOWED:
            desk.refused += count

    def _take(
        self, letter: Letter, language: Language, origin: Origin, bucket: Bucket | None
    ) -> None:
        if self.closed:
            letter.refuse(_stopping())
            return
        count = letter.count
        turned = self.gate(letter.app_id, count, origin)
        if turned is not None:
            if turned.fault is None:
                letter.reply(turned)  # acknowledged and dropped, no row (SECURITY, decision 3)
            else:
                self.tongues.heard(letter.app_id, language)
                letter.refuse(turned.fault)
            return
        if not count:
            letter.reply(Receipt())
            return
        desk = self.desks[letter.app_id]
        if language not in desk.speaks:
            letter.refuse(self._not_spoken(desk, language, count))
            return
        fault = self.fairness.ask(desk, letter.count, self.mono_s(), bucket)
        if fault is not None:
            letter.refuse(fault)
            return
        letter.events = self.screening.events(letter.app_id, letter.events)
        letter.calls = self.screening.calls(letter.app_id, letter.calls)
        if not letter.count:
            letter.reply(Receipt())  # a rule dropped all of it: acknowledged, as denied apps are
            return
        if desk.profile.identity is None:
            self.unnamed.setdefault(desk.app_id, []).append(letter)
            self.name(desk)
            return
        if not self.waiting:
            self.plan()
        self.waiting.append((desk, letter))

    def _not_spoken(self, desk: Desk, language: Language, count: int) -> RequestFault:
        """Count what is refused for its language, so that a person hears of it too."""
        desk.refused += count
        if language not in desk.unspoken:
            desk.unspoken[language] = self.wall_ms()
            if self.changed is not None:
                self.changed()
        return RequestFault(
            f"the app {desk.app_id} may not report in the words of {language.capitalize()}",
            status=403,
            field="appId",
            advice=to_write(desk, (language,)),
        )

    def _queue(self, letters: list[tuple[Desk, Letter]]) -> None:
        if letters and not self.waiting:
            self.plan()
        self.waiting.extend(letters)

    # --- identities ---------------------------------------------------------------------------

    def name(self, desk: Desk) -> None:
        """Have an identity made for an allowed app that has none; asked once at a time."""
        if desk.profile.identity is None and desk.app_id not in self.naming:
            self.naming.add(desk.app_id)
            self.identify(desk)

    def identified(self, app_id: str, identity: Identity) -> None:
        """An app's identity was made: what waited for it goes on."""
        self.naming.discard(app_id)
        desk = self.desks.get(app_id)
        if desk is None or desk.consent is not Consent.ALLOWED:
            self.withdraw(app_id)  # a person said no while it was made
            return
        if desk.profile.identity is None:
            desk.change(identity=identity)
        self._queue([(desk, letter) for letter in self.unnamed.pop(app_id, [])])

    def unidentified(self, app_id: str, fault: Fault) -> None:
        """An app's identity could not be made: nothing of what waited for it is kept."""
        self.naming.discard(app_id)
        for letter in self.unnamed.pop(app_id, []):
            letter.refuse(fault)

    def withdraw(self, app_id: str) -> None:
        """Acknowledge and drop what waits for an identity; its app may no longer report."""
        for letter in self.unnamed.pop(app_id, []):
            letter.reply(Receipt())

    def forget(self, app_id: str) -> None:
        """Keep nothing of an app among the newest events."""
        kept = [one for one in self.passing if one[1] != app_id]
        self.passing.clear()
        self.passing.extend(kept)

    def close(self) -> None:
        """Take nothing any more; who waits for an identity is told that nothing was kept."""
        self.closed = True
        for app_id in tuple(self.unnamed):
            self.unidentified(app_id, _stopping())

    # --- writing ------------------------------------------------------------------------------

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
                drafts, placed = self._commit(letters, also, now_ms)
            except Damaged:  # what can be read is in a new file by now
                drafts, placed = self._commit(letters, also, now_ms)
        except StorageFault as fault:
            for _, letter in letters:
                letter.refuse(fault)
            raise
        for desk, draft in drafts.values():
            desk.repeats += draft.repeats
            desk.bucket.give_back(draft.repeats)
            if self._profile_is_due(desk, draft, now_ms):
                desk.written_ms = now_ms
            desk.profile, desk.dirty = draft.profile, False
            for kind, count in draft.kinds.items():
                self.outbox.count(desk.app_id, now_ms - now_ms % HOUR_MS, kind, count)
            if draft.shown:
                written.desks.append((desk, draft.shown))
                written.accepted += len(draft.shown)
                written.queued += sum(map(len, draft.queues.values()))
                newest = draft.shown[-KEPT_PASSING:]
                self.passing.extend((now_ms, desk.app_id, body) for body in newest)
        for (_, letter), where in zip(letters, placed, strict=True):
            if letter.ids is not None:
                letter.ids(streams_of(where))
            letter.reply(Receipt())
        return written

    def _commit(
        self, letters: list[tuple[Desk, Letter]], also: Callable[[], None] | None, now_ms: int
    ) -> tuple[dict[str, tuple[Desk, Draft]], list[Placed]]:
        """Store what the letters say, all or nothing; return it, and where it is."""
        drafts: dict[str, tuple[Desk, Draft]] = {}
        with self.outbox.turn():
            if also is not None:
                also()  # first: it writes profiles as they were, the drafts are newer
            placed = [self._draft(desk, letter, drafts, now_ms) for desk, letter in letters]
            for desk, draft in drafts.values():
                draft.close()
                self._write(desk, draft, now_ms)
        return drafts, placed

    def _draft(
        self, desk: Desk, letter: Letter, drafts: dict[str, tuple[Desk, Draft]], now_ms: int
    ) -> Placed:
        """Turn one letter into what will be stored."""
        desk = self.desks.get(desk.app_id, desk)  # it may have been seated anew since
        known = drafts.get(desk.app_id)
        if known is None:
            known = drafts[desk.app_id] = (desk, Draft(desk.profile))
        draft = known[1]
        if letter.repeat and not self._is_first(letter, now_ms):
            draft.repeats += letter.count
            return []
        if letter.events:
            return self.drafting.add_events(desk, draft, letter.events, now_ms)
        return self.drafting.add_calls(desk, draft, letter.calls, now_ms)

    def _is_first(self, letter: Letter, now_ms: int) -> bool:
        """Return whether a request was not kept before, and remember it, in this turn."""
        said = f"idempotency-key\0{letter.app_id}\0{letter.repeat}".encode()
        digest = hashlib.blake2b(said, digest_size=DIGEST_BYTES).digest()
        if self.outbox.recall([digest]):
            return False
        self.outbox.remember([digest], now_ms)
        return True

    def _write(self, desk: Desk, draft: Draft, now_ms: int) -> None:
        """Put one desk's part into the open transaction."""
        if not desk.lanes:
            raise Bug(f"{desk.app_id} has no stream")
        for stream, bodies in draft.queues.items():
            if bodies:
                self.outbox.append(stream, bodies, now_ms)
        if self._profile_is_due(desk, draft, now_ms):
            self.outbox.keep_profile(desk.app_id, PROFILE.encode(draft.profile))

    def _profile_is_due(self, desk: Desk, draft: Draft, now_ms: int) -> bool:
        return draft.began or desk.dirty or now_ms - desk.written_ms >= PROFILE_EVERY_MS


def _stopping() -> AgentGone:
    return AgentGone("the agent is stopping", advice="Keep the events and come back.")
