"""When a backlog waits for a better moment: bulk only, a day at most, each cause by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rules.thrift import PAGE_BYTES, PAGE_EVENTS, PATIENCE_MS, Power, causes, holds_back

DAY_AGO, NOW = 1_000_000, 1_000_000 + PATIENCE_MS


@pytest.mark.parametrize(
    ("power", "found"),
    [
        (Power(), ()),
        (Power(metered=True), ("metered",)),
        (Power(metered=False, plugged=False, percent=19.9), ("battery",)),
        (Power(metered=True, plugged=False, percent=5), ("metered", "battery")),
        (Power(plugged=False, percent=20), ()),
        (Power(plugged=True, percent=5), ()),
        (Power(plugged=None, percent=5), ()),
        (Power(plugged=False, percent=None), ()),
    ],
)
def test_each_cause_is_found_by_itself_and_what_is_not_known_is_none(
    power: Power, found: tuple[str, ...]
) -> None:
    assert causes(power, on_metered="defer", on_battery="defer") == found


def test_a_person_may_want_to_send_all_the_same() -> None:
    worst = Power(metered=True, plugged=False, percent=1)
    assert causes(worst, on_metered="send", on_battery="defer") == ("battery",)
    assert causes(worst, on_metered="defer", on_battery="send") == ("metered",)


def held(events: int, size: int, **given: object) -> bool:
    told = {"oldest_ms": NOW - 1000, "now_ms": NOW, "override_until_ms": 0} | given
    return holds_back(("metered",), events=events, size_bytes=size, **told)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("events", "size", "waits"),
    [
        (0, 0, False),
        (PAGE_EVENTS, PAGE_BYTES, False),
        (PAGE_EVENTS + 1, 1, True),
        (1, PAGE_BYTES + 1, True),
    ],
)
def test_a_page_goes_out_and_more_waits(events: int, size: int, waits: bool) -> None:
    assert held(events, size) is waits


def test_nothing_waits_longer_than_a_day_or_against_a_persons_word() -> None:
    assert held(10**6, 10**9)
    assert not held(10**6, 10**9, oldest_ms=DAY_AGO)
    assert not held(10**6, 10**9, override_until_ms=NOW + 1)
    assert held(10**6, 10**9, override_until_ms=NOW)


@given(st.integers(0, 10**9), st.integers(0, 10**12), st.integers(0, 10**13))
def test_without_a_cause_nothing_ever_waits(events: int, size: int, oldest_ms: int) -> None:
    assert not holds_back(
        (),
        events=events,
        size_bytes=size,
        oldest_ms=oldest_ms,
        now_ms=NOW,
        override_until_ms=0,
    )
