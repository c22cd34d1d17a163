"""When the link's rule dials, under which form of the endpoint, and when it does not."""

from __future__ import annotations

import pytest
from rule_by_hand import RESET, a_live_rule, a_rule, fail, lend

from agent.rules.link import (
    Dial,
    HangUp,
    Lease,
    Lost,
    Offered,
    Opened,
    Received,
    Release,
    Remember,
    SendHeartbeat,
    Slept,
    Start,
    State,
    Stop,
    Tick,
)
from tracking.errors import Fault, Refused, SecretFault, SettingsFault, Throttled, Unproven

# --- dialing -----------------------------------------------------------------------------------


def test_a_dial_that_takes_too_long_is_ended_and_backed_off() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    assert rule.feed(Tick(), 15.9) == []  # the link had 15 s, and a second to say what hung
    assert rule.feed(Tick(), 16.0) == [HangUp(1)]
    assert rule.state is State.WAITING
    assert rule.deadline == 16.5  # half of the first ceiling
    assert rule.feed(Tick(), 16.4) == []
    assert rule.feed(Tick(), 16.5) == [Dial(2, "seed")]


def test_waits_grow_while_nobody_answers() -> None:
    rule = a_rule(chance=1.0)
    rule.feed(Start(), 0.0)
    now, waits = 0.0, []
    for _ in range(11):
        fail(rule, RESET, now)
        assert rule.deadline is not None
        waits.append(rule.deadline - now)
        now = rule.deadline
        rule.feed(Tick(), now)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_a_person_ends_a_backoff_and_its_memory() -> None:
    rule = a_rule(chance=1.0)
    rule.feed(Start(), 0.0)
    for _ in range(6):
        fail(rule, RESET, 0.0)
        assert rule.feed(Start(), 0.0) == [Dial(rule.dial, "seed")]
    fail(rule, RESET, 0.0)
    assert rule.deadline == 1.0


def test_events_do_not_shorten_a_backoff() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    fail(rule, RESET, 0.0)
    assert rule.feed(Offered(), 0.1) == []
    assert rule.deadline == 0.5


# --- the two forms of the endpoint -------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 400, 302, 200, 426])
def test_a_form_that_is_not_there_gives_way_to_the_other_at_once(status: int) -> None:
    rule = a_rule("")
    rule.feed(Start(), 0.0)
    assert fail(rule, Refused("not here", status=status), 1.0) == [Dial(2, "track")]
    assert rule.feed(Opened(2), 2.0) == [SendHeartbeat(2), Remember("track"), Lease(2)]


def test_the_remembered_form_is_tried_first_and_not_remembered_again() -> None:
    rule = a_rule("track")
    assert rule.feed(Start(), 0.0) == [Dial(1, "track")]
    assert rule.feed(Opened(1), 0.0) == [SendHeartbeat(1), Lease(1)]
    fail(rule, RESET, 1.0)
    assert rule.feed(Tick(), 9.0) == [Dial(2, "track")]


def test_an_app_unknown_under_both_forms_parks_and_is_asked_for_every_quarter_hour() -> None:
    rule = a_rule("", chance=0.0)
    rule.feed(Start(), 0.0)
    fail(rule, Refused("no such app", status=404), 1.0)
    assert fail(rule, Refused("no such app", status=404), 2.0) == []
    assert rule.state is State.PARKED
    assert rule.deadline == 902.0
    assert isinstance(rule.reason, Refused)
    assert rule.feed(Tick(), 901.9) == []
    assert rule.feed(Tick(), 902.0) == [Dial(3, "seed")]
    assert fail(rule, Refused("no such app", status=404), 903.0) == [Dial(4, "track")]
    fail(rule, Refused("no such app", status=404), 904.0)
    assert rule.state is State.PARKED


def test_a_far_end_that_alternates_404_and_silence_is_not_dialed_in_a_circle() -> None:
    rule = a_rule("", chance=1.0)
    rule.feed(Start(), 0.0)
    assert fail(rule, Refused("no", status=404), 0.0) == [Dial(2, "track")]
    assert fail(rule, RESET, 0.0) == []
    assert rule.deadline == 1.0
    assert rule.feed(Tick(), 1.0) == [Dial(3, "track")]
    assert fail(rule, Refused("no", status=404), 1.0) == [Dial(4, "seed")]
    assert fail(rule, RESET, 1.0) == []
    assert rule.deadline == 3.0


def test_a_door_that_opens_but_never_acknowledges_is_tried_under_its_other_form() -> None:
    rule = a_live_rule(remembered="track")
    lend(rule, "a")
    assert rule.feed(Tick(), 30.0) == [HangUp(1), Release()]
    assert rule.feed(Tick(), 99.0) == [Dial(2, "seed")]


