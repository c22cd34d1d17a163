"""What else must survive a restart: contents seen before, tallies, profiles."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from yard import NOW_MS, append, crash, events

from agent.adapters.outbox import keepsakes
from agent.adapters.outbox.outbox import Outbox

DAY_MS = keepsakes.DAY_MS
HOUR_MS = 3_600_000


def hashes(first: int, count: int) -> list[bytes]:
    """16 bytes each, scattered as hashes are."""
    return [
        (n * 0x9E3779B97F4A7C15 % 2**64).to_bytes(16, "little") for n in range(first, first + count)
    ]


def remember(box: Outbox, some: list[bytes], now_ms: int = NOW_MS) -> None:
    with box.turn():
        box.remember(some, now_ms)


def kept(box: Outbox) -> int:
    return len(box.recall(hashes(0, 60_000)))


def test_repeats_are_recognised_after_a_restart_and_after_a_crash(
    tmp_path: Path, open_box: Callable[..., Outbox]
) -> None:
    box = open_box()
    remember(box, hashes(0, 1200))
    copy = crash(box, tmp_path / "crash")
    box.close()
    for where in (box.path, copy):
        again = open_box(where)
        assert again.recall(hashes(1000, 400)) == set(hashes(1000, 200))


def test_what_is_too_old_is_forgotten_a_part_at_a_time(box: Outbox) -> None:
    remember(box, hashes(0, 12_000))
    later_ms = NOW_MS + 61 * DAY_MS
    remember(box, hashes(12_000, 10), later_ms)
    box.trim(later_ms)
    assert 12_010 > kept(box) >= 12_010 - keepsakes.WALK_ROWS
    for _ in range(4):
        box.trim(later_ms)
    assert kept(box) == 10


def test_a_repeat_keeps_its_first_day(box: Outbox) -> None:
    remember(box, hashes(0, 5))
    remember(box, hashes(0, 5), NOW_MS + 59 * DAY_MS)
    box.trim(NOW_MS + 61 * DAY_MS)
    assert kept(box) == 0


def test_memory_stays_bounded_when_more_comes_in_a_day_than_may_be_kept(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepsakes, "MOST_SEEN", 3000)
    monkeypatch.setattr(keepsakes, "HARD_SEEN", 375)
    for first in range(0, 30_000, 500):
        remember(box, hashes(first, 500))
    for _ in range(20):
        box.trim(NOW_MS)
    assert 1000 <= kept(box) <= 3500


def test_memory_is_bounded_even_when_nobody_trims(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepsakes, "MOST_SEEN", 3000)
    monkeypatch.setattr(keepsakes, "HARD_SEEN", 375)
    for first in range(0, 30_000, 500):
        remember(box, hashes(first, 500), NOW_MS + first * 10_000)
    assert kept(box) <= 4000


def test_tallies_are_counted_by_hour_and_survive_a_restart(
    open_box: Callable[..., Outbox],
) -> None:
    box = open_box()
    box.count("acme", 0, "event", 3)
    box.count("acme", 0, "event", 4)
    box.count("acme", HOUR_MS, "error", 1)
    assert box.tallies(0, HOUR_MS) == {"event": 7}
    box.close()
    assert open_box().tallies(0, 2 * HOUR_MS) == {"event": 7, "error": 1}


def test_counting_costs_no_commit_of_its_own(box: Outbox) -> None:
    stream = box.stream("acme", "nucleus")
    append(box, stream, events(0, 1))
    log = box.path.with_name(f"{box.path.name}-wal")
    before = log.stat().st_size
    for _ in range(100):
        box.count("acme", 0, "event", 1)
    assert log.stat().st_size == before


def test_a_kill_after_many_events_costs_the_tallies_a_thousand_at_most(box: Outbox) -> None:
    """An import of seconds tallies what it took, not what it took before the first five."""
    stream = box.stream("acme", "nucleus")
    for first in range(0, 5000, 100):
        append(box, stream, events(first, 100))
        box.count("acme", 0, "event", 100)
    with closing(sqlite3.connect(box.path)) as beside:  # what a kill would leave
        (told,) = beside.execute("SELECT coalesce(sum(events), 0) FROM tally").fetchone()
    assert told >= 4000
    assert box.tallies(0, HOUR_MS) == {"event": 5000}


def test_tallies_of_a_turn_that_failed_are_not_counted_twice(
    box: Outbox, open_box: Callable[..., Outbox]
) -> None:
    box.count("acme", 0, "event", 3)
    box.close()
    again = open_box()
    again.close()
    assert open_box().tallies(0, HOUR_MS) == {"event": 3}


def test_old_tallies_are_forgotten(box: Outbox) -> None:
    with box.turn():
        box.count("acme", 0, "event", 3)
    box.close()
    again = Outbox.open(box.path, box.bounds, NOW_MS)
    again.trim(15 * DAY_MS)
    assert again.tallies(0, HOUR_MS) == {}
    again.close()


def test_a_profile_is_kept_with_the_turn(open_box: Callable[..., Outbox]) -> None:
    box = open_box()
    assert box.profile("acme") is None
    with box.turn():
        box.keep_profile("acme", b"one")
    with pytest.raises(ZeroDivisionError), box.turn():
        box.keep_profile("acme", bytes(1 // 0))
    box.close()
    assert open_box().profile("acme") == b"one"
