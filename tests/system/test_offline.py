"""Without a far end everything is kept, cheaply; when it is back everything arrives."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from oracle import check_ledger, compare
from producers import Producer

from benchmarks.processes import Agent, Collector, ask_local, until

pytestmark = [pytest.mark.system, pytest.mark.alone, pytest.mark.timeout(300)]

EVENTS, PRODUCERS = 100_000, 4
SETTINGS = """
[limits]
events_per_s = 100000
burst = 1000000

[link]
heartbeat_s = 1
"""


def test_a_hundred_thousand_events_wait_on_disk_and_drain_while_new_ones_come(
    collector: Collector, make_agent: Callable[[str], Agent], capsys: pytest.CaptureFixture[str]
) -> None:
    agent = make_agent(SETTINGS)
    agent.start()
    first = _report(agent, range(1), 2_000)  # page caches and code are not what we measure
    before_mib = agent.pss_mib()
    waiting = _report(agent, range(1, 1 + PRODUCERS), EVENTS // PRODUCERS)
    grown_mib = agent.pss_mib() - before_mib

    queued = agent.ledger("bench")
    assert queued["pending"] == EVENTS + 2_000 + 1, "the init, and no heartbeat"
    assert queued["delivered"] == 0
    with capsys.disabled():
        print(f"\noffline test: {EVENTS:,} events cost {grown_mib:.1f} MiB of memory")
    assert grown_mib < 20

    collector.start()
    ask_local(agent.socket, "/v1/retry", {})
    until(lambda: agent.ledger("bench")["delivered"] > 0, 30, "nothing is delivered")
    fresh = Producer(99, agent.socket, 5_000, random.Random(99))
    fresh.start()
    accepted_while_draining = until(
        lambda: len(fresh.acknowledged) if agent.ledger("bench")["pending"] > 0 else -1,
        60,
        "nothing is accepted while the outbox drains",
    )
    fresh.join(60)
    assert accepted_while_draining > 0
    until(lambda: agent.ledger("bench")["pending"] == 0, 120, "the outbox does not drain")

    check_ledger(agent.ledger("bench"))
    producers = [*first, *waiting, fresh]
    arrived = collector.export("bench")
    compare([producer.acknowledged for producer in producers], arrived)
    assert {event["type"] for event in arrived} == {"init", "event"}, "a heartbeat is no event"
    assert sum(event["type"] == "init" for event in arrived) == 1


def _report(agent: Agent, numbers: range, events: int) -> list[Producer]:
    producers = [
        Producer(number, agent.socket, events, random.Random(number), batch=200)
        for number in numbers
    ]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join(120)
        assert producer.error is None
        assert len(producer.acknowledged) == events
    return producers
