"""The link's rule by hand, from start to stop: a clock is a float, and nothing is mocked."""

from __future__ import annotations

import pytest
from rule_by_hand import RESET, a_live_rule, a_rule, fail, lend

from agent.rules.link import (
    Dial,
    Drained,
    HangUp,
    Heard,
    Lease,
    Leased,
    Lost,
    Offered,
    Opened,
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
from tracking.errors import Bug


def test_from_start_to_the_first_batch() -> None:
    rule = a_rule("")
    assert rule.deadline is None
    assert rule.feed(Start(), 0.0) == [Dial(1, "seed")]
    assert rule.deadline == 16.0
    assert rule.feed(Opened(1), 1.0) == [SendHeartbeat(1), Remember("seed"), Lease(1)]
    assert rule.feed(Leased(1, frozenset("ab")), 1.0) == [Lease(1)]
    assert rule.feed(Drained(), 1.0) == []
    assert rule.in_flight == 2
    assert rule.feed(Received(1, ("a", "b")), 1.1) == [Settle(1, frozenset("ab"), whole=True)]
    assert rule.in_flight == 0
    assert rule.state is State.LIVE


def test_before_start_nothing_happens() -> None:
    rule = a_rule()
    for notice in (Tick(), Offered(), Stop(), Slept(99), Opened(0), Lost(0, RESET), Drained()):
        assert rule.feed(notice, 1e9) == []
    assert rule.state is State.IDLE
    assert rule.deadline is None


def test_a_second_start_changes_nothing_while_it_runs() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    assert rule.feed(Start(), 1.0) == []
    rule.feed(Opened(1), 1.0)
    assert rule.feed(Start(), 2.0) == []
    assert rule.state is State.LIVE


def test_stop_hangs_up_and_gives_everything_back() -> None:
    rule = a_live_rule()
    lend(rule, "ab")
    assert rule.feed(Stop(), 1.0) == [HangUp(1), Release()]
    assert rule.state is State.IDLE
    assert rule.deadline is None
    assert rule.feed(Start(), 2.0) == [Dial(2, "seed")]


def test_stop_while_dialing_hangs_up_and_while_waiting_forgets_the_wait() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    assert rule.feed(Stop(), 1.0) == [HangUp(1)]
    rule.feed(Start(), 2.0)
    fail(rule, RESET, 3.0)
    assert rule.feed(Stop(), 3.0) == []
    assert rule.feed(Tick(), 1e6) == []
    assert rule.reason is None


def test_a_dying_socket_cannot_end_its_successor() -> None:
    rule = a_live_rule()
    fail(rule, RESET, 1.0)
    rule.feed(Tick(), rule.deadline or 0)
    assert rule.dial == 2
    for late in (Lost(1, RESET), Opened(1), Received(1, ("a",)), Heard(1)):
        assert rule.feed(late, 2.0) == []
    assert rule.state is State.DIALING
    assert rule.strangers == 0


def test_a_notice_that_cannot_be_is_our_bug() -> None:
    rule = a_live_rule()
    with pytest.raises(Bug):
        rule.feed(Opened(1), 1.0)
    with pytest.raises(Bug, match="without an order"):
        rule.feed(Leased(1, frozenset("a")), 1.0)
    rule.feed(Offered(), 1.0)
    with pytest.raises(Bug, match="empty"):
        rule.feed(Leased(1, frozenset()), 1.0)


def test_a_batch_number_cannot_be_lent_twice() -> None:
    rule = a_live_rule()
    lend(rule, "a")
    with pytest.raises(Bug, match="twice"):
        rule.feed(Leased(1, frozenset("b")), 1.0)


def test_a_lease_that_comes_too_late_is_given_back() -> None:
    rule = a_live_rule()
    rule.feed(Offered(), 0.0)
    fail(rule, RESET, 0.0)
    assert rule.feed(Leased(1, frozenset("a")), 0.0) == [Release()]
    assert rule.in_flight == 0