def test_a_door_that_acknowledged_once_keeps_its_form() -> None:
    rule = a_live_rule(remembered="track")
    lend(rule, "a", "b")
    rule.feed(Received(1, ("a",)), 1.0)
    rule.feed(Tick(), 31.0)
    assert rule.feed(Tick(), 99.0) == [Dial(2, "track")]


@pytest.mark.parametrize("end", [Slept(60), Stop(), Lost(2, RESET)])
def test_both_forms_get_their_chance_again_after_every_end(end: Slept | Stop | Lost) -> None:
    rule = a_rule("")
    rule.feed(Start(), 0.0)
    fail(rule, Refused("no", status=404), 0.0)
    rule.feed(Opened(2), 0.0)
    rule.feed(end, 1.0)
    assert (rule.feed(Start(), 9.0) or rule.feed(Tick(), 9.0)) == [Dial(3, "track")]
    assert fail(rule, Refused("no", status=404), 9.0) == [Dial(4, "seed")]


def test_the_form_that_worked_is_told_once() -> None:
    rule = a_live_rule(remembered="")
    fail(rule, RESET, 1.0)
    rule.feed(Tick(), 9.0)
    assert rule.feed(Opened(2), 9.0) == [SendHeartbeat(2), Lease(2)]


# --- refusals and delays -----------------------------------------------------------------------


@pytest.mark.parametrize("fault", [SecretFault("locked"), SettingsFault("no")])
def test_a_refusal_parks_until_a_person_acts(fault: Fault) -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    assert fail(rule, fault, 1.0) == []
    assert rule.state is State.PARKED
    assert rule.reason is fault
    assert rule.deadline is None
    for notice in (Tick(), Offered(), Slept(10_000)):
        assert rule.feed(notice, 1e6) == []
    assert rule.feed(Start(), 1e6) == [Dial(2, "seed")]


@pytest.mark.parametrize("fault", [Refused("no", status=401), Refused("no", status=403)])
def test_a_refusal_parks_and_is_asked_again_once_an_hour(fault: Fault) -> None:
    rule = a_rule(chance=0.5)
    rule.feed(Start(), 0.0)
    now = 1.0
    for dial in (2, 3, 4):
        assert fail(rule, fault, now) == []
        assert rule.state is State.PARKED
        assert rule.reason is fault
        assert rule.deadline == now + 3600 + 0.5 * 300, "an hour, and jitter for the fleet"
        for notice in (Tick(), Offered(), Slept(10_000)):
            assert rule.feed(notice, now + 3600) == []
        now = rule.deadline
        assert rule.feed(Tick(), now) == [Dial(dial, "seed")]
    assert rule.feed(Opened(4), now)
    assert rule.state is State.LIVE, "the deploy was put right, and nobody pressed anything"


def test_a_person_need_not_wait_for_that_hour() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    fail(rule, Refused("no", status=403), 0.0)
    assert rule.feed(Start(), 5.0) == [Dial(2, "seed")]


def test_a_404_long_after_opening_is_no_matter_of_forms() -> None:
    rule = a_live_rule()
    assert fail(rule, Refused("gone", status=404), 5.0) == []
    assert rule.state is State.PARKED
    assert rule.form == "seed"
    assert rule.deadline == 5.0 + 3600 + 150


def test_a_named_delay_is_a_floor_even_for_a_person_and_after_sleep() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    fail(rule, Throttled("busy", retry_after_s=100), 0.0)
    assert rule.deadline == 100.5
    assert rule.feed(Start(), 1.0) == []
    assert rule.deadline == 100.0
    assert rule.feed(Slept(3600), 2.0) == []
    assert rule.deadline == 100.0
    assert rule.feed(Tick(), 99.9) == []
    assert rule.feed(Tick(), 100.0) == [Dial(2, "seed")]


def test_stopping_and_starting_does_not_cut_a_named_delay_short() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    fail(rule, Throttled("busy", retry_after_s=100), 0.0)
    rule.feed(Stop(), 1.0)
    assert rule.feed(Start(), 2.0) == []
    assert rule.state is State.WAITING
    assert rule.deadline == 100.0


@pytest.mark.parametrize(("named_s", "kept_s"), [(1e12, 86_400.0), (-5.0, 0.0)])
def test_a_named_delay_is_a_day_at_most_and_never_negative(named_s: float, kept_s: float) -> None:
    rule = a_rule(chance=0.0)
    rule.feed(Start(), 0.0)
    fail(rule, Throttled("busy", retry_after_s=named_s), 0.0)
    assert rule.deadline == kept_s


def test_a_certificate_that_proves_nothing_is_looked_at_again_after_five_minutes() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    fail(rule, Unproven("self-signed"), 0.0)
    assert rule.deadline == 300.5
    assert isinstance(rule.reason, Unproven)
    assert rule.feed(Start(), 1.0) == [Dial(2, "seed")]  # a person who mended it need not wait
