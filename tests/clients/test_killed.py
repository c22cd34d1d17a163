"""Both clients while their agent is shot, held, or out of room: all is there, and once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from programs import WIDE_MS, Here, Program, once, steps

from benchmarks.processes import Agent, Collector, declared, until

Start = Callable[..., Program]
EVENTS = 5_000


@pytest.mark.system
@pytest.mark.timeout(120)
def test_every_event_is_at_the_far_end_once_though_the_agent_was_shot_in_the_middle(
    folder: Path, program: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    collector = Collector(folder / "far")
    collector.add_app("bench")
    agent = Agent(folder / "home", declared("bench", collector.endpoint))
    try:
        collector.start()
        agent.start()
        one = program(folder / "home")
        one.do("track", count=500)
        assert one.do("flush", s=10) is True
        one.begin("track", **{"from": 500}, count=EVENTS - 500, pause_s=0.004)
        for _ in range(3):
            time.sleep(random.uniform(0.1, 0.5))
            agent.kill()
            time.sleep(random.uniform(0.0, 0.3))
            agent.spawn()
        one.answer()
        assert one.do("flush", s=20) is True
        stats = one.do("stats")
        assert stats["acknowledged"] + stats["spooled"] == EVENTS
        assert min(stats["acknowledged"], stats["spooled"]) > 0
        until(agent._answers, 20, "the agent does not answer")
        spool = folder / "home" / "state" / "spool"
        until(lambda: not list(spool.glob("*.ndjson*")), 20, "the spool is not taken in")
        until(lambda: agent.ledger("bench")["pending"] == 0, 60, "the outbox does not drain")
        arrived = [event for event in collector.export("bench") if event["type"] == "event"]
        assert steps(arrived) == once((0, EVENTS))
        with capsys.disabled():
            print(f"\n{stats['acknowledged']} acknowledged, {stats['spooled']} spooled", end=" ")
    finally:
        agent.stop()
        collector.stop()


@pytest.mark.system
def test_an_agent_that_hangs_slows_nobody_down(
    folder: Path, program: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = Agent(folder, declared("bench"))
    try:
        agent.start()
        one = program()
        one.do("track", count=10)
        assert one.do("flush", s=5) is True
        os.kill(agent.pid, signal.SIGSTOP)
        took = one.do("track", count=EVENTS, by=1)
        assert took["p99_ms"] < WIDE_MS
        began = time.monotonic()
        assert one.end() == 0
        assert time.monotonic() - began < 4, "the end of a program waits 2 s at most"
        os.kill(agent.pid, signal.SIGCONT)
        spool = folder / "state" / "spool"
        until(lambda: not list(spool.glob("*.ndjson*")), 20, "the spool is not taken in")
        with capsys.disabled():
            print(f"\ntrack() p99 {took['p99_ms']:.3f} ms, max {took['max_ms']:.1f} ms", end=" ")
        kept = _export(folder)
        assert steps(kept) == once((0, 10), (1, EVENTS))
    finally:
        os.kill(agent.pid, signal.SIGCONT)
        agent.stop()


def _export(home: Path) -> list[dict[str, object]]:
    words = ["curl", "-sS", "--unix-socket", str(home / "run" / "agent.sock")]
    raw = subprocess.check_output([*words, "http://localhost/v1/outbox/export"], timeout=30)
    return [json.loads(line) for line in raw.splitlines()]


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[None]:
    """Put a file system of this size there; it is detached even if the test fails."""
    folder.mkdir(mode=0o700, parents=True)
    options = f"size={kib}k,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk_keeps_events_in_memory_until_the_agent_is_back(
    here: Here, program: Start, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.spool")
    (here.folder / "state").mkdir(mode=0o700)
    with small_disk(here.folder / "state" / "spool", 256):
        one = program()
        for part in range(6):
            one.do("track", count=100, by=part, pad=500)
            one.do("flush", s=0.2)
        stats = one.do("stats")
        assert stats["queued"] > 0, "the disk is full"
        assert stats["spooled"] > 0, "it was not from the start"
        assert stats["queued"] + stats["spooled"] == 600
        here.start()
        assert one.do("flush", s=10) is True
        assert steps(here.wait_for(600)) == once(*((part, 100) for part in range(6)))
        here.stop()
