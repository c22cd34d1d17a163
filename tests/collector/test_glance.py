"""Quick glance against a plain model, written from the definitions (NUCLEUS.md §6; D2, D3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from collectors import DAY, HOUR, NOW, row
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.store.duck import DuckStore
from collector.store.interface import Stored
from collector.store.questions import Questions

Opened = Callable[..., DuckStore]


def users(rows: Iterable[Stored]) -> int:
    """Distinct persons, and the anonymous identities of devices that name nobody."""
    devices: dict[str, list[Stored]] = defaultdict(list)
    for one in rows:
        devices[one.device_id].append(one)
    people: set[str] = set()
    nameless: set[str] = set()
    for device, theirs in devices.items():
        named = {one.user_id for one in theirs if one.user_id}
        people |= named
        if not named:
            nameless.add(max((one.anon_id for one in theirs), default="") or device)
    return len(people) + len(nameless)


def glance(store: DuckStore, app: str = "A") -> tuple[int, ...]:
    """Return the eight numbers, those of the last 24 hours first."""
    return tuple(Questions(store).quickglance(app, NOW).values())


def model(rows: Iterable[Stored], app: str, now: int) -> tuple[int, ...]:
    """Return what quickglance has to answer."""
    once = {(one.key_a, one.key_b): one for one in rows if one.app_id == app}
    first: dict[str, int] = {}
    for one in once.values():
        first[one.device_id] = min(one.ts, first.get(one.device_id, one.ts))

    def window(start: int, last: int) -> tuple[int, int, int, int]:
        inside = [one for one in once.values() if start <= one.ts <= last]
        return (
            sum(start <= at <= last for at in first.values()),
            users(inside),
            sum(one.kind == "init" for one in inside),
            sum(one.kind == "error" for one in inside),
        )

    return (*window(now - DAY, now), *window(now - 2 * DAY, now - DAY - 1))


edges = [NOW - 2 * DAY, NOW - DAY, NOW]
moments = st.one_of(
    st.sampled_from([edge + delta for edge in edges for delta in (-1, 0, 1)]),
    st.integers(NOW - 3 * DAY, NOW + HOUR),
)
events = st.builds(
    lambda app, device, user, anon, kind, ts, n: row(
        app_id=app,
        device_id=device,
        user_id=user,
        anon_id=anon,
        kind=kind,
        type=kind,
        ts=ts,
        name=str(n),
    ),
    st.sampled_from("AB"),
    st.sampled_from(["d1", "d2", "d3", "u1"]),
    st.sampled_from(["", "", "u1", "u2"]),
    st.sampled_from(["", "", "a1", "a2", "u1"]),
    st.sampled_from(["init", "event", "error", "userid", "other"]),
    moments,
    st.integers(0, 2),
)
histories = st.lists(st.lists(events, max_size=12), max_size=4)


@settings(max_examples=40, deadline=None)
@given(history=histories, again=st.booleans())
def test_d2_d3_quick_glance_equals_the_definitions(
    history: list[list[Stored]], again: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("glance") / "events.duckdb"
    store = DuckStore(path, NOW)
    try:
        seen: dict[tuple[int, int], Stored] = {}
        for batch in (*history, *(history if again else [])):
            store.write(batch)
            for one in batch:
                seen.setdefault((one.key_a, one.key_b), one)  # the first copy is the one kept
        if again:
            store.close()
            store = DuckStore(path, NOW)
        for app in "ABC":
            assert glance(store, app) == model(seen.values(), app, NOW)
    finally:
        store.close()


def test_d2_three_starts_of_one_device_are_one_install_and_one_user(opened: Opened) -> None:
    store = opened()
    store.write(
        [row(kind="init", ts=NOW - n, anon_id=anon) for n, anon in enumerate(["x", "y", ""])]
    )
    assert glance(store) == (1, 1, 3, 0, 0, 0, 0, 0)


def test_an_error_that_names_no_anon_id_makes_no_second_user(opened: Opened) -> None:
    store = opened()
    store.write([row(kind="init", anon_id="a"), row(kind="error", name="X")])
    assert glance(store)[1] == 1


@pytest.mark.parametrize(
    ("ago", "counted"),
    [
        (0, (1, 1, 1, 0, 0, 0, 0, 0)),
        (DAY, (1, 1, 1, 0, 0, 0, 0, 0)),
        (DAY + 1, (0, 0, 0, 0, 1, 1, 1, 0)),
        (25 * HOUR, (0, 0, 0, 0, 1, 1, 1, 0)),
        (2 * DAY, (0, 0, 0, 0, 1, 1, 1, 0)),
        (2 * DAY + 1, (0,) * 8),
    ],
)
def test_d3_an_event_counts_in_the_window_in_which_it_happened(
    opened: Opened, ago: int, counted: tuple[int, ...]
) -> None:
    store = opened()
    store.write([row(kind="init", ts=NOW - ago)])
    assert glance(store) == counted


def test_s20_an_earlier_event_that_comes_late_moves_the_install(opened: Opened) -> None:
    store = opened()
    store.write([row(kind="init")])
    store.write([row(kind="event", ts=NOW - 30 * HOUR)])
    said = glance(store)
    assert (said[0], said[4]) == (0, 1)
    assert glance(opened()) == said


def test_d3_the_far_end_says_so_too(app: Any) -> None:
    import time

    at = time.time_ns() // 1_000_000 - 25 * HOUR
    app.say({"data": [{"type": "init", "date": at, "machineId": "m", "userId": "u"}]})
    assert app.glance() == {
        **dict.fromkeys(("installs", "users", "appStarts", "errors", "previousErrors"), 0),
        **dict.fromkeys(("previousInstalls", "previousUsers", "previousAppStarts"), 1),
    }
