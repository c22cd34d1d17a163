"""First sights: exact, and small enough for a million devices."""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
from collections.abc import Callable

import pytest
from collectors import DAY, NOW, row
from hypothesis import given
from hypothesis import strategies as st

from collector.store import sights
from collector.store.duck import DuckStore
from collector.store.sights import Sights

Opened = Callable[..., DuckStore]
ids = st.text(max_size=3)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "forget"]), ids, ids, st.integers(1, 2**44 - 1)),
        max_size=200,
    )
)
def test_it_says_what_a_dictionary_says(steps: list[tuple[str, str, str, int]]) -> None:
    known, plain = Sights(), dict[tuple[str, str], int]()
    for what, app, id_, first in steps:
        if what == "put":
            known.put(app, "user", id_, first)
            plain[app, id_] = first
        else:
            known.forget(app, "user", id_)
            plain.pop((app, id_), None)
        assert known.get(app, "device", id_) is None
    for _, app, id_, _ in steps:
        assert known.get(app, "user", id_) == plain.get((app, id_))


def test_a_million_take_less_than_sixty_megabytes_and_none_is_confused() -> None:
    gc.collect()
    tracemalloc.start()
    known = Sights()
    for n in range(50_000):
        known.put("A", "device", f"d{n}", NOW + n)
    took, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 50_000 * 60, f"{took / 50_000:.0f} bytes each"
    assert all(known.get("A", "device", f"d{n}") == NOW + n for n in range(0, 50_000, 7))
    assert not any(known.get("A", "user", f"d{n}") for n in range(0, 50_000, 7))
    assert len(known) == 50_000
    sizes = []
    for n in range(50_000, 200_000):
        known.put("A", "device", f"d{n}", NOW + n)
        if n % 10_000 == 0:
            sizes.append(known.size_bytes / len(known))
    assert max(sizes) < 60, "at the worst moment of its growth too"


def test_who_differs_in_the_last_bits_of_the_hash_only_is_somebody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All heads are one: what tells them apart are the twenty bits beside the time."""
    known = Sights()
    rest = {f"d{n}": n << 44 for n in range(1_000)}
    monkeypatch.setattr(Sights, "_hash", lambda _, __, ___, id_: (64, rest[id_]))
    for n in range(1_000):
        known.put("A", "device", f"d{n}", NOW + n)
    assert all(known.get("A", "device", f"d{n}") == NOW + n for n in range(1_000))
    assert sights._TIME_BITS + 20 == 64


def test_two_processes_hash_differently() -> None:
    one, other = Sights(), Sights()
    assert one._hash("A", "user", "u") != other._hash("A", "user", "u")


def test_no_growth_holds_a_commit_up() -> None:
    dice = random.Random(1)
    known = Sights()
    longest = 0.0
    gc.disable()
    try:
        for n in range(100_000):
            began = time.thread_time()
            known.put("A", "device", str(dice.random()), NOW + n)
            longest = max(longest, time.thread_time() - began)
    finally:
        gc.enable()
    assert longest < 0.1


def test_a_first_sight_that_comes_late_is_found_after_a_restart(opened: Opened) -> None:
    store = opened()
    dice = random.Random(2)
    least: dict[tuple[str, str], int] = {}
    for part in range(20):
        rows = []
        for n in range(50):
            device, user = f"d{dice.randrange(30)}", f"u{dice.randrange(20)}"
            ts = NOW - dice.randrange(50 * DAY)
            rows.append(row(device_id=device, user_id=user, ts=ts, event_id=f"{part}-{n}"))
            for who in (("device", device), ("user", user)):
                least[who] = min(ts, least.get(who, ts))
        store.write(rows)
        if part % 7 == 6:
            store = opened()
    found = store._read("SELECT kind, id, min(first_ts) FROM seen GROUP BY ALL")
    assert {(kind, id_): ts for kind, id_, ts in found} == least
    (rows_of,) = store._read("SELECT count(*) FROM seen")[0]
    assert rows_of < 400, "only what is earlier is written"
