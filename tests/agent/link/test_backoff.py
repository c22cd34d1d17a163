"""The retry curve, with chance as an argument."""

from __future__ import annotations

import random

from agent.rules.backoff import Backoff


def test_the_ceiling_doubles_from_one_second_to_five_minutes_and_stays() -> None:
    ceilings = [Backoff().wait_s(attempt, lambda: 1.0) for attempt in range(12)]
    assert ceilings == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_the_wait_is_spread_over_everything_below_the_ceiling() -> None:
    rng = random.Random(7)
    waits = [Backoff().wait_s(20, rng.random) for _ in range(2000)]
    assert min(waits) < 3
    assert max(waits) > 297
    assert 140 < sum(waits) / len(waits) < 160


def test_a_named_delay_is_added_to_and_never_shortened() -> None:
    assert Backoff().wait_s(0, lambda: 0.0, floor_s=42) == 42
    assert Backoff().wait_s(3, lambda: 0.5, floor_s=42) == 46


def test_a_year_of_failures_overflows_nothing() -> None:
    assert Backoff().wait_s(10**6, lambda: 0.5) == 150
