"""How many events a second the agent accepts onto its disk, beside what the disk allows.

Both sides acknowledge with the same meaning: committed with ``synchronous=FULL``. Both get fresh
files for each run, the same load from the same program, and their turns alternate.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.build import program
from benchmarks.processes import WIDE, Agent, Process, declared, until
from benchmarks.report import Row

APP = "bench"


@dataclass(frozen=True, slots=True)
class Shape:
    """One load: how many producers, events a request, and which way in."""

    target_id: str
    producers: int
    batch: int
    mode: str = "line"
    window: int = 1
    ids: bool = False
    least: float | None = None

    @property
    def what(self) -> str:
        extra = (f", {self.window} in flight" if self.window > 1 else "") + (
            ", own ids" if self.ids else ""
        )
        each = "single events" if self.batch == 1 else f"batches of {self.batch}"
        return f"accept, {self.mode}: {self.producers} × {each}{extra}"


SHAPES = (
    Shape("P3", 1, 1, least=0.7),
    Shape("", 1, 100),
    Shape("P2", 8, 1, least=0.5),
    Shape("P1", 8, 100, least=0.5),
)
FURTHER = (
    Shape("P4", 8, 100, mode="http", least=0.3),
    Shape("P4", 8, 100, mode="ws", least=0.3),
    Shape("", 8, 100, ids=True),
    Shape("", 8, 1, window=64),
)


def load(target: list[str], shape: Shape, seconds: float, **more: object) -> dict[str, Any]:
    """Run the load once; return what it measured."""
    words = [
        str(program("load")),
        *target,
        *("--app", APP),
        *("--mode", shape.mode),
        *("--producers", str(shape.producers)),
        *("--batch", str(shape.batch)),
        *("--window", str(shape.window)),
        *("--seconds", str(seconds)),
        *("--warm-up", str(min(0.5, seconds / 4))),
        *(["--ids"] if shape.ids else []),
    ]
    for name, value in more.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ChildProcessError(f"{words}: {done.stdout} {done.stderr}")
    said: dict[str, Any] = json.loads(done.stdout)
    if said["errors"]:
        raise ChildProcessError(f"the load was refused: {said['last_error']}")
    return said


class Limit(Process):
    """The C program that does nothing but store and answer."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = folder / "limit.sock"
        words = [str(program("limit")), str(self.socket), str(folder / "limit.db")]
        super().__init__(words, env or {}, folder / "limit.out")

    def start(self) -> None:
        self.spawn()
        until(self.socket.exists, 10, "the limit does not listen")


def measure(
    folder: Path, shapes: tuple[Shape, ...], *, runs: int, seconds: float, slow_disk_us: int = 0
) -> list[Row]:
    """Measure each shape against the limit, in turns; one row per figure."""
    env = {}
    if slow_disk_us:
        slow = str(program("slow_disk.so"))
        env = {"LD_PRELOAD": slow, "SLOW_DISK_US": str(slow_disk_us)}
    ours: dict[Shape, list[dict[str, Any]]] = defaultdict(list)
    limit: dict[Shape, list[dict[str, Any]]] = defaultdict(list)
    cpu: dict[Shape, list[float]] = defaultdict(list)
    for run in range(runs):
        home = folder / f"a{run}{slow_disk_us}"
        reference = Limit(home / "limit", env=env)
        agent = Agent(home / "agent", WIDE + declared(APP), env)
        try:
            reference.start()
            agent.start()
            for shape in shapes:
                plain = Shape("", shape.producers, shape.batch, window=shape.window)
                limit[shape].append(load(["--socket", str(reference.socket)], plain, seconds))
                before = agent.cpu_us()
                said = load(["--socket", str(agent.socket)], shape, seconds)
                cpu[shape].append((agent.cpu_us() - before) / max(1, said["acknowledged"]))
                ours[shape].append(said)
                time.sleep(0.2)  # what is left of this load (a checkpoint) is not the next one's
        finally:
            reference.stop()
            agent.stop()
    rows = []
    for shape in shapes:
        note = f"{sorted(cpu[shape])[len(cpu[shape]) // 2]:.1f} µs of CPU each"
        what, least = shape.what, shape.least
        if slow_disk_us:
            what, least = f"{what}, fsync +{slow_disk_us / 1000:.0f} ms", shape.least
        rows.append(
            Row(
                target_id=shape.target_id,
                what=what,
                unit="/s",
                ours=[said["events_per_s"] for said in ours[shape]],
                reference=[said["events_per_s"] for said in limit[shape]],
                least=least,
                note=note,
            )
        )
        rows += _latencies(shape, ours[shape], limit[shape])
    return rows


def _latencies(shape: Shape, ours: list[dict[str, Any]], limit: list[dict[str, Any]]) -> list[Row]:
    """Return the latency that the shape's target names, if it names one."""
    named = {"P2": ("p99_us", 2.0), "P3": ("p50_us", 1.5)}
    if shape.target_id not in named:
        return []
    key, most = named[shape.target_id]
    return [
        Row(
            target_id=shape.target_id,
            what=f"  … its {key[:3]}",
            unit="µs",
            ours=[said[key] for said in ours],
            reference=[said[key] for said in limit],
            most=most,
        )
    ]
