"""What the link's rule takes for proof that a far end works, and how long it backs off."""

from __future__ import annotations

import random

from rule_by_hand import RESET, a_live_rule, a_rule, fail, lend

from agent.rules.link import (
    Dial,
    Drained,
    HangUp,
    Heard,
    LinkRule,
    Opened,
    Received,
    Release,
    Start,
    State,
    Tick,
)
from tracking.errors import Refused


def test_a_far_end_that_accepts_and_closes_is_backed_off_like_one_that_does_not_answer() -> None:
    rule = a_rule(chance=1.0)
    rule.feed(Start(), 0.0)
    now, waits = 0.0, []
    for _ in range(10):
        rule.feed(Opened(rule.dial), now)
        rule.feed(Drained(), now)
        fail(rule, RESET, now + 59.9)
        assert rule.deadline is not None
        waits.append(round(rule.deadline - now - 59.9))
        now = rule.deadline
        rule.feed(Tick(), now)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]


def test_a_minute_alive_is_proof() -> None:
    rule = a_live_rule()
    rule.attempt = 9
    fail(rule, RESET, 60.0)
    assert rule.attempt == 1
    assert rule.deadline == 60.5


def test_an_acknowledgement_is_proof_enough_for_short_waits_only() -> None:
    rule = a_live_rule()
    rule.attempt = 9
    lend(rule, "a")
    rule.feed(Received(1, ("a",)), 1.0)
    fail(rule, RESET, 1.0)
    assert rule.deadline == 1.0 + 4.0  # half of 8 s
    rule = a_live_rule()
    lend(rule, "a")
    rule.feed(Received(1, ("a",)), 1.0)
    fail(rule, RESET, 1.0)
    assert rule.deadline == 1.5  # nothing had failed before: nothing is held against it


def test_acknowledging_all_but_one_event_is_no_proof() -> None:
    rule = a_live_rule()
    rule.attempt = 5
    lend(rule, "ab")
    rule.feed(Received(1, ("a",)), 1.0)
    rule.feed(Heard(1), 1.0)
    assert rule.feed(Tick(), 30.0) == [HangUp(1), Release()]
    assert rule.attempt == 6
    assert rule.deadline == 30.0 + 16.0


def test_a_minute_is_not_long_enough_for_one_that_stops_acknowledging() -> None:
    rule = a_live_rule()
    rule.attempt = 5
    lend(rule, "a", now=31.0)
    rule.feed(Tick(), 61.0)
    assert rule.attempt == 6


def test_what_one_dial_acknowledged_is_no_proof_for_the_next() -> None:
    rule = a_live_rule()
    lend(rule, "a")
    rule.feed(Received(1, ("a",)), 0.0)
    fail(rule, RESET, 0.0)
    rule.attempt = 9
    rule.feed(Tick(), 9.0)
    rule.feed(Opened(2), 9.0)
    rule.feed(Drained(), 9.0)
    fail(rule, RESET, 9.0)
    assert rule.attempt == 10


def test_an_open_link_has_no_complaint() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    fail(rule, RESET, 0.0)
    assert rule.reason is RESET
    rule.feed(Tick(), 9.0)
    assert rule.reason is RESET
    rule.feed(Opened(2), 9.0)
    assert rule.reason is None


def test_a_link_that_worked_for_long_and_then_fell_silent_starts_over() -> None:
    rule = a_live_rule()
    rule.attempt = 5
    lend(rule, "a", now=270.0)
    rule.feed(Tick(), 300.0)
    assert rule.attempt == 1


def test_a_hostile_far_end_gets_few_dials_an_hour() -> None:
    """Row 42: whatever it does on each dial, the backoff holds."""
    for seed in range(20):
        chance = random.Random(seed)
        rule, now, dials = LinkRule(rng=chance.random), 0.0, 0
        orders = rule.feed(Start(), now)
        last_hour: list[float] = []
        while now < 4 * 3600:
            dials += sum(isinstance(order, Dial) for order in orders)
            last_hour += [now] * any(isinstance(order, Dial) for order in orders)
            trick = chance.randrange(4)
            if rule.state is State.DIALING and trick == 0:
                orders = fail(rule, Refused("404", status=404), now)
            elif rule.state is State.DIALING and trick < 3:
                rule.feed(Opened(rule.dial), now)
                now += chance.random()
                orders = fail(rule, RESET, now)
            elif rule.state is State.DIALING:
                orders = fail(rule, RESET, now)
            else:
                assert rule.deadline is not None
                now = max(now, rule.deadline)
                orders = rule.feed(Tick(), now)
        assert sum(at > now - 3600 for at in last_hour) <= 80
        assert dials <= 280
