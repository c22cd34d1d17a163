"""A flood of names is bounded, and nothing of it is lost (threat 53)."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from collectors import NOW, AppOf, Collector, row

from collector.intake.catalogue import Catalogue, row_name
from collector.intake.rows import exported
from collector.intake.writer import Writer
from collector.store.duck import DuckStore
from collector.store.interface import KEYS_DROPPED, NAME_FOLDED, OTHER, Named, Stored
from tracking.errors import StorageFault

Opened = Callable[..., DuckStore]


def with_keys(*keys: str, **more: object) -> Stored:
    return row(**more, attr_keys=sorted(keys), attr_values=["1"] * len(keys))


def test_53_a_thousand_names_make_five_hundred_and_the_rest_is_other() -> None:
    catalogue = Catalogue()
    rows, new = catalogue.fold([row(name=f"N{n}") for n in range(1_000)])
    assert [one.name for one in rows[:500]] == [f"N{n}" for n in range(500)]
    assert {one.name for one in rows[500:]} == {OTHER}
    assert [one.raw_name for one in rows[500:]] == [f"N{n}" for n in range(500, 1_000)]
    assert all(one.flags & NAME_FOLDED for one in rows[500:])
    assert not any(one.flags for one in rows[:500])
    assert len(new) == 501
    again, nothing = catalogue.fold([row(name=f"N{n}") for n in range(1_000)])
    assert (again, nothing) == (rows, [])
    assert catalogue.fold([row(app_id="B", name="N999")])[0][0].name == "N999", "another app"


def test_53_a_thousand_random_attributes_make_two_hundred_and_the_rest_stays_in_the_payload() -> (
    None
):
    dice = random.Random(53)
    catalogue = Catalogue()
    seen: set[str] = set()
    for _ in range(100):
        keys = [f"k{dice.getrandbits(64)}" for _ in range(10)]
        (one,), _ = catalogue.fold([with_keys(*keys, payload="{}")])
        assert len(one.attr_keys) == len(one.attr_values)
        assert bool(one.flags & KEYS_DROPPED) == (len(one.attr_keys) < 10)
        assert one.payload == "{}"
        seen.update(one.attr_keys)
    assert len(seen) == 200
    (other,), _ = catalogue.fold([with_keys("plan", name="another event")])
    assert list(other.attr_keys) == ["plan"], "each name has its own two hundred"


def test_53_errors_and_unknown_types_share_the_bound_and_keep_what_they_were() -> None:
    catalogue = Catalogue(most_names=1)
    catalogue.fold([row(name="E")])
    rows, new = catalogue.fold(
        [
            row(kind="error", type="error", name="E"),
            row(kind="other", type="$pageview", name="/home"),
            row(kind="init", type="init", name=""),
            row(kind="userid", type="nucleus:userid", name=""),
            row(kind="props", type="nucleus:props", name=""),
            row(name=OTHER),
        ]
    )
    assert [row_name(one) for one in rows] == [
        f"error:{OTHER}",
        OTHER,
        "init",
        "nucleus:userid",
        "nucleus:props",
        OTHER,
    ]
    assert rows[0].raw_name == "E"
    assert json.loads(rows[1].raw_name) == ["$pageview", "/home"]
    assert rows[5].flags == 0, "an event that is really called so is not folded"
    assert [one.event for one in new] == [
        f"error:{OTHER}",
        OTHER,
        "init",
        "nucleus:userid",
        "nucleus:props",
    ]
    handed = [json.loads(exported(one)) for one in rows[:2]]
    assert [(one["type"], one["name"]) for one in handed] == [
        ("error", "E"),
        ("$pageview", "/home"),
    ]


def test_53_an_attribute_without_a_name_is_one(opened: Opened) -> None:
    catalogue = Catalogue()
    (one,), new = catalogue.fold([with_keys("", "a")])
    assert list(one.attr_keys) == ["", "a"]
    assert new == [Named("A", "E", ""), Named("A", "E", "a")]


def test_53_names_are_written_with_their_events_and_known_after_a_restart(opened: Opened) -> None:
    async def write(store: DuckStore, *rows: Stored) -> None:
        writer = Writer(store, asyncio.get_running_loop(), catalogue=Catalogue(2, 2))
        try:
            writer.remember()
            await writer.put(rows)
        finally:
            await asyncio.to_thread(writer.close)

    asyncio.run(write(opened(), with_keys("a", name="one"), with_keys("a", "b", name="two")))
    asyncio.run(
        write(opened(), with_keys("a", "c", name="one", event_id="2"), with_keys("d", name="three"))
    )
    asyncio.run(write(opened(), with_keys("e", name="one", event_id="1")))
    store = opened()
    assert store._read("SELECT event, key FROM catalogue ORDER BY ALL") == [
        (OTHER, ""),
        (OTHER, "d"),
        ("one", ""),
        ("one", "a"),
        ("one", "c"),
        ("two", ""),
        ("two", "a"),
        ("two", "b"),
    ]
    kept = [(e.name, list(e.attr_keys), e.raw_name) for rows in store.export("A") for e in rows]
    assert kept == [
        ("one", ["a"], ""),
        ("two", ["a", "b"], ""),
        ("one", ["a", "c"], ""),
        (OTHER, ["d"], "three"),
        ("one", [], ""),
    ]


def test_53_a_name_whose_commit_failed_is_written_with_the_next(
    opened: Opened, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("collector.intake.writer")

    async def scene(store: DuckStore) -> None:
        writer = Writer(store, asyncio.get_running_loop(), catalogue=Catalogue())
        large = json.dumps({"x": "x" * 100_000})
        old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (store.size_bytes(), hard))
            with pytest.raises(StorageFault):
                await writer.put([with_keys("plan", name="N", payload=large)])
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert (await writer.put([with_keys("plan", name="N")])).new == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, old)
            await asyncio.to_thread(writer.close)

    asyncio.run(scene(opened()))
    assert opened()._read("SELECT event, key FROM catalogue ORDER BY ALL") == [
        ("N", ""),
        ("N", "plan"),
    ]


def test_53_known_names_cost_next_to_nothing() -> None:
    catalogue = Catalogue()
    rows = [with_keys("plan", "count", "ok", name=f"N{n % 40}") for n in range(10_000)]
    catalogue.fold(rows)
    took = []
    for _ in range(5):
        began = time.perf_counter()
        assert catalogue.fold(rows) == (rows, [])
        took.append(time.perf_counter() - began)
    assert min(took) / len(rows) < 3e-6  # a commit costs 20 microseconds an event


def test_53_over_the_wire_a_thousand_attributes_are_bounded(app: AppOf) -> None:
    for part in range(10):
        frame = [
            {
                "type": "event",
                "name": "E",
                "machineId": "m",
                "id": f"{part}-{n}",
                "payload": {f"key {part} {n} {k}": 1 for k in range(10)},
            }
            for n in range(10)
        ]
        assert len(app.say({"data": frame})["reportedIds"]) == 10
    stored = app.stored
    assert len(stored) == 100
    assert len({key for one in stored for key in one["payload"]}) == 1_000, "nothing is lost"


def test_53_the_server_takes_its_bounds_from_the_settings(
    run: Callable[..., Collector], tmp_path: Path
) -> None:
    far_end = run("--event-names", "3", "--event-keys", "2")
    far_end.app("A")
    for n in range(9):
        payload = {f"k{n}": 1, "a": 1}
        assert far_end.say({"data": [{"name": f"N{n}", "machineId": "m", "payload": payload}]})
    assert [one["name"] for one in far_end.export()] == [f"N{n}" for n in range(9)]
    assert far_end.stop() == 0
    store = DuckStore(tmp_path / "data" / "events.duckdb", NOW)
    try:
        names = store._read("SELECT DISTINCT name FROM events ORDER BY ALL")
        assert names == [(OTHER,), ("N0",), ("N1",), ("N2",)]
        keys = store._read("SELECT event, count(*) FROM catalogue WHERE key <> '' GROUP BY ALL")
        assert sorted(keys) == [(OTHER, 2), ("N0", 2), ("N1", 2), ("N2", 2)]
    finally:
        store.close()
