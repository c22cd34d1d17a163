"""The rule for posting, by hand; tests/agent/rules/test_posting_walk.py walks it."""

from __future__ import annotations

import pytest

from agent.rules.notices import (
    Lost,
    Moved,
    Offered,
    Release,
    Restarted,
    Slept,
    Start,
    State,
    Stop,
    Tick,
)
from agent.rules.posting import STREAK
from agent.rules.questions import Cancel, Lent, Taken, Unfit
from tests.agent.rules.clerk import RESET, Clerk, started
from tracking.errors import Bug, Fault, LoginWanted, Refused, SecretFault, SignIn, Throttled

# --- beginning -----------------------------------------------------------------------------------


def test_with_nothing_to_send_nothing_is_asked_and_nothing_is_wrong() -> None:
    clerk = started(0)
    assert (clerk.rule.state, clerk.rule.reason, clerk.rule.deadline) == (State.IDLE, None, None)
    assert clerk.asked == []
    clerk.add(2)
    clerk.feed(Offered())
    assert clerk.asked == [("i0", "i1")]
    assert clerk.rule.state is State.DIALING


def test_before_it_was_started_an_offer_changes_nothing() -> None:
    clerk = Clerk(3)
    assert clerk.feed(Offered()) == []
    assert clerk.asked == []


def test_bulk_asks_for_all_that_was_lent_and_a_path_for_one_after_the_other() -> None:
    assert started(7).asked == [tuple(f"i{n}" for n in range(7))]
    clerk = started(3, most=1)
    for _ in range(3):
        clerk.take()
    assert clerk.asked == [("i0",), ("i1",), ("i2",)]
    assert clerk.settled == ["i0", "i1", "i2"]


def test_what_is_offered_while_a_question_is_under_way_comes_after_it() -> None:
    clerk = started(1)
    clerk.add(2)
    assert clerk.feed(Offered()) == []
    clerk.take()
    assert clerk.asked == [("i0",), ("i1", "i2")]


def test_a_program_that_was_started_again_goes_on_waiting() -> None:
    clerk = Clerk(2)
    clerk.feed(Restarted(attempt=5, wait_s=40.0))
    assert (clerk.rule.state, clerk.rule.next_try) == (State.WAITING, 40.0)
    clerk.wait()
    clerk.lose()
    assert clerk.rule.next_try == pytest.approx(40 + 16)  # 2⁵ s, half of it


def test_a_delay_that_was_named_before_the_start_is_not_cut_short_by_a_person() -> None:
    clerk = Clerk(2)
    clerk.feed(Restarted(attempt=1, wait_s=40.0, named=True))
    clerk.feed(Start())
    assert clerk.asked == []
    clerk.wait()
    assert len(clerk.asked) == 1


# --- retrying ------------------------------------------------------------------------------------


def test_a_lost_question_is_asked_again_with_the_same_items_and_growing_waits() -> None:
    clerk = started(3)
    waits = []
    for _ in range(12):
        clerk.add(1)  # what came meanwhile is not mixed in
        before = clerk.now
        clerk.lose()
        clerk.wait()
        waits.append(clerk.now - before)
    assert set(clerk.asked) == {("i0", "i1", "i2")}
    assert waits[:5] == [0.5, 1, 2, 4, 8]
    assert waits[-1] == 150
    clerk.take()
    assert clerk.asked[-1] == tuple(f"i{n}" for n in range(3, 15))


def test_waits_are_spread_down_to_nothing() -> None:
    clerk = started(1, chance=0.0)
    clerk.lose()
    assert clerk.rule.next_try == clerk.now


def test_an_answer_that_never_comes_ends_with_a_deadline_of_its_own() -> None:
    clerk = started(1)
    assert clerk.rule.deadline == 46.0
    clerk.wait()
    assert clerk.rule.state is State.WAITING
    assert "no answer in 45 s" in str(clerk.rule.reason)


