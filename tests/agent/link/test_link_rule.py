"""The link's rule by hand: a clock is a float, and nothing is mocked."""

from __future__ import annotations

import random

import pytest

from agent.rules.link import (
    Dial,
    Drained,
    HangUp,
    Heard,
    Lease,
    Leased,
    LinkRule,
    Lost,
    Offered,
    Opened,
    Order,
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
    Bug,
    Fault,
    Refused,
    SettingsFault,
    Throttled,
    Unproven,
    Unreachable,
)

RESET = Unreachable("connection reset")


def a_rule(remembered: str = "seed", chance: float = 0.5) -> LinkRule:
    return LinkRule(rng=lambda: chance, remembered=remembered)


def a_live_rule(now: float = 0.0, remembered: str = "seed") -> LinkRule:
    """A rule whose first dial opened at ``now``, whose heartbeat was answered, with no events."""
    rule = a_rule(remembered)
    for notice in (Start(), Opened(1), Drained(), Heard(1)):
        rule.feed(notice, now)
    assert rule.state is State.LIVE
    return rule


def lend(rule: LinkRule, *batches: str, now: float = 0.0) -> list[Order]:
    """Offer events and lend them, one letter each; return the last orders."""
    rule.feed(Offered(), now)
    orders: list[Order] = []
    for letters in batches:
        number = 1 + max(rule._flight, default=0)
        orders = rule.feed(Leased(number, frozenset(letters)), now)
    return orders


def fail(rule: LinkRule, fault: Fault, now: float) -> list[Order]:
    return rule.feed(Lost(rule.dial, fault), now)


# --- a life ------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("fault", [Refused("no", status=401), Refused("no"), SettingsFault("no")])
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


def test_a_404_long_after_opening_is_no_matter_of_forms() -> None:
    rule = a_live_rule()
    assert fail(rule, Refused("gone", status=404), 5.0) == []
    assert rule.state is State.PARKED
    assert rule.deadline is None


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


# --- proof -------------------------------------------------------------------------------------


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


# --- lending and settling ----------------------------------------------------------------------


def test_at_most_four_batches_are_in_flight() -> None:
    rule = a_live_rule()
    assert rule.feed(Offered(), 0.0) == [Lease(1)]
    for batch in (1, 2, 3):
        assert rule.feed(Leased(batch, frozenset({f"id{batch}"})), 0.0) == [Lease(1)]
    assert rule.feed(Leased(4, frozenset({"id4"})), 0.0) == []
    assert rule.feed(Offered(), 0.0) == []
    assert rule.feed(Received(1, ("id2",)), 1.0) == [
        Settle(2, frozenset({"id2"}), whole=True),
        Lease(1),
    ]


def test_one_lease_at_a_time_however_often_events_are_offered() -> None:
    rule = a_live_rule()
    assert rule.feed(Offered(), 0.0) == [Lease(1)]
    assert rule.feed(Offered(), 0.0) == []
    rule.feed(Drained(), 0.0)
    assert rule.feed(Offered(), 0.0) == [Lease(1)]


def test_a_drained_outbox_is_not_asked_again_until_it_offers() -> None:
    rule = a_live_rule()
    lend(rule, "a")
    rule.feed(Drained(), 0.0)
    assert rule.feed(Received(1, ("a",)), 0.0) == [Settle(1, frozenset("a"), whole=True)]
    assert rule.feed(Offered(), 0.0) == [Lease(1)]


def test_one_reply_may_settle_several_batches() -> None:
    rule = a_live_rule()
    lend(rule, "ab", "cd")
    rule.feed(Drained(), 0.0)
    assert rule.feed(Received(1, ("d", "a", "b")), 0.0) == [
        Settle(1, frozenset("ab"), whole=True),
        Settle(2, frozenset("d"), whole=False),
    ]
    assert rule.in_flight == 1


def test_what_was_never_lent_is_counted_and_changes_nothing() -> None:
    rule = a_live_rule()
    lend(rule, "ab")
    rule.feed(Drained(), 0.0)
    assert rule.feed(Received(1, ("x", "y", "x")), 0.0) == []
    assert rule.strangers == 3
    assert rule.in_flight == 2


def test_an_acknowledgement_counts_once_across_replies_and_within_one() -> None:
    rule = a_live_rule()
    lend(rule, "ab")
    rule.feed(Drained(), 0.0)
    assert rule.feed(Received(1, ("a", "a")), 0.0) == [Settle(1, frozenset("a"), whole=False)]
    assert rule.feed(Received(1, ("a",)), 0.0) == []
    assert rule.strangers == 2
    assert rule.feed(Received(1, ("a", "b")), 0.0) == [Settle(1, frozenset("b"), whole=True)]


def test_an_acknowledgement_on_the_next_dial_for_the_last_one_counts_nothing() -> None:
    rule = a_live_rule()
    lend(rule, "ab")
    assert fail(rule, RESET, 1.0) == [Release()]
    rule.feed(Tick(), 99.0)
    rule.feed(Opened(2), 99.0)
    assert rule.feed(Received(2, ("a", "b")), 99.0) == []
    assert rule.strangers == 2


def test_a_partial_acknowledgement_does_not_prolong_the_rest() -> None:
    rule = a_live_rule()
    lend(rule, "ab")
    rule.feed(Drained(), 0.0)
    rule.feed(Received(1, ("a",)), 29.0)
    assert rule.deadline == 30.0
    assert rule.feed(Tick(), 30.0) == [HangUp(1), Release()]
    assert "acknowledged" in str(rule.reason)


def test_a_slow_far_end_that_works_in_order_is_given_time_for_each_batch() -> None:
    rule = a_live_rule()
    rule.heartbeat_s = 1e6
    rule._beat = 1e6
    lend(rule, "a", "b", "c", "d")
    for n, letter in enumerate("abc"):
        rule.feed(Received(1, (letter,)), 20.0 * (n + 1))
        rule.feed(Drained(), 20.0 * (n + 1))
        assert rule.deadline == 20.0 * (n + 1) + 30.0
    rule.feed(Received(1, ("d",)), 80.0)
    assert rule.deadline == 1e6


def test_acknowledging_younger_batches_does_not_save_the_oldest() -> None:
    rule = a_live_rule()
    lend(rule, "a", "b")
    rule.feed(Drained(), 0.0)
    for n in range(5):
        rule.feed(Received(1, (chr(ord("b") + n),)), 5.0 * n)
        lend(rule, chr(ord("c") + n), now=5.0 * n)
        rule.feed(Drained(), 5.0 * n)
    assert rule.deadline == 30.0
    assert rule.feed(Tick(), 30.0) == [HangUp(1), Release()]


def test_a_loss_without_leases_releases_nothing() -> None:
    rule = a_live_rule()
    assert fail(rule, RESET, 1.0) == []


def test_after_opening_everything_is_offered_again() -> None:
    rule = a_live_rule()
    lend(rule, "ab")
    rule.feed(Drained(), 0.0)
    fail(rule, RESET, 1.0)
    rule.feed(Tick(), 99.0)
    assert Lease(2) in rule.feed(Opened(2), 99.0)
    assert rule.feed(Leased(5, frozenset("ab")), 99.0) == [Lease(2)]
    assert rule.deadline == 129.0
