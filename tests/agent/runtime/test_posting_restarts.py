"""How hard a far end over HTTP was tried outlives the program (SECURITY row 42)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.rules.backoff import Backoff
from agent.rules.notices import State
from tests.agent.link.http_ends import response
from tests.agent.runtime.bucket_cores import (
    delivered,
    http_end,
    in_state,
    posting,
    upstream,
    way_of,
)
from tests.agent.runtime.cores import Clocks, short_folder, started, until

BUSY = response(b"{}", "429 Too Many Requests", "Retry-After: 3600")


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets")
    with short_folder() as path:
        yield path


def test_a_delay_that_the_far_end_named_is_kept_by_the_next_start_and_by_a_person(
    folder: Path,
) -> None:
    async def story() -> None:
        clocks = Clocks()
        with http_end(BUSY, response()) as far:
            async with posting(folder, "bucket", far.url, clocks=clocks) as (here, way):
                await here.call("user", {"userId": "u"})
                await in_state(way, State.WAITING)
                assert way.status(0, 0).code == "link.throttled"
            clocks.wall_ahead_s = 1800
            async with posting(folder, "bucket", far.url, clocks=clocks) as (here, way):
                here.core.departures.go_on("acme")
                await asyncio.sleep(0.2)
                status = way.status(0, here.core.means.mono_s())
                assert (status.state, status.code) == ("waiting", "link.throttled")
                assert status.next_try_ms is not None
                assert 1_700_000 < status.next_try_ms <= 1_800_000
                assert len(far.requests) == 1
            clocks.wall_ahead_s = 3700
            async with posting(folder, "bucket", far.url, clocks=clocks) as (here, way):
                await delivered(here, way)
                assert len(far.requests) == 2
                assert here.core.desks["acme"].kept(way.way.name).hold is None, "it is proven"

    asyncio.run(story())


def test_waits_that_have_grown_go_on_where_they_were(folder: Path) -> None:
    async def story() -> None:
        with http_end(None) as far:
            async with posting(folder, "bucket", far.url, clocks=Clocks(chance=0.5)) as (here, way):
                way.rule.backoff = Backoff(base_s=0.02, cap_s=300)
                await here.call("user", {"userId": "u"})
                await until(lambda: way.rule.attempt >= 5)
            asked = len(far.requests)
            text = upstream(folder, "bucket", far.url)
            async with started(folder, text, Clocks(chance=0.5)) as here:
                way = way_of(here)
                assert way.rule.attempt >= 5
                await until(lambda: len(far.requests) > asked)
                await in_state(way, State.WAITING)
                assert way.rule.next_try is not None
                assert way.rule.next_try - here.core.means.mono_s() > 10, "2⁵ s and more, halved"

    asyncio.run(story())


def test_an_agent_that_starts_and_dies_of_it_waits_longer_and_longer(folder: Path) -> None:
    async def story() -> None:
        def silent(_: object) -> bytes:
            raise OSError  # the far end hangs up: nothing is ever answered

        waits = []
        with http_end(silent) as far:
            for _ in range(6):
                async with started(
                    folder, upstream(folder, "bucket", far.url), Clocks(chance=0.9)
                ) as here:
                    way = way_of(here)
                    held = way.rule.state is State.WAITING
                    if way.rule.state is State.IDLE:  # the first: nothing waits yet
                        await here.call("user", {"userId": "u"})
                    hold = here.core.desks["acme"].kept(way.way.name).hold
                    assert hold is not None
                    waits.append(-1 if held else hold.attempt)
        assert waits[:3] == [1, 2, 3], "each start counts"
        assert -1 in waits, "and then it is waited for before anybody is asked"

    asyncio.run(story())
