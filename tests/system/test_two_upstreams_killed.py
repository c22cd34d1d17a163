"""Kill -9 with two upstreams: each far end has everything once, in order, whoever was shot when."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle import check_ledger, compare
from producers import Producer

from benchmarks.processes import Agent, Collector, Process, ask_local, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

EVENTS, PRODUCERS, KILLS = 4_000, 4, 4


@pytest.mark.parametrize(
    ("events", "kills"),
    [
        pytest.param(EVENTS, KILLS, id="short"),
        pytest.param(10 * EVENTS, 5 * KILLS, id="long", marks=pytest.mark.soak),
    ],
)
def test_two_far_ends_have_everything_once_whoever_is_shot(
    folder: Path,
    ended: Callable[[Process], None],
    capsys: pytest.CaptureFixture[str],
    events: int,
    kills: int,
) -> None:
    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(10**6)))
    with capsys.disabled():
        print(f"\ntwo upstreams: KILL_SEED={seed}")
    chance = random.Random(seed)
    far_ends = [Collector(folder / name) for name in ("one", "two")]
    for far_end in far_ends:
        far_end.add_app("bench")
        ended(far_end)
        far_end.start()
    agent = Agent(folder / "home", settings(far_ends))
    ended(agent)
    agent.start()
    share, shots = events // PRODUCERS, 0
    victims: list[Agent | Collector] = [agent] * kills + far_ends * (kills // 2)
    chance.shuffle(victims)

    def allowed() -> int:
        """Spread the events over the kills, so that each falls into the reporting."""
        return share * (shots + 1) // (len(victims) + 1)

    producers = [
        Producer(n, agent.socket, share, random.Random(seed + n), allowed=allowed)
        for n in range(PRODUCERS)
    ]
    for producer in producers:
        producer.start()
    for shots, victim in enumerate(victims, 1):  # noqa: B007 - read by allowed()
        time.sleep(chance.expovariate(1 / 0.2))  # the moment is the test: anything may go on
        victim.kill()
        victim.spawn()
    for producer in producers:
        producer.join(120)
    assert not [producer.error for producer in producers if producer.error]
    assert not any(producer.is_alive() for producer in producers)
    until(lambda: _drained(agent), 120, "the queues do not drain", pause_s=0.2)

    app = agent.ledger("bench")
    check_ledger(app)
    assert [one["name"] for one in app["upstreams"]] == ["one", "two"]
    for one in app["upstreams"]:
        check_ledger(one)
        assert one["accepted"] == app["accepted"] == app["delivered"]
    promised = [producer.acknowledged for producer in producers]
    assert sum(map(len, promised)) == events
    for far_end in far_ends:
        compare(promised, far_end.export("bench"))


def settings(far_ends: list[Collector]) -> str:
    """An app with both as its upstreams."""
    limits = "[limits]\nevents_per_s = 100000\nburst = 1000000\n"
    return (
        limits
        + '[[apps]]\nid = "bench"\n'
        + "".join(
            f'[[apps.upstreams]]\nkind = "nucleus"\nname = "{far_end.folder.name}"\n'
            f'endpoint = "{far_end.endpoint}"\n'
            for far_end in far_ends
        )
    )


def _drained(agent: Agent) -> bool:
    try:
        if all(one["pending"] == 0 for one in agent.ledger("bench")["upstreams"]):
            return True
        # A person would press Retry rather than wait out a backoff of minutes.
        if any(link["state"] == "waiting" for link in agent.status()["links"]):
            ask_local(agent.socket, "/v1/retry", {})
    except OSError:
        agent.check_alive()  # it may still be starting after the last kill
    return False