def test_a_delay_that_the_far_end_named_is_a_floor_even_for_a_person() -> None:
    clerk = started(1)
    clerk.lose(Throttled("busy", retry_after_s=120.0))
    assert clerk.rule.next_try == 120.5
    assert clerk.rule.held(119.0)
    clerk.now = 60.0
    clerk.feed(Start())
    assert len(clerk.asked) == 1
    clerk.wait()
    assert (clerk.now, len(clerk.asked)) == (120.0, 2)


def test_a_delay_longer_than_a_day_is_a_day() -> None:
    clerk = started(1)
    clerk.lose(Throttled("busy", retry_after_s=1e9))
    assert clerk.rule.next_try == 86_400.5


def test_success_forgets_failures() -> None:
    clerk = started(1)
    for _ in range(6):
        clerk.lose()
        clerk.wait()
    clerk.take(odd="strange")
    assert (clerk.rule.attempt, clerk.rule.reason, clerk.rule.odd) == (0, None, "strange")
    assert clerk.rule.state is State.LIVE


def test_a_sleep_ends_the_question_and_asks_soon() -> None:
    clerk = started(1)
    clerk.now = 1000.0
    assert Cancel(1) in clerk.feed(Slept(999.0))
    assert (clerk.rule.state, clerk.rule.next_try) == (State.WAITING, 1002.5)
    clerk.wait()
    assert clerk.asked == [("i0",), ("i0",)]


def test_a_sleep_shortens_a_wait_but_not_a_named_one() -> None:
    clerk = started(1)
    clerk.lose(Throttled("busy", retry_after_s=100.0))
    clerk.now = 50.0
    clerk.feed(Slept(40.0))
    assert clerk.rule.next_try == 100.0
    other = started(1)
    for _ in range(9):
        other.lose()
        other.wait()
    other.lose()
    other.feed(Slept(40.0))
    assert other.rule.next_try == other.now + 2.5


def test_a_connection_that_was_kept_open_over_a_sleep_is_given_up() -> None:
    clerk = started(1)
    clerk.take()
    assert clerk.feed(Slept(60.0)) == [Cancel(1)]
    assert clerk.rule.state is State.LIVE


def test_a_network_that_changes_brings_the_next_question_near_but_not_for_ever() -> None:
    clerk = started(1)
    for _ in range(9):
        clerk.lose()
        clerk.wait()
    clerk.lose()
    clerk.feed(Moved())
    assert clerk.rule.next_try == clerk.now + 0.5
    clerk.wait()
    clerk.lose()
    clerk.feed(Moved())  # at once again: no sooner than five seconds after the first
    assert clerk.rule.next_try is not None
    assert clerk.rule.next_try <= clerk.now + 4  # as if there had been two failures
    asked = len(clerk.asked)
    clerk.wait()
    assert clerk.asked[asked:] == [("i0",)]


def test_a_network_that_changes_shortens_no_named_delay() -> None:
    clerk = started(1)
    clerk.lose(Throttled("busy", retry_after_s=100.0))
    clerk.feed(Moved())
    assert clerk.rule.next_try == 100.0


def test_a_network_that_changes_ends_what_is_connecting_and_a_connection_that_is_idle() -> None:
    clerk = started(1)
    assert clerk.feed(Moved()) == [Cancel(1), Release()]
    clerk.wait()
    clerk.take()
    assert clerk.feed(Moved()) == [Cancel(2)]
    clerk.add(1)
    clerk.feed(Offered())
    assert clerk.feed(Moved()) == []  # the far end is answering: let it


def test_a_login_for_the_proxy_ends_the_park_that_waited_for_it() -> None:
    clerk = started(1)
    clerk.lose(Refused("no", status=401))
    assert clerk.feed(Moved()) == []
    other = started(1)
    other.lose(LoginWanted("the proxy wants a password"))
    assert other.rule.next_try is None
    other.feed(Moved())
    other.wait()
    assert len(other.asked) == 2


