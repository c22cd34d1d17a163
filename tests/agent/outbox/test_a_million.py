"""A long time offline: opening, memory and disk do not suffer from what waits."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from yard import append, event, whole

from agent.adapters.outbox.outbox import Bounds, Outbox

MANY = Bounds(events=2_000_000, bytes=1 << 30)
OPEN_S = 0.5  #: For a million events; a cold start has no more patience.
DISK_BYTES = 330  #: Per event of 250 bytes, indexes and page edges included.


def event_of_250(number: int) -> bytes:
    head = event(number)
    return head[:-2] + b"x" * (250 - len(head)) + head[-2:]


def fill(path: Path, events: int, at_once: int) -> None:
    """Make an outbox in which ``events`` wait, ``at_once`` accepted together."""
    box = Outbox.open(path, MANY, 0)
    stream = box.stream("acme", "nucleus")
    for start in range(0, events, 20_000):
        with box.turn():
            for first in range(start, min(start + 20_000, events), at_once):
                some = range(first, min(first + at_once, events))
                box.append(stream, [event_of_250(number) for number in some], 0)
    box.close()


def opened_in(path: Path, events: int) -> float:
    """Return how long opening takes, the best of three."""
    took = []
    for _ in range(3):
        start = time.perf_counter()
        box = Outbox.open(path, MANY, 0)
        took.append(time.perf_counter() - start)
        assert box.account(box.stream("acme", "nucleus")).pending == events
        assert box.opening.notices == []
        box.close()
    return min(took)


@pytest.mark.parametrize("at_once", [500, 10])
def test_a_hundred_thousand_waiting_events_do_not_hold_up_the_start(
    path: Path, at_once: int
) -> None:
    fill(path, 100_000, at_once)
    assert opened_in(path, 100_000) < OPEN_S


@pytest.mark.soak
@pytest.mark.parametrize("at_once", [500, 10, 1])
def test_a_million_waiting_events_do_not_hold_up_the_start(path: Path, at_once: int) -> None:
    fill(path, 1_000_000, at_once)
    assert opened_in(path, 1_000_000) < OPEN_S


@pytest.mark.parametrize("at_once", [500, 16, 12, 10, 8, 6, 4, 1])
def test_an_event_of_250_bytes_takes_330_on_disk_at_most(path: Path, at_once: int) -> None:
    fill(path, 20_000, at_once)
    assert path.stat().st_size / 20_000 <= DISK_BYTES


def test_five_hundred_single_events_are_lent_and_settled_in_a_few_statements(
    box: Outbox, open_box: Callable[..., Outbox]
) -> None:
    stream = box.stream("acme", "nucleus")
    for number in range(1_000):
        append(box, stream, [event(number)])
    said: list[str] = []
    box._db.set_trace_callback(said.append)
    batch = whole(box, stream)
    with box.turn():
        assert box.settle(batch, batch.ids) == 500
    box._db.set_trace_callback(None)
    assert len(said) <= 8, said


DRAIN = """
import sys
from pathlib import Path
import psutil
from agent.adapters.outbox.outbox import Bounds, Outbox

rss = psutil.Process().memory_info
box = Outbox.open(Path(sys.argv[1]), Bounds(), 0)
stream = box.stream("acme", "nucleus")
before = most = rss().rss
gone = 0
while (batch := box.lease(stream, 0, 500, 256 * 1024)) is not None:
    with box.turn():
        gone += box.settle(batch, frozenset(batch.ids))
    most = max(most, rss().rss)
print(gone, most - before)
box.close()
"""


@pytest.mark.parametrize("at_once", [500, 1])
def test_a_backlog_is_drained_without_being_held_in_memory(path: Path, at_once: int) -> None:
    fill(path, 60_000, at_once)  # 15 MB of events
    child = subprocess.run(
        [sys.executable, "-c", DRAIN, str(path)], capture_output=True, text=True, check=True
    )
    gone, grown = map(int, child.stdout.split())
    assert gone == 60_000
    assert grown < 8 * 1024 * 1024
