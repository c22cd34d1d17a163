"""On a disk whose every fsync takes long, those who report at once share one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.accept import Shape, load
from benchmarks.build import program
from benchmarks.processes import WIDE, Agent, Process, declared

pytestmark = [pytest.mark.system, pytest.mark.alone]

FSYNC_S, PRODUCERS, SECONDS = 0.02, 8, 3.0


def test_eight_producers_share_a_slow_fsync(folder: Path, ended: Callable[[Process], None]) -> None:
    slow = {"LD_PRELOAD": str(program("slow_disk.so")), "SLOW_DISK_US": str(int(FSYNC_S * 1e6))}
    agent = Agent(folder / "home", WIDE + declared("bench"), slow)
    ended(agent)
    agent.start()
    said = load(["--socket", str(agent.socket)], Shape("", PRODUCERS, 1), SECONDS)
    at_best = PRODUCERS / FSYNC_S  # all eight in every fsync
    # Without waiting for company it is half of that: two groups that take turns.
    assert said["events_per_s"] > 0.65 * at_best, said
