"""A core on a metered connection or a low battery: bulk waits, what is live does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.door.network import SendAnyway, ShowHosts, ShowNetwork
from agent.rules.notices import State
from agent.rules.thrift import PAGE_EVENTS, Power
from tests.agent.runtime.cores import (
    Clocks,
    Far,
    Running,
    far_end,
    running,
    short_folder,
    started,
    until,
)

METERED, LOW = Power(metered=True), Power(metered=False, plugged=False, percent=7.0)
BOTH = Power(metered=True, plugged=False, percent=7.0)
BULK = [f"event-{n}" for n in range(PAGE_EVENTS + 100)]


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets")
    with short_folder() as path:
        yield path


async def machine_says(here: Running, power: Power) -> None:
    network = here.core.network
    network.ask_machine = lambda: power
    network.moved()
    await until(lambda: network.power == power)


async def backlog(here: Running, power: Power) -> None:
    """Gather more than a page while sending is paused, then let it go."""
    await until(lambda: here.delivery().rule.state is State.LIVE)
    await machine_says(here, power)
    here.core.pause(None, "to gather")
    await here.report(*BULK)
    here.core.resume()
    await until(lambda: here.delivery().rule.state is State.LIVE)


def notices(here: Running) -> dict[str, str]:
    return {
        notice.code: notice.text
        for notice in here.core.status().notices
        if notice.code.startswith("network.")
    }


def events(far: Far) -> int:
    return sum(event["type"] != "heartbeat" for frame in far.frames for event in frame)


@pytest.mark.parametrize(
    ("power", "codes"),
    [
        (METERED, {"network.metered"}),
        (LOW, {"network.battery"}),
        (BOTH, {"network.metered", "network.battery"}),
    ],
)
def test_a_large_backlog_waits_with_each_cause_shown_and_the_heartbeat_does_not(
    folder: Path, power: Power, codes: set[str]
) -> None:
    async def run() -> None:
        async with far_end() as far, running(folder, acme=far.endpoint) as here:
            await backlog(here, power)
            beats = far.heartbeats()
            await until(lambda: set(notices(here)) == codes)
            assert f"{len(BULK) + 1:,} events wait" in next(iter(notices(here).values()))
            await asyncio.sleep(0.2)
            assert events(far) == 0
            assert beats >= 1, "a sign of life is no bulk"
            assert here.core.status().sentence.state == "live"

            state = await here.controls.ask(ShowNetwork())
            assert {f"network.{cause}" for cause in state.causes} == codes
            assert state.ways[0].held == len(BULK) + 1
            assert state.override_until_ms == 0

            state = await here.controls.ask(SendAnyway(for_s=3600))
            assert state.override_until_ms > 0
            await until(lambda: here.account().pending == 0)
            assert notices(here) == {}

    asyncio.run(run())


def test_what_waited_goes_when_its_cause_ends(folder: Path) -> None:
    async def run() -> None:
        async with far_end() as far, running(folder, acme=far.endpoint) as here:
            await backlog(here, BOTH)
            await until(lambda: len(notices(here)) == 2)
            await machine_says(here, METERED)
            await until(lambda: set(notices(here)) == {"network.metered"})
            assert events(far) == 0
            await machine_says(here, Power(metered=False))
            await until(lambda: here.account().pending == 0)
            assert notices(here) == {}

    asyncio.run(run())


def test_a_page_goes_out_whatever_it_costs(folder: Path) -> None:
    async def run() -> None:
        async with far_end() as far, running(folder, acme=far.endpoint) as here:
            await until(lambda: here.delivery().rule.state is State.LIVE)
            await machine_says(here, BOTH)
            for n in range(3):
                await here.report(f"live-{n}")
            await until(lambda: here.account().pending == 0)
            assert notices(here) == {}

    asyncio.run(run())


def test_nothing_waits_longer_than_a_day(folder: Path) -> None:
    clocks = Clocks()

    async def run() -> None:
        async with far_end() as far, running(folder, clocks, acme=far.endpoint) as here:
            await backlog(here, METERED)
            await until(lambda: bool(notices(here)))
            clocks.wall_ahead_s = 25 * 3600.0
            here.core.departures.offer_all()
            await until(lambda: here.account().pending == 0)
            assert events(far) == len(BULK) + 1

    asyncio.run(run())


def test_a_person_who_wants_everything_sent_is_obeyed(folder: Path) -> None:
    async def run() -> None:
        async with far_end() as far:
            written = (
                '[network]\non_metered = "send"\n[[apps]]\nid = "acme"\n'
                f'[[apps.upstreams]]\nkind = "nucleus"\nendpoint = "{far.endpoint}"\n'
            )
            async with started(folder, written) as here:
                await backlog(here, METERED)
                await until(lambda: here.account().pending == 0)

    asyncio.run(run())


def test_the_hosts_are_those_of_the_settings(folder: Path) -> None:
    written = (
        '[network]\npac = "http://wpad.example/p.pac"\n'
        '[[apps]]\nid = "acme"\n[[apps.upstreams]]\nkind = "homing"\n'
        'endpoint = "https://far.example"\ndata_api = "https://data.example:8443"\n'
    )

    async def run() -> None:
        async with started(folder, written) as here:
            hosts = (await here.controls.ask(ShowHosts())).hosts
            found = {(one.host, one.port, one.purpose) for one in hosts}
            assert ("far.example", 443, "events of acme") in found
            assert ("data.example", 8443, "live view of acme") in found
            assert {one.host for one in hosts} <= {"far.example", "data.example", "wpad.example"}

    asyncio.run(run())
