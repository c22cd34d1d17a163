"""Heartbeats, their answers, and sleep: how the link's rule knows that a link still lives."""

from __future__ import annotations

import pytest
from rule_by_hand import RESET, a_live_rule, a_rule, fail, lend

from agent.rules.link import (
    Dial,
    Drained,
    HangUp,
    Heard,
    Lease,
    LinkRule,
    Opened,
    Received,
    Release,
    SendHeartbeat,
    Slept,
    Start,
    State,
    Tick,
)
from tracking.errors import Refused

# --- heartbeats and signs of life --------------------------------------------------------------


def test_one_heartbeat_a_minute() -> None:
    rule = a_live_rule()
    beats = []
    for second in range(1, 601):
        if rule.feed(Tick(), float(second)) == [SendHeartbeat(1)]:
            beats.append(second)
            rule.feed(Heard(1), second + 0.5)
    assert beats == list(range(60, 601, 60))


def test_an_idle_link_wants_to_be_woken_once_a_minute() -> None:
    rule, now, wakes = a_live_rule(), 0.0, 0
    while now < 3600:
        assert rule.deadline is not None
        now, wakes = rule.deadline, wakes + 1
        rule.feed(Tick(), now)
        rule.feed(Heard(1), now + 0.05)
    assert wakes == 60


def test_a_missed_hour_is_one_heartbeat_not_sixty() -> None:
    rule = a_live_rule()
    assert rule.feed(Tick(), 3600.0) == [SendHeartbeat(1)]
    assert rule.feed(Tick(), 3600.1) == []
    assert rule.deadline == 3630.0  # its answer


def test_a_far_end_that_answers_no_heartbeat_is_left() -> None:
    rule = a_live_rule()
    rule.feed(Tick(), 60.0)
    assert rule.feed(Tick(), 89.9) == []
    assert rule.feed(Tick(), 90.0) == [HangUp(1)]
    assert rule.state is State.WAITING
    assert "sign of life" in str(rule.reason)


def test_frequent_heartbeats_do_not_keep_a_dead_link_alive() -> None:
    rule = LinkRule(rng=lambda: 0.5, heartbeat_s=5.0)
    rule.feed(Start(), 0.0)
    rule.feed(Opened(1), 0.0)
    rule.feed(Drained(), 0.0)
    for second in range(5, 30, 5):
        assert rule.feed(Tick(), float(second)) == [SendHeartbeat(1)]
    assert rule.feed(Tick(), 30.0) == [HangUp(1)]
    rule.feed(Start(), 40.0)
    rule.feed(Opened(2), 40.0)
    assert rule.feed(Tick(), 45.0) == [SendHeartbeat(2)], "its answer is awaited anew"


@pytest.mark.parametrize("sign", [Heard(1), Received(1), Received(1, ("stranger",))])
def test_anything_said_is_a_sign_of_life(sign: Heard | Received) -> None:
    rule = a_live_rule()
    rule.feed(Tick(), 60.0)
    assert rule.deadline == 90.0
    rule.feed(sign, 89.0)
    assert rule.deadline == 120.0


def test_no_heartbeat_is_kept_for_later() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    fail(rule, RESET, 0.0)
    for now in range(1, 1000, 10):
        orders = rule.feed(Tick(), float(now))
        assert not any(isinstance(order, SendHeartbeat) for order in orders)
        fail(rule, RESET, float(now))
    rule.feed(Start(), 2000.0)
    assert rule.feed(Opened(rule.dial), 2000.0).count(SendHeartbeat(rule.dial)) == 1


# --- sleep -------------------------------------------------------------------------------------


def test_after_eight_hours_of_sleep_one_dial_one_heartbeat_and_no_alarm() -> None:
    rule = a_live_rule()
    lend(rule, "a")
    assert rule.feed(Slept(28_800), 10.0) == [HangUp(1), Release()]
    assert rule.state is State.WAITING
    assert rule.reason is None
    assert rule.deadline == 12.5
    assert rule.feed(Tick(), 12.5) == [Dial(2, "seed")]
    assert rule.feed(Opened(2), 13.0) == [SendHeartbeat(2), Lease(2)]
    rule.feed(Drained(), 13.0)
    rule.feed(Heard(2), 13.0)
    assert rule.feed(Tick(), 72.9) == []


@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_after_sleep_the_dial_is_spread_over_five_seconds(chance: float) -> None:
    rule = a_rule(chance=chance)
    rule.feed(Start(), 0.0)
    rule.feed(Opened(1), 0.0)
    rule.feed(Slept(60), 0.0)
    assert rule.deadline == chance * 5


def test_sleep_ends_a_long_backoff_and_a_dial_under_way() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    rule.attempt = 9
    fail(rule, RESET, 0.0)
    assert rule.deadline == 150.0
    assert rule.feed(Slept(600), 1.0) == []
    assert rule.deadline == 3.5
    assert rule.reason is RESET  # nothing has been mended yet
    rule.feed(Tick(), 3.5)
    assert rule.feed(Slept(600), 4.0) == [HangUp(2)]
    assert rule.deadline == 6.5


def test_a_link_that_lived_a_minute_before_the_sleep_has_proved_itself() -> None:
    rule = a_live_rule()
    rule.attempt = 9
    rule.feed(Slept(600), 60.0)
    assert rule.attempt == 0


def test_sleep_never_makes_a_wait_longer() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    fail(rule, RESET, 0.0)
    rule.feed(Slept(600), 0.0)
    assert rule.deadline == 0.5


def test_sleep_while_parked_or_stopped_dials_nothing() -> None:
    rule = a_rule()
    assert rule.feed(Slept(600), 0.0) == []
    rule.feed(Start(), 0.0)
    fail(rule, Refused("no", status=403), 0.0)
    assert rule.feed(Slept(600), 1.0) == []
    assert rule.state is State.PARKED
