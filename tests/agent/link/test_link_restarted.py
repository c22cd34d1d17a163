"""What the rule makes of a start that nobody asked for, and of a far end that leaves one out."""

from __future__ import annotations

import pytest
from rule_by_hand import RESET, a_live_rule, a_rule, fail, lend

from agent.rules.link import LinkRule
from agent.rules.notices import (
    Dial,
    HangUp,
    Heard,
    Opened,
    Received,
    Release,
    Restarted,
    Slept,
    Start,
    State,
    Stop,
    Tick,
)
from tracking.errors import Throttled, Unreachable


def test_a_wait_that_was_cut_by_a_restart_goes_on() -> None:
    rule = a_rule()
    assert rule.feed(Restarted(7, 40.0), 100.0) == []
    assert (rule.state, rule.deadline, rule.attempt) == (State.WAITING, 140.0, 7)
    assert isinstance(rule.reason, Unreachable)
    assert rule.feed(Tick(), 139.9) == []
    assert rule.feed(Tick(), 140.0) == [Dial(1, "seed")]
    fail(rule, RESET, 140.0)
    assert rule.deadline == 140.0 + 64.0, "half of the eighth ceiling: failures go on counting"


def test_a_wait_that_is_over_is_a_dial_that_still_knows_the_failures() -> None:
    rule = a_rule()
    assert rule.feed(Restarted(7, 0.0), 0.0) == [Dial(1, "seed")]
    assert rule.attempt == 7


def test_a_person_ends_that_wait_unless_the_far_end_named_it() -> None:
    rule = a_rule()
    rule.feed(Restarted(7, 40.0), 0.0)
    assert rule.feed(Start(), 1.0) == [Dial(1, "seed")]
    assert rule.attempt == 0
    named = a_rule()
    named.feed(Restarted(7, 40.0, named=True), 0.0)
    assert isinstance(named.reason, Throttled)
    assert named.held(39.0)
    assert named.feed(Start(), 1.0) == []
    assert named.feed(Slept(600.0), 2.0) == []
    assert named.deadline == 40.0
    assert named.feed(Tick(), 40.0) == [Dial(1, "seed")]


@pytest.mark.parametrize("state", [State.DIALING, State.LIVE, State.WAITING])
def test_it_is_nothing_to_a_link_that_was_started_already(state: State) -> None:
    rule = a_live_rule() if state is State.LIVE else a_rule()
    rule.feed(Start(), 0.0)
    if state is State.WAITING:
        fail(rule, RESET, 0.0)
    before = rule.deadline
    assert rule.feed(Restarted(7, 40.0), 0.0) == []
    assert (rule.state, rule.deadline) == (state, before)


def test_a_pause_ends_it() -> None:
    rule = a_rule()
    rule.feed(Restarted(7, 40.0), 0.0)
    assert rule.feed(Stop(), 1.0) == []
    assert rule.deadline is None


def silence(rule: LinkRule, now: float) -> None:
    """Let the oldest batch become overdue on a link that is otherwise alive."""
    rule.feed(Heard(rule.dial), now)
    assert rule.feed(Tick(), now) == [HangUp(rule.dial), Release()]


def test_leaving_one_out_costs_short_waits_and_silence_long_ones() -> None:
    overtaken = a_live_rule()
    overtaken.attempt = 9
    lend(overtaken, "x", "a", now=0.0)
    overtaken.feed(Received(1, ("a",)), 1.0)
    silence(overtaken, 30.0)
    assert overtaken.attempt == 4, "the far end works: 8 s at most"

    silent = a_live_rule()
    silent.attempt = 9
    lend(silent, "xa", "b", now=0.0)
    silent.feed(Received(1, ("a",)), 1.0)
    silence(silent, 30.0)
    assert silent.attempt == 10


def test_an_overtaking_long_ago_does_not_excuse_silence_now() -> None:
    rule = a_live_rule()
    rule.attempt = 9
    lend(rule, "x", "ab", now=0.0)
    rule.feed(Received(1, ("a",)), 1.0)
    rule.feed(Received(1, ("x",)), 2.0)  # the oldest is done: the next one's turn
    silence(rule, 32.0)
    assert rule.attempt == 10


def test_a_link_is_proven_when_it_has_lived_a_minute() -> None:
    rule = a_live_rule()
    assert not rule.proven(59.9)
    assert rule.proven(60.0)
    fail(rule, RESET, 61.0)
    assert not rule.proven(200.0)
    assert rule.feed(Opened(1), 200.0) == []
