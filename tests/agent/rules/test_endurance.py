"""What is kept of failures, and what a start makes of it."""

from __future__ import annotations

import random

from agent.rules.backoff import Backoff
from agent.rules.endurance import (
    DAY_MS,
    KEPT_FROM,
    Hold,
    acknowledged,
    dialled,
    left_s,
    waiting,
)

CURVE = Backoff()
THERE = "wss://there.example"
NOW_MS = 1_795_225_137_848


def test_a_wait_goes_on_after_a_start_for_what_is_left_of_it() -> None:
    hold = waiting(THERE, 7, 60.0, NOW_MS, named=False)
    assert hold == Hold(endpoint=THERE, attempt=7, until_ms=NOW_MS + 60_000)
    assert left_s(hold, THERE, NOW_MS + 20_000, CURVE) == 40.0
    assert left_s(hold, THERE, NOW_MS + 90_000, CURVE) == 0.0


def test_the_first_failures_are_not_worth_a_write_unless_the_delay_was_named() -> None:
    assert waiting(THERE, KEPT_FROM - 1, 3.0, NOW_MS, named=False) is None
    assert waiting(THERE, KEPT_FROM, 3.0, NOW_MS, named=False) is not None
    assert waiting(THERE, 1, 600.0, NOW_MS, named=True) is not None


def test_another_endpoint_is_dialled_at_once() -> None:
    hold = waiting(THERE, 9, 200.0, NOW_MS, named=False)
    assert left_s(hold, "wss://elsewhere.example", NOW_MS, CURVE) == 0.0
    assert dialled(hold, "wss://elsewhere.example", NOW_MS, CURVE, lambda: 1.0).attempt == 1


def test_a_wall_clock_that_was_set_back_costs_no_more_than_the_longest_wait() -> None:
    hold = waiting(THERE, 9, 200.0, NOW_MS + 365 * DAY_MS, named=False)
    assert left_s(hold, THERE, NOW_MS, CURVE) == CURVE.cap_s
    named = waiting(THERE, 1, 200.0, NOW_MS + 365 * DAY_MS, named=True)
    assert left_s(named, THERE, NOW_MS, CURVE) == DAY_MS / 1000


def test_a_supervisor_that_starts_the_agent_each_second_for_a_day_dials_a_few_hundred_times() -> (
    None
):
    """Row 42, where no dial ever fails: each start connects and the agent dies of it."""
    rng, hold, dials = random.Random(7).random, None, []
    for second in range(86_400):
        now_ms = NOW_MS + second * 1000
        if left_s(hold, THERE, now_ms, CURVE) == 0:
            hold = dialled(hold, THERE, now_ms, CURVE, rng)
            dials.append(second)
    assert dials[:KEPT_FROM] == [0, 1, 2], "the first starts cost nothing"
    assert len(dials) < 800
    busiest = max(sum(start <= dial < start + 3600 for dial in dials) for start in dials)
    assert busiest < 60


def test_a_far_end_that_acknowledged_is_waited_for_a_few_seconds_at_most() -> None:
    rng = random.Random(3).random
    hold = None
    for _ in range(50):  # an agent that is killed again and again, and delivers in between
        hold = acknowledged(dialled(hold, THERE, NOW_MS, CURVE, rng), NOW_MS, CURVE, rng)
        assert left_s(hold, THERE, NOW_MS, CURVE) <= 8.0
        assert hold.attempt <= KEPT_FROM
