"""Do both ends hold the same events? Every kind of answer, and what is said of it."""

from __future__ import annotations

import random

import pytest

from agent.rules.reconciling import Difference, Held, Key, Outcome, compare, first_hour, sentence
from tracking.reckoning import HOUR_MS, Sum

H = 100 * HOUR_MS


def hour(n: int = 0, device: str = "d") -> Key:
    return device, H + n * HOUR_MS


def of(*ids: str) -> Held:
    made = Sum()
    made.add(ids)
    return made.events, made.digest


def test_equal_ends_confirm_everything() -> None:
    ours = {hour(0): of("a", "b"), hour(1): of("c")}
    outcome = compare(ours, ours, dict(ours), from_ms=0)
    assert (outcome.confirmed, outcome.held, outcome.hours) == (3, 3, 2)
    assert outcome.differences == ()
    assert outcome.since_ms == H
    assert sentence(outcome) == "The far end confirms 3 of 3 events."


def test_an_event_that_is_not_there_is_found_and_its_hour_named() -> None:
    ours = {hour(0): of("a", "b"), hour(1): of("c", "d")}
    outcome = compare(ours, ours, {hour(0): of("a", "b"), hour(1): of("d")}, from_ms=0)
    assert outcome.differences == (Difference("missing", "d", H + HOUR_MS, 2, 1),)
    assert sentence(outcome) == "The far end confirms 3 of 4 events. 1 event missing in 1 hour."


def test_as_many_but_other_events_are_found_too() -> None:
    ours = {hour(0): of("a", "b")}
    outcome = compare(ours, ours, {hour(0): of("a", "x")}, from_ms=0)
    assert [one.kind for one in outcome.differences] == ["missing"]
    assert "Other events in 1 hour." in sentence(outcome)


def test_a_whole_hour_that_is_gone_is_missing() -> None:
    ours = {hour(0): of("a", "b"), hour(1): of("c")}
    outcome = compare(ours, ours, {}, from_ms=0)
    assert outcome.missing == 2
    assert sentence(outcome) == "The far end confirms 0 of 3 events. 3 events missing in 2 hours."


def test_more_there_is_told_and_is_no_loss() -> None:
    ours = {hour(0): of("a")}
    outcome = compare(ours, ours, {hour(0): of("a", "b"), hour(1): of("c")}, from_ms=0)
    assert outcome.missing == 0
    assert [one.kind for one in outcome.differences] == ["more", "more"]
    assert sentence(outcome).endswith("In 2 hours it has more than was counted here.")


def test_what_was_confirmed_while_it_answered_is_no_difference() -> None:
    before, after = {hour(0): of("a")}, {hour(0): of("a", "b")}
    for theirs in (before, after):
        outcome = compare(before, after, theirs, from_ms=0)
        assert outcome.differences == ()
        assert outcome.held == outcome.confirmed
    outcome = compare(before, after, {hour(0): of("x")}, from_ms=0)
    assert (outcome.moving, outcome.differences) == (1, ())
    assert compare({}, after, {}, from_ms=0).differences == ()


def test_hours_that_were_not_counted_or_are_removed_there_are_not_compared() -> None:
    ours = {hour(0): of("a"), hour(2): of("b")}
    outcome = compare(ours, ours, {hour(1): of("z"), hour(2): of("b")}, from_ms=H + 2 * HOUR_MS)
    assert (outcome.confirmed, outcome.hours, outcome.differences) == (1, 1, ())
    assert first_hour(H + 1, 5) == H + HOUR_MS
    assert first_hour(H, 0) == H


def test_what_was_erased_there_explains_what_is_missing() -> None:
    ours = {hour(0): of("a", "b")}
    outcome = compare(ours, ours, {}, from_ms=0, erased=1)
    assert outcome.explained
    assert sentence(outcome).endswith("1 person or device was erased there, which may be why.")
    assert not compare(ours, ours, dict(ours), from_ms=0, erased=3).explained


def test_devices_are_compared_apart() -> None:
    ours = {hour(0, "d"): of("a"), hour(0, "e"): of("b")}
    outcome = compare(ours, ours, {hour(0, "d"): of("a"), hour(0, "e"): of("c")}, from_ms=0)
    assert [(one.device, one.kind) for one in outcome.differences] == [("e", "missing")]


def test_nothing_to_compare_is_said() -> None:
    assert sentence(Outcome()) == "Nothing to compare yet."


@pytest.mark.parametrize("seed", range(20))
def test_any_loss_is_found_and_no_loss_is_invented(seed: int) -> None:
    chance = random.Random(seed)
    ids = {hour(n, d): [f"{seed}{n}{d}{i}" for i in range(9)] for n in range(5) for d in "xy"}
    ours = {key: of(*those) for key, those in ids.items()}
    lost = {key: chance.sample(those, 2) for key, those in ids.items() if chance.random() < 0.3}
    theirs = {
        key: of(*chance.sample(rest, len(rest)))
        for key, those in ids.items()
        if (rest := [one for one in those if one not in lost.get(key, [])])
    }
    outcome = compare(ours, ours, theirs, from_ms=0)
    assert {(one.device, one.hour_ms) for one in outcome.differences} == set(lost)
    assert outcome.confirmed - outcome.held == 2 * len(lost)
