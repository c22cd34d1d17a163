"""Health, readiness and metrics: what an operator sees is what happened."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from collectors import Collector, until
from prometheus_client.parser import text_string_to_metric_families

from collector import health
from collector.health import Health
from collector.metrics import FAMILIES, Histogram, Metrics, Tally, way_in
from tracking.errors import StorageFault

Run = Callable[..., Collector]


def scraped(text: str) -> dict[tuple[str, ...], float]:
    """Return the samples as Prometheus' own parser reads them, by name and label values."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def events(*ids: int, **more: object) -> dict[str, Any]:
    return {"data": [{"name": "E", "id": n, "machineId": "m", **more} for n in ids]}


def test_metrics_say_what_was_sent(run: Run) -> None:
    port = free_port()
    far_end = run("--metrics-port", str(port), "--app-burst", "6", "--app-events-per-s", "0.01")
    token = far_end.app("A", "admin")
    far_end.app("B")
    before = scraped(far_end.admin("/metrics").decode())
    assert before["homing_events_total", "stored", "ws"] == 0

    ws = far_end.ws()
    ws.send(json.dumps(events(1, 2, 3)))
    assert json.loads(ws.recv())["reportedIds"] == [1, 2, 3]
    ws.send(json.dumps(events(2, 3)))  # repeats, whoever says them
    ws.recv()
    foreign = {"data": [{"name": "E", "id": 7, "machineId": "m", "appId": "B"}]}
    assert far_end.request("POST", "/app/A/track", foreign)[0] == 200
    bad = {"data": [{"name": "", "id": 8, "machineId": "m"}, {"name": "E", "id": 9, "userId": "u"}]}
    bad["data"][0]["payload"] = "x" * 40_000
    far_end.request("POST", "/app/B/track", bad)
    assert far_end.request("POST", "/app/A/track", events(4, 5))[0] == 429
    made = json.loads(far_end.command("app", "add", "C", "--id", "C").stdout)
    bearer = {"Authorization": f"Bearer {made['secretKey']}", "Content-Type": "application/json"}
    for name in ("one", "two"):
        call = {"userId": "u", "event": name}
        assert far_end.request("POST", "/event", call, bearer)[0] == 200
    for _ in range(3):
        assert far_end.ask("/analytics/quickglance", token)["users"] == 1
    far_end.request("GET", "/api/v1/nothing")

    text = far_end.admin("/metrics").decode()
    said = scraped(text)
    assert said["homing_events_total", "accepted", "ws"] == 5
    assert said["homing_events_total", "stored", "ws"] == 3
    assert said["homing_events_total", "repeats", "ws"] == 2
    assert said["homing_events_total", "foreign", "http"] == 1
    assert said["homing_events_total", "refused", "http"] == 1
    assert said["homing_events_total", "stored", "http"] == 1
    assert said["homing_events_total", "over_quota", "http"] == 2
    assert said["homing_events_total", "over_quota", "ws"] == 0
    assert said["homing_events_total", "stored", "bucket"] == 2
    glance = "/api/v1/apps/{app_id}/analytics/quickglance"
    assert said["homing_query_seconds_count", glance] == 3
    assert said["homing_query_seconds_bucket", "+Inf", glance] == 3
    assert 0 < said["homing_query_seconds_sum", glance] < 30
    assert said["homing_commit_seconds_count",] >= 3
    assert said["homing_websockets",] == 1
    assert said["homing_live_devices",] == 1
    assert said["homing_connections",] >= 1
    assert said["homing_queue_events",] == 0
    assert said["homing_ready",] == 1
    assert said["homing_store_bytes",] > 0
    process = psutil.Process(far_end.process.pid)
    assert said["homing_resident_bytes",] == pytest.approx(process.memory_info().rss, rel=0.2)
    assert said["homing_open_files",] == pytest.approx(process.num_fds(), abs=4)
    assert said["homing_start_time_seconds",] == pytest.approx(process.create_time(), abs=20)

    families = {f.name: f for f in text_string_to_metric_families(text)}
    assert {f.name.removesuffix("_total") for f in FAMILIES} == set(families)
    for family in FAMILIES:
        assert families[family.name.removesuffix("_total")].type == family.kind
    # The same on its own port, and nowhere else.
    elsewhere = Collector.request(_At(port), "GET", "/metrics")  # type: ignore[arg-type]
    assert elsewhere[0] == 200
    assert elsewhere[2]["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert scraped(elsewhere[1].decode())["homing_events_total", "stored", "ws"] == 3
    assert far_end.request("GET", "/metrics")[0] in (404, 426)
    assert b"homing_" not in json.dumps(far_end.request("GET", "/metrics")[1]).encode()
    assert Collector.request(_At(port), "GET", "/status")[0] == 404  # type: ignore[arg-type]


class _At:
    def __init__(self, port: int) -> None:
        self.port = port


def test_nothing_that_was_sent_is_a_label(run: Run) -> None:
    far_end = run()
    far_end.app("canary-app")
    for n in range(20):
        body = {"data": [{"name": f"canary{n}", "type": f"canary-{n}", "userId": f"canary{n}"}]}
        far_end.request("POST", "/app/canary-app/track", body)
        far_end.request("GET", f"/api/v1/apps/canary{n}/live/users")
        far_end.request("GET", f"/api/v1/canary{n}")
        far_end.request("POST", f"/app/canary{n}/track", body)
    text = far_end.admin("/metrics").decode()
    assert "canary" not in text
    assert len(text.splitlines()) < 150


def test_alive_and_ready_are_asked_without_a_token_and_tell_no_secret(run: Run) -> None:
    far_end = run()
    far_end.app("secret-app")
    status, said, _ = far_end.request("GET", "/healthz")
    assert (status, said) == (200, {"alive": True})
    status, said, headers = far_end.request("GET", "/readyz")
    assert (status, said) == (200, {"ready": True, "reasons": []})
    assert headers["Cache-Control"] == "no-store"


class Parts:
    """A server's parts, as a test says they are."""

    def __init__(self) -> None:
        self.behind = self.failing = self.draining = False
        self.fault: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.probes = 0
        self.health = Health(
            self.probe, lambda: self.behind, lambda: self.failing, lambda: self.draining
        )

    def probe(self) -> None:
        self.probes += 1
        assert self.gate.wait(30)
        if self.fault:
            raise self.fault


def test_each_reason_for_not_being_ready_is_named(
    expected_warnings: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected_warnings("collector.health")
    monkeypatch.setattr(health, "FRESH_S", 0.0)
    monkeypatch.setattr(health, "PROBE_S", 0.1)
    parts = Parts()

    async def scene() -> None:
        ask = parts.health.reasons
        assert await ask() == []
        parts.behind = parts.failing = parts.draining = True
        assert await ask() == ["draining", "behind", "not storing"]
        parts.behind = parts.failing = parts.draining = False
        parts.fault = StorageFault("the file is gone")
        assert await ask() == ["store broken"]
        parts.fault = None
        parts.gate.clear()
        probes = parts.probes
        for _ in range(3):
            assert await ask() == ["store silent"]
        assert parts.probes == probes + 1  # who hangs is not asked again by another thread
        parts.gate.set()
        await asyncio.sleep(0.1)
        assert await ask() == []

    asyncio.run(scene())


def test_however_many_ask_the_store_is_probed_once_a_second() -> None:
    parts = Parts()

    async def scene() -> None:
        await asyncio.gather(*(parts.health.reasons() for _ in range(200)))

    asyncio.run(scene())
    assert parts.probes == 1


def test_a_full_disk_is_seen_as_not_ready_and_forgiven(run: Run) -> None:
    far_end = run()
    far_end.app("A")
    pid = far_end.process.pid
    soft, hard = psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE)
    psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (1, hard))
    assert far_end.request("POST", "/app/A/track", events(1))[0] == 503
    status, said, _ = far_end.request("GET", "/readyz")
    assert (status, said["ready"]) == (503, False)
    assert "not storing" in said["reasons"]
    assert scraped(far_end.admin("/metrics").decode())["homing_ready",] == 0
    psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (soft, hard))
    until(lambda: far_end.request("POST", "/app/A/track", events(1))[0] == 200)
    assert far_end.request("GET", "/readyz")[0] == 200


def test_a_histogram_counts_each_observation_in_every_bucket_above_it() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(seconds)
    assert list(histogram.lines("x", 'path="/a"')) == [
        'x_bucket{path="/a",le="0.1"} 2',
        'x_bucket{path="/a",le="1.0"} 3',
        'x_bucket{path="/a",le="+Inf"} 4',
        'x_sum{path="/a"} 7.65',
        'x_count{path="/a"} 4',
    ]


def test_a_tally_keeps_the_ways_in_apart() -> None:
    tally = Tally()

    async def served(way: str, count: int) -> None:
        way_in.set(way)
        await asyncio.sleep(0)
        tally["stored"] += count

    async def scene() -> None:
        await asyncio.gather(served("ws", 2), served("http", 3), served("ws", 4))

    asyncio.run(scene())
    assert tally == {"stored": 9}
    assert tally.by_way == {("stored", "ws"): 6, ("stored", "http"): 3}
    assert 'homing_events_total{outcome="stored",transport="ws"} 6' in Metrics(tally).text()
