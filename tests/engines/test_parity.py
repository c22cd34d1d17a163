"""Both engines give the same answers: a DuckDB file and a real ClickHouse server, one history.

The history is that of benchmarks/dataset.py, at 20,000 events here; `make bench` compares at a
million (benchmarks/collector_parity.py), `make soak` with today's ClickHouse.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.store.clickhouse import ClickHouseStore
from collector.store.clickhouse_address import PASSWORD, address
from collector.store.duck import DuckStore
from collector.store.interface import Store

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks: beside the tests

from servers import ClickHouse

from benchmarks.dataset import History
from benchmarks.parity import ERASED, asked, differences, fill

EVENTS = 20_000


class Both:
    """Two stores with one history."""

    def __init__(self, embedded: Store, distributed: Store, history: History) -> None:
        self.embedded, self.distributed = embedded, distributed
        self.history = history
        for store in (embedded, distributed):
            fill(store, history)


@pytest.fixture(scope="module")
def both(clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    history = History(EVENTS)
    embedded = DuckStore(tmp_path_factory.mktemp("parity") / "events.duckdb", history.start)
    # Not dropped afterwards: the server, which ends soon, would need half a minute for it.
    where = address(clickhouse.engine("parity"), {PASSWORD: clickhouse.password})
    distributed = ClickHouseStore(where)
    try:
        yield Both(embedded, distributed, history)
    finally:
        distributed.close()
        embedded.close()


def compare(both: Both, *apps: str) -> int:
    """Compare every answer about some apps; return how many."""
    found = differences(both.embedded, both.distributed, asked(both.history, apps))
    assert not found.differing, "\n".join(found.differing)
    assert not found.empty_everywhere, (
        f"these were never asked for anything: {found.empty_everywhere}"
    )
    return found.compared


def test_every_answer_is_the_same_on_both_engines(both: Both) -> None:
    for app in ("app1", "app2", "app3"):
        assert both.embedded.count(app) == both.distributed.count(app) > 0
    assert sum(both.embedded.count(app) for app in ("app1", "app2", "app3")) == EVENTS
    assert compare(both, "app1", "app2") > 200


def test_every_answer_is_the_same_after_people_were_erased(both: Both) -> None:
    before = both.embedded.count("app1")
    for store in (both.embedded, both.distributed):
        store.erase("app1", users=ERASED.users, devices=ERASED.devices)
    assert both.embedded.count("app1") == both.distributed.count("app1") < before
    assert compare(both, "app1") > 100
