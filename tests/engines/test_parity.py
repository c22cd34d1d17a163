"""Both engines give the same answers: a DuckDB file and a real ClickHouse server, one history.

The history is that of benchmarks/dataset.py, at 20,000 events here; `make bench` compares at a
million (benchmarks/collector_parity.py), `make soak` with today's ClickHouse.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from collectors import DAY, NOW, row

from collector.store.clickhouse import ClickHouseStore
from collector.store.clickhouse_address import PASSWORD, address
from collector.store.duck import DuckStore
from collector.store.interface import Store
from collector.store.local_time import Wall
from collector.store.questions import Questions

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks: beside the tests

from servers import ClickHouse

from benchmarks.dataset import History
from benchmarks.parity import ERASED, asked, differences, fill

EVENTS = 12_000


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


def test_who_came_before_they_signed_in_is_the_same_person_on_both_engines(both: Both) -> None:
    came = (
        ("hers", "", "SEE", 0), ("hers", "ada", "BUY", 1), ("hers", "", "PAY", 2),
        ("kiosk", "", "SEE", 0), ("kiosk", "bob", "BUY", 1), ("kiosk", "cyd", "PAY", 2),
        ("alone", "", "SEE", 0), ("alone", "", "BUY", 8),
        ("", "", "SEE", 0), ("", "ada", "BUY", 9), ("", "dan", "SEE", 3),
    )  # fmt: skip
    start = NOW - 30 * DAY
    rows = [
        row(app_id="signed", device_id=device, user_id=user, name=name, ts=start + day * DAY)
        for device, user, name, day in came
    ]
    answers = []
    for store in (both.embedded, both.distributed):
        store.write(rows)
        ask = Questions(store)
        counts = ask.funnel("signed", start, NOW, ["SEE", "BUY", "PAY"])
        answers.append((counts, ask.retention("signed", start, NOW, Wall())))
    assert answers[0] == answers[1]
    counts, cohorts = answers[0]
    assert counts == [3, 1, 1], "ada, dan and the device that named nobody"
    assert sum(weeks[first] for first, weeks in cohorts.items()) == 5, "bob and cyd, too"
