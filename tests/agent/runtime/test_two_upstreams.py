"""Two upstreams of one app on a running core: each delivers for itself, and people see which."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.adapters.local.api import SendBody
from agent.door import AppStatus, Status, UpstreamStatus
from agent.door.upstreams import CompareUpstreams, DropUpstream, MoveUpstream
from tests.agent.runtime.bucket_cores import http_end
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
from tracking.errors import RequestFault

NOWHERE = "ws://127.0.0.1:9"  #: The discard port: nobody listens.


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets", "agent.core")
    with short_folder() as path:
        yield path


def declared(**upstreams: str) -> str:
    """An app ``acme`` with these upstreams, name → endpoint."""
    return '[[apps]]\nid = "acme"\nversion = "1"\n' + "".join(
        f'[[apps.upstreams]]\nkind = "nucleus"\nname = "{name}"\nendpoint = "{endpoint}"\n'
        for name, endpoint in upstreams.items()
    )


def app_of(status: Status) -> AppStatus:
    (app,) = (app for app in status.apps if app.app_id == "acme")
    return app


def side(here: Running, name: str) -> UpstreamStatus:
    (one,) = (one for one in app_of(here.core.status()).upstreams if one.name == name)
    return one


def names(far: Far) -> list[str]:
    return [event["name"] for frame in far.frames for event in frame if "name" in event]


def test_everything_goes_to_both_and_counts_once(folder: Path) -> None:
    async def story() -> None:
        async with (
            far_end() as a,
            far_end() as b,
            started(folder, declared(a=a.endpoint, b=b.endpoint)) as here,
        ):
            await here.report("one", "two", "three")
            await until(lambda: app_of(here.core.status()).delivered == 4)
            assert names(a) == names(b) == ["one", "two", "three"]
            status = here.core.status()
            app = app_of(status)
            assert (app.accepted, app.pending, app.balanced) == (4, 0, True)
            assert [(one.name, one.delivered) for one in app.upstreams] == [("a", 4), ("b", 4)]
            assert here.core.board.delivered_today == 4
            assert sum(minute.delivered for minute in status.minutes) == 4
            assert status.sentence.text == "Connected. 4 delivered today."

    asyncio.run(story())


def test_one_that_is_down_holds_the_other_up_in_nothing_and_is_named(folder: Path) -> None:
    async def story() -> None:
        async with (
            far_end() as live,
            started(folder, declared(live=live.endpoint, down=NOWHERE)) as here,
        ):
            await here.report(*(f"e{n}" for n in range(30)))
            await until(lambda: side(here, "live").delivered == 31)
            assert side(here, "down").pending == 31
            status = here.core.status()
            app = app_of(status)
            assert (app.accepted, app.delivered, app.pending) == (31, 0, 31)
            assert status.depth.events == 31, "copies on disk"
            assert here.core.board.delivered_today == 0
            await until(lambda: here.core.status().sentence.code != "")
            words = here.core.status().sentence
            assert words.state == "offline"
            assert words.text.startswith("Offline at down for ")
            assert "1 of 2 connected. 31 events safe." in words.text

    asyncio.run(story())


def test_delivered_means_by_every_upstream(folder: Path) -> None:
    async def story() -> None:
        async with far_end() as a, far_end() as b:
            async with started(folder, declared(a=a.endpoint, b=b.endpoint)) as here:
                both = await here.controls.send(
                    SendBody(name="both", app_id="acme", wait="delivered", timeout_s=10)
                )
                assert both.delivered
                assert names(a) == names(b) == ["both"]
            async with started(folder, declared(a=a.endpoint, b=NOWHERE)) as here:
                one = await here.controls.send(
                    SendBody(name="one", app_id="acme", wait="delivered", timeout_s=0.5)
                )
                assert not one.delivered
                await until(lambda: names(a) == ["both", "one"])
                assert not here.core.waiters

    asyncio.run(story())


def test_each_queue_goes_on_where_it_was_after_a_restart(folder: Path) -> None:
    async def story() -> None:
        async with far_end() as a:
            async with started(folder, declared(a=a.endpoint, b=NOWHERE)) as here:
                await here.report("one", "two")
                await until(lambda: side(here, "a").delivered == 3)
            async with (
                far_end() as b,
                started(folder, declared(a=a.endpoint, b=b.endpoint)) as here,
            ):
                await until(lambda: side(here, "b").delivered == 3)
                await until(lambda: app_of(here.core.status()).delivered == 3)
                assert (names(a), names(b)) == (["one", "two"], ["one", "two"])

    asyncio.run(story())


def test_an_upstream_that_was_removed_is_shown_until_it_is_cleared_up(folder: Path) -> None:
    async def story() -> None:
        async with far_end() as a:
            async with started(folder, declared(a=a.endpoint, old=NOWHERE)) as here:
                await here.report("one", "two")
                await until(lambda: side(here, "a").delivered == 3)
                with pytest.raises(RequestFault, match="names the upstream old"):
                    await here.controls.ask(DropUpstream(app_id="acme", name="old"))
            async with started(folder, declared(a=a.endpoint)) as here:
                old = side(here, "old")
                assert (old.declared, old.pending) == (False, 3)
                assert app_of(here.core.status()).pending == 3
                notices = {notice.code for notice in here.core.status().notices}
                assert "upstream.forgotten.acme.old" in notices
                with pytest.raises(RequestFault, match="no upstream nobody"):
                    await here.controls.ask(MoveUpstream(app_id="acme", name="old", to="nobody"))
                gone = await here.controls.ask(DropUpstream(app_id="acme", name="old"))
                assert (gone.events, gone.left) == (3, 0)
                status = here.core.status()
                assert not [n for n in status.notices if n.code.startswith("upstream.forgotten")]
                assert [one.name for one in app_of(status).upstreams] == ["a"]
                assert app_of(status).lost == {"purged": 3}
                assert here.core.outbox.accounts()["acme", "old"].balanced
                with pytest.raises(RequestFault, match="nothing of acme waits"):
                    await here.controls.ask(DropUpstream(app_id="acme", name="old"))

    asyncio.run(story())


def test_what_waits_for_a_renamed_upstream_is_handed_over_in_order(folder: Path) -> None:
    async def story() -> None:
        async with far_end() as far:
            async with started(folder, declared(old=NOWHERE)) as here:
                await here.report("one", "two", "three")
            async with started(folder, declared(new=far.endpoint)) as here:
                assert names(far) == []
                moved = await here.controls.ask(MoveUpstream(app_id="acme", name="old", to="new"))
                assert moved.events == 4
                await until(lambda: side(here, "new").delivered == 4)
                assert names(far) == ["one", "two", "three"]
                assert all(one.balanced for one in here.core.outbox.accounts().values())

    asyncio.run(story())


def test_the_dual_run_counts_days_and_says_when_it_is_safe(folder: Path) -> None:
    async def story() -> None:
        clocks = Clocks()
        async with far_end() as a, far_end() as b:
            endpoints = declared(vendor=a.endpoint, mine=b.endpoint)
            async with started(folder, endpoints, clocks) as here:
                await here.report("one", "two")
                await until(lambda: app_of(here.core.status()).delivered == 3)
                today = await here.controls.ask(CompareUpstreams(app_id="acme"))
                assert [(s.upstream, s.accepted, s.confirmed) for s in today.sums] == [
                    ("vendor", 3, 3),
                    ("mine", 3, 3),
                ]
                assert not any(one.safe for one in today.sums)
            clocks.wall_ahead_s += 86_400
            async with started(folder, endpoints, clocks) as here:
                await here.report("three")
                await until(lambda: app_of(here.core.status()).delivered >= 4)
                two = await here.controls.ask(CompareUpstreams(app_id="acme"))
                assert len({day.day for day in two.days}) == 2
                assert len(two.days) == 4
                assert all(day.accepted == day.confirmed for day in two.days)
                assert all(day.waiting == 0 for day in two.days)
                assert [one.safe for one in two.sums] == [True, True]

    asyncio.run(story())


def test_a_day_of_the_dual_run_tells_what_was_still_waiting_when_it_ended(folder: Path) -> None:
    async def story() -> None:
        clocks = Clocks()
        async with far_end() as a:
            async with started(folder, declared(a=a.endpoint, b=NOWHERE), clocks) as here:
                await here.report("one", "two")
                await until(lambda: side(here, "a").delivered == 3)
            clocks.wall_ahead_s += 86_400
            async with (
                far_end() as b,
                started(folder, declared(a=a.endpoint, b=b.endpoint), clocks) as here,
            ):
                await until(lambda: side(here, "b").delivered >= 3)
                found = await here.controls.ask(CompareUpstreams(app_id="acme"))
                rows = [
                    (d.accepted, d.confirmed, d.waiting) for d in found.days if d.upstream == "b"
                ]
                assert rows == [(3, 0, 3), (0, 3, 0)]

    asyncio.run(story())


def test_two_languages_are_told_the_same_and_delivered_is_when_both_have_it(folder: Path) -> None:
    async def story() -> None:
        with http_end() as http:
            async with far_end() as far:
                key = folder / "bucket.key"
                key.write_text("trCqx4DGo1lk3Lcct5NHLjWy\n")
                key.chmod(0o600)
                bucket = (
                    f'[[apps.upstreams]]\nkind = "bucket-bulk"\nname = "b"\n'
                    f'endpoint = "{http.url}"\nkey_file = "{key}"\n'
                )
                one = declared(a=far.endpoint).replace('"1"', '"1"\nspeaks = ["nucleus"]', 1)
                async with started(folder, one + bucket) as here:
                    sent = await here.controls.send(
                        SendBody(name="both", app_id="acme", wait="delivered", timeout_s=15)
                    )
                    assert sent.delivered
                    assert names(far) == ["both"]
                    told = [call for request in http.requests for call in json.loads(request.body)]
                    assert [(call["type"], call.get("event")) for call in told] == [
                        ("user", None),
                        ("event", "both"),
                    ]
                    await until(lambda: app_of(here.core.status()).delivered == 2)
                    assert here.core.status().sentence.text == "Connected. 2 delivered today."

    asyncio.run(story())


def test_an_app_with_one_upstream_has_nothing_to_compare(folder: Path) -> None:
    async def story() -> None:
        async with far_end() as far, running(folder, acme=far.endpoint) as here:
            await here.report("one")
            found = await here.controls.ask(CompareUpstreams(app_id="acme"))
            assert (found.since, found.days, found.sums) == ("", (), ())
            with pytest.raises(RequestFault, match="no app 'stranger'"):
                await here.controls.ask(CompareUpstreams(app_id="stranger"))

    asyncio.run(story())


def test_what_was_delivered_today_is_known_after_a_restart_and_not_tomorrow(folder: Path) -> None:
    async def story() -> None:
        clocks = Clocks()
        async with far_end() as a, far_end() as b:
            written = declared(a=a.endpoint, b=b.endpoint)
            async with started(folder, written, clocks) as here:
                await here.report("one", "two")
                await until(lambda: here.core.board.delivered_today == 3)
            async with started(folder, written, clocks) as here:
                assert here.core.board.delivered_today == 3
                await here.report("three")
                await until(lambda: app_of(here.core.status()).pending == 0)
                assert here.core.board.delivered_today > 3
                known = here.core.board.delivered_today
            async with started(folder, written, clocks) as here:
                assert here.core.board.delivered_today == known
            clocks.wall_ahead_s += 86_400
            async with started(folder, written, clocks) as here:
                assert here.core.board.delivered_today == 0
                await here.report("four")
                await until(lambda: app_of(here.core.status()).pending == 0)
                known = here.core.board.delivered_today
            async with started(folder, written, clocks) as here:
                assert 0 < here.core.board.delivered_today == known < 4

    asyncio.run(story())


def test_the_days_of_a_dual_run_are_still_shown_after_the_switch(folder: Path) -> None:
    async def story() -> None:
        async with far_end() as a:
            async with started(folder, declared(a=a.endpoint, b=NOWHERE)) as here:
                await here.report("one", "two")
                await until(lambda: side(here, "a").delivered == 3)
            async with started(folder, declared(a=a.endpoint)) as here:
                await here.report("three")
                await until(lambda: side(here, "a").pending == 0)
                found = await here.controls.ask(CompareUpstreams(app_id="acme"))
                rows = [(d.upstream, d.accepted, d.confirmed, d.waiting) for d in found.days]
                assert rows == [("a", 3, 3, 0), ("b", 3, 0, 3)]
                assert [(s.upstream, s.safe, s.why) for s in found.sums] == [
                    ("a", False, "a is the only upstream now; the days are those of the dual run."),
                    ("b", False, "homing.toml does not name b any more."),
                ]

    asyncio.run(story())
