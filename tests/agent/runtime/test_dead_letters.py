"""An event that the far end never acknowledges ends as a dead letter, and holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.runtime.cores import Far, Frame, all_of, far_end, running, short_folder, until

ACK_S = 0.3


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets", "agent.core")
    with short_folder() as path:
        yield path


def poison_of(frame: Frame) -> list[str]:
    return [event["id"] for event in frame if event.get("name") == "poison"]


def all_but_poison(frame: Frame) -> list[str]:
    return [one for one in all_of(frame) if one not in poison_of(frame)]


def nothing_beside_poison(frame: Frame) -> list[str]:
    """A far end that stores a frame as a whole, or not at all."""
    return [] if poison_of(frame) else all_of(frame)


def acknowledged(far: Far) -> list[str]:
    """Return the names that the far end has, in the order in which it had them first."""
    names: dict[str, None] = {}
    for frame in far.frames:
        taken = set(far.answer(frame))
        names.update({e["name"]: None for e in frame if e.get("id") in taken and "name" in e})
    return list(names)


def test_the_culprit_is_buried_and_its_neighbours_and_followers_are_delivered(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with (
            far_end(all_but_poison) as far,
            running(folder, ack_s=ACK_S, acme=far.endpoint) as here,
        ):
            before = [f"before-{n}" for n in range(20)]
            behind = [f"behind-{n}" for n in range(20)]
            await here.report(*before, "poison", *behind)
            await until(lambda: here.account().pending == 1)
            assert here.delivery().dials == 1, "neighbours do not wait for another dial"
            later = []
            while here.account().dead == 0:  # an app that goes on reporting, once a dial
                dials = here.delivery().dials
                later.append(f"later-{dials}")
                await here.report(later[-1])
                await until(lambda: here.account().pending <= 1)
                await until(
                    lambda now=dials: here.delivery().dials > now or here.account().dead == 1
                )
            assert here.delivery().dials <= 7
            await here.report("last")
            await until(lambda: here.account().pending == 0)
            account = here.account()
            assert account.balanced
            assert (account.dead, account.delivered) == (1, account.accepted - 1)
            names = [name for name in acknowledged(far) if name]
            assert names == [*before, *behind, *later, "last"], "each app's order is kept"
            poisoned = [frame for frame in far.frames if poison_of(frame)]
            assert len(poisoned[0]) > 40
            assert all(len(frame) == 1 for frame in poisoned[2:])

            status = here.core.status()
            assert (status.depth.dead, status.apps[0].dead) == (1, 1)
            (letter,) = await here.controls.dead_letters("acme", 10)
            assert letter.reason == "unacknowledged"
            assert letter.detail == f"on 5 dials in a row, by {far.endpoint}"
            assert '"poison"' in letter.body

            far.answer = all_of
            assert await here.controls.retry_dead((letter.id,)) == 1
            await until(lambda: here.account().pending == 0)
            account = here.account()
            assert account.balanced
            assert (account.dead, account.delivered) == (0, account.accepted)
            assert "poison" in acknowledged(far)

    asyncio.run(story())
    said = [one.getMessage() for one in caplog.records if "buried" in one.getMessage()]
    assert said == ["buried events that the far end never acknowledged app=acme count=1"]


def test_the_innocent_in_a_frame_that_is_refused_whole_are_delivered(folder: Path) -> None:
    async def story() -> None:
        async with (
            far_end(nothing_beside_poison) as far,
            running(folder, ack_s=ACK_S, acme=far.endpoint) as here,
        ):
            await until(lambda: here.delivery().rule.state.value == "live")
            await here.report("a", "b", "poison", "c", "d")
            n = 0
            while here.account().dead == 0 or here.account().pending:
                n += 1
                dials = here.delivery().dials
                await until(lambda: here.delivery().rule.in_flight > 0 or here.account().dead == 1)
                await here.report(f"later-{n}")
                await until(
                    lambda now=dials: here.delivery().dials > now or not here.account().pending
                )
            assert {"a", "b", "c", "d"} <= set(acknowledged(far))
            assert here.account().dead == 1
            assert here.account().balanced
            (letter,) = await here.controls.dead_letters("acme", 10)
            assert '"poison"' in letter.body

    asyncio.run(story())


def test_an_outage_makes_no_dead_letters(folder: Path) -> None:
    async def story() -> None:
        async with (
            far_end(lambda _frame: ()) as far,
            running(folder, ack_s=0.1, acme=far.endpoint) as here,
        ):
            await here.report("a", "b", "c")
            await until(lambda: here.delivery().dials > 8)
            assert (here.account().dead, here.account().pending) == (0, 4)
            far.answer = all_of
            await until(lambda: here.account().pending == 0)
            assert here.account().dead == 0

    asyncio.run(story())


def test_what_is_new_does_not_wait_for_a_suspects_backoff(folder: Path) -> None:
    async def story() -> None:
        async with (
            far_end(all_but_poison) as far,
            running(folder, ack_s=ACK_S, acme=far.endpoint) as here,
        ):
            rule = here.delivery().rule
            await until(lambda: rule.state.value == "live")
            rule.rng = lambda: 0.999
            rule.attempt = 9  # waits of 5 minutes
            await here.report("poison", "a")
            await until(lambda: rule.state.value == "waiting")
            await here.report("b")
            await until(lambda: "b" in acknowledged(far), within_s=2.0)

    asyncio.run(story())
