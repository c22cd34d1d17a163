"""Both ends compared: a real collector, a whole core, and a far end that lies about one event."""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from agent.door.reconciliation import Reconcile, Reconciled

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "collector"))  # of the room beside

from collectors import Collector

from tests.agent.runtime.cores import Clocks, Running, short_folder, started, until
from tracking.reckoning import HOUR_MS


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    far_end = Collector(tmp_path_factory.mktemp("far") / "data")
    yield far_end
    far_end.kill()


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets", "agent.reconciliation")
    with short_folder() as path:
        yield path


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a loop of its own."""

    @functools.wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(test(*given, **named))

    return run


def settings(folder: Path, collector: Collector, app: str, endpoint: str = "") -> str:
    token = folder / "token"
    token.write_text(collector.app(app, "stats:read", "users:delete"))
    token.chmod(0o600)
    return (
        f'[[apps]]\nid = "{app}"\nname = "{app}"\n[[apps.upstreams]]\nkind = "homing"\n'
        f'endpoint = "{endpoint or f"ws://127.0.0.1:{collector.port}"}"\n'
        f'data_api = "http://127.0.0.1:{collector.port}"\ntoken_file = "{token}"\n'
    )


async def delivered(here: Running, app: str, count: int) -> None:
    def all_there() -> bool:
        accounts = here.core.outbox.accounts()
        return accounts[app, "homing"].delivered >= count and not accounts[app, "homing"].pending

    await until(all_there)


async def compared(here: Running, app: str) -> Reconciled:
    (one,) = (await here.core.reconciling.reconcile(Reconcile(app_id=app))).ways
    return one


@on_a_loop
async def test_the_far_end_confirms_all_that_it_confirmed_also_after_a_restart(
    folder: Path, collector: Collector
) -> None:
    written = settings(folder, collector, "equal")
    async with started(folder, written) as here:
        assert (await compared(here, "equal")).verdict == "nothing"
        await here.report(*(f"E{n}" for n in range(40)), app_id="equal")
        await here.report(*(f"F{n}" for n in range(20)), app_id="equal")
        await delivered(here, "equal", 61)  # with the init of ours
        one = await compared(here, "equal")
        assert one.text == "The far end confirms 61 of 61 events."
        assert (one.verdict, one.confirmed, one.held, one.hours) == ("equal", 61, 61, ())
        assert not any(
            n.code.startswith("reconciliation") for n in here.core.board.notices.values()
        )
        assert here.core.reconciling.found("equal", "homing") == one.text
    async with started(folder, written) as here:
        assert here.core.reconciling.found("equal", "homing") == one.text
        await here.report("G", app_id="equal")
        await delivered(here, "equal", 62)
        assert (await compared(here, "equal")).text == "The far end confirms 62 of 62 events."


@asynccontextmanager
async def forgetful(collector: Collector, app: str, name: str) -> AsyncIterator[str]:
    """A far end that hands everything on but events of one name, and confirms them all."""

    async def talk(ws: ServerConnection) -> None:
        async for text in ws:
            said = json.loads(text)["data"]
            kept = [event for event in said if event.get("name") != name]
            if kept:
                await asyncio.to_thread(collector.say, {"data": kept}, app)
            ids = [event["id"] for event in said if "id" in event]
            await ws.send(json.dumps({"reportedIds": ids}))

    async with serve(talk, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@on_a_loop
async def test_an_event_that_was_confirmed_and_is_not_there_is_found_and_its_hour_named(
    folder: Path, collector: Collector
) -> None:
    async with (
        forgetful(collector, "liar", "LOST") as endpoint,
        started(folder, settings(folder, collector, "liar", endpoint)) as here,
    ):
        await here.report("A", "B", "LOST", "C", app_id="liar")
        await delivered(here, "liar", 5)
        one = await compared(here, "liar")
        assert one.verdict == "missing"
        assert one.text == "The far end confirms 4 of 5 events. 1 event missing in 1 hour."
        ((hour,),) = (one.hours,)
        assert (hour.kind, hour.ours, hour.theirs) == ("missing", 5, 4)
        now_ms = here.core.means.wall_ms()
        assert now_ms - 2 * HOUR_MS < hour.hour_ms <= now_ms
        (notice,) = [
            n for n in here.core.board.notices.values() if n.code == "reconciliation.liar.homing"
        ]
        assert "homing reconcile" in notice.text
        link = next(one for one in here.core.status().links if one.upstream == "homing")
        assert "4 of 5" in link.confirmed


@on_a_loop
async def test_who_was_erased_there_explains_what_is_missing(
    folder: Path, collector: Collector
) -> None:
    async with started(folder, settings(folder, collector, "erased")) as here:
        await here.report("A", "B", app_id="erased")
        await delivered(here, "erased", 3)
        identity = here.core.desks["erased"].profile.identity
        assert identity is not None
        token = collector.app("erased", "users:delete", "users:read")
        (user,) = collector.ask("/users", token, "erased")
        path = f"/api/v1/apps/erased/users/{user['_id']}"
        status, _, _ = collector.request("DELETE", path, headers={"Authorization": token})
        assert status == 204
        one = await compared(here, "erased")
        assert (one.verdict, one.held) == ("missing", 0)
        assert one.erased >= 1
        assert "erased there, which may be why" in one.text


@on_a_loop
async def test_a_heartbeat_asks_once_a_day(folder: Path, collector: Collector) -> None:
    clocks = Clocks()
    async with started(folder, settings(folder, collector, "daily"), clocks) as here:
        await here.report("A", app_id="daily")
        await delivered(here, "daily", 2)
        reconciling = here.core.reconciling
        reconciling.beat()
        assert reconciling.kept.ways == []
        clocks.wall_ahead_s = 24 * 3600 + 60
        reconciling.beat()
        await until(lambda: bool(reconciling.kept.ways))
        assert reconciling.kept.ways[0].held == 2
        asked_ms = reconciling.kept.ways[0].at_ms
        await until(lambda: reconciling._task is None)
        reconciling.beat()
        assert reconciling._task is None
        assert reconciling.kept.next_ms >= asked_ms + 24 * 3_600_000


@on_a_loop
async def test_a_far_end_that_cannot_be_asked_is_no_finding(folder: Path) -> None:
    apps = (
        '[[apps]]\nid = "a"\nname = "a"\n[[apps.upstreams]]\nkind = "homing"\n'
        'endpoint = "ws://127.0.0.1:9"\n'
    )
    async with started(folder, apps) as here:
        stream = here.core.departures.of("a")[0].stream
        await here.report("A", app_id="a")
        batch = here.core.outbox.lease(stream, 0, 500, 1 << 18)
        assert batch is not None
        with here.core.outbox.turn():
            here.core.outbox.settle(batch, set(batch.ids))
        one = await compared(here, "a")
        assert (one.verdict, one.text) == (
            "not asked",
            "The far end cannot be asked without a token.",
        )
        assert not any(
            n.code.startswith("reconciliation") for n in here.core.board.notices.values()
        )


@on_a_loop
async def test_deleting_an_apps_data_forgets_what_was_found(
    folder: Path, collector: Collector
) -> None:
    async with started(folder, settings(folder, collector, "gone")) as here:
        await here.report("A", app_id="gone")
        await delivered(here, "gone", 2)
        await compared(here, "gone")
        here.core.reconciling.forget(["gone"])
        assert here.core.reconciling.kept.ways == []
        kept: dict[str, Any] = json.loads((folder / "state" / "reconciliation.json").read_bytes())
        assert kept["ways"] == []
