"""What the embedded engine promises beside the other one (tests/engines): memory, files, walls."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import duckdb
import pytest
from collectors import DAY, NOW

from collector.store.duck import DuckStore
from collector.store.window import AHEAD_MS, REMEMBERED_DAYS, Window
from tracking.errors import StorageFault

Opened = Callable[..., DuckStore]


def test_the_memory_of_keys_is_bounded_by_days() -> None:
    window = Window(NOW)
    for day in range(20):
        at = NOW + day * DAY
        window.remember([(at, at, day), (at, at + AHEAD_MS * 9, 1000 + day)])
        window.move_on(at)
    assert len(window) == REMEMBERED_DAYS + 1 + 20
    for day in range(20, 200):
        window.move_on(NOW + day * DAY)
    assert len(window) == 0


def test_a_filter_forgets_nothing_and_errs_seldom_in_few_bytes() -> None:
    dice = random.Random(7)
    keys = Window(NOW)._days[0]
    assert keys.perhaps([1, -1, 0]) == set()
    known = [dice.randrange(-(2**63), 2**63) for _ in range(100_000)]
    for key in known:
        keys.add(key)
    assert keys.perhaps(known) == set(known)
    others = {dice.randrange(-(2**63), 2**63) for _ in range(100_000)} - set(known)
    assert len(keys.perhaps(others)) < 100
    assert keys.size_bytes <= 32 * len(known)


def test_a_file_of_another_format_is_refused_and_left(opened: Opened, tmp_path: Any) -> None:
    opened().close()
    with duckdb.connect(str(tmp_path / "events.duckdb")) as db:
        db.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(StorageFault, match="newer Homing"):
        DuckStore(tmp_path / "events.duckdb", NOW)


def test_a_file_that_is_none_is_refused_in_a_sentence(tmp_path: Any) -> None:
    path = tmp_path / "events.duckdb"
    path.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(StorageFault, match="the store cannot be used"):
        DuckStore(path, NOW)


def test_the_engine_reads_no_files_and_loads_no_code(opened: Opened) -> None:
    store = opened()
    for words in ("SELECT * FROM read_text('/etc/passwd')", "SET enable_external_access = true"):
        with pytest.raises(duckdb.Error):
            store._read(words)


def test_a_question_that_takes_too_long_is_given_up(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    monkeypatch.setattr("collector.store.duck_reading.READ_S", 0.1)
    with pytest.raises(StorageFault, match="too long"):
        store._read("SELECT count(*) FROM range(100000000) a, range(100000) b WHERE a.range > 5")
    assert store.count("A") == 0
