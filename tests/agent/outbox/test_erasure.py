"""What was deleted is in no file any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from yard import NOW_MS, append, event, events, settle, whole

from agent.adapters.outbox.outbox import Outbox

CANARY = "canary-1f2e3d4c"


def traces(path: Path) -> dict[str, int]:
    """How often the canary is in each file of the outbox's folder."""
    found = {one.name: one.read_bytes().count(CANARY.encode()) for one in path.parent.iterdir()}
    return {name: count for name, count in found.items() if count}


def fill(box: Outbox, stream: int, *, size: int) -> None:
    """Put in rows of several shapes, most of them with the canary."""
    for turn in range(40):
        count = 1 + turn % 7
        with box.turn():
            for n in range(count):
                payload = f"{CANARY}-{turn}" + "y" * (size * (1 + (turn + n) % 3))
                box.append(stream, [event(turn * 100 + n, payload)], NOW_MS)
    append(box, stream, [event(9000 + n, CANARY + "z" * size) for n in range(50)])


@pytest.mark.parametrize("size", [10, 700, 9000])
def test_what_was_delivered_is_in_no_file_once_it_was_tidied(box: Outbox, size: int) -> None:
    stream, other = box.stream("acme", "nucleus"), box.stream("other", "nucleus")
    append(box, other, events(50_000, 30, size=50))
    fill(box, stream, size=size)
    while (batch := box.lease(stream, 0, 11, 200_000)) is not None:
        settle(box, batch, batch.ids[::2])
        settle(box, batch)
    assert traces(box.path)
    box.tidy()
    assert traces(box.path) == {}
    assert box.account(other).pending == 30


@pytest.mark.parametrize("size", [10, 700, 9000])
def test_a_purged_app_is_in_no_file(path: Path, box: Outbox, size: int) -> None:
    stream, other = box.stream("acme", "nucleus"), box.stream("other", "nucleus")
    append(box, other, events(50_000, 30, size=50))
    fill(box, stream, size=size)
    with box.turn():
        box.bury(whole(box, stream), "e0", "refused", CANARY, NOW_MS)
        box.keep_profile("acme", CANARY.encode())
        box.count("acme", 0, CANARY, 3)
    box.count("acme", 0, CANARY, 1)
    aside = path.with_name(f"{path.name}.damaged-20260101T000000Z")
    aside.write_text(CANARY)
    pending = box.account(stream).pending
    assert box.purge("acme") == pending + 1
    assert traces(path) == {}
    with box.turn():
        box.append(other, events(60_000, 1), NOW_MS)
    box.close()
    assert traces(path) == {}


def test_dropped_letters_are_in_no_file_once_it_was_tidied(box: Outbox) -> None:
    stream = box.stream("acme", "nucleus")
    append(box, stream, [event(1, CANARY), event(2)])
    with box.turn():
        assert box.bury(whole(box, stream), "e1", "refused", CANARY, NOW_MS)
        assert box.drop_letters(None) == 1
    box.tidy()
    assert traces(box.path) == {}


def test_closing_leaves_nothing_of_what_was_delivered(
    path: Path, open_box: Callable[..., Outbox]
) -> None:
    box = open_box()
    stream = box.stream("acme", "nucleus")
    append(box, stream, [event(1, CANARY)])
    settle(box, whole(box, stream))
    box.close()
    assert traces(path) == {}


def test_a_drained_backlog_gives_its_room_back(path: Path, box: Outbox) -> None:
    stream = box.stream("acme", "nucleus")
    for first in range(0, 20_000, 500):
        append(box, stream, events(first, 500, size=1000))
    full = path.stat().st_size + path.with_name(f"{path.name}-wal").stat().st_size
    while (batch := box.lease(stream, 0, 500, 256 * 1024)) is not None:
        settle(box, batch)
    for _ in range(20):
        box.tidy()
    assert path.stat().st_size < full / 20
    assert path.with_name(f"{path.name}-wal").stat().st_size == 0
