"""Two clocks, compared."""

from __future__ import annotations

import pytest

from agent.rules.cadence import SleepWatch


def test_eight_hours_of_sleep_are_told_once() -> None:
    watch = SleepWatch(wall_s=1000.0, mono_s=50.0)
    assert watch.look(1000.0 + 28_800, 51.0) == 28_799
    assert watch.look(1001.0 + 28_800, 52.0) == 0


def test_where_the_monotonic_clock_runs_through_sleep_a_missed_deadline_tells() -> None:
    watch = SleepWatch(wall_s=0.0, mono_s=0.0)
    assert watch.look(600.0, 600.0, due_s=60.0) == 540


@pytest.mark.parametrize(
    ("wall_s", "mono_s", "due_s"),
    [
        (29.9, 0.0, None),  # a clock being slewed
        (60.0, 60.0, 59.0),  # a second late
        (60.0, 60.0, None),  # nothing was due
        (-86_400.0, 1.0, None),  # the clock was set back a day
        (5.0, 5.0, 60.0),  # woken early by a letter
    ],
)
def test_what_is_no_sleep(wall_s: float, mono_s: float, due_s: float | None) -> None:
    assert SleepWatch(wall_s=0.0, mono_s=0.0).look(wall_s, mono_s, due_s) == 0


def test_exactly_thirty_seconds_are_a_sleep() -> None:
    assert SleepWatch(wall_s=0.0, mono_s=0.0).look(30.0, 0.0) == 30
