"""Kill -9 while an agent takes the spool in: nothing is lost, nothing is stored twice."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from spools import header, lines, put

from benchmarks.processes import Agent, Collector, declared, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

EVENTS, FILES, KILLS = 12_000, 4, 5


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hk-"))
    yield path
    shutil.rmtree(path)


def _accepted(agent: Agent) -> int:
    try:
        return int(agent.ledger("acme")["accepted"])
    except OSError:  # it is starting
        agent.check_alive()
        return 0


def test_killed_again_and_again_in_the_middle_each_event_is_taken_in_once(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collector = Collector(home / "far")
    collector.add_app("acme")
    agent = Agent(home / "home", declared("acme", collector.endpoint))
    spool = home / "home" / "state" / "spool"
    for folder in (spool.parent, spool):
        folder.mkdir(mode=0o700)
    share = EVENTS // FILES
    for number in range(FILES):
        put(spool, header() + lines(range(number * share, (number + 1) * share)))
    known = [0]
    try:
        for _ in range(KILLS):
            agent.spawn()
            until(lambda: _accepted(agent) > known[-1], 20, "nothing is taken in", pause_s=0.001)
            known.append(_accepted(agent))
            time.sleep(random.uniform(0.0, 0.05))  # the moment is the test
            agent.kill()
        assert known[-1] < EVENTS, "each kill must fall into the taking in"
        collector.start()
        agent.start()
        until(lambda: not list(spool.glob("*.ndjson*")), 30, "the spool is not taken in")
        app = agent.ledger("acme")
        assert app["balanced"]
        until(lambda: agent.ledger("acme")["pending"] == 0, 60, "the outbox does not drain")
        arrived = [event for event in collector.export("acme") if event["type"] == "event"]
        with capsys.disabled():
            print(f"\nkilled at {known[1:]} of {EVENTS}, then {app['repeats']} repeats")
    finally:
        agent.stop()
        collector.stop()
    assert Counter(json.dumps(event["payload"]) for event in arrived) == Counter(
        json.dumps({"n": n}) for n in range(EVENTS)
    )
