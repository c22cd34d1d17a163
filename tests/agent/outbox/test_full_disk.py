"""A disk without room refuses what is new, by name, and still lets go of what was delivered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_disk import run
from yard import append, events, settle, whole

from agent.adapters.outbox.outbox import Outbox
from tracking.errors import DiskFull


@pytest.mark.parametrize("scenario", ["filled_by_us", "filled_by_others", "opened_when_full"])
def test_a_full_disk_refuses_what_is_new_and_can_be_emptied(tmp_path: Path, scenario: str) -> None:
    told = run(tmp_path / "disk", scenario)
    assert told["code"] == "storage.full"
    assert told["kept"] == told["accepted"] == told["delivered"], told
    assert told["findings"] == []
    assert told["later"] == ""
    assert told["balanced"]


def test_a_read_only_disk_is_a_named_fault_and_changes_nothing(tmp_path: Path) -> None:
    told = run(tmp_path / "disk", "read_only")
    (kind, code, sentence) = told["told"]  # type: ignore[misc]
    assert (kind, code) == ("StorageFault", "storage")
    assert "read-only" in sentence or "cannot be used" in sentence
    assert told["kept"] == told["accepted"] == 500


def test_a_file_that_may_not_grow_stores_nothing_of_the_turn(
    open_box: Callable[..., Outbox],
) -> None:
    box = open_box()
    stream = box.stream("acme", "nucleus")
    append(box, stream, events(0, 100))
    box.tidy()
    (pages,) = box._db.execute("PRAGMA page_count").fetchone()
    box._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    before = box.account(stream).copy()

    def one_turn() -> None:
        with box.turn():
            box.remember([bytes(16)], 0)
            box.append(stream, events(100, 10_000, size=200), 0)

    with pytest.raises(DiskFull, match="full"):
        one_turn()
    assert box.account(stream) == before
    assert box.recall([bytes(16)]) == set()
    assert settle(box, whole(box, stream)) == 100
    box._db.execute("PRAGMA max_page_count = 1000000")
    append(box, stream, events(100, 10_000, size=200))
    assert box.account(stream).pending == 10_000
    assert not any(box.check())
