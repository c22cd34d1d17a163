"""Starting the agent again and again is no way round waiting (SECURITY row 42)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.runtime.cores import Clocks, far_end, running, short_folder, until


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets")
    with short_folder() as path:
        yield path


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return f"ws://127.0.0.1:{taken.getsockname()[1]}"


def test_a_wait_goes_on_after_a_restart_and_a_person_ends_it(folder: Path, nobody: str) -> None:
    async def story() -> None:
        clocks = Clocks()
        async with running(folder, clocks, acme=nobody) as here:
            await until(lambda: here.delivery().rule.attempt >= 6)
            clocks.chance = 0.9
            attempt = here.delivery().rule.attempt
            await until(lambda: here.delivery().rule.attempt > attempt)
            await until(lambda: here.delivery().rule.state.value == "waiting")
            told = here.core.status().links[0].next_try_ms
            hold = here.core.desks["acme"].kept("nucleus").hold
            assert hold is not None
            assert told is not None
            assert abs(hold.until_ms - told) < 50
            assert hold.until_ms - here.core.means.wall_ms() > 30_000

        async with running(folder, clocks, acme=nobody) as here:
            assert here.delivery().dials == 0
            assert here.delivery().rule.attempt == hold.attempt
            (link,) = here.core.status().links
            assert (link.state, link.code) == ("waiting", "link.unreachable")
            assert link.next_try_ms is not None
            assert abs(link.next_try_ms - hold.until_ms) < 50
            await here.controls.retry("acme")
            assert here.delivery().dials == 1

        clocks.wall_ahead_s += 600
        async with running(folder, clocks, acme=nobody) as here:
            assert here.delivery().dials == 1, "the wait was over meanwhile"

    asyncio.run(story())


def test_another_endpoint_is_dialled_at_once(folder: Path, nobody: str) -> None:
    async def story() -> None:
        clocks = Clocks()
        async with running(folder, clocks, acme=nobody) as here:
            await until(lambda: here.delivery().rule.attempt >= 6)
            clocks.chance = 0.9
            attempt = here.delivery().rule.attempt
            await until(lambda: here.delivery().rule.attempt > attempt)
        async with far_end() as far, running(folder, clocks, acme=far.endpoint) as here:
            assert here.delivery().dials == 1
            await until(lambda: here.delivery().rule.state.value == "live")

    asyncio.run(story())


def test_starts_that_connect_and_end_at_once_have_to_wait_too(folder: Path) -> None:
    async def story() -> None:
        clocks = Clocks(chance=0.9)
        dials = []
        async with far_end() as far:
            for _ in range(6):
                async with running(folder, clocks, acme=far.endpoint) as here:
                    dials.append(here.delivery().dials)
                    if dials[-1]:
                        await until(lambda: here.delivery().rule.state.value == "live")
                    clocks.wall_ahead_s += 1.0  # the supervisor's pause
        assert dials == [1, 1, 1, 0, 0, 0]
        assert len(far.connections) == 3

    asyncio.run(story())


def test_a_link_that_proves_itself_clears_what_was_kept(folder: Path) -> None:
    async def story() -> None:
        clocks = Clocks(chance=0.9)
        async with far_end() as far:
            for _ in range(2):
                async with running(folder, clocks, acme=far.endpoint) as here:
                    await until(lambda: here.delivery().rule.state.value == "live")
            async with running(folder, clocks, acme=far.endpoint) as here:
                await until(lambda: here.delivery().rule.state.value == "live")
                hold = here.core.desks["acme"].kept("nucleus").hold
                assert hold is not None
                assert hold.attempt == 3
                here.delivery().rule.proof_s = 0.0  # a minute, here: at once
                await here.report("a")
                await until(lambda: here.account().pending == 0)
                assert here.core.desks["acme"].kept("nucleus").hold is None
            async with running(folder, clocks, acme=far.endpoint) as here:
                assert here.delivery().dials == 1

    asyncio.run(story())
