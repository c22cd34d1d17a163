"""One way out in the words of Bucket: the rule that decides, the thread that posts, the lease.

A :class:`agent.runtime.ways.leaving.Leaving`, owned by the core. The rows stay in the outbox until
the far end has taken them; what is under way is one question at a time (``agent.rules.posting``).

Invariants, beside those of :mod:`agent.runtime.ways.leaving`:
    1. A question of several items that a restart could cut otherwise is marked on disk before
       it is asked (:attr:`agent.runtime.counter.profile.Kept.mark`), so that it is asked again as
       it was and a far end that knows its key keeps each item once.
    2. The key is known to the thread alone; here it is neither kept nor shown.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from agent.adapters.links.bucket_replies import meaning
from agent.adapters.links.http_link import Answered, HttpLink
from agent.adapters.links.http_wire import Question
from agent.adapters.outbox.segments import Batch
from agent.door import LinkStatus
from agent.rules.batching import MAX_BATCH_BYTES
from agent.rules.calls import BULK_ITEMS, Stored, bulk, idempotency_key, posted, stored_of
from agent.rules.endpoints import parse_address
from agent.rules.mapping import METHODS, PROFILES, Profile
from agent.rules.notices import Drained, Lease, Lost, Offered, Release, Settle, Stop
from agent.rules.posting import PostingRule
from agent.rules.questions import Ask, Bury, Cancel, Lent, Notice, Order, Taken, Unfit
from agent.rules.ways import Way
from agent.runtime.counter.desk import Desk
from agent.runtime.ways.leaving import REFUSED, Condemned, Dock, Owed, Post
from agent.runtime.ways.standing import Standing
from agent.runtime.ways.wire_notes import Posted, WireNotes
from tracking.errors import NoKey, Refused, StorageFault

log = logging.getLogger("agent.posting")

KEY: Final = re.compile(r"[\x21-\x7e]{1,4096}", re.ASCII)  #: Fit for a path and a header.
SHOWN_KEY: Final = "***"  #: In place of a key in a path, wherever a path is shown.


@dataclass(slots=True)
class _Asked:
    """The question under way."""

    number: int
    posted: Posted  # for the record of the wire
    head: str  # method and path, without a key
    at_s: float
    count: int


@dataclass(slots=True)
class Posting:
    """Carries one app's calls to one far end.

    Attributes:
        desk: Whose calls.
        way: Which of the app's ways out.
        stream: Its queue.
        dock: What all ways out share.
        endpoint: Where to, without the key.
        rule: Decides.
        link: Asks; its own thread.
        profile: How the far end wants to be spoken to.
        notes: The record of the wire.
        owed: What it took, for the core's next commit.
        condemned: What it refused, for the same.

    """

    desk: Desk
    way: Way
    stream: int
    dock: Dock
    endpoint: str
    rule: PostingRule
    link: HttpLink
    profile: Profile
    notes: WireNotes
    standing: Standing
    owed: list[Owed] = field(default_factory=list)
    condemned: list[Condemned] = field(default_factory=list)
    latency_ms: float | None = None
    last_ack_ms: int | None = None
    _number: int = 0
    _batch: Batch | None = None
    _calls: list[Stored] = field(default_factory=list)
    _lent_to: int = 0  # the newest row that was lent, or 0
    _asked: _Asked | None = None

    @property
    def deadline(self) -> float | None:
        """When ``Tick`` is next wanted, monotonic seconds; None if never."""
        return self.rule.deadline

    @property
    def owes(self) -> bool:
        """Whether the next commit has something to write of this stream."""
        return bool(self.owed or self.condemned)

    def start(self) -> None:
        """Start nothing: the thread begins with the first question."""

    def stop(self) -> None:
        """End the thread; may take a moment."""
        self.link.stop()

    def renew(self) -> None:
        """Hear that the key may be another one."""
        self.link.renew()

    def begin(self, now_s: float) -> None:
        """Go for the first time since the program's start, when what was kept allows it."""
        if self.endpoint:
            self.feed(self.standing.beginning(self.endpoint), now_s)

    def offer(self, now_s: float) -> None:
        """Say that there is something to send."""
        self.feed(Offered(), now_s)

    def named(self) -> None:
        """Calls name whom they are about themselves."""

    def aim(self, endpoint: str, now_s: float) -> None:
        """Go somewhere else from now on."""
        if endpoint != self.endpoint:
            self.endpoint = endpoint
            self.feed(Stop(), now_s)

    def feed(self, notice: Notice | Answered, now_s: float) -> None:
        """Give the rule a notice, or what an answer means, and carry out what it orders."""
        if isinstance(notice, Answered):
            notice = self._heard(notice, now_s)
        elif isinstance(notice, Lost):
            asked = self._asked
            if asked is not None and asked.number <= notice.dial:
                self._asked = None
                self.notes.lost(asked.posted, asked.head, notice.fault)
        self._obey(self.rule.feed(notice, now_s), now_s)
        self.standing.look(self.endpoint, now_s)

    def _obey(self, orders: list[Order], now_s: float) -> None:
        for order in orders:
            match order:
                case Lease():
                    self._lend(now_s)
                case Ask():
                    self._ask(order, now_s)
                case Cancel(question=question):
                    self._judge(question, "not answered")
                    self.link.cancel(question)
                case Settle(ids=ids):
                    self._settle(ids)
                case Bury(id=one, words=words):
                    assert self._batch is not None
                    self.condemned.append(Condemned(self._batch, one, words, REFUSED))
                    self.dock.plan_settle()
                case Release():
                    self._batch, self._calls, self._lent_to = None, [], 0
                    if self.owes:
                        self.dock.settle_now()

    # --- lending --------------------------------------------------------------------------------

    def _lend(self, now_s: float) -> None:
        calls: list[Stored] = []
        while not calls:
            batch = self._lease()
            if batch is None:
                self._obey(self.rule.feed(Drained(), now_s), now_s)
                return
            self._batch, self._lent_to = batch, batch.last
            calls = self._sayable(batch)
        self._number += 1
        self._calls = calls
        ids = tuple(call.id for call in calls)
        mark = self.desk.kept(self.way.name).mark
        together = ids.index(mark) + 1 if mark in ids else 0
        self._obey(self.rule.feed(Lent(self._number, ids, together), now_s), now_s)

    def _lease(self) -> Batch | None:
        if not self._lent_to and self.owes:
            return None  # could not be written: what was taken must not be lent again
        if self.dock.holds_back(self.stream):
            return None
        try:
            return self.dock.outbox.lease(self.stream, self._lent_to, BULK_ITEMS, MAX_BATCH_BYTES)
        except StorageFault as fault:
            self.dock.storage_failed(fault)  # it offers again when it has tried again
            return None

    def _sayable(self, batch: Batch) -> list[Stored]:
        """Return what this far end can be told; the rest was kept before the settings changed."""
        methods = METHODS[self.profile]
        try:
            calls = stored_of(batch.body)
        except msgspec.MsgspecError:
            calls = []
        known = [call for call in calls if call.type in methods]
        ids = {call.id for call in known}
        for one in batch.ids:
            if one not in ids:
                said = "this far end has no word for it"
                self.condemned.append(Condemned(batch, one, said, REFUSED))
        if len(known) < batch.count:
            self.dock.plan_settle()
        return known

    # --- asking ---------------------------------------------------------------------------------

    def _ask(self, order: Ask, now_s: float) -> None:
        calls = self._calls[order.start : order.end]
        ids = [call.id for call in calls]
        self.standing.asking(self.endpoint)
        if self.profile == "front" and len(calls) < BULK_ITEMS:
            self._mark(ids[-1])
        named = (("Idempotency-Key", idempotency_key(ids)),)
        address = parse_address(self.endpoint, ("https", "http"))
        if self.profile == "front":
            question = Question("/bulk", bulk(calls), named)
            make = partial(_with_bearer, question)
        else:
            (call,) = calls
            question = Question(f"/{call.type}", posted(call, self.profile), named)
            make = partial(_with_path_key, question)
        key = "" if self.profile == "front" else f"/{SHOWN_KEY}"
        head = f"POST {address.path}{key}{question.path}"
        leaves = self.notes.post(question.body)
        self._asked = _Asked(order.question, leaves, head, now_s, len(calls))
        self.link.ask(order.question, address, make)

    def _mark(self, last: str) -> None:
        """Keep where a question ends, before it is asked (invariant 1)."""
        if self.desk.kept(self.way.name).mark != last:
            self.desk.keep(self.way.name, mark=last)
            self.dock.settle_now()

    # --- answers --------------------------------------------------------------------------------

    def _heard(self, heard: Answered, now_s: float) -> Taken | Unfit | Lost:
        told = meaning(heard.number, heard.answer, vendor=self.vendor)
        asked = self._asked if self._asked and self._asked.number == heard.number else None
        if asked is None:
            return told  # nobody wants it any more
        match told:
            case Taken(rejected=rejected):
                well = asked.count - len(rejected)
                self._judge(heard.number, f"acknowledged {well} of {asked.count}")
                self.latency_ms = (now_s - asked.at_s) * 1000
                self.last_ack_ms = heard.at_ms
                self.standing.proven()
            case Unfit(words=words):
                self._judge(heard.number, f"refused: {words}")
            case Lost(fault=fault):
                verdict = "refused" if isinstance(fault, Refused) else "not answered"
                self._judge(heard.number, f"{verdict}: {fault}")
        return told

    @property
    def vendor(self) -> bool:
        """Whether the far end may say yes in any words it likes."""
        return self.way.kind != "homing"

    def _judge(self, number: int, verdict: str) -> None:
        """Note what became of the question under way, once."""
        asked = self._asked
        if asked is None or asked.number > number:
            return
        self._asked = None
        self.notes.became(asked.posted, verdict)

    def _settle(self, ids: frozenset[str]) -> None:
        assert self._batch is not None
        self.owed.append(Owed(self._batch, ids))
        self.dock.plan_settle()
        if self.dock.waiters:
            self.dock.waiters.confirmed(self.stream, ids)

    def status(self, now_ms: int, now_s: float) -> LinkStatus:
        """Return what the window shows of this way."""
        rule = self.rule
        next_try_ms = None
        if rule.next_try is not None:
            next_try_ms = now_ms + round((rule.next_try - now_s) * 1000)
        return LinkStatus(
            app_id=self.desk.app_id,
            upstream=self.way.name,
            kind=self.way.kind,
            endpoint=self.endpoint,
            state=rule.state.value,
            since_ms=self.standing.since_ms,
            reason="" if rule.reason is None else str(rule.reason),
            code="" if rule.reason is None else rule.reason.code,
            note=rule.odd,
            next_try_ms=next_try_ms,
            latency_ms=self.latency_ms,
            last_ack_ms=self.last_ack_ms,
            sent_bytes=self.link.sent_bytes,
            received_bytes=self.link.received_bytes,
            in_flight=rule.in_flight,
            dials=self.link.dials,
        )


