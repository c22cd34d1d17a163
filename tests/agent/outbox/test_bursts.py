"""What waits does not slow down what arrives."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from yard import NOW_MS, append, event

from agent.adapters.outbox.outbox import Bounds, Outbox

MANY = Bounds(events=5_000_000, bytes=1 << 32)
BURST = [event(number, "x" * 200) for number in range(500)]


def relative_speed(full: Outbox, empty: Outbox, rounds: int) -> float:
    """How fast bursts go beside what waits, as a share of how fast they go beside nothing.

    In this thread's own time, in turns: on a busy machine the clock on the wall differs by a
    quarter from one run to the next, this by a few hundredths. Two empty outboxes come out at
    1.1, not 1, for the one that is drained in between pays for taking its free pages again.
    """
    took: dict[str, list[float]] = {"full": [], "empty": []}
    streams = {"full": full.stream("acme", "nucleus"), "empty": empty.stream("acme", "nucleus")}
    order = [("full", full), ("empty", empty)]
    for _ in range(rounds):
        for name, box in order:
            start = time.thread_time()
            append(box, streams[name], BURST)
            took[name].append(time.thread_time() - start)
        order.reverse()
        drain(empty, streams["empty"])
    return statistics.median(took["empty"]) / statistics.median(took["full"])


def fill(box: Outbox, events: int, in_a_segment: int) -> None:
    stream = box.stream("acme", "nucleus")
    for start in range(0, events, 50_000):
        with box.turn():
            for _ in range(start, start + 50_000, in_a_segment):
                box.append(stream, BURST[:in_a_segment], NOW_MS)


def drain(box: Outbox, stream: int) -> None:
    while (batch := box.lease(stream, 0, 500, 256 * 1024)) is not None:
        with box.turn():
            box.settle(batch, frozenset(batch.ids))


def share(
    open_box: Callable[..., Outbox], path: Path, events: int, in_a_segment: int, rounds: int = 60
) -> float:
    full = open_box(bounds=MANY)
    empty = open_box(path.with_name("empty.db"), bounds=MANY)
    fill(full, events, in_a_segment)
    fill(empty, 50_000, 500)  # its log has its full length then, as the other one's has
    drain(empty, empty.stream("acme", "nucleus"))
    return relative_speed(full, empty, rounds)


def test_bursts_are_nearly_as_fast_beside_a_hundred_thousand_waiting_events(
    path: Path, open_box: Callable[..., Outbox]
) -> None:
    assert share(open_box, path, 100_000, 10) >= 0.8


@pytest.mark.soak
@pytest.mark.parametrize("in_a_segment", [500, 10])
def test_bursts_are_as_fast_beside_a_million_waiting_events(
    path: Path, open_box: Callable[..., Outbox], in_a_segment: int
) -> None:
    assert share(open_box, path, 1_000_000, in_a_segment, 200) >= 0.9


def test_tidying_after_a_backlog_never_holds_up_the_loop_for_long(
    path: Path, open_box: Callable[..., Outbox]
) -> None:
    box = open_box(bounds=MANY)
    fill(box, 100_000, 500)
    stream = box.stream("acme", "nucleus")
    drain(box, stream)
    took = []
    more = True
    while more:
        start = time.perf_counter()
        more = box.tidy()
        took.append(time.perf_counter() - start)
    assert len(took) > 5
    assert statistics.median(took) < 0.1
    assert path.stat().st_size < 200_000
