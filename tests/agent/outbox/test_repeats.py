"""What is remembered of repeats is what was committed, however many turns failed meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from yard import NOW_MS

from agent.adapters.outbox import keepsakes
from agent.adapters.outbox.outbox import Outbox
from tracking.errors import StorageFault


def digests(start: int, count: int) -> list[bytes]:
    return [number.to_bytes(16, "big") for number in range(start, start + count)]


def test_turns_that_failed_take_no_room_from_what_is_remembered(
    open_box: Callable[..., Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepsakes, "MOST_SEEN", 100)
    monkeypatch.setattr(keepsakes, "HARD_SEEN", 10)
    box = open_box()
    kept = digests(0, 50)
    with box.turn():
        box.remember(kept, NOW_MS)

    def remember_in_vain(start: int) -> None:
        with box.turn():
            box.remember(digests(start, 10), NOW_MS)
            raise StorageFault("the disk is full")

    for attempt in range(20):
        with pytest.raises(StorageFault):
            remember_in_vain(1000 + attempt * 10)
    with box.turn():
        box.remember(digests(5000, 10), NOW_MS)
    assert box.recall(kept) == set(kept)
    assert box.recall(digests(1000, 10)) == set()