def test_a_sign_in_is_asked_for_gently_and_counts_as_no_failure() -> None:
    clerk = started(1)
    clerk.lose(SignIn("a portal"))
    assert (clerk.rule.next_try, clerk.rule.attempt) == (6.5, 0)


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "asked_again"),
    [
        (Refused("who are you", status=401), True),
        (Refused("you may not", status=403), True),
        (Refused("nobody here", status=404), True),
        (Refused("moved", status=301), True),
        (SecretFault("the keyring is locked"), False),
    ],
)
def test_a_refusal_of_who_asks_parks_and_buries_nothing(fault: Fault, asked_again: bool) -> None:
    clerk = started(5)
    clerk.lose(fault)
    assert (clerk.rule.state, clerk.rule.reason) == (State.PARKED, fault)
    assert len(clerk.kept) == 5
    assert (clerk.rule.next_try is not None) == asked_again
    if clerk.rule.next_try is not None:
        assert clerk.rule.next_try >= 900
    clerk.feed(Offered())
    assert len(clerk.asked) == 1
    clerk.feed(Start())  # a person
    assert len(clerk.asked) == 2


def test_one_bad_item_of_a_hundred_is_found_by_halves_and_buried_alone() -> None:
    clerk = started(100)
    for _ in range(40):
        if clerk.under_way is None:
            break
        if "i57" in clerk.under_way[1]:
            clerk.refuse_items("i57: userId is missing")
        else:
            clerk.take()
    assert clerk.buried == {"i57": "i57: userId is missing"}
    assert sorted(clerk.settled, key=lambda one: int(one[1:])) == [
        f"i{n}" for n in range(100) if n != 57
    ]
    assert clerk.settled == sorted(clerk.settled, key=lambda one: int(one[1:]))  # in order
    assert len(clerk.asked) <= 2 * 7 + 1
    assert clerk.rule.state is State.LIVE


def test_what_a_collector_rejects_by_its_index_is_buried_and_the_rest_is_settled() -> None:
    clerk = started(4)
    clerk.take(2, 99, -1)
    assert clerk.settled == ["i0", "i1", "i3"]
    assert clerk.buried == {"i2": "no"}


def test_a_far_end_that_refuses_everything_is_parked_before_the_queue_is_buried() -> None:
    clerk = started(100)
    while clerk.under_way is not None:
        clerk.refuse_items("go away")
    assert len(clerk.buried) == STREAK
    assert clerk.rule.state is State.PARKED
    assert "go away" in str(clerk.rule.reason)
    assert len(clerk.kept) == 100 - STREAK
    clerk.wait()  # asked again much later: one by one, it may still refuse
    while clerk.under_way is not None:
        clerk.refuse_items("go away")
    assert len(clerk.buried) == STREAK
    clerk.feed(Start())
    assert clerk.under_way is not None
    taken = clerk.under_way[1]
    clerk.take()  # put right: nothing more is buried, and nothing was lost
    assert clerk.settled == list(taken)
    while clerk.under_way is not None:
        clerk.take()
    assert (len(clerk.settled), len(clerk.buried)) == (100 - STREAK, STREAK)


def test_stopping_ends_everything_and_starting_asks_from_the_oldest() -> None:
    clerk = started(3)
    assert clerk.feed(Stop()) == [Cancel(1), Release()]
    assert (clerk.rule.state, clerk.rule.deadline) == (State.IDLE, None)
    clerk.feed(Offered())
    clerk.feed(Tick())
    assert len(clerk.asked) == 1
    clerk.feed(Start())
    assert clerk.asked == [("i0", "i1", "i2")] * 2


def test_notices_about_a_question_that_is_over_change_nothing() -> None:
    clerk = started(1)
    clerk.feed(Stop())
    clerk.feed(Start())
    for late in (Taken(1), Unfit(1, 400, "x"), Lost(1, RESET)):
        assert clerk.feed(late) == []
    assert clerk.kept == ["i0"]
    assert clerk.rule.state is State.DIALING


def test_a_lease_that_nobody_ordered_is_our_mistake() -> None:
    with pytest.raises(Bug):
        Clerk().feed(Lent(1, ("a",)))
