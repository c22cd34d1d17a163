"""The official npm client nucleus-nodejs 3.0.9, unchanged, against both of our ends."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import Agent, Collector, declared, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

EVENTS = 200
DRIVER = Path(__file__).with_name("drive_nucleus.js")


def _drive(clients: Path, folder: Path, endpoint: str) -> list[dict[str, Any]]:
    """Run an app with the client in it until all is acknowledged; return what it sent."""
    home = folder / "home"  # the client keeps its queue below, one file for all apps of a user
    env = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}
    done = subprocess.run(
        ["node", str(DRIVER), "bench", endpoint, str(EVENTS)],
        env=env | {"NODE_PATH": str(clients)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["unacknowledged"] == 0
    sent: list[dict[str, Any]] = said["stored"]
    kinds = Counter(event["type"] for event in sent)
    assert kinds == {"init": 1, "event": EVENTS, "error": 1}
    return sent


def _assert_all_once(sent: list[dict[str, Any]], arrived: list[dict[str, Any]]) -> None:
    """Each event once, in order, with its name, its payload, its user and its date."""

    def essence(event: dict[str, Any]) -> tuple[object, ...]:
        payload = {key: v for key, v in (event.get("payload") or {}).items() if v is not None}
        name = event.get("name") or None
        return event["type"], name, event["date"], event["userId"], json.dumps(payload)

    assert [essence(event) for event in arrived] == [essence(event) for event in sent]


def _assert_counted(sent: list[dict[str, Any]], collector: Collector) -> None:
    """The Data API counts each of them, and knows whose they are."""
    day = f"/analytics/{{}}?start={now_ms() - 86_400_000}&end={now_ms() + 1}"
    names = Counter(event["name"] for event in sent if event["type"] == "event")
    counted = collector.data("bench", day.format("events"))["data"]
    assert {name: sum(days.values()) for name, days in counted.items()} == names
    errors = collector.data("bench", day.format("errors"))["data"]
    assert {name: sum(days.values()) for name, days in errors.items()} == {"myCustomError": 1}
    glance = collector.data("bench", "/analytics/quickglance")["data"]
    assert (glance["appStarts"], glance["users"], glance["errors"]) == (1, 1, 1)
    people = collector.data("bench", "/users")
    assert [person["userId"] for person in people["data"]] == [sent[0]["userId"]]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_pointed_at_the_collector_everything_arrives_once(
    clients: Path, folder: Path, collector: Collector
) -> None:
    sent = _drive(clients, folder, collector.endpoint)
    arrived = collector.export("bench")
    _assert_all_once(sent, arrived)
    assert {event["deviceId"] for event in arrived} == {sent[0]["machineId"]}
    _assert_counted(sent, collector)


@pytest.mark.parametrize("form", ["ws+unix://{}:", "ws+unix:{}:"])
def test_pointed_at_the_agents_socket_everything_arrives_once(
    form: str, clients: Path, folder: Path, collector: Collector
) -> None:
    agent = Agent(folder / "agent", declared("bench", collector.endpoint))
    try:
        agent.start()
        sent = _drive(clients, folder, form.format(agent.socket))
        until(lambda: agent.ledger("bench")["pending"] == 0, 30, "the outbox does not drain")
        app = agent.ledger("bench")
    finally:
        agent.stop()
    assert (app["accepted"], app["delivered"]) == (EVENTS + 2, EVENTS + 2), "the init is its own"
    arrived = collector.export("bench")
    _assert_all_once(sent, arrived)
    assert len({event["id"] for event in arrived}) == EVENTS + 2
