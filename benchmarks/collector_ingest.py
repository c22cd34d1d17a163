"""What the far end takes in: durable, acknowledged, over real WebSockets from a process beside it.

The other side of each ratio is the engine alone in the same minute: its own fastest way in (the
appender), rows that are ready made, commits of the size that the collector's had on average.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.accept import APP, Shape, load
from benchmarks.build import program
from benchmarks.processes import Collector, free_port
from benchmarks.report import Row
from collector.intake.attributes import attributes_of
from collector.store.duck_schema import SCHEMA
from collector.store.interface import Stored

#: Quotas and bounds so wide that they are not what is measured.
WIDE = {
    "HOMING_COLLECTOR_PEER_EVENTS_PER_S": "1000000000",
    "HOMING_COLLECTOR_PEER_BURST": "1000000000",
    "HOMING_COLLECTOR_APP_EVENTS_PER_S": "1000000000",
    "HOMING_COLLECTOR_APP_BURST": "1000000000",
    "HOMING_COLLECTOR_WAITING_EVENTS": "200000",
}


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many agents, each with so many frames of so many events in flight."""

    agents: int
    batch: int
    window: int = 1


CROWDS = (Crowd(1, 500, 4), Crowd(100, 100), Crowd(1_000, 20), Crowd(5_000, 4))


@contextmanager
def far_end(folder: Path, env: Mapping[str, str] | None = None) -> Iterator[tuple[Collector, int]]:
    """Serve a fresh folder; yield the collector and the port of its metrics."""
    port = free_port()
    said = {**WIDE, "HOMING_COLLECTOR_METRICS_PORT": str(port), **(env or {})}
    collector = Collector(folder, said)
    collector.add_app(APP)
    collector.start()
    try:
        yield collector, port
    finally:
        collector.stop(60)


def metric(port: int, name: str) -> float:
    """Return one sample of the collector's metrics, the sum over its labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith((f"{name} ", f"{name}{{"))
    )


def raise_file_limit() -> int:
    """Let our children have as many connections as the system allows; return how many files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def raw_rows(count: int) -> list[Stored]:
    """Return rows as the load's events become, ready made."""
    now = time.time_ns() // 1_000_000
    rows = []
    for n in range(count):
        payload = json.dumps(
            {"number": f"{n:012}", "seconds": 12.5, "ok": True, "text": "x" * 100},
            separators=(",", ":"),
        )
        rows.append(
            Stored(
                *(APP, n * 7_919, n * 104_729, now, now, 0, "event", "event", "build.finished"),
                *(f'"load-{n:012}"', "", "", f"load-device-{n % 997}", "", "", "", 0),
                *("", "", "", "", "", "", 0, payload, "", "", "", "", ""),
                *attributes_of(payload),
            )
        )
    return rows


def raw_insert(folder: Path, commit: int, seconds: float) -> float:
    """Return the events a second of the engine alone, in commits of a size."""
    folder.mkdir(parents=True)
    rows = raw_rows(max(10_000, commit))
    db = duckdb.connect(str(folder / "raw.duckdb"), config={"threads": 2, "memory_limit": "256MB"})
    try:
        for statement in SCHEMA:
            db.execute(statement)
        appender = db.appender("events")
        at = done = 0
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            db.execute("BEGIN")
            appender.append_rows(rows[at : at + commit])
            appender.flush()
            db.execute("COMMIT")
            done += len(rows[at : at + commit])
            at = 0 if at + commit >= len(rows) else at + commit
        return done / (time.monotonic() - began)
    finally:
        db.close()


def ingest(
    folder: Path,
    *,
    runs: int,
    seconds: float,
    crowds: tuple[Crowd, ...] = CROWDS,
    env: Mapping[str, str] | None = None,
    engine: str = "",
) -> list[Row]:
    """Measure events a second, and beside it what the engine takes alone."""
    raise_file_limit()
    rows = []
    for crowd in crowds:
        ours, reference, cpu, waits, sizes = [], [], [], [], []
        for run in range(runs):
            place = folder / f"ingest-{engine}{crowd.agents}-{run}"
            with far_end(place, env) as (collector, port):
                shape = Shape("", crowd.agents, crowd.batch, "ws", crowd.window, ids=True)
                before = collector.cpu_us()
                target = ["--tcp", str(collector.port), "--devices"]
                said = load(target, shape, seconds * (2 if crowd.agents >= 1_000 else 1))
                cpu.append((collector.cpu_us() - before) / said["acknowledged"])
                commits = metric(port, "homing_commit_seconds_count")
                sizes.append(said["acknowledged"] / max(1, commits))
            ours.append(said["events_per_s"])
            waits.append((said["p50_us"] / 1000, said["p99_us"] / 1000))
            commit = max(1, round(sizes[-1]))
            reference.append(raw_insert(place.with_name(f"{place.name}-raw"), commit, seconds / 2))
        p50, p99 = (statistics.median(side) for side in zip(*waits, strict=True))
        rows.append(
            Row(
                target_id="P12",
                what=f"ingest{engine and f', {engine}'}: {crowd.agents:,} agents × frames of "
                f"{crowd.batch}",
                unit="/s",
                ours=ours,
                reference=reference,
                least=0.5,
                note=f"{statistics.median(cpu):.1f} µs of CPU each; frame p50 {p50:.0f} ms, p99 "
                f"{p99:.0f}; {statistics.median(sizes):,.0f} a commit on both sides",
            )
        )
    return rows


def connections(
    folder: Path, *, count: int, seconds: float, env: Mapping[str, str] | None = None
) -> list[Row]:
    """Hold connections that send a heartbeat a minute: memory, and a core's share."""
    count = min(count, raise_file_limit() - 500)
    with far_end(folder / "connections", env) as (collector, port):
        load(["--tcp", str(collector.port)], Shape("", 1, 1, "ws"), 1)  # everything is loaded now
        empty = collector.pss_mib()
        words = [str(program("load")), "--tcp", str(collector.port), "--app", APP, "--mode", "ws"]
        words += ["--producers", str(count), "--devices", "--every", "60", "--heartbeats"]
        words += ["--announce", "--warm-up", "0", "--seconds", str(60 + seconds)]
        began = time.monotonic()
        child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout is not None
            assert json.loads(child.stdout.readline())["connected"] == count
            opened = time.monotonic() - began
            time.sleep(60)  # each of them has spoken once
            full, cpu, began = collector.pss_mib(), collector.cpu_us(), time.monotonic()
            time.sleep(seconds - 2)
            busy = (collector.cpu_us() - cpu) / 1e4 / (time.monotonic() - began)
            held, live = metric(port, "homing_websockets"), metric(port, "homing_live_devices")
            said: dict[str, Any] = json.loads(child.stdout.readline())
        finally:
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
    if held < count or live < count or said["errors"]:
        raise ChildProcessError(f"{held:g} held, {live:g} live of {count}: {said}")
    return [
        Row(
            target_id="P12",
            what=f"{count:,} connections: memory each",
            unit="kB",
            ours=[(full - empty) * 1024 * 1.024 / count],
            most=25,
            note=f"process {full:.0f} MiB; opened at {count / opened:,.0f}/s",
        ),
        Row(
            target_id="P12",
            what="  … a heartbeat a minute each: of one core",
            unit="%",
            ours=[busy],
            most=10,
            note=f"{count / 60:.0f} heartbeats/s, {busy / 100 / (count / 60) * 1e6:.0f} µs each, "
            f"p99 {said['p99_us'] / 1000:.1f} ms",
        ),
    ]
