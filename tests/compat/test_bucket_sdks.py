"""The official npm clients @bucketco/node-sdk and tracking-sdk, unchanged, at the collector."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import Collector
from collector.store.duck import DuckStore

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


@contextlib.contextmanager
def _tables(collector: Collector) -> Iterator[Any]:
    """Stop the server and count in its tables."""
    collector.stop()
    store = DuckStore(collector.folder / "events.duckdb", time.time_ns() // 1_000_000)
    with contextlib.closing(store):

        def ask(columns: str, table: str) -> Counter[Any]:
            question = f"SELECT {columns} FROM {table} WHERE app_id = $app"
            return Counter(store.ask(question, {"app": "bench"}))

        yield ask


@pytest.fixture
def keys(collector: Collector) -> dict[str, str]:
    """The keys of the app ``bench``, as its operator is shown them."""
    said: dict[str, str] = json.loads(collector.command("app", "list"))
    return said | json.loads(collector.command("app", "secret", "bench"))


def test_everything_that_the_node_sdk_tracks_arrives_once(
    clients: Path, folder: Path, collector: Collector, keys: dict[str, str]
) -> None:
    base = f"http://127.0.0.1:{collector.port}"
    said = _drive("drive_bucket_node.js", clients, folder, keys["secretKey"], base, str(EVENTS))
    assert said["warnings"] == []
    assert said["initialized"] < 1000  # 404 to /features would be tried four times: 6 s
    events = collector.export("bench")
    messages = [event for event in events if event["name"] == "Sent message ♥"]
    assert [event["payload"]["n"] for event in messages] == list(range(EVENTS))
    companies = {(event["userId"], event["companyId"]) for event in messages}
    assert companies == {("john_doe", "acme_inc"), ("1234567890", "101112231415")}
    (huddle,) = [event for event in events if event["name"] == "huddle"]
    assert (huddle["companyId"], huddle["active"], huddle["source"]) == ("other", False, "bucket")
    assert len(events) == EVENTS + 1
    days = f"start={time.time_ns() // 1_000_000 - 86_400_000}&end={time.time_ns() // 1_000_000 + 1}"
    counted = collector.data("bench", f"/analytics/events?{days}")["data"]
    totals = {name: sum(by_day.values()) for name, by_day in counted.items()}
    assert totals == {"Sent message ♥": EVENTS, "huddle": 1}
    people = {person["userId"] for person in collector.data("bench", "/users")["data"]}
    assert people == {"john_doe", "1234567890"}
    with _tables(collector) as ask:
        assert set(ask("kind, id", "seen")) == {
            ("user", "john_doe"),
            ("user", "1234567890"),
            ("company", "acme_inc"),
            ("company", "101112231415"),
        }
        assert ask("id, key, value", "attribute") == {
            ("john_doe", "name", '"John O."'): 1,
            ("john_doe", "age", "3"): 1,
            ("acme_inc", "name", '"Acme Inc"'): 1,
        }
        assert set(ask("type, user_id", "raw_item")) == {("feature-flag-event", "john_doe")}


def test_everything_that_the_tracking_sdk_tracks_arrives_once(
    clients: Path, folder: Path, collector: Collector, keys: dict[str, str]
) -> None:
    host = f"http://127.0.0.1:{collector.port}"
    key = keys["trackingKey"]
    said = _drive("drive_bucket_tracking.js", clients, folder, key, host, "20")
    assert set(said["statuses"]) == {200}
    events = collector.export("bench")
    assert [event["payload"]["n"] for event in events[:-1]] == list(range(20))
    assert {event["companyId"] for event in events[:-1]} == {"101112231415"}
    assert events[-1]["companyId"] == "other"
    with _tables(collector) as ask:
        answers = ask("feedback_id, score, comment", "feedback")
        assert answers == {(said["feedbackId"], 4.0, ""): 1, (said["feedbackId"], 4.0, "nice"): 1}
        assert ask("key, value", "attribute")["monthly_spend", "99"] == 1
