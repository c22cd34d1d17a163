"""The rule against chance: a rude far end, and an outbox that keeps count.

Row 40 of the threat model: an event leaves the outbox only if it was sent on this dial and
acknowledged by name, whatever else the far end says.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.rules.batching import WINDOW
from agent.rules.fallback import Fallback
from agent.rules.link import (
    Dial,
    Drained,
    HangUp,
    Heard,
    Lease,
    Leased,
    LinkRule,
    Lost,
    Moved,
    Notice,
    Offered,
    Opened,
    Order,
    Probe,
    Received,
    Release,
    Remember,
    SendHeartbeat,
    Settle,
    Slept,
    Start,
    State,
    Stop,
    Tick,
)
from tracking.errors import (
    Blocked,
    Fault,
    LoginWanted,
    Refused,
    SignIn,
    Throttled,
    Unproven,
    Unreachable,
)

FAULTS: list[Fault] = [
    Unreachable("reset"),
    Unreachable("reset"),
    Unreachable("reset"),
    Unproven("self-signed"),
    Throttled("busy", retry_after_s=77),
    Refused("no", status=401),
    Refused("not here", status=404),
    Refused("no upgrade here", status=426),
    Blocked("cut"),
    Blocked("cut"),
    SignIn("a portal"),
    LoginWanted("a proxy"),
]


class Outbox:
    """Events in order, leases in memory, and what the far end was really given.

    Carries out the rule's orders and checks each against the rule's invariants.
    """

    def __init__(self, rule: LinkRule) -> None:
        self.rule = rule
        self.now = 0.0
        self.kept: list[str] = []
        self.made = 0
        self.batch = 0
        self.flight: dict[int, set[str]] = {}
        self.sent: dict[int, set[str]] = {}  # dial → ids that went out on it
        self.named: dict[int, set[str]] = {}  # dial → ids the far end named on it
        self.settled: list[str] = []
        self.open_dials: set[int] = set()
        self.dialed = 0
        self.beats: list[float] = []
        self.dials: list[float] = []
        self.over_http = 0

    def make(self, count: int) -> None:
        for _ in range(count):
            self.made += 1
            self.kept.append(f"e{self.made}")
        self.feed(Offered())

    def feed(self, notice: Notice) -> None:
        if isinstance(notice, Lost):
            self.open_dials.discard(notice.dial)
        self.obey(self.rule.feed(notice, self.now))

    def obey(self, orders: list[Order]) -> None:
        for order in orders:
            match order:
                case Dial(dial=dial, form=form, over=over):
                    self.over_http += over == "http"
                    assert over == "websocket" or form == "track"
                    assert not self.open_dials, "invariant 1: one socket"
                    assert dial == self.dialed + 1
                    self.dialed = dial
                    self.open_dials = {dial}
                    self.dials.append(self.now)
                case HangUp(dial=dial):
                    assert dial in self.open_dials
                    self.open_dials.discard(dial)
                case Probe(dial=dial):
                    assert dial in self.open_dials
                    assert self.rule.state is State.LIVE
                case SendHeartbeat(dial=dial):
                    assert dial in self.open_dials
                    assert self.rule.state is State.LIVE
                    self.beats.append(self.now)
                case Lease(dial=dial):
                    assert dial in self.open_dials
                    self.lend(dial)
                case Settle(batch=batch, ids=ids, whole=whole):
                    assert ids <= self.flight[batch], "invariant 6: lent, and at most once"
                    assert ids <= self.named[self.dialed] & self.sent[self.dialed], "row 40"
                    self.flight[batch] -= ids
                    assert whole == (not self.flight[batch])
                    self.settled += ids
                    self.kept = [event for event in self.kept if event not in ids]
                    if whole:
                        del self.flight[batch]
                case Release():
                    self.flight.clear()
                case Remember(form=form):
                    assert form in ("seed", "track")

    def lend(self, dial: int) -> None:
        lent = set().union(*self.flight.values())
        free = [event for event in self.kept if event not in lent][:5]
        if not free:
            self.obey(self.rule.feed(Drained(), self.now))
            return
        self.batch += 1
        self.flight[self.batch] = set(free)
        self.sent.setdefault(dial, set()).update(free)
        self.obey(self.rule.feed(Leased(self.batch, frozenset(free)), self.now))

    def answer(self, dial: int, ids: tuple[str, ...]) -> None:
        self.named.setdefault(dial, set()).update(ids)
        self.feed(Received(dial, ids))

    def check(self) -> None:
        rule = self.rule
        flying = {event for ids in self.flight.values() for event in ids}
        assert len(self.flight) <= WINDOW, "invariant 7"
        assert flying <= set(self.kept)
        assert rule.in_flight == len(flying)
        assert bool(self.open_dials) == (rule.state in (State.DIALING, State.LIVE))
        if rule.state is not State.LIVE:
            assert not flying, "leases die with their dial"
        if rule.state is State.IDLE:
            assert rule.deadline is None
        elif rule.state is not State.PARKED:
            assert rule.deadline is not None, "invariant 3"
        assert len(self.settled) == len(set(self.settled))
        assert sorted(self.settled + self.kept) == sorted(f"e{n + 1}" for n in range(self.made))


@pytest.mark.parametrize("seed", range(4))
def test_ten_thousand_turns_with_a_rude_server_break_no_invariant(seed: int) -> None:
    chance = random.Random(seed)
    fallback = Fallback(after=seed % 3, retry_s=40.0)  # never, at once, at the second time
    outbox = Outbox(LinkRule(rng=chance.random, fallback=fallback))
    outbox.feed(Start())
    for _ in range(10_000):
        outbox.now += chance.expovariate(1 / 8)
        dial = chance.choice([outbox.dialed, outbox.dialed, max(1, outbox.dialed - 1)])
        known = list(outbox.sent.get(outbox.dialed, ())) + outbox.settled[-3:] + ["stranger", ""]
        turn = chance.randrange(12)
        if turn == 0 and len(outbox.kept) < 40:
            outbox.make(chance.randrange(8))
        elif turn == 1 and (dial != outbox.dialed or outbox.rule.state is State.DIALING):
            outbox.feed(Opened(dial))
        elif turn in (2, 3):
            outbox.answer(dial, tuple(chance.choices(known, k=chance.randrange(9))))
        elif turn == 4 and dial in outbox.open_dials:
            outbox.feed(Lost(dial, chance.choice(FAULTS)))
        elif turn == 5:
            outbox.feed(
                Lost(max(1, outbox.dialed - 1), FAULTS[0]) if dial < outbox.dialed else Tick()
            )
        elif turn == 6:
            outbox.feed(Heard(dial))
        elif turn == 7 and chance.random() < 0.05:
            outbox.feed(Slept(chance.uniform(30, 99_999)))
        elif turn == 8 and chance.random() < 0.05:
            outbox.feed(Stop())
        elif turn == 9:
            outbox.feed(Start())
        elif turn == 10 and chance.random() < 0.1:
            outbox.feed(Moved())
        else:
            outbox.feed(Tick())
        outbox.check()
    assert outbox.settled
    assert outbox.dialed > 100
    assert bool(outbox.over_http) == bool(fallback.after)


def test_a_fair_server_gets_everything_once_and_in_order() -> None:
    outbox = Outbox(LinkRule(rng=lambda: 0.5))
    outbox.make(103)
    outbox.feed(Start())
    outbox.feed(Opened(1))
    while outbox.flight:
        oldest = outbox.flight[min(outbox.flight)]
        outbox.answer(1, tuple(oldest))
        outbox.check()
    assert not outbox.kept
    batches = [(int(event[1:]) - 1) // 5 for event in outbox.settled]
    assert batches == sorted(batches), "in order of acceptance, batch by batch"
    assert outbox.rule.strangers == 0


class HostileServer(RuleBasedStateMachine):
    """Anything in any order; Hypothesis looks for the sequence that breaks an invariant."""

    def __init__(self) -> None:
        super().__init__()
        self.draws = iter(random.Random(1).random, None)
        fallback = Fallback(after=1, retry_s=50.0)
        self.outbox = Outbox(LinkRule(rng=lambda: next(self.draws), fallback=fallback))

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 14.9, 15.0, 29.9, 30.0, 60.0, 299.0, 1e4]))
    def time_passes(self, seconds: float) -> None:
        self.outbox.now += seconds
        self.outbox.feed(Tick())

    @rule()
    def the_deadline_comes(self) -> None:
        self.outbox.now = max(self.outbox.now, self.outbox.rule.deadline or 0)
        self.outbox.feed(Tick())

    @rule(count=st.integers(1, 12))
    def an_app_reports(self, count: int) -> None:
        self.outbox.make(count)

    @rule()
    def a_person_starts(self) -> None:
        self.outbox.feed(Start())

    @rule()
    def a_person_stops(self) -> None:
        self.outbox.feed(Stop())

    @rule(gap_s=st.floats(30, 1e6))
    def the_machine_sleeps(self, gap_s: float) -> None:
        self.outbox.feed(Slept(gap_s))

    @rule()
    def the_network_changes(self) -> None:
        self.outbox.feed(Moved())

    @precondition(lambda self: self.outbox.rule.state is State.DIALING)
    @rule()
    def the_server_opens(self) -> None:
        self.outbox.feed(Opened(self.outbox.dialed))

    @precondition(lambda self: self.outbox.open_dials)
    @rule(fault=st.sampled_from(FAULTS))
    def the_server_is_lost(self, fault: Fault) -> None:
        self.outbox.feed(Lost(self.outbox.dialed, fault))

    @precondition(lambda self: self.outbox.dialed > 1)
    @rule(fault=st.sampled_from(FAULTS))
    def an_older_socket_dies(self, fault: Fault) -> None:
        self.outbox.feed(Lost(self.outbox.dialed - 1, fault))

    @precondition(lambda self: self.outbox.flight)
    @rule(data=st.data())
    def the_server_acknowledges(self, data: st.DataObject) -> None:
        sent = sorted(self.outbox.sent[self.outbox.dialed])
        ids = data.draw(st.lists(st.sampled_from(sent), max_size=8))
        self.outbox.answer(self.outbox.dialed, tuple(ids))

    @rule(
        ids=st.lists(
            st.from_regex(r"e[0-9]{1,2}", fullmatch=True) | st.text(max_size=3), max_size=6
        )
    )
    def the_server_makes_ids_up(self, ids: list[str]) -> None:
        self.outbox.answer(self.outbox.dialed, tuple(ids))

    @rule(ids=st.lists(st.from_regex(r"e[0-9]", fullmatch=True), max_size=6))
    def an_older_socket_acknowledges(self, ids: list[str]) -> None:
        before = list(self.outbox.kept)
        self.outbox.feed(Received(self.outbox.dialed - 1, tuple(ids)))
        assert self.outbox.kept == before

    @rule()
    def the_server_pongs(self) -> None:
        self.outbox.feed(Heard(self.outbox.dialed))

    @invariant()
    def nothing_is_lost_doubled_or_settled_unasked(self) -> None:
        self.outbox.check()


HostileServer.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
)
TestHostileServer = HostileServer.TestCase
