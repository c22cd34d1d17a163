"""What the far end takes in, how fast it answers, and what it weighs.

    python -m benchmarks.collector [--events 1000000] [--connections 1000]

Every event is acknowledged after a durable commit, over real WebSockets, by a server of its own
on fresh files; the senders are in this process and share the machine with it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket

from collector.accounts import Accounts
from collector.places import Folder
from collector.store.duck import DuckStore
from collector.store.interface import Stored

BATCH = 500
DAY_MS = 86_400_000
SERVE = (sys.executable, "-m", "homing", "collector", "serve", "--json", "--port", "0")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def frames(worker: int, count: int) -> Iterator[str]:
    """Return frames of ordinary events, none like another."""
    for n in range(count):
        at = now_ms()
        events = [
            {
                "type": "event",
                "name": f"E{i % 7}",
                "id": f"{worker}-{n}-{i}",
                "date": at - i,
                "sessionId": 12345678,
                "deviceId": f"dev{(n + i) % 997}",
                "anonId": "xfQDpOf5gU2R",
                "payload": {"track": "My Awesome Song", "duration": i},
            }
            for i in range(BATCH)
        ]
        yield json.dumps({"data": events}, separators=(",", ":"))


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[int, int]]:
    """Serve a folder; yield the port and the process id."""
    with contextlib.closing(Accounts(Folder(folder).prepare().accounts)) as accounts:
        accounts.add_app("Bench", now_ms(), app_id="bench", if_missing=True)
    process = subprocess.Popen(
        [*SERVE, "--data-dir", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    try:
        yield ready["port"], ready["pid"]
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def pss_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.split("\nPss:")[1].split()[0]) / 1024


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def ingest(workers: int, per_worker: int, window: int = 4) -> dict[str, float]:
    """Send frames over some sockets, a few in flight on each."""
    with tempfile.TemporaryDirectory(prefix="homing-bench-") as name, serving(Path(name)) as far:
        port, pid = far
        ready = [list(frames(n, per_worker)) for n in range(workers)]
        waits: list[float] = []

        def talk(mine: list[str]) -> None:
            with contextlib.closing(
                websocket.create_connection(f"ws://127.0.0.1:{port}/app/bench/track", timeout=60)
            ) as ws:
                sent: list[float] = []
                for n in range(len(mine) + window):
                    if n < len(mine):
                        sent.append(time.monotonic())
                        ws.send(mine[n])
                    if n >= window:
                        reply = json.loads(ws.recv())
                        assert len(reply["reportedIds"]) == BATCH, reply
                        waits.append(time.monotonic() - sent[n - window])

        threads = [threading.Thread(target=talk, args=(mine,)) for mine in ready]
        began, cpu = time.monotonic(), cpu_s(pid)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took, cpu = time.monotonic() - began, cpu_s(pid) - cpu
        events = workers * per_worker * BATCH
        return {
            "events_per_s": events / took,
            "events_per_cpu_s": events / cpu,
            "p50_ms": statistics.median(waits) * 1000,
            "p99_ms": statistics.quantiles(waits, n=100)[98] * 1000,
        }


def stored(count: int, now: int) -> Iterator[list[Stored]]:
    """Return the history of an app of 50,000 users over 90 days."""
    dice = random.Random(1)
    kinds = ["event"] * 7 + ["init"] * 2 + ["error"]
    for start in range(0, count, 10_000):
        rows = []
        for n in range(start, min(start + 10_000, count)):
            at = now - (count - n) * 90 * DAY_MS // count
            user = dice.randrange(50_000)
            kind = dice.choice(kinds)
            key = dice.getrandbits(63)
            what = (at, at, at, kind, kind, f"E{n % 40}", f'"{n}"')
            who = ("" if user % 2 else f"u{user}", f"a{user}", f"d{user}", f"{user % 9000}")
            where = ("linux", "6.1", 16, "1.2.3", "en", "x", "1.0", "x64", "")
            rows.append(Stored("bench", key, -key, *what, *who, *where, 0, '{"plan":"pro"}'))
        yield rows


def glance(count: int) -> dict[str, float]:
    """Fill a store directly, then ask it, cold and warm."""
    now = now_ms()
    with tempfile.TemporaryDirectory(prefix="homing-bench-") as name:
        path = Path(name) / "events.duckdb"
        store = DuckStore(path, now - 90 * DAY_MS)
        began = time.monotonic()
        for rows in stored(count, now):
            store.write(rows)
        filled = time.monotonic() - began
        store.close()
        began = time.monotonic()
        store = DuckStore(path, now)
        opened = time.monotonic() - began
        times = []
        for _ in range(30):
            began = time.monotonic()
            store.quickglance("bench", now)
            times.append((time.monotonic() - began) * 1000)
        export = time.monotonic()
        exported = sum(map(len, store.export("bench")))
        export = time.monotonic() - export
        store.close()
        return {
            "fill_events_per_s": count / filled,
            "open_s": opened,
            "glance_cold_ms": times[0],
            "glance_warm_ms": statistics.median(times[1:]),
            "export_events_per_s": exported / export,
            "file_mb": path.stat().st_size / 1e6,
        }


def connections(count: int) -> dict[str, float]:
    """Hold idle devices, each on a socket of its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count + 200), hard), hard))
    with (
        tempfile.TemporaryDirectory(prefix="homing-bench-") as name,
        serving(Path(name)) as (port, pid),
        contextlib.ExitStack() as stack,
    ):
        idle = pss_mb(pid)
        for n in range(count):
            ws = websocket.create_connection(
                f"ws://127.0.0.1:{port}/app/bench/track", timeout=60, enable_multithread=False
            )
            stack.callback(ws.shutdown)
            ws.send(f'{{"data":[{{"type":"heartbeat","deviceId":"device-{n}"}}]}}')
            ws.recv()
        busy, cpu = pss_mb(pid), cpu_s(pid)
        time.sleep(5)
        return {
            "pss_idle_mb": idle,
            "kb_per_connection": (busy - idle) * 1024 / count,
            "cpu_percent_silent": (cpu_s(pid) - cpu) / 5 * 100,
        }


def main() -> None:
    """Measure everything and print it, one figure a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=300, help="of 500 events, in all")
    args = parser.parse_args()
    parts: list[tuple[str, Any]] = [
        ("1 socket", lambda: ingest(1, args.frames)),
        ("4 sockets", lambda: ingest(4, args.frames // 4)),
        (f"{args.events:,} events", lambda: glance(args.events)),
        (f"{args.connections:,} connections", lambda: connections(args.connections)),
    ]
    for what, measure in parts:
        for name, value in measure().items():
            print(f"{what:24} {name:22} {value:12,.1f}", flush=True)


if __name__ == "__main__":
    main()
