"""The curve and the forecast."""

from __future__ import annotations

import pytest

from agent.runtime.counts import Counts

MINUTE_MS = 60_000
NOW_MS = 1_795_225_140_000  # a whole minute


def test_minutes_are_counted_apart_and_forgotten_after_an_hour() -> None:
    counts = Counts()
    for minute in range(90):
        counts.add(NOW_MS + minute * MINUTE_MS, accepted=minute, delivered=1)
    rows = counts.minutes(NOW_MS + 89 * MINUTE_MS)
    assert len(rows) == 60
    assert (rows[0].accepted, rows[-1].accepted) == (30, 89)


def test_a_quiet_minute_is_shown_as_zero_at_the_end() -> None:
    counts = Counts()
    counts.add(NOW_MS, accepted=5)
    rows = counts.minutes(NOW_MS + 10 * MINUTE_MS)
    assert [(row.accepted, row.delivered) for row in rows] == [(5, 0), (0, 0)]


def test_the_forecast_says_when_a_filling_outbox_is_full() -> None:
    counts = Counts()
    counts.add(NOW_MS, accepted=600)
    full_in_s, drained_in_s = counts.forecast(NOW_MS + MINUTE_MS, events=600, max_events=1_200)
    assert full_in_s == pytest.approx(60.0)
    assert drained_in_s is None


def test_the_forecast_says_when_a_draining_outbox_is_empty() -> None:
    counts = Counts()
    counts.add(NOW_MS, delivered=600)
    full_in_s, drained_in_s = counts.forecast(NOW_MS + MINUTE_MS, events=1_200, max_events=10_000)
    assert full_in_s is None
    assert drained_in_s == pytest.approx(120.0)


def test_no_trend_is_no_forecast() -> None:
    counts = Counts()
    assert counts.forecast(NOW_MS, events=3, max_events=10) == (None, None)
    counts.add(NOW_MS, accepted=100, delivered=100)
    assert counts.forecast(NOW_MS + 1000, events=0, max_events=10) == (None, None)
