"""A network that kills every upgrade, and SIGKILL in the middle: everything once, and in order."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oracle import check_ledger, compare
from producers import Producer

from benchmarks.processes import ROOT, Agent, Collector, Process, declared, until

pytestmark = [pytest.mark.system, pytest.mark.soak, pytest.mark.timeout(120)]

EVENTS, KILLS = 1_500, 2
SETTINGS = """
[limits]
events_per_s = 100000
burst = 1000000

[link]
websocket_retry_s = 1
"""


def test_over_http_with_kills_and_back_to_websockets_nothing_is_lost_doubled_or_reordered(
    folder: Path, collector: Collector, ended: Callable[[Process], None]
) -> None:
    control = folder / "control"
    control.write_text("cut")
    program = ROOT / "tests" / "agent" / "link" / "upgrade_killer.py"
    with subprocess.Popen(
        [sys.executable, program, str(collector.port), control], stdout=subprocess.PIPE, text=True
    ) as killer:
        try:
            assert killer.stdout is not None
            endpoint = f"ws://127.0.0.1:{killer.stdout.readline().strip()}"
            agent = Agent(folder / "home", SETTINGS + declared("bench", endpoint))
            ended(agent)
            _story(agent, collector, control)
        finally:
            killer.kill()


def _story(agent: Agent, collector: Collector, control: Path) -> None:
    collector.start()
    agent.start()
    shots = 0
    producer = Producer(
        1,
        agent.socket,
        EVENTS,
        random.Random(7),
        batch=50,
        allowed=lambda: EVENTS * (shots + 1) // (KILLS + 1),
    )
    producer.start()
    for shots in range(1, KILLS + 1):  # noqa: B007 - read by allowed()
        until(lambda: _link(agent)["note"].startswith("over HTTP"), 30, "HTTP is not used")
        _wait_for_delivery(agent)
        agent.kill()
        agent.start()
    until(lambda: len(producer.acknowledged) > EVENTS * 3 // 4, 30, "nothing is accepted")
    control.write_text("through")
    producer.join(60)
    assert producer.error is None
    until(lambda: _link(agent)["note"] == "", 30, "the WebSocket is not tried again")
    until(lambda: agent.ledger("bench")["pending"] == 0, 30, "the outbox does not drain")
    assert _link(agent)["state"] == "live"
    check_ledger(agent.ledger("bench"))
    assert len(producer.acknowledged) == EVENTS
    compare([producer.acknowledged], collector.export("bench"))


def _wait_for_delivery(agent: Agent) -> None:
    before = agent.ledger("bench")["delivered"]
    until(lambda: agent.ledger("bench")["delivered"] > before, 30, "nothing is delivered")


def _link(agent: Agent) -> Any:
    (link,) = agent.status()["links"]
    return {"note": "", "state": ""} | link
