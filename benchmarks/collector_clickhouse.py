"""The distributed engine: the same answers at a million events, how fast, and what it takes in.

A real ClickHouse server of its own (Debian's 18.16), below a temporary folder. Without its program
on this machine nothing is measured, and a row says so.
"""

from __future__ import annotations

import itertools
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.accept import Shape, load
from benchmarks.collector_ingest import APP as LOAD_APP
from benchmarks.collector_ingest import Crowd, far_end, metric, raise_file_limit, raw_rows
from benchmarks.collector_queries import APP, TIMED, filled, timed
from benchmarks.dataset import DAY
from benchmarks.parity import Questions, asked, differences, fill
from benchmarks.report import Row
from collector.store.clickhouse import EVENT_COLUMNS, ClickHouseStore
from collector.store.clickhouse_address import PASSWORD, address
from collector.store.duck import DuckStore

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engines"))

from servers import PROGRAM, ClickHouse


def measure(
    folder: Path, *, events: int, times: int, runs: int, seconds: float, crowds: tuple[Crowd, ...]
) -> list[Row]:
    """Compare every answer with the embedded engine's, time the questions, then take events in."""
    if not Path(PROGRAM).exists():
        return [Row(target_id="", what="ClickHouse is not here", unit="", ours=[0.0])]
    home = folder / "clickhouse"
    home.mkdir()
    server = ClickHouse(home)
    try:
        rows = _questions(folder, server, events=events, times=times)
        return rows + _ingest(folder, server, runs=runs, seconds=seconds, crowds=crowds)
    finally:
        server.stop()


def _questions(folder: Path, server: ClickHouse, *, events: int, times: int) -> list[Row]:
    path, history, _ = filled(folder, events)
    embedded = DuckStore(path, history.end)
    there = ClickHouseStore(address(server.engine("bench"), {PASSWORD: server.password}))
    rows = []
    try:
        began = time.monotonic()
        fill(there, history)
        rate = (events + history.repeats) / (time.monotonic() - began)
        found = differences(embedded, there, asked(history))
        rows.append(
            Row(
                target_id="P12",
                what=f"ClickHouse, {events:,} events: answers unlike the embedded engine's",
                unit="",
                ours=[len(found.differing)],
                most=0,
                note=f"of {found.compared}; filled with {rate:,.0f}/s. "
                + "; ".join(one[:120] for one in found.differing[:2]),
            )
        )
        for one in TIMED:
            start = history.end - one.days * DAY
            here = timed(lambda q=one, s=start: q.ask(Questions(embedded, 60.0), s, history.end), 2)
            took = timed(
                partial(lambda q, s: q.ask(Questions(there, 60.0), s, history.end), one, start),
                times,
            )
            rows.append(
                Row(
                    target_id="",
                    what=f"  ClickHouse, {one.name}",
                    unit="ms",
                    ours=took.warm,
                    note=f"cold {took.cold:.0f}; embedded {min(here.warm):.0f}; app {APP}",
                )
            )
    finally:
        there.close()
        embedded.close()
    return rows


def _raw_insert(server: ClickHouse, name: str, commit: int, seconds: float) -> float:
    """Return the events a second of the server alone, in inserts of a size, from this client."""
    store = ClickHouseStore(address(server.engine(name), {PASSWORD: server.password}))
    try:
        values = [(*row, 0, 0) for row in raw_rows(max(commit, 10_000))]
        names = (*EVENT_COLUMNS, "day", "precedence")
        parts = [
            [list(column) for column in zip(*values[at : at + commit], strict=True)]
            for at in range(0, len(values), commit)
        ]
        done, began = 0, time.monotonic()
        for part in itertools.cycle(parts):
            store.door.insert("events", names, part, wait_s=30.0)
            done += len(part[0])
            if time.monotonic() - began > seconds:
                break
        return done / (time.monotonic() - began)
    finally:
        store.close()


def _ingest(
    folder: Path, server: ClickHouse, *, runs: int, seconds: float, crowds: tuple[Crowd, ...]
) -> list[Row]:
    raise_file_limit()
    rows = []
    for crowd in crowds:
        ours, reference, sizes, p99 = [], [], [], []
        for run in range(runs):
            name = f"ingest_{crowd.agents}_{run}"
            env = {"HOMING_COLLECTOR_ENGINE": server.engine(name), PASSWORD: server.password}
            with far_end(folder / name, env) as (collector, port):
                shape = Shape("", crowd.agents, crowd.batch, "ws", crowd.window, ids=True)
                said = load(["--tcp", str(collector.port), "--devices"], shape, seconds)
                commits = metric(port, "homing_commit_seconds_count")
            sizes.append(said["acknowledged"] / max(1, commits))
            ours.append(said["events_per_s"])
            p99.append(said["p99_us"] / 1000)
            commit = max(1, round(sizes[-1]))
            reference.append(_raw_insert(server, f"raw_{crowd.agents}_{run}", commit, seconds / 2))
        rows.append(
            Row(
                target_id="P12",
                what=f"ClickHouse, ingest: {crowd.agents:,} agents × frames of {crowd.batch}",
                unit="/s",
                ours=ours,
                reference=reference,
                least=0.5,
                note=f"app {LOAD_APP}; frame p99 {max(p99):.0f} ms; {sizes[-1]:,.0f} an insert",
            )
        )
    return rows
