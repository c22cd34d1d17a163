"""What the link's rule has lent to the far end: four batches at most, each settled once."""

from __future__ import annotations

from rule_by_hand import RESET, a_live_rule, fail, lend

from agent.rules.link import (
    Drained,
    HangUp,
    Lease,
    Leased,
    Offered,
    Opened,
    Received,
    Release,
    Settle,
    Tick,
)


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
