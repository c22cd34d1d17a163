"""An app's numbers out of its queues': every event once, as it fares where it fares worst."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.rules.ledger import Account, Loss, at_worst, summed

numbers = st.integers(0, 1000)


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    delivered, pending, dead = draw(numbers), draw(numbers), draw(numbers)
    lost = draw(st.dictionaries(st.sampled_from(Loss), st.integers(1, 1000), max_size=3))
    accepted = delivered + pending + dead + sum(lost.values())
    return Account(accepted, delivered, pending, dead, lost)


@given(st.lists(accounts(), min_size=1, max_size=4))
def test_an_apps_numbers_always_add_up_and_no_queue_is_flattered(several: list[Account]) -> None:
    app = at_worst(several)
    assert app.balanced
    assert min(app.delivered, app.pending, app.dead, *app.lost.values(), 0) == 0
    assert app.accepted == max(one.accepted for one in several)
    lost = [sum(one.lost.values()) for one in several]
    assert app.delivered <= app.accepted - max(lost)
    assert sum(app.lost.values()) >= max(lost, default=0)


@given(accounts())
def test_one_queue_is_told_as_it_is(one: Account) -> None:
    assert at_worst([one]) == one


@given(st.lists(accounts(), max_size=3))
def test_queues_that_share_nothing_are_added_up(several: list[Account]) -> None:
    total = summed(several)
    assert total.balanced
    assert total.accepted == sum(one.accepted for one in several)
    assert total.pending == sum(one.pending for one in several)


def test_one_far_end_down_means_that_nothing_is_delivered_everywhere() -> None:
    well, down = Account(10, delivered=10), Account(10, pending=10)
    assert at_worst([well, down]) == Account(10, pending=10)


def test_what_one_refused_and_another_still_waits_for_is_refused() -> None:
    one, other = Account(10, delivered=7, dead=3), Account(10, delivered=4, pending=6)
    assert at_worst([one, other]) == Account(10, delivered=1, pending=6, dead=3)


def test_an_upstream_that_came_later_makes_nobody_forget_the_events_before() -> None:
    first, later = Account(1500, delivered=1500), Account(500, delivered=400, pending=100)
    assert at_worst([first, later]) == Account(1500, delivered=1400, pending=100)
