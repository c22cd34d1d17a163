"""Whatever is answered, in whatever order, only what an allowed app hands in becomes a row."""

from __future__ import annotations

import tempfile
from collections import Counter as Tally
from pathlib import Path
from typing import Literal

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.adapters.outbox.outbox import Bounds, Outbox
from agent.rules.consent import Answer, Break, Consent
from tests.agent.runtime.conftest import Counter, make_desk
from tracking.errors import RequestFault

APPS = ("one", "two", "three")
ids = st.sampled_from(APPS)
spans = st.none() | st.integers(1, 50)
Verdict = Literal["allowed", "denied", "later"]


class Walk(RuleBasedStateMachine):
    """A real outbox and counter, answers at random, and a plain model of what must be stored."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="gate-")
        self.box = Outbox.open(Path(self.folder.name) / "outbox.db", Bounds(), 0)
        self.counter = Counter(self.box, {})
        self.consents = self.counter.consents
        self.counter.now_ms = 1_000_000
        self.stored: Tally[str] = Tally()
        self.offered: Tally[str] = Tally()
        self.dropped: Tally[str] = Tally()
        self.n = 0
        self.consents.seat = self._seat
        self.consents.declared = frozenset({"one"})

    def _seat(self, app_id: str) -> None:
        """Do as the seating does, as far as rows are concerned."""
        desk = self.counter.desks.get(app_id)
        if desk is not None:
            desk.rule(self.consents.ruling(app_id))

    @initialize()
    def desks(self) -> None:
        for app_id in APPS:
            self.counter.desks[app_id] = make_desk(self.box, app_id)  # with a queue and an identity
            self._seat(app_id)

    def _until(self, span: int | None) -> int | None:
        return None if span is None else self.counter.now_ms + span

    @rule(app_id=ids, verdict=st.sampled_from(["allowed", "denied", "later"]), span=spans)
    def answer(self, app_id: str, verdict: Verdict, span: int | None) -> None:
        until = self._until(span) if verdict == "denied" else None
        self._change_one(app_id, Answer(verdict=verdict, since_ms=1, until_ms=until))

    @rule(app_id=ids)
    def take_back(self, app_id: str) -> None:
        self._change_one(app_id, None)

    def _change_one(self, app_id: str, answer: Answer | None) -> None:
        apps = {id_: said for id_, said in self.consents.answers.apps.items() if id_ != app_id}
        if answer is not None:
            apps[app_id] = answer
        self._change(apps=apps)

    def _change(self, **what: object) -> None:
        self.consents.answers = msgspec.structs.replace(self.consents.answers, **what)
        for app_id in APPS:
            self._seat(app_id)

    @rule(app_id=ids, span=spans)
    def pause(self, app_id: str, span: int | None) -> None:
        rest = Break(since_ms=1, until_ms=self._until(span))
        self._change(breaks=self.consents.answers.breaks | {app_id: rest})

    @rule(span=spans)
    def pause_all(self, span: int | None) -> None:
        self._change(all_apps=Break(since_ms=1, until_ms=self._until(span)))

    @rule()
    def resume(self) -> None:
        self._change(all_apps=None, breaks={})

    @rule()
    def lose(self) -> None:
        self._change(lost_ms=1, apps={})

    @precondition(lambda self: self.consents.answers.lost_ms is not None)
    @rule()
    def find(self) -> None:
        self._change(lost_ms=None)

    @rule(span=st.integers(1, 30))
    def time_passes(self, span: int) -> None:
        """No timer runs here: the gate itself must notice that an end has come."""
        self.counter.now_ms += span

    @rule(app_id=ids, events=st.integers(1, 3))
    def hand_in(self, app_id: str, events: int) -> None:
        may = self.consents.ruling(app_id).consent
        names = [f"e{self.n + k}" for k in range(events)]
        self.n += events
        data = [{"id": name, "name": name} for name in names]
        self.counter.receipts.clear()
        self.counter.say(msgspec.json.encode({"data": data}), app_id)
        self.counter.intake.flush()
        (receipt,) = self.counter.receipts
        if may is Consent.PENDING:
            assert isinstance(receipt.fault, RequestFault)
            assert receipt.fault.status == 403
            self.offered[app_id] += events
        else:
            assert receipt.fault is None
            assert receipt.unacknowledged == ()
        if may is Consent.ALLOWED:
            self.stored[app_id] += events
        elif may is not Consent.PENDING:
            self.dropped[app_id] += events

    @invariant()
    def rows_are_of_allowed_apps_only(self) -> None:
        rows = Tally(
            row.app_id for row in self.box.queued(None, 10_000) if b'"init"' not in row.body
        )
        assert rows == self.stored
        for app_id, desk in self.counter.desks.items():
            assert desk.dropped == self.dropped[app_id]
        knocks = self.consents.knocks.by_app
        assert {id_: one.offered for id_, one in knocks.items()} == dict(self.offered)

    def teardown(self) -> None:
        self.box.close()
        self.folder.cleanup()


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
