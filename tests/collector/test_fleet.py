"""The paper of docs/scaling.md adds up, and its simulation lets nobody get lost."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks: beside the tests

from benchmarks.fleet import (
    BACKLOG,
    Fleet,
    Measured,
    Wire,
    drained,
    full_jitter,
    no_jitter,
    steady,
    storm,
)

AGENTS = 30_000


def test_everybody_comes_back_and_jitter_is_sooner_than_none() -> None:
    spread = storm(AGENTS, 3, 500.0, full_jitter())
    together = storm(AGENTS, 3, 500.0, no_jitter)
    assert spread["ideal_s"] <= spread["all_s"] < together["all_s"] < math.inf
    assert spread["dials_each"] < together["dials_each"]
    assert spread["half_s"] <= spread["p90_s"] <= spread["p99_s"] <= spread["all_s"]


def test_a_fleet_that_is_sent_away_slowly_finds_room_at_the_first_dial() -> None:
    result = storm(AGENTS, 3, 500.0, drained(60.0))
    assert result["dials_each"] == 1.0
    assert 59 < result["all_s"] < 63


def test_a_few_agents_with_room_are_back_within_the_first_ceiling() -> None:
    assert storm(BACKLOG, 1, 100_000.0, full_jitter())["all_s"] <= 1.2


def test_no_process_means_that_nobody_comes_back() -> None:
    assert storm(100, 0, 500.0, full_jitter(), limit_s=30.0)["all_s"] == math.inf


@pytest.mark.parametrize("attempt", range(12))
def test_the_simulation_waits_as_the_agent_does(attempt: int) -> None:
    dice = random.Random(attempt)
    waits = [full_jitter()(attempt, dice) for _ in range(500)]
    ceiling = min(300.0, 2.0**attempt)
    assert 0 <= min(waits) <= max(waits) < ceiling
    assert sum(waits) / len(waits) == pytest.approx(ceiling / 2, rel=0.15)


def test_the_costs_of_a_fleet_are_sums() -> None:
    one, wire = Measured(), Wire()
    small, large = steady(Fleet(1_000), one, wire), steady(Fleet(100_000), one, wire)
    assert large["heartbeats_per_s"] == pytest.approx(100_000 / 60)
    assert large["events_per_s_mean"] == pytest.approx(100_000 * 50 / 86_400)
    assert large["mbit_in"] == pytest.approx(100 * small["mbit_in"])
    assert large["processes"] * one.held >= 100_000
    assert 1 < Fleet(1, zones=12).peak() < Fleet(1).peak()
