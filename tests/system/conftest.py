"""Real agents and collectors, in a folder short enough for a socket's path."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # oracle, producers: of this room

from benchmarks.processes import Agent, Collector, Process, declared


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hs-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def ended() -> Iterator[Callable[[Process], None]]:
    """Register a process that must not outlive the test."""
    processes: list[Process] = []
    yield processes.append
    for process in reversed(processes):
        process.stop()


@pytest.fixture
def collector(folder: Path, ended: Callable[[Process], None]) -> Collector:
    """A far end that knows the app ``bench`` and does not run yet."""
    far_end = Collector(folder / "far")
    far_end.add_app("bench")
    ended(far_end)
    return far_end


@pytest.fixture
def make_agent(
    folder: Path, collector: Collector, ended: Callable[[Process], None]
) -> Callable[[str], Agent]:
    """Make an agent that is not started yet, whose far end is the collector."""

    def make(settings: str = "") -> Agent:
        agent = Agent(folder / "home", settings + declared("bench", collector.endpoint))
        ended(agent)
        return agent

    return make
