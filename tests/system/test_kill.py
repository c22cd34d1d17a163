"""Kill -9 loses nothing: agent and collector are shot again and again while eight apps report."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest
from oracle import check_ledger, compare
from producers import Producer

from benchmarks.processes import Agent, Collector, ask_local, until

pytestmark = [pytest.mark.system, pytest.mark.alone, pytest.mark.timeout(300)]

EVENTS, PRODUCERS, KILLS = 50_000, 8, 20


def test_forty_kills_during_fifty_thousand_events_lose_double_and_reorder_nothing(
    collector: Collector, make_agent: Callable[[str], Agent], capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(10**6)))
    with capsys.disabled():
        print(f"\nkill test: KILL_SEED={seed}")
    chance = random.Random(seed)
    agent = make_agent("[limits]\nevents_per_s = 100000\nburst = 1000000\n")
    collector.start()
    agent.start()
    share, shots = EVENTS // PRODUCERS, 0

    def allowed() -> int:
        """Spread the events over the kills, so that each falls into the reporting."""
        return share * (shots + 1) // (2 * KILLS + 1)

    producers = [
        Producer(n, agent.socket, share, random.Random(seed + n), allowed=allowed)
        for n in range(PRODUCERS)
    ]
    for producer in producers:
        producer.start()

    victims: list[Agent | Collector] = [agent] * KILLS + [collector] * KILLS
    chance.shuffle(victims)
    for shots, victim in enumerate(victims, 1):  # noqa: B007 - read by allowed()
        if chance.random() < 0.75:  # otherwise it may fall into the start after the last one
            _wait_for_progress(producers)
        time.sleep(chance.expovariate(1 / 0.15))  # the moment is the test: anything may go on
        victim.kill()
        victim.spawn()
    shot_at = sum(len(producer.acknowledged) for producer in producers)
    for producer in producers:
        producer.join(120)
    assert not [producer.error for producer in producers if producer.error]
    assert not any(producer.is_alive() for producer in producers)

    until(lambda: _drained(agent), 120, "the outbox does not drain", pause_s=0.2)
    app = agent.ledger("bench")
    check_ledger(app)
    compare([producer.acknowledged for producer in producers], collector.export("bench"))
    assert sum(len(producer.acknowledged) for producer in producers) == EVENTS
    assert shot_at < EVENTS, "every kill must fall into the reporting"
    with capsys.disabled():
        repeated = sum(producer.repeated for producer in producers)
        print(f"kill test: {shot_at:,} acknowledged at the last kill, {repeated} frames repeated, ")
        print(f"kill test: {app['repeats']} repeats recognised since the last start")


def _wait_for_progress(producers: list[Producer]) -> None:
    before = sum(len(producer.acknowledged) for producer in producers)
    until(
        lambda: sum(len(producer.acknowledged) for producer in producers) > before,
        30,
        "nothing more is acknowledged",
        pause_s=0.001,
    )


def _drained(agent: Agent) -> bool:
    try:
        if agent.ledger("bench")["pending"] == 0:
            return True
        # A person would press Retry rather than wait out a backoff of minutes.
        if agent.status()["links"][0]["state"] == "waiting":
            ask_local(agent.socket, "/v1/retry", {})
    except OSError:
        agent.check_alive()  # it may still be starting after the last kill
    return False
