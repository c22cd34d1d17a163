"""One stream on its way out: the rule that decides, the thread that sends, the leases between.

The core owns it. A *lease* is a fact about one connection, so it lives here in memory and dies
with the connection; the rows stay in the outbox until the far end has acknowledged them.

Invariants:
    1. Batches are lent in the order of acceptance, each row to at most one batch at a time.
    2. After ``Release`` nothing is lent; lending starts again from the oldest row, and only
       after what was acknowledged before is written (the core settles first).
    3. Only what the rule orders is settled; only what :mod:`agent.rules.poison` condemns is
       buried, in the commit that follows, and stays condemned until a commit holds it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agent.adapters.links.track_link import TrackLink
from agent.adapters.links.websocket_link import WebSocketLink
from agent.adapters.outbox.segments import Batch, split
from agent.door import LinkStatus
from agent.rules.batching import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from agent.rules.endpoints import endpoint_url
from agent.rules.endurance import Hold, acknowledged, dialled, left_s, waiting
from agent.rules.fallback import Fallback
from agent.rules.identity import is_proposal
from agent.rules.link import LinkRule
from agent.rules.notices import (
    Dial,
    Drained,
    HangUp,
    Lease,
    Leased,
    Lost,
    Notice,
    Offered,
    Order,
    Probe,
    Received,
    Release,
    Remember,
    Restarted,
    SendHeartbeat,
    Settle,
    Start,
    State,
    Stop,
)
from agent.rules.poison import Doubts, frames
from agent.rules.ways import ONLY, Way, over_http
from agent.runtime.counter.desk import Desk
from agent.runtime.ways.leaving import Condemned, Dock, Owed, Post
from agent.runtime.ways.wire_notes import WireNotes
from tracking.errors import StorageFault
from tracking.nucleus import heartbeat, wrap

log = logging.getLogger("agent.delivery")


@dataclass(slots=True)
class Delivery:
    """Carries one app's events to one far end: a :class:`agent.runtime.ways.leaving.Leaving`.

    Attributes:
        desk: Whose events.
        way: Which of the app's ways out.
        stream: Its queue.
        dock: What all ways out share.
        endpoint: As configured, or the embedded collector's own.
        rule: Decides.
        link: Sends; its own thread.
        posts: Sends over HTTP where no WebSocket gets through; its own thread, when needed.
        doubts: Finds the events that are never acknowledged.
        notes: The record of the wire.
        owed: Acknowledgements for the core's next commit.
        condemned: Dead letters for the same.

    """

    desk: Desk
    way: Way
    stream: int
    dock: Dock
    endpoint: str
    rule: LinkRule
    link: WebSocketLink
    posts: TrackLink
    doubts: Doubts
    notes: WireNotes
    owed: list[Owed] = field(default_factory=list)
    condemned: list[Condemned] = field(default_factory=list)
    dials: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    latency_ms: float | None = None
    last_ack_ms: int | None = None
    since_ms: int = 0
    _state: State = State.IDLE
    _dialled: bool = False  # since the start of the program
    _parked_for: str = ""  # the code of a park that was told and has not ended
    _batch: int = 0
    _nameless: int = 0  # the dial whose heartbeat waits for an identity
    _lent_to: int = 0  # the newest row that is lent, or 0
    _flight: dict[int, tuple[Batch, float]] = field(default_factory=dict)

    @property
    def deadline(self) -> float | None:
        """When ``Tick`` is next wanted, monotonic seconds; None if never."""
        return self.rule.deadline

    @property
    def _sender(self) -> WebSocketLink | TrackLink:
        """By which the dial under way goes."""
        return self.link if self.rule.over == "websocket" else self.posts

    @property
    def owes(self) -> bool:
        """Whether the next commit has something to write of this stream."""
        return bool(self.owed or self.condemned)

    def start(self) -> None:
        """Start the thread that sends."""
        self.link.start()

    def stop(self) -> None:
        """End it; may take a moment."""
        self.link.stop()
        self.posts.stop()

    def aim(self, endpoint: str, now_s: float) -> None:
        """Go somewhere else from now on."""
        if endpoint != self.endpoint:
            self.endpoint = endpoint
            self.feed(Stop(), now_s)

    def feed(self, notice: Notice, now_s: float) -> None:
        """Give the rule a notice and carry out what it orders."""
        if isinstance(notice, Received):
            self.received_bytes += len(notice.raw)
            self.notes.received(notice.dial, notice.raw, self._sender.peer)
            if notice.anon_id is not None and notice.dial == self.rule.dial:
                self._adopt(notice.anon_id)
        was_live = self.rule.state is State.LIVE
        self._obey(self.rule.feed(notice, now_s), now_s)
        if self.rule.state is not self._state:
            self._changed(was_live, notice)
            self._keep_hold(now_s)
        elif self._kept_hold is not None and self.rule.proven(now_s):
            self._hold(None)

    def _adopt(self, anon_id: str) -> None:
        """Use the anonymous id that the app's first far end wants, from the next event on."""
        identity = self.desk.profile.identity
        bodies = [batch.body for batch, _ in self._flight.values()]
        first = self.desk.lanes[:1] and self.desk.lanes[0].stream == self.stream
        if identity is not None and first and is_proposal(anon_id, identity.anon_id, bodies):
            identity = msgspec.structs.replace(identity, anon_id=anon_id)
            self.desk.change(identity=identity)
            self.dock.plan_settle()
            log.info("adopted another anonymous id app=%s", self._who)

    def offer(self, now_s: float) -> None:
        """Say that there is something to send."""
        if self.rule.state is State.LIVE:
            self.feed(Offered(), now_s)
        elif self.rule.state is State.WAITING and self.doubts.only_suspects:
            self.feed(Start(), now_s)  # the road is well: what is new need not wait for suspects

    def begin(self, now_s: float) -> None:
        """Dial for the first time since the program's start, when what was kept allows it."""
        hold, now_ms, backoff = self._kept_hold, self._wall_ms(), self.rule.backoff
        if hold is None or hold.endpoint != self.endpoint:
            self.feed(Start(), now_s)
            return
        wait_s = left_s(hold, self.endpoint, now_ms, backoff)
        self.feed(Restarted(hold.attempt, wait_s, hold.named), now_s)

    def _obey(self, orders: list[Order], now_s: float) -> None:
        for order in orders:
            match order:
                case Dial(dial=dial, form=form, over=over):
                    self.dials += 1
                    self.doubts.dialled()
                    self._count_start()
                    self.notes.dialled(dial, http=over == "http")
                    base = self.endpoint if over == "websocket" else over_http(self.endpoint)
                    self._sender.dial(dial, endpoint_url(base, self.desk.app_id, form))
                case HangUp(dial=dial):
                    self.link.hang_up(dial)
                    self.posts.hang_up(dial)
                case Lease(dial=dial):
                    self._lend(dial, now_s)
                case SendHeartbeat(dial=dial):
                    self._heartbeat(dial)
                case Probe(dial=dial):
                    self._sender.ping(dial)
                case Settle(batch=number, ids=ids, whole=whole):
                    self._settle(number, ids, whole, now_s)
                case Release():
                    self._doubt(now_s)
                    self.notes.ended(self.rule.reason)
                    self._flight.clear()
                    self._lent_to = 0
                    if self.owes:
                        self.dock.settle_now()
                case Remember(form=form, over=over):
                    self.desk.keep(self.way.name, form=form, http=over == "http")
                    self.dock.plan_settle()

    def _lend(self, dial: int, now_s: float) -> None:
        batch = None
        try:
            if not self.dock.holds_back(self.stream):
                batch = self.dock.outbox.lease(
                    self.stream, self._lent_to, MAX_BATCH_EVENTS, MAX_BATCH_BYTES
                )
        except StorageFault as fault:
            self.dock.storage_failed(fault)  # it offers again when it has tried again
        if batch is None:
            self._obey(self.rule.feed(Drained(), now_s), now_s)
            return
        self._batch += 1
        self._lent_to = batch.last
        self._flight[self._batch] = (batch, now_s)
        self._send_batch(dial, batch)
        self.doubts.lent(self._batch, batch.ids, now_s)
        self._obey(self.rule.feed(Leased(self._batch, frozenset(batch.ids)), now_s), now_s)

    def _heartbeat(self, dial: int) -> None:
        identity, session = self.desk.profile.identity, self.desk.profile.session
        if identity is None:  # its keyring takes its time; a sign of life of nobody is none
            self._nameless = dial
            self._sender.ping(dial)
            return
        device = identity.device_id
        frame = heartbeat(device, device, session.session_id if session is not None else None)
        self.sent_bytes += len(frame)
        self.notes.frame(frame, self._sender.peer)
        self._sender.heartbeat(dial, frame)
        self.dock.beat()

    def named(self) -> None:
        """The app has an identity now: give the heartbeat that had to wait for it."""
        if self.rule.state is State.LIVE and self._nameless == self.rule.dial:
            self._heartbeat(self.rule.dial)

    def _send_batch(self, dial: int, batch: Batch) -> None:
        """Send it in one frame, but for suspects: each of those in a frame of its own."""
        alone = self.doubts.alone(batch.ids)
        if not alone:
            self._send(dial, batch, wrap([batch.body]), batch.count)
            return
        events = split(batch.body)
        for part in frames(batch.ids, alone):
            self._send(dial, batch, wrap(events[part]), len(events[part]))

    def _doubt(self, now_s: float) -> None:
        """The dial has ended: condemn what it was overtaken on once too often."""
        for culprit in self.doubts.ended(now_s):
            detail = f"on {culprit.strikes} dials in a row, by {self.endpoint}"
            self.condemned.append(Condemned(self._flight[culprit.batch][0], culprit.id, detail))

    def _send(self, dial: int, batch: Batch, frame: bytes, events: int) -> None:
        self.sent_bytes += len(frame)
        self.notes.batch(self._batch, batch.first, frame, events, self._sender.peer)
        self._sender.send(dial, frame)

    def _settle(self, number: int, ids: frozenset[str], whole: bool, now_s: float) -> None:
        batch, lent_s = self._flight[number]
        if whole:
            del self._flight[number]
        self.notes.acknowledged(number, len(ids), whole=whole)
        self.doubts.acknowledged(number, ids, whole=whole)
        if (hold := self._kept_hold) is not None:
            self._hold(acknowledged(hold, self._wall_ms(), self.rule.backoff, self.rule.rng))
        self.latency_ms = (now_s - lent_s) * 1000
        self.last_ack_ms = self._wall_ms()
        self.owed.append(Owed(batch, ids))
        self.dock.plan_settle()
        if self.dock.waiters:
            self.dock.waiters.confirmed(self.stream, ids)

    def _changed(self, was_live: bool, notice: Notice) -> None:
        """Keep when the state that people see began, and log the turns of the road."""
        state, self._state = self.rule.state, self.rule.state
        parked_for = ""
        if state is State.PARKED and self.rule.reason is not None:
            parked_for = self.rule.reason.code
        still_parked = bool(parked_for) and parked_for == self._parked_for
        if state is State.LIVE:
            self.since_ms = self._wall_ms()
            log.info("connected app=%s dial=%d", self._who, self.rule.dial)
        elif still_parked:
            pass  # an outage's later attempts do not restart it
        elif was_live or state in (State.IDLE, State.PARKED) or not self.since_ms:
            self.since_ms = self._wall_ms()
        if isinstance(notice, Lost) and was_live:
            log.info("lost the far end app=%s code=%s", self._who, notice.fault.code)
        if parked_for and not still_parked:
            log.warning("parked app=%s code=%s", self._who, parked_for)
        if state is not State.DIALING:
            self._parked_for = parked_for

    @property
    def _who(self) -> str:
        """Whose way this is, for the log; with its name where it has one of its own."""
        name = self.way.name
        return self.desk.app_id if name == ONLY else f"{self.desk.app_id} upstream={name}"

    def _wall_ms(self) -> int:
        return self.dock.means.wall_ms()

    # --- what outlives the program --------------------------------------------------------------

    @property
    def _kept_hold(self) -> Hold | None:
        return self.desk.kept(self.way.name).hold

    def _count_start(self) -> None:
        if not self._dialled:
            self._dialled = True
            hold, backoff, rng = self._kept_hold, self.rule.backoff, self.rule.rng
            self._hold(dialled(hold, self.endpoint, self._wall_ms(), backoff, rng))

    def _keep_hold(self, now_s: float) -> None:
        """A state began: keep a wait that is worth it."""
        rule = self.rule
        if rule.state is not State.WAITING or rule.next_try is None:
            return
        wait_s, named = rule.next_try - now_s, rule.held(now_s)
        hold = waiting(self.endpoint, rule.attempt, wait_s, self._wall_ms(), named=named)
        if hold is not None:
            self._hold(hold)

    def _hold(self, hold: Hold | None) -> None:
        if hold != self._kept_hold:
            self.desk.keep(self.way.name, hold=hold)
            self.dock.plan_settle()

    def status(self, now_ms: int, now_s: float) -> LinkStatus:
        """Return what the window shows of this connection."""
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
            since_ms=self.since_ms,
            reason="" if rule.reason is None else str(rule.reason),
            code="" if rule.reason is None else rule.reason.code,
            note=rule.fallback.note,
            next_try_ms=next_try_ms,
            latency_ms=self.latency_ms,
            last_ack_ms=self.last_ack_ms,
            sent_bytes=self.sent_bytes,
            received_bytes=self.received_bytes,
            in_flight=rule.in_flight,
            dials=self.dials,
        )


