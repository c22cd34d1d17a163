"""From a local app to the far end's disk and back: throughput, latency, and a long time offline."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from benchmarks.accept import APP, Shape, load
from benchmarks.processes import WIDE, Agent, Collector, ask_local, declared, until
from benchmarks.report import Row


def through(folder: Path, *, seconds: float, latencies: int) -> list[Row]:
    """Measure sustained delivery (P6) and the latency of single events (P7)."""
    collector = Collector(folder / "through-far")
    agent = Agent(folder / "through", WIDE + declared(APP, collector.endpoint))
    try:
        collector.add_app(APP)
        collector.start()
        agent.start()
        until(lambda: agent.status()["links"][0]["state"] == "live", 20, "it is not connected")
        took = []
        for number in range(latencies + 20):
            began = time.monotonic()
            sent = ask_local(
                agent.socket,
                "/v1/send",
                {"name": "ping", "app_id": APP, "payload": {"n": number}, "wait": "delivered"},
            )
            took.append((time.monotonic() - began) * 1000)
            assert sent["delivered"]
        took = sorted(took[20:])
        cpu_agent, cpu_far, began = agent.cpu_us(), collector.cpu_us(), time.monotonic()
        before = agent.ledger(APP)["delivered"]
        load(["--socket", str(agent.socket)], Shape("", 8, 100, window=4), seconds)
        accepted = agent.ledger(APP)["accepted"]
        until(
            lambda: agent.ledger(APP)["delivered"] >= accepted,
            600,
            "the outbox does not drain",
            pause_s=0.05,
        )
        lasted = time.monotonic() - began
        events = accepted - before
        cpu_agent = (agent.cpu_us() - cpu_agent) / events
        cpu_far = (collector.cpu_us() - cpu_far) / events
    finally:
        agent.stop()
        collector.stop()
    return [
        Row(
            target_id="P6",
            what="app → agent → far end's disk → acknowledged, sustained",
            unit="/s",
            ours=[events / lasted],
            least=50_000,
            note=f"{events:,} events; µs of CPU each: agent {cpu_agent:.1f}, far end {cpu_far:.1f}",
        ),
        Row(
            target_id="P7",
            what="latency, app → far end's acknowledgement, p50",
            unit="ms",
            ours=[took[len(took) // 2]],
            most=5,
        ),
        Row(
            target_id="P7",
            what="latency, app → far end's acknowledgement, p99",
            unit="ms",
            ours=[took[int(len(took) * 0.99)]],
            most=25,
        ),
    ]


def offline(folder: Path, *, events: int) -> list[Row]:
    """Accept without a far end, start again with a full outbox, then drain while accepting."""
    collector = Collector(folder / "offline-far")
    collector.add_app(APP)
    agent = Agent(folder / "offline", WIDE + declared(APP, collector.endpoint))
    shape = Shape("", 8, 100)
    target = ["--socket", str(agent.socket)]
    try:
        agent.start()
        load(target, shape, 1)
        memory, empty = agent.pss_mib(), load(target, shape, 3)["events_per_s"]
        missing = events - agent.ledger(APP)["accepted"]
        if missing > 0:
            load(target, shape, 1, total=missing)
        full = load(target, shape, 3)["events_per_s"]
        grown = agent.pss_mib() - memory
        queued = agent.status()["depth"]["events"]
        disk = sum(file.stat().st_size for file in (agent.home / "data").glob("outbox.db*"))
        agent.stop()
        opened = agent.start()
        collector.start()
        ask_local(agent.socket, "/v1/retry", {})
        until(lambda: agent.status()["links"][0]["state"] == "live", 60, "it is not connected")
        began, before = time.monotonic(), agent.ledger(APP)["delivered"]
        cpu_agent, cpu_far = agent.cpu_us(), collector.cpu_us()
        ended = threading.Event()

        def go_on() -> None:
            while not ended.is_set():
                load(target, Shape("", 1, 10), 1)

        meanwhile = threading.Thread(target=go_on)
        meanwhile.start()
        try:
            until(
                lambda: agent.ledger(APP)["delivered"] - before >= queued,
                600,
                "the outbox does not drain",
                pause_s=0.05,
            )
        finally:
            lasted = time.monotonic() - began
            cpu_agent = (agent.cpu_us() - cpu_agent) / queued
            cpu_far = (collector.cpu_us() - cpu_far) / queued
            ended.set()
            meanwhile.join()
    finally:
        agent.stop()
        collector.stop()
    return [
        Row(
            target_id="P8",
            what=f"{queued:,} events offline: memory",
            unit="MiB",
            ours=[grown],
            most=10,
        ),
        Row(target_id="P8", what="  … disk each", unit="bytes", ours=[disk / queued], most=330),
        Row(
            target_id="P8",
            what="  … start with a full outbox",
            unit="ms",
            ours=[opened],
            most=500 + 250,
            note="opening it 500, the start itself 250",
        ),
        Row(
            target_id="P8",
            what="  … drain while accepting",
            unit="/s",
            ours=[queued / lasted],
            least=100_000,
            note=f"µs of CPU each: agent {cpu_agent:.1f}, far end {cpu_far:.1f}",
        ),
        Row(
            target_id="P9",
            what="accept rate, outbox full ÷ empty",
            unit="/s",
            ours=[full],
            reference=[empty],
            least=0.8,
        ),
    ]
