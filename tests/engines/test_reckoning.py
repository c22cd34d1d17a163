"""Count and digest per hour: the same on both engines, and as the sender works them out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from collectors import NOW, row

from collector.store.interface import CLOCK_NOT_BELIEVED, Store, Stored, Tombstone
from collector.store.questions import Questions
from tracking.reckoning import HOUR_MS, Sum

HOUR = NOW - NOW % HOUR_MS
SPAN = (HOUR - 48 * HOUR_MS, HOUR + 2 * HOUR_MS)


def id_of(n: int) -> str:
    return f"{n:04d}-aA_zZ0123456789abcde"


def event(n: int, **more: Any) -> Stored:
    said: dict[str, Any] = {
        "event_id": f'"{id_of(n)}"',
        "name": f"E{n}",
        "device_id": "d",
        "session_id": "s",
    }
    at = {"ts": HOUR, "said_ts": HOUR}
    return row(**{**said, **at, **more})


def test_both_ends_work_the_same_out(opened: Callable[..., Store]) -> None:
    store = opened()
    store.write([event(n) for n in range(300)])
    store.write([event(n, ts=HOUR - HOUR_MS, said_ts=HOUR - 1) for n in range(300, 307)])
    now, before = Sum(), Sum()
    now.add(map(id_of, range(299, -1, -1)))
    before.add(map(id_of, range(300, 307)))
    assert Questions(store).reckoning("A", *SPAN, ["d", "nobody"]) == [
        ("d", HOUR - HOUR_MS, 7, before.digest, 0),
        ("d", HOUR, 300, now.digest, 0),
    ]


def test_a_repeat_is_counted_once_and_other_events_are_another_digest(
    opened: Callable[..., Store],
) -> None:
    store = opened()
    store.write([event(1), event(2)])
    (first,) = Questions(store).reckoning("A", *SPAN, ["d"])
    store.write([event(1, recv_ts=NOW + 60_000)])
    assert Questions(store).reckoning("A", *SPAN, ["d"]) == [first]
    store.erase("A", users=[], devices=["d"])
    store.write([event(3), event(2)])
    (second,) = Questions(store).reckoning("A", *SPAN, ["d"])
    assert second.events == first.events
    assert second.digest != first.digest


def test_a_date_that_was_not_believed_still_has_its_own_hour(opened: Callable[..., Store]) -> None:
    store = opened()
    store.write([event(1, ts=NOW, said_ts=HOUR - 40 * HOUR_MS, flags=CLOCK_NOT_BELIEVED), event(2)])
    said = Questions(store).reckoning("A", *SPAN, ["d"])
    assert [(one.hour_ms, one.events, one.unbelieved) for one in said] == [
        (HOUR - 40 * HOUR_MS, 1, 1),
        (HOUR, 1, 0),
    ]


def test_only_the_devices_apps_and_hours_that_were_asked_for(opened: Callable[..., Store]) -> None:
    store = opened()
    store.write(
        [
            event(1),
            event(2, device_id="e"),
            event(3, app_id="B"),
            event(4, said_ts=SPAN[0] - 1, ts=SPAN[0] - 1),
            event(5, said_ts=SPAN[1], ts=SPAN[1]),
            event(6, event_id=""),
        ]
    )
    said = Questions(store).reckoning("A", *SPAN, ["d"])
    assert [(one.device, one.events) for one in said] == [("d", 1)]
    assert len(Questions(store).reckoning("A", *SPAN, ["d", "e"])) == 2


def test_erasures_are_counted_without_saying_of_whom(opened: Callable[..., Store]) -> None:
    store = opened()
    assert Questions(store).erasures("A", 0) == (0, 0)
    stones = [Tombstone("A", kind, kind * 8, NOW + n, NOW * 2) for n, kind in enumerate("ab")]
    store.write([], [*stones, stones[0], Tombstone("B", "user", "c", NOW + 9, NOW * 2)])
    assert Questions(store).erasures("A", NOW) == (2, NOW + 1)
    assert Questions(store).erasures("A", NOW + 1) == (1, NOW + 1)


@pytest.mark.parametrize("ids", [[], ["a"], ["a", "b", "c"]])
def test_the_order_makes_no_difference_and_a_missing_one_does(ids: list[str]) -> None:
    there, back = Sum(), Sum()
    there.add(ids)
    back.add(reversed(ids))
    assert there == back
    back.add(["d"])
    assert back.digest != there.digest
    assert len(there.digest) == 16
