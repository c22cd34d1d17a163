"""Today's ClickHouse gives the same answers as the embedded engine; for ``make soak``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from collector.store.duck import DuckStore

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks: beside the tests

from benchmarks.dataset import History
from benchmarks.parity import asked, differences, fill

EVENTS = 20_000


@pytest.mark.soak
def test_every_answer_is_the_same_on_todays_clickhouse(tmp_path: Path) -> None:
    from today import Today  # loads 300 MB of engine

    history = History(EVENTS)
    embedded = DuckStore(tmp_path / "events.duckdb", history.start)
    there = Today(tmp_path / "chdb")
    try:
        fill(embedded, history)
        fill(there, history)  # type: ignore[arg-type]
        found = differences(embedded, there, asked(history))  # type: ignore[arg-type]
    finally:
        there.close()
        embedded.close()
    assert not found.differing, "\n".join(found.differing)
    assert found.compared > 200
