"""An upstream that takes nothing for as long as one likes does not slow the other down.

The ratio is taken in one run, on one agent: the live upstream's delivery of single events while
both take everything, while the other has been silent for thousands of events, and once more after
it has caught up. What is timed is the way from the durable receipt to the live far end's word.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from agent.rules.quota import Bucket
from agent.runtime.counter.waiting import Streams
from tests.agent.runtime.cores import (
    ORIGIN,
    Far,
    Frame,
    Running,
    all_of,
    far_end,
    short_folder,
    started,
    until,
)
from tests.agent.runtime.test_two_upstreams import declared, side
from tracking.endpoints import Receipt
from tracking.nucleus import parse_frame

ONE = parse_frame(b'{"data":[{"name":"one"}]}')
MANY = parse_frame(b'{"data":[' + b",".join([b'{"name":"backlog"}'] * 500) + b"]}")
UNBOUND = Bucket(rate_per_s=1e9, burst=10**9)  #: In place of the app's quota.
SAMPLES = 80
QUIET_S = 0.7  #: The record of the wire is still being written when a burst has gone through.
MOST_RATIO = 1.5
NOISE_MS = 3.0  #: What the machine's other work adds to a median of some milliseconds.
CAUGHT_UP_S = 300.0


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets", "agent.core")
    with short_folder() as path:
        yield path


async def latency_ms(here: Running, stream: int) -> float:
    """Report one event; return how long after its receipt the far end of a stream had it."""
    confirmed: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    receipts: list[tuple[Receipt, float]] = []

    def ids(streams: Streams) -> None:
        only = dict.fromkeys(streams, (stream,))
        here.core.waiters.expect(only, lambda: confirmed.set_result(time.perf_counter()))

    here.core.intake.take(
        "acme", ONE, ORIGIN, lambda r: receipts.append((r, time.perf_counter())), ids=ids
    )
    arrived_s = await asyncio.wait_for(confirmed, 60.0)
    ((receipt, durable_s),) = receipts
    assert receipt.fault is None
    return (arrived_s - durable_s) * 1000


async def median_ms(here: Running, stream: int) -> float:
    await asyncio.sleep(QUIET_S)
    return statistics.median([await latency_ms(here, stream) for _ in range(SAMPLES)])


async def backlog(here: Running, events: int) -> None:
    receipts: list[Receipt] = []
    for frames in range(1, events // 500 + 1):
        here.core.intake.take("acme", MANY, ORIGIN, receipts.append, bucket=UNBOUND)
        while len(receipts) < frames:
            await asyncio.sleep(0)
    assert not any(receipt.fault for receipt in receipts)


class Moody:
    """A far end's answer: all of it, or nothing at all."""

    def __init__(self) -> None:
        self.silent = False

    def __call__(self, frame: Frame) -> Iterable[str]:
        return [] if self.silent else all_of(frame)


@pytest.mark.alone
@pytest.mark.parametrize(
    "events", [5_000, pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_one_silent_for_thousands_of_events_does_not_slow_the_other(
    folder: Path, events: int, record_property: Callable[[str, object], None]
) -> None:
    async def story() -> None:
        mood = Moody()
        live: Far
        async with (
            far_end() as live,
            far_end(mood) as other,
            started(folder, declared(live=live.endpoint, other=other.endpoint), ack_s=5.0) as here,
        ):
            (stream, _) = (lane.stream for lane in here.core.desks["acme"].lanes)
            await latency_ms(here, stream)
            both = await median_ms(here, stream)
            mood.silent = True
            await backlog(here, events)
            await until(lambda: side(here, "live").pending == 0, CAUGHT_UP_S)
            one = await median_ms(here, stream)
            waiting = side(here, "other").pending
            assert waiting >= events
            mood.silent = False
            here.core.departures.go_on("acme")
            await until(lambda: side(here, "other").pending == 0, CAUGHT_UP_S)
            again = await median_ms(here, stream)
            await until(lambda: here.core.outbox.account(stream).pending == 0)
            await until(lambda: side(here, "other").pending == 0)
            known: set[str] = set()
            for frame in other.frames:
                known.update(all_of(frame))
            assert len(known) == side(here, "other").delivered == side(here, "live").delivered
        figures = f"both {both:.2f}, one silent {one:.2f}, both again {again:.2f} ms"
        record_property("p50", f"{events} events: {figures}, ratio {one / max(both, again):.2f}")
        print(f"{events} events: {figures}, ratio {one / max(both, again):.2f}")
        assert one <= MOST_RATIO * max(both, again) + NOISE_MS, figures

    asyncio.run(story())