def _with_bearer(question: Question, key: str) -> Question:
    """Return the question as it is asked where a header says who we are."""
    bearer = ("Authorization", f"Bearer {key}")
    return Question(question.path, question.body, (*question.headers, bearer))


def _with_path_key(question: Question, key: str) -> Question:
    """Return the question as it is asked where the path says who we are."""
    path = f"/{quote(key, safe='')}{question.path}"
    return Question(path, question.body, question.headers)


def make_posting(desk: Desk, way: Way, stream: int, dock: Dock, post: Post) -> Posting:
    """Make a way out in the words of Bucket; its thread is not started yet."""
    link, profile = dock.link, PROFILES[way.kind]
    rule = PostingRule(
        rng=dock.means.rng,
        most=BULK_ITEMS if profile == "front" else 1,
        answer_s=link.dial_deadline_s + link.ack_timeout_s,
    )

    def key() -> str:
        """Return the far end's key; on the link's thread, because a keyring may wait."""
        file = Path(way.key_file) if way.key_file else None
        token = dock.secrets.token(posting.endpoint, desk.app_id, file=file, what="bucket")
        if token is None:
            raise NoKey(
                f"nobody gave the upstream {way.upstream} its key",
                advice=f"homing upstreams key {desk.app_id} {way.upstream}",
            )
        if not KEY.fullmatch(token.text):
            raise NoKey(
                f"what is kept as the key of {way.upstream} is no line of text without spaces",
                advice=f"homing upstreams key {desk.app_id} {way.upstream}",
            )
        dock.wire.masks.add(token.text)
        return token.text

    notes = WireNotes(dock.wire, desk.app_id, way.name, dock.means.wall_ms)
    posting = Posting(
        desk=desk,
        way=way,
        stream=stream,
        dock=dock,
        endpoint=way.endpoint,
        rule=rule,
        link=HttpLink(
            f"{desk.app_id} {way.name}",
            post,
            key=key,
            ca_file=Path(link.ca_file) if link.ca_file else None,
            dial_s=link.dial_deadline_s,
            answer_s=link.ack_timeout_s,
            atlas=dock.atlas,
            note=notes.said,
            passed=notes.passed,
        ),
        profile=profile,
        notes=notes,
        standing=Standing(desk, way, dock, rule),
    )
    return posting
