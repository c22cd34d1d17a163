"""The quota: a thousand a second for ever, fifty thousand at once, and every frame fits once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.rules.quota import Bucket


def test_a_burst_is_granted_and_the_next_event_waits() -> None:
    bucket = Bucket()
    assert bucket.take(50_000, 100.0) == 0.0
    assert bucket.take(1, 100.0) == 0.001
    assert bucket.take(1, 100.0011) == 0.0


def test_a_steady_thousand_a_second_is_granted_for_ever() -> None:
    bucket = Bucket()
    bucket.take(50_000, 0.0)
    for tenth in range(1, 36_000):
        assert bucket.take(100, tenth / 10) == 0.0


def test_what_is_refused_costs_nothing_and_fits_at_the_time_that_was_named() -> None:
    bucket = Bucket(rate_per_s=10, burst=100)
    bucket.take(95, 0.0)
    wait_s = bucket.take(50, 0.0)
    assert wait_s == 4.5
    assert bucket.take(50, 0.0) == wait_s
    assert bucket.take(50, wait_s) == 0.0


def test_a_frame_larger_than_the_bucket_is_granted_when_it_is_full_and_leaves_a_debt() -> None:
    bucket = Bucket(rate_per_s=10, burst=100)
    assert bucket.take(1_000, 0.0) == 0.0
    assert bucket.take(1, 0.0) == 90.1
    assert bucket.take(1, 90.2) == 0.0


def test_a_clock_that_stands_or_goes_back_gives_nothing_away() -> None:
    bucket = Bucket(rate_per_s=10, burst=10)
    bucket.take(10, 50.0)
    assert bucket.take(1, 40.0) > 0
    assert bucket.take(1, 40.0) > 0


@given(
    st.lists(
        st.tuples(st.integers(1, 300), st.floats(0, 20, allow_nan=False)), min_size=1, max_size=60
    )
)
def test_no_sequence_gets_more_than_the_rate_the_burst_and_one_large_frame(
    asked: list[tuple[int, float]],
) -> None:
    bucket, now_s, granted = Bucket(rate_per_s=10, burst=100), 0.0, 0
    for count, wait_s in asked:
        now_s += wait_s
        if bucket.take(count, now_s) == 0.0:
            granted += count
    assert granted <= 100 + 10 * now_s + max(0, max(n for n, _ in asked) - 100) + 1e-3


def test_what_was_accepted_before_is_given_back() -> None:
    bucket = Bucket(rate_per_s=10, burst=100)
    assert bucket.take(100, 0.0) == 0.0
    bucket.give_back(60)
    assert bucket.take(60, 0.0) == 0.0
    bucket.give_back(1_000)
    assert bucket.take(100, 0.0) == 0.0
    assert bucket.take(1, 0.0) == 0.1  # no more than a full bucket was given back


def test_who_asks_too_often_is_measured_whether_it_is_granted_or_not() -> None:
    bucket = Bucket(rate_per_s=1_000, burst=2_000)
    for tick in range(300):
        bucket.take(120, tick / 100)
    assert 11_900 < bucket.asked_per_s(3.0) < 12_200
    assert 0 < bucket.refused < 36_000
    assert bucket.asked_per_s(5.0) == 0.0


def test_an_app_that_reports_calmly_is_measured_as_calm() -> None:
    bucket = Bucket()
    for second in range(10):
        bucket.take(3, float(second))
    assert bucket.asked_per_s(9.5) == 3.0
    assert bucket.refused == 0