def make_delivery(desk: Desk, way: Way, stream: int, dock: Dock, post: Post) -> Delivery:
    """Make a way out in the words of Nucleus; its thread is not started yet."""
    link, kept = dock.link, desk.kept(way.name)
    notes = WireNotes(dock.wire, desk.app_id, way.name, dock.means.wall_ms)
    limits: dict[str, Any] = {
        "ca_file": Path(link.ca_file) if link.ca_file else None,
        "dial_s": max(0.5, link.dial_deadline_s - 1.0),  # its sentence is the better one
        "atlas": dock.atlas,
        "note": notes.said,
    }
    posts = TrackLink(desk.app_id, post, answer_s=link.ack_timeout_s, passed=notes.passed, **limits)
    return Delivery(
        desk=desk,
        way=way,
        stream=stream,
        dock=dock,
        endpoint=way.endpoint,
        rule=LinkRule(
            rng=dock.means.rng,
            remembered=kept.form,
            heartbeat_s=link.heartbeat_s,
            dial_s=link.dial_deadline_s,
            ack_s=link.ack_timeout_s,
            fallback=Fallback(link.http_after, link.websocket_retry_s, suspected=kept.http),
        ),
        link=WebSocketLink(desk.app_id, post, **limits),
        posts=posts,
        doubts=Doubts(fair_s=link.ack_timeout_s / 3),
        notes=notes,
    )
