"""The link's rule on networks that change, want a sign-in, or a login for their proxy."""

from __future__ import annotations

import pytest
from rule_by_hand import RESET, a_live_rule, a_rule, fail

from agent.rules.link import MOVE_S
from agent.rules.notices import (
    Dial,
    Drained,
    HangUp,
    Heard,
    Moved,
    Opened,
    Probe,
    Start,
    State,
    Tick,
)
from agent.rules.verdict import SIGN_IN_S, STEADY_S
from tracking.errors import (
    Fault,
    LoginWanted,
    NotListed,
    Refused,
    SecretFault,
    SignIn,
    Silent,
    Throttled,
    Unproven,
)


def wait_long(chance: float = 0.99) -> tuple[object, float]:
    """A rule that has failed so often that it waits for minutes."""
    rule, now = a_rule(chance=chance), 0.0
    rule.feed(Start(), now)
    for _ in range(12):
        fail(rule, RESET, now)
        assert rule.next_try is not None
        now = rule.next_try
        rule.feed(Tick(), now)
    fail(rule, RESET, now)
    return rule, now


def test_a_network_that_came_ends_a_long_wait_within_a_second() -> None:
    rule, now = wait_long()
    assert rule.next_try - now > 200
    assert rule.feed(Moved(), now + 50) == []
    assert rule.next_try - (now + 50) <= 1.0
    (order,) = rule.feed(Tick(), rule.next_try)
    assert isinstance(order, Dial)


def test_after_a_change_the_waits_begin_small_again() -> None:
    rule, now = wait_long()
    rule.feed(Moved(), now)
    now = rule.next_try
    rule.feed(Tick(), now)
    fail(rule, RESET, now)
    assert rule.next_try - now <= 4.0


@pytest.mark.parametrize("chance", [0.5, 0.99])
def test_a_storm_of_changes_adds_at_most_one_dial_in_five_seconds(chance: float) -> None:
    rule, now = wait_long(chance)
    dials = 0
    for step in range(1000):  # 100 s
        at = now + step / 10
        orders = rule.feed(Moved(), at)
        if rule.deadline is not None and rule.deadline <= at:
            orders = orders + rule.feed(Tick(), at)
        if any(isinstance(order, Dial) for order in orders):
            dials += 1
            fail(rule, Silent("nobody"), at)
    assert 10 <= dials <= 100 / MOVE_S * 2 + 1, "that dial, and the third attempt's backoff"


def test_a_change_that_comes_too_soon_after_another_is_not_forgotten() -> None:
    rule, now = wait_long()
    rule.feed(Moved(), now)
    rule.feed(Tick(), rule.next_try)
    dialled = now + 1
    for _ in range(4):
        fail(rule, RESET, dialled)
        if rule.next_try - dialled > 3:
            break
    rule.feed(Moved(), dialled + 0.1)
    assert rule.next_try <= now + MOVE_S + 1.0


def test_a_dial_under_way_is_given_up_for_the_new_road() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    assert rule.feed(Moved(), 3.0) == [HangUp(1)]
    assert rule.state is State.WAITING
    assert rule.next_try <= 4.0


def test_a_delay_that_the_far_end_named_is_not_cut_short_by_a_change() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    fail(rule, Throttled("slowly", retry_after_s=600), 0.0)
    rule.feed(Moved(), 1.0)
    assert rule.next_try >= 600


def test_a_live_link_is_asked_whether_it_still_is_one() -> None:
    rule = a_live_rule()
    assert rule.feed(Moved(), 10.0) == [Probe(1)]
    assert rule.feed(Moved(), 10.5) == [], "asked already"
    rule.feed(Heard(1), 10.6)
    assert rule.feed(Tick(), 16.0) == []
    assert rule.state is State.LIVE
    assert rule.feed(Moved(), 20.0) == [Probe(1)]
    assert rule.feed(Tick(), 25.0) == [HangUp(1)], "five seconds, not thirty"
    assert rule.state is State.WAITING


@pytest.mark.parametrize(
    ("fault", "again"),
    [
        (LoginWanted("the proxy wants a login"), True),
        (Refused("no such app", status=403), False),
        (SecretFault("the keyring is locked"), False),
        (NotListed("near.example"), False),
    ],
)
def test_a_change_ends_a_park_only_if_the_network_was_the_cause(fault: Fault, again: bool) -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    fail(rule, fault, 0.0)
    assert rule.state is State.PARKED
    rule.feed(Moved(), 100.0)
    assert (rule.state is State.WAITING) is again
    if again:
        assert rule.next_try <= 101.0


def test_nothing_moves_what_a_person_stopped() -> None:
    rule = a_rule()
    assert rule.feed(Moved(), 1.0) == []
    assert rule.state is State.IDLE


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.99])
def test_a_portal_is_asked_gently_for_as_long_as_it_stands(chance: float) -> None:
    rule, now = a_rule(chance=chance), 0.0
    rule.feed(Start(), now)
    for _ in range(500):
        fail(rule, SignIn("sign in"), now)
        assert rule.state is State.WAITING
        wait_s = rule.next_try - now
        assert SIGN_IN_S <= wait_s <= SIGN_IN_S + STEADY_S, "and delivery within 10 s of its end"
        now = rule.next_try
        rule.feed(Tick(), now)
    rule.feed(Opened(rule.dial), now)
    rule.feed(Drained(), now)
    assert rule.state is State.LIVE
    assert rule.reason is None


def test_a_certificate_is_looked_at_again_at_once_on_another_network() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    fail(rule, Unproven("inspected", why="authority"), 0.0)
    assert rule.next_try >= 300
    rule.feed(Moved(), 10.0)
    assert rule.next_try <= 11.0
