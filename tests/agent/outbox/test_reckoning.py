"""What was confirmed is summed up with its deletion: once, by hour and device, over restarts."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

import pytest

from agent.adapters.outbox import migrations
from agent.adapters.outbox.outbox import Bounds, Outbox
from agent.adapters.outbox.reckoning import MOST_DEVICES, OTHERS
from tracking.dates import iso
from tracking.reckoning import HOUR_MS, Sum

BOUNDS = Bounds(events=100_000, bytes=64 * 1024 * 1024, age_days=30)
HOUR = int(time.time() * 1000) // HOUR_MS * HOUR_MS - 2 * HOUR_MS


def event(id_: str, at_ms: int = HOUR, device: str = "d") -> bytes:
    return f'{{"type":"event","id":"{id_}","date":"{iso(at_ms)}","deviceId":"{device}"}}'.encode()


def sum_of(ids: list[str]) -> Sum:
    made = Sum()
    made.add(ids)
    return made


def opened(path: Path) -> tuple[Outbox, int]:
    box = Outbox.open(path / "outbox.db", BOUNDS, 0)
    stream = box.stream("acme", "main")
    box.reckon([stream], 1_000)
    return box, stream


def append(box: Outbox, stream: int, *events: bytes) -> None:
    with box.turn():
        box.append(stream, list(events), HOUR)


def settle(box: Outbox, stream: int, ids: set[str] | None = None) -> None:
    batch = box.lease(stream, 0, 500, 256 * 1024)
    assert batch is not None
    with box.turn():
        box.settle(batch, set(batch.ids) if ids is None else ids)


def test_what_is_confirmed_is_counted_by_the_hour_and_device_of_the_event(tmp_path: Path) -> None:
    box, stream = opened(tmp_path)
    append(
        box,
        stream,
        event("a"),
        event("b", HOUR + HOUR_MS - 1),
        event("c", HOUR + HOUR_MS),
        event("e", HOUR, "other"),
    )
    assert box.reckoning(stream, 0) == []
    settle(box, stream)
    assert box.reckoning(stream, 0) == [
        (HOUR, "d", sum_of(["a", "b"])),
        (HOUR, "other", sum_of(["e"])),
        (HOUR + HOUR_MS, "d", sum_of(["c"])),
    ]
    assert [one.hour_ms for one in box.reckoning(stream, HOUR + 1)] == [HOUR + HOUR_MS]
    box.close()
    again, stream = opened(tmp_path)
    assert len(again.reckoning(stream, 0)) == 3
    assert again.reckoned_since(stream) == 0
    again.close()


def test_parts_repeats_and_strangers_count_each_event_once(tmp_path: Path) -> None:
    box, stream = opened(tmp_path)
    ids = [f"e{n:03d}" for n in range(60)]
    for some in (ids[:20], ids[20:40], ids[40:]):
        append(box, stream, *map(event, some))
    chance = random.Random(7)
    batch = box.lease(stream, 0, 500, 256 * 1024)
    assert batch is not None
    while box.account(stream).pending:
        chosen = set(chance.sample(ids, 25)) | {"stranger"}
        if chance.random() < 0.2:
            chosen = set(ids)
        with box.turn():
            box.settle(batch, chosen)
    assert box.reckoning(stream, 0) == [(HOUR, "d", sum_of(ids))]
    box.close()


def test_a_turn_that_is_undone_counts_nothing(tmp_path: Path) -> None:
    box, stream = opened(tmp_path)
    append(box, stream, event("a"))
    batch = box.lease(stream, 0, 500, 256 * 1024)
    assert batch is not None

    def fail() -> None:
        with box.turn():
            box.settle(batch, {"a"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert box.reckoning(stream, 0) == []
    settle(box, stream)
    assert box.reckoning(stream, 0) == [(HOUR, "d", sum_of(["a"]))]
    box.close()


def test_only_what_can_be_compared_is_counted(tmp_path: Path) -> None:
    box, stream = opened(tmp_path)
    other = box.stream("acme", "bucket")
    append(box, other, event("a"))
    settle(box, other)
    assert box.reckoning(other, 0) == []
    assert box.reckoned_since(other) is None
    day = 86_400_000
    append(box, stream, event("b", HOUR - 40 * day), event("c", HOUR + 3 * day), event("e"))
    settle(box, stream)
    assert box.reckoning(stream, 0) == [(HOUR, "d", sum_of(["e"]))]
    box.close()


def test_a_queue_that_delivered_before_is_counted_from_now_on(tmp_path: Path) -> None:
    box = Outbox.open(tmp_path / "outbox.db", BOUNDS, 0)
    stream = box.stream("acme", "main")
    append(box, stream, event("a"))
    settle(box, stream)
    box.reckon([stream], 5_000)
    box.reckon([stream], 9_000)
    assert box.reckoned_since(stream) == 5_000
    box.close()


def test_beyond_so_many_devices_the_rest_is_counted_together(tmp_path: Path) -> None:
    box, stream = opened(tmp_path)
    append(box, stream, *(event(f"e{n}", device=f"d{n}") for n in range(MOST_DEVICES + 3)))
    settle(box, stream)
    said = {one.device: one.sum.events for one in box.reckoning(stream, 0)}
    assert len(said) == MOST_DEVICES + 1
    assert said[OTHERS] == 3
    box.close()


def test_a_purged_app_leaves_no_sums(tmp_path: Path) -> None:
    box, stream = opened(tmp_path)
    append(box, stream, event("a"))
    settle(box, stream)
    box.purge("acme")
    assert box.reckoning(stream, 0) == []
    since = box.reckoned_since(stream)
    assert since is not None
    assert since > HOUR
    box.close()


def test_old_hours_go_with_a_trim(tmp_path: Path) -> None:
    box, stream = opened(tmp_path)
    append(box, stream, event("a"))
    settle(box, stream)
    box.trim(HOUR + 32 * 86_400_000)
    assert box.reckoning(stream, 0) == []
    box.close()


def test_a_file_of_version_3_is_counted_from_its_first_start_on(tmp_path: Path) -> None:
    box, stream = opened(tmp_path)
    append(box, stream, event("a"), event("b"))
    settle(box, stream, {"a"})
    box.close()
    db = sqlite3.connect(tmp_path / "outbox.db")
    db.executescript("DROP TABLE reckoning; DROP TABLE reckoned; PRAGMA user_version = 3")
    db.close()
    box, stream = opened(tmp_path)
    assert migrations.VERSION >= 4
    assert box.reckoned_since(stream) == 1_000
    settle(box, stream)
    assert box.reckoning(stream, 0) == [(HOUR, "d", sum_of(["b"]))]
    box.close()
