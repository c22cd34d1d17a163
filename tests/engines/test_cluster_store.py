"""The distributed engine on two shards of two replicas: all questions, and one replica killed."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clusters import NAME, Cluster
from collectors import DAY, NOW, row
from servers import until

from collector.store.clickhouse import ClickHouseStore
from collector.store.clickhouse_address import PASSWORD, address
from collector.store.duck import DuckStore
from collector.store.questions import Questions
from tracking.errors import StorageFault

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks: beside the tests

from benchmarks.dataset import History
from benchmarks.parity import ERASED, asked, differences, fill

pytestmark = pytest.mark.soak

Reached = Callable[..., ClickHouseStore]
_NUMBERS = itertools.count()


@pytest.fixture
def reach(cluster: Cluster) -> Iterator[Reached]:
    """Open one database of this test through a node that it names."""
    database = f"soak_{next(_NUMBERS)}"
    with contextlib.ExitStack() as ends:

        def open_(*names: str, quorum: int = 0) -> ClickHouseStore:
            hosts = ",".join(f"127.0.0.1:{cluster.nodes[name].port}" for name in names)
            said = f"clickhouse://default@{hosts}/{database}?cluster={NAME}&quorum={quorum}"
            there = address(said, {PASSWORD: cluster.password})
            return ends.enter_context(contextlib.closing(ClickHouseStore(there, old_parts_s=1)))

        yield open_


def names_of(store: ClickHouseStore) -> list[str]:
    return sorted(one.name for rows in store.export("A") for one in rows)


def test_a_row_written_through_one_node_is_answered_by_all_and_once(
    cluster: Cluster, reach: Reached
) -> None:
    stores = {name: reach(name) for name in cluster.nodes}
    rows = [row(name=f"e{n}", device_id=f"d{n}", user_id=f"u{n % 9}") for n in range(500)]
    assert stores["01a"].write(rows) == 500
    database = stores["01a"].where.database

    def shared_out() -> bool:
        each = [
            cluster.nodes[name].ask("SELECT count() FROM events_local", database)[0][0]
            for name in ("01a", "01b", "02a", "02b")
        ]
        return each[0] == each[1] and each[2] == each[3] and each[0] + each[2] == 500 > each[0]  # type: ignore[operator]

    until(shared_out, 20, "the shards have not each a part, on both replicas")
    for store in stores.values():
        store.write(rows[::2])
    until(lambda: [s.count("A") for s in stores.values()] == [500] * 4, 20, "they differ")
    glances = [Questions(stores[name]).quickglance("A", NOW) for name in ("02b", "01a")]
    assert glances[0] == glances[1]
    assert stores["02b"].newest("A", NOW - 1, 50) == stores["01a"].newest("A", NOW - 1, 50)


def test_every_answer_is_the_embedded_engines_before_and_after_an_erasure(
    reach: Reached, tmp_path: Path
) -> None:
    history = History(5_000)
    clustered = reach("01a", "02b")
    with contextlib.closing(DuckStore(tmp_path / "events.duckdb", history.start)) as embedded:
        for store in (embedded, clustered):
            fill(store, history)
        for _ in range(2):
            found = differences(embedded, clustered, asked(history))
            assert found.compared > 50
            assert not found.differing, "\n".join(found.differing)
            for store in (embedded, clustered):
                store.erase("app1", users=ERASED.users, devices=ERASED.devices)
        assert embedded.count("app1") == clustered.count("app1")


def test_a_replica_killed_under_a_quorum_loses_nothing_that_was_acknowledged(
    cluster: Cluster, reach: Reached
) -> None:
    store = reach("01a", "02a", quorum=2)
    acknowledged: list[str] = []
    numbers = itertools.count()

    def write(through: ClickHouseStore) -> bool:
        batch = next(numbers)
        rows = [row(name=f"{batch}-{n}", device_id=f"d{n}", ts=NOW - batch) for n in range(20)]
        try:
            through.write(rows)
        except StorageFault:
            return False
        acknowledged.extend(one.name for one in rows)
        return True

    assert all(write(store) for _ in range(10))
    cluster.nodes["01b"].kill()
    assert not write(store), "two replicas were promised, and one is dead"
    alone = reach("01a", "02a")
    kept = set(names_of(alone))
    assert set(acknowledged) <= kept
    assert all(write(alone) for _ in range(5)), "without a quorum one replica is enough"
    cluster.nodes["01b"].start()
    returned = reach("01b", "02b")
    until(lambda: set(acknowledged) <= set(names_of(returned)), 60, "the replica is behind")
    assert len(names_of(returned)) == len(set(names_of(returned)))
    until(lambda: write(store), 60, "the quorum did not come back")
    assert set(acknowledged) <= set(names_of(returned))


def test_collectors_reach_another_node_when_theirs_is_dead(
    cluster: Cluster, reach: Reached
) -> None:
    store = reach("02b", "02a", "01a")
    assert store.write([row(name="before", ts=NOW - DAY)]) == 1
    until(lambda: reach("02a").count("A") == 1, 20, "it was not replicated")
    cluster.nodes["02b"].kill()
    try:
        assert store.count("A") == 1
        assert store.write([row(name="after")]) == 1
        assert names_of(store) == ["after", "before"]
    finally:
        cluster.nodes["02b"].start()
