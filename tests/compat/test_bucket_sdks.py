"""@bucketco/node-sdk and tracking-sdk from npm, unchanged, at the collector and at the gateway."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks.processes import Agent, Collector, ask_local, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

HERE = Path(__file__).parent
EVENTS = 250  #: The node client sends batches of 100.


def _drive(name: str, clients: Path, folder: Path, *words: str) -> Any:
    env = {key: value for key, value in os.environ.items() if not key.startswith("BUCKET_")}
    done = subprocess.run(
        ["node", str(HERE / name), *words],
        env=env | {"NODE_PATH": str(clients), "HOME": str(folder), "NODE_ENV": "production"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


class DataApi:
    """Asks the running server, as whoever reads the numbers does."""

    def __init__(self, collector: Collector) -> None:
        scopes = ("--scope", "stats:read", "--scope", "users:read")
        made = json.loads(collector.command("token", "add", "bench", *scopes))
        self.token = made["token"]
        self.base = f"http://127.0.0.1:{collector.port}/api/v1/apps/bench"

    def __call__(self, path: str) -> Any:
        query = ""
        if path.startswith("/analytics"):
            now = int(time.time() * 1000)
            query = f"?start={now - 3_600_000}&end={now + 3_600_000}"
        request = urllib.request.Request(
            self.base + urllib.parse.quote(path) + query, headers={"Authorization": self.token}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())["data"]


@pytest.fixture
def ask(collector: Collector) -> DataApi:
    return DataApi(collector)


class Target(NamedTuple):
    """Where a client is pointed, and by which key."""

    base: str
    secret: str
    key: str
    settle: Callable[[], None]  # returns when all that was accepted is at the collector


@pytest.fixture(params=["collector", "gateway"])
def target(
    request: pytest.FixtureRequest, folder: Path, collector: Collector, keys: dict[str, str]
) -> Iterator[Target]:
    """The collector itself, or an agent before it whose gateway names the app by its token."""
    if request.param == "collector":
        base = f"http://127.0.0.1:{collector.port}"
        yield Target(base, keys["secretKey"], keys["trackingKey"], lambda: None)
        return
    key = folder / "bench.key"
    key.write_text(keys["secretKey"])
    key.chmod(0o600)
    agent = Agent(
        folder / "agent",
        '[[apps]]\nid = "bench"\nname = "bench"\nspeaks = ["bucket"]\n'
        f'[[apps.upstreams]]\nkind = "homing"\nendpoint = "{collector.endpoint}"\n'
        f'key_file = "{key}"\n',
    )
    agent.start()
    given = ask_local(agent.socket, "/v1/gateway/give", {"app_id": "bench"})

    def settle() -> None:
        until(lambda: agent.ledger("bench")["pending"] == 0, 30, "the outbox does not drain")

    base = f"http://127.0.0.1:{given['port']}/t/{given['token']}"
    yield Target(base, "no-secret-is-needed-here", "bench", settle)
    agent.stop()


@pytest.fixture
def keys(collector: Collector) -> dict[str, str]:
    """The keys of the app ``bench``, as its operator is shown them."""
    said: dict[str, str] = json.loads(collector.command("app", "list"))
    return said | json.loads(collector.command("app", "secret", "bench"))


def test_everything_that_the_node_sdk_tracks_arrives_once(
    clients: Path, folder: Path, collector: Collector, target: Target, ask: DataApi
) -> None:
    words = (target.secret, target.base, str(EVENTS))
    said = _drive("drive_bucket_node.js", clients, folder, *words)
    target.settle()
    assert said["warnings"] == []
    assert said["initialized"] < 3000  # a 404 to /features would be tried four times: 6 s
    events = collector.export("bench")
    messages = [event for event in events if event["name"] == "Sent message ♥"]
    assert [event["payload"]["n"] for event in messages] == list(range(EVENTS))
    companies = {(event["userId"], event["companyId"]) for event in messages}
    assert companies == {("john_doe", "acme_inc"), ("1234567890", "101112231415")}
    (huddle,) = [event for event in events if event["name"] == "huddle"]
    assert (huddle["companyId"], huddle["active"], huddle["source"]) == ("other", False, "bucket")
    assert len(events) == EVENTS + 1
    counted = {name: sum(days.values()) for name, days in ask("/analytics/events").items()}
    assert counted == {"Sent message ♥": EVENTS, "huddle": 1}
    values = ask("/analytics/events/Sent message ♥/n")
    assert sorted((one["value"], one["count"]) for one in values) == [(n, 1) for n in range(EVENTS)]
    props = {user["userId"]: user["props"] for user in ask("/users")}
    assert props == {"john_doe": {"name": "John O.", "age": 3}, "1234567890": {}}
    firms = {one["companyId"]: one for one in ask("/companies")}
    assert firms["acme_inc"]["attributes"] == {"name": "Acme Inc"}
    assert {id_: (one["users"], one["events"]) for id_, one in firms.items()} == {
        "acme_inc": (1, EVENTS // 2),
        "101112231415": (1, EVENTS // 2),
        "other": (1, 1),
    }


def test_everything_that_the_tracking_sdk_tracks_arrives_once(
    clients: Path, folder: Path, collector: Collector, target: Target, ask: DataApi
) -> None:
    words = (target.key, target.base, "20")
    said = _drive("drive_bucket_tracking.js", clients, folder, *words)
    target.settle()
    assert set(said["statuses"]) == {200}
    events = collector.export("bench")
    assert [event["payload"]["n"] for event in events[:-1]] == list(range(20))
    assert {event["companyId"] for event in events[:-1]} == {"101112231415"}
    assert events[-1]["companyId"] == "other"
    counted = {name: sum(days.values()) for name, days in ask("/analytics/events").items()}
    assert counted == {"Sent message ♥": 20, "away": 1}
    (feedback,) = ask("/feedback")
    told = (feedback["feedbackId"], feedback["feature"], feedback["score"], feedback["comment"])
    assert told == (said["feedbackId"], "my_feature_id", 4, "nice")
    (company,) = [one for one in ask("/companies") if one["companyId"] == "101112231415"]
    assert company["attributes"] == {"name": "Acme Corp", "monthly_spend": 99}
    (user,) = ask("/users")
    attributes = {"name": "Rasmus Makwarth", "custom_property": True, "some_number": 12}
    assert (user["userId"], user["props"]) == ("1234567890", attributes)
