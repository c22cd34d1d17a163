"""`make bench`: the agent and its far end beside the limits of this machine, in one run.

    python -m benchmarks.run [--quick] [--runs N] [--seconds S] [--idle S]
                             [--only PART…] [--json FILE]

Parts: accept, slow-disk, start, idle, tray, through, offline; of the far end: ingest, connections,
queries, clickhouse. What the figures mean, how they are
taken and what they were elsewhere: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    accept,
    collector_clickhouse,
    collector_ingest,
    collector_queries,
    life,
    through,
)
from benchmarks.report import Row, machine, table, write_json

PARTS = (
    *("accept", "slow-disk", "start", "idle", "tray", "through", "offline"),
    *("ingest", "connections", "queries", "clickhouse"),
)


def main() -> int:
    """Measure, print, and return 0: a missed target is a fact, not a failure of the program."""
    args = _arguments()
    seconds = args.seconds or (1.0 if args.quick else 3.0)
    runs = args.runs or (2 if args.quick else 5)
    idle_s = args.idle or (10.0 if args.quick else 60.0)
    about = machine()
    print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in about.items()))
    print(f"{runs} runs of {seconds:g} s, medians; an acknowledgement means: on disk (fsync)\n")

    shapes = accept.SHAPES if args.quick else accept.SHAPES + accept.FURTHER
    crowds = collector_ingest.CROWDS[:2] if args.quick else collector_ingest.CROWDS
    slow = (accept.Shape("P5", 8, 100, least=0.8),)
    with tempfile.TemporaryDirectory(prefix="hb-") as name:
        folder = Path(name)
        jobs: dict[str, Callable[[], list[Row]]] = {
            "accept": lambda: accept.measure(folder, shapes, runs=runs, seconds=seconds),
            "slow-disk": lambda: accept.measure(
                folder, slow, runs=runs, seconds=seconds, slow_disk_us=5000
            ),
            "start": lambda: life.starts(folder, runs=runs + 2),
            "idle": lambda: life.idle(folder, seconds=idle_s),
            "tray": lambda: life.tray(folder, seconds=idle_s),
            "through": lambda: through.through(folder, seconds=seconds * 2, latencies=300),
            "offline": lambda: through.offline(folder, events=100_000 if args.quick else 1_000_000),
            "ingest": lambda: collector_ingest.ingest(
                folder, runs=min(runs, 3), seconds=seconds, crowds=crowds
            ),
            "connections": lambda: collector_ingest.connections(
                folder, count=1_000 if args.quick else 10_000, seconds=10 if args.quick else 60
            ),
            "queries": lambda: [
                row
                for events in ((200_000,) if args.quick else (1_000_000, 10_000_000))
                for row in collector_queries.measure(folder, events=events, times=runs)
            ],
            "clickhouse": lambda: collector_clickhouse.measure(
                folder,
                events=50_000 if args.quick else 1_000_000,
                times=runs,
                runs=min(runs, 3),
                seconds=seconds,
                crowds=crowds[:2],
            ),
        }
        rows: list[Row] = []
        for part in args.only or PARTS:
            began = time.monotonic()
            print(f"measuring {part} … ", end="", file=sys.stderr, flush=True)
            rows += jobs[part]()
            print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    print(table(rows))
    missed = sum(row.verdict == "missed" for row in rows)
    print(f"\n{sum(row.verdict == 'met' for row in rows)} targets met, {missed} missed")
    if args.json:
        write_json(args.json, rows)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure beside the limits.")
    parser.add_argument("--quick", action="store_true", help="two short runs of everything")
    parser.add_argument("--runs", type=int, help="runs of each comparison (5)")
    parser.add_argument("--seconds", type=float, help="seconds of each load (3)")
    parser.add_argument("--idle", type=float, help="seconds to watch an idle process (60)")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, help="also write every value to this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
