"""The clock that says when it jumps, and what the core makes of a machine that slept."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.adapters.machine.clock_watch import ClockWatch, open_timer
from tests.agent.runtime.cores import Clocks, Far, far_end, running, short_folder, until

NIGHT_S = 8 * 3600.0


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets")
    with short_folder() as path:
        yield path


class Pipe:
    """A descriptor that becomes readable when a test says so, as the clock's does."""

    def __init__(self) -> None:
        self.fd, self._far = os.pipe()
        self.reads = 0

    def stir(self) -> None:
        os.write(self._far, b"!")

    def read(self, fd: int, count: int) -> bytes:
        assert (fd, count) == (self.fd, 8)
        self.reads += 1
        os.read(fd, 1)
        raise OSError(errno.ECANCELED, "the clock was set")

    def close(self) -> None:
        os.close(self._far)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_cancelled_timer_calls_back_each_time() -> None:
    async def story() -> None:
        pipe, jumps = Pipe(), []
        watch = ClockWatch(
            asyncio.get_running_loop(), lambda: jumps.append(1), pipe.fd, read=pipe.read
        )
        for jump in (1, 2):
            pipe.stir()
            await until(lambda now=jump: len(jumps) == now)
        assert watch.watching
        watch.close()
        watch.close()
        pipe.close()
        assert pipe.reads == 2

    asyncio.run(story())


def test_a_descriptor_that_fails_is_let_go_and_does_not_spin(
    expected_warnings: Callable[..., None],
) -> None:
    expected_warnings("agent.clock")

    def broken(_fd: int, _count: int) -> bytes:
        raise OSError(errno.EIO, "broken")

    async def story() -> None:
        pipe, jumps = Pipe(), []
        watch = ClockWatch(
            asyncio.get_running_loop(), lambda: jumps.append(1), pipe.fd, read=broken
        )
        pipe.stir()
        await until(lambda: not watch.watching)
        pipe.close()
        assert jumps == []

    asyncio.run(story())


def test_where_there_is_no_timer_nothing_is_watched() -> None:
    async def story() -> None:
        watch = ClockWatch(asyncio.get_running_loop(), lambda: None, None)
        assert not watch.watching
        watch.close()

    asyncio.run(story())


def test_the_kernels_timer_is_registered_with_the_loop_and_wakes_nobody() -> None:
    fd = open_timer()
    assert (fd is not None) == sys.platform.startswith("linux")
    if fd is None:
        return
    with pytest.raises(BlockingIOError):
        os.read(fd, 8)

    async def story() -> tuple[int, list[int]]:
        loop, reads = asyncio.get_running_loop(), []

        def read(fd: int, count: int) -> bytes:
            reads.append(count)
            return os.read(fd, count)

        watch = ClockWatch(loop, lambda: None, fd, read=read)
        selects = 0
        selector = loop._selector  # type: ignore[attr-defined]
        assert selector.get_key(fd).fd == fd
        before = selector.select

        def counted(timeout: float | None = None) -> object:
            nonlocal selects
            selects += 1
            return before(timeout)

        selector.select = counted
        await asyncio.sleep(0.3)
        watch.close()
        with pytest.raises(KeyError):
            selector.get_key(fd)
        return selects, reads

    selects, reads = asyncio.run(story())
    assert reads == []
    assert selects <= 2, "one sleep, one wake-up"


def test_after_eight_hours_every_link_dials_again_with_one_heartbeat_and_no_alarm(
    folder: Path,
) -> None:
    async def story() -> None:
        clocks = Clocks(chance=0.05)  # of the 5 s within which a machine that woke dials
        async with (
            far_end() as first,
            far_end() as second,
            running(folder, clocks, acme=first.endpoint, other=second.endpoint) as here,
        ):
            fars: tuple[Far, ...] = (first, second)
            core, departures = here.core, here.core.departures
            assert departures._clock.watching == sys.platform.startswith("linux")
            await until(lambda: all(far.heartbeats() == 1 for far in fars))
            slept_at = [len(far.frames) for far in fars]

            clocks.wall_ahead_s += NIGHT_S
            departures._clock._jumped()  # what the kernel's ECANCELED does
            deadlines = [here.delivery(app).rule.deadline or 0.0 for app in ("acme", "other")]
            assert all(due - core.means.mono_s() <= 5.0 for due in deadlines)
            await until(lambda: all(len(far.connections) == 2 for far in fars), within_s=5.0)
            await here.report("good morning")
            await until(lambda: here.account().pending == 0)
            awake = list(zip(fars, slept_at, strict=True))
            await until(lambda: all(far.heartbeats(at) for far, at in awake))

            departures.look_for_sleep()  # a heartbeat's turn looks again, and finds nothing
            await turns()
            assert [len(far.connections) for far in fars] == [2, 2]
            assert [far.heartbeats(at) for far, at in awake] == [1, 1]
            status = core.status()
            assert [notice for notice in status.notices if notice.severity != "info"] == []
            assert status.sentence.state == "live"
            assert {link.reason for link in status.links} == {""}

    asyncio.run(story())


def test_a_clock_that_was_stepped_by_seconds_is_no_sleep(folder: Path) -> None:
    async def story() -> None:
        clocks = Clocks()
        async with far_end() as far, running(folder, clocks, acme=far.endpoint) as here:
            await until(lambda: far.heartbeats() == 1)
            for step_s in (20.0, -3600.0):
                clocks.wall_ahead_s += step_s
                here.core.departures._clock._jumped()
            assert here.delivery().rule.state.value == "live"
            assert here.delivery().dials == 1

    asyncio.run(story())
