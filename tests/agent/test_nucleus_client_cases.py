"""NUCLEUS.md §8, cases C1 to C12: what the agent does as a client, each under its number.

A whole core with a real outbox over real sockets; the link's rule alone, by a clock that is moved,
where minutes of failures are the point. What lies behind a case is tested more closely elsewhere
(tests/agent/link, tests/agent/outbox, tests/clients). More than 400 lines, because the cases are
one table and are looked up by their number.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import serve as listen

from agent.door.apps import DenyApp
from agent.rules.backoff import Backoff
from agent.rules.link import LinkRule
from agent.rules.notices import (
    Dial,
    Drained,
    HangUp,
    Lease,
    Leased,
    Lost,
    Opened,
    Order,
    Received,
    Settle,
    Start,
    State,
    Tick,
)
from tests.agent.link.far_ends import RawFarEnd, hold
from tests.agent.runtime.cores import (
    Clocks,
    Far,
    Frame,
    all_of,
    far_end,
    running,
    short_folder,
    started,
    until,
)
from tests.collector.bucket_ends import BucketApp, BucketEnd
from tracking.errors import Fault, Refused, Unreachable
from tracking.nucleus import parse_reply

ROOT = Path(__file__).parents[2]
MINUTE_S = 60.0


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets", "agent.core", "agent.delivery", "agent.consent")
    with short_folder() as path:
        yield path


def names_of(far: Far) -> list[str]:
    """Return the names of the events that a far end was sent, in order, repeats too."""
    return [event["name"] for frame in far.frames for event in frame if event["type"] == "event"]


def nobody(frame: Frame) -> list[str]:
    del frame
    return []


# --- C1, C2 --------------------------------------------------------------------------------------


def test_case_c1_only_what_is_acknowledged_is_removed_and_not_sent_again(folder: Path) -> None:
    def even(frame: Frame) -> list[str]:
        return [e["id"] for e in frame if e.get("name") and int(e["name"][1:]) % 2 == 0]

    async def story() -> None:
        async with far_end(even) as far, running(folder, ack_s=1.0, acme=far.endpoint) as here:
            await here.report(*[f"e{n}" for n in range(10)])
            await until(lambda: here.account().delivered == 5)
            far.answer = all_of
            await until(lambda: here.account().pending == 0)
            sent = Counter(names_of(far))
            assert {name: count for name, count in sent.items() if int(name[1:]) % 2 == 0} == {
                f"e{n}": 1 for n in range(0, 10, 2)
            }
            assert all(sent[f"e{n}"] == 2 for n in range(1, 10, 2))

    asyncio.run(story())


@pytest.mark.parametrize("reply", [b'{"reportedIds":["1","2"]}', b'{"reportedIds":[1,2.0]}'])
def test_case_c1_acknowledgements_as_text_and_as_numbers_mean_the_same(reply: bytes) -> None:
    rule = LinkRule(rng=lambda: 0.0)
    rule.feed(Start(), 0.0)
    rule.feed(Opened(1), 0.0)
    rule.feed(Leased(1, frozenset({"1", "2", "3"})), 0.0)
    rule.feed(Drained(), 0.0)
    orders = rule.feed(Received(1, parse_reply(reply).ids), 0.0)
    assert orders[0] == Settle(1, frozenset({"1", "2"}), whole=False)
    assert rule.in_flight == 1


def test_case_c2_without_acknowledgement_the_same_ids_go_once_a_dial_and_dials_are_bounded() -> (
    None
):
    """Ten minutes of a far end that takes everything and says nothing, by a clock that is moved."""
    rule = LinkRule(rng=lambda: 0.5)
    sent: list[float] = []
    now = 0.0

    def obey(orders: list[Order]) -> None:
        for order in orders:
            if isinstance(order, Dial):
                obey(rule.feed(Opened(order.dial), now))
            elif isinstance(order, Lease):
                if rule.in_flight:
                    obey(rule.feed(Drained(), now))
                else:
                    sent.append(now)
                    obey(rule.feed(Leased(len(sent), frozenset({"the same"})), now))

    obey(rule.feed(Start(), now))
    assert len(sent) == 1
    while now < 10 * MINUTE_S:
        assert rule.deadline is not None
        now = rule.deadline
        if rule.state is State.LIVE:
            rule.feed(Received(rule.dial), now)  # it is alive
        obey(rule.feed(Tick(), now))
    within_a_minute = [at for at in sent if at < MINUTE_S]
    assert 2 <= len(within_a_minute) <= 3, "bounded, not at every tick"
    assert len(sent) <= 12
    gaps = [b - a for a, b in pairwise(sent)]
    assert min(gaps) >= 30
    assert gaps == sorted(gaps), "ever more rarely"


# --- C3, C4 --------------------------------------------------------------------------------------

TRACK_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.agent.runtime.cores import running

async def main():
    async with running(Path(sys.argv[1]), acme=sys.argv[2]) as here:
        await here.report("last words")
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_case_c3_killed_right_after_the_event_was_taken_it_is_delivered_on_the_next_start(
    folder: Path,
) -> None:
    with away() as nowhere:
        died = subprocess.run(
            [sys.executable, "-c", TRACK_AND_DIE, folder, nowhere],
            cwd=ROOT,
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()

    async def story() -> None:
        async with far_end() as far, running(folder, acme=far.endpoint) as here:
            await until(lambda: here.account().pending == 0)
            assert names_of(far) == ["last words"]

    asyncio.run(story())


CRASH = """
import sys
sys.path.insert(0, sys.argv[1])
from homing_client import Homing

homing = Homing("acme")
before = sys.excepthook

def report(kind, exc, trace):
    homing.error("uncaughtException", exc)
    before(kind, exc, trace)

sys.excepthook = report
raise ZeroDivisionError("by nothing")
"""


def test_case_c4_an_uncaught_exception_ends_its_process_and_is_delivered_on_the_next_start(
    folder: Path,
) -> None:
    """No agent runs: the client's file waits for one."""
    crashed = subprocess.run(
        [sys.executable, "-c", CRASH, ROOT / "clients" / "python"],
        env=os.environ | {"HOMING_HOME": str(folder)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert crashed.returncode == 1
    assert b"ZeroDivisionError: by nothing" in crashed.stderr

    async def story() -> None:
        async with far_end() as far, running(folder, acme=far.endpoint) as here:
            await until(lambda: here.account().delivered >= 2)
            errors = [e for frame in far.frames for e in frame if e["type"] == "error"]
            assert [(e["name"], e["payload"]["message"]) for e in errors] == [
                ("uncaughtException", "by nothing")
            ]

    asyncio.run(story())


# --- C5 ------------------------------------------------------------------------------------------


def test_case_c5_a_hundred_thousand_events_offline_stay_small_and_go_in_bounded_frames(
    folder: Path,
) -> None:
    events, at_once = 100_000, 2_000

    async def story() -> None:
        with away() as nowhere:
            wide = "[limits]\nevents_per_s = 1000000\nburst = 10000000\n"
            async with started(folder, _settings(nowhere) + wide) as here:
                before_kib = _resident_kib()
                for n in range(0, events, at_once):
                    await here.report(*[f"e{m}" for m in range(n, n + at_once)])
                assert here.account().pending == events + 1  # and the session's init
                assert here.core.places.outbox.stat().st_size < 40 * 1024 * 1024
                assert _resident_kib() - before_kib < 64 * 1024
        async with far_end() as far, running(folder, acme=far.endpoint) as here:
            await until(lambda: here.account().pending == 0, within_s=60)
            frames = [frame for frame in far.frames if frame[0]["type"] != "heartbeat"]
            assert max(len(frame) for frame in frames) <= 500
            assert max(len(json.dumps(frame, separators=(",", ":"))) for frame in frames) <= 262_144
            assert names_of(far) == [f"e{n}" for n in range(events)], "once each, and in order"

    asyncio.run(story())


def _resident_kib() -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found is not None
    return int(found[1])


# --- C6, C9 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "most"),
    [
        pytest.param(Refused("nobody here", status=404), 2, id="404: both forms, then parked"),
        pytest.param(Unreachable("connection refused"), 14, id="refused"),
        pytest.param(None, 14, id="closed with 1008 as soon as it is open"),
    ],
)
def test_case_c6_ten_minutes_of_failures_are_few_dials_one_at_a_time_and_spread(
    fault: Fault | None, most: int
) -> None:
    dials_at: dict[float, list[float]] = {}
    for chance in (0.5, 0.6):
        rule, now, open_dials = LinkRule(rng=lambda chance=chance: chance), 0.0, 0
        at = dials_at.setdefault(chance, [])
        orders = rule.feed(Start(), now)
        while now < 10 * MINUTE_S:
            dialled = False
            for order in orders:
                if isinstance(order, Dial):
                    open_dials += 1
                    dialled = True
                    at.append(now)
                open_dials -= isinstance(order, HangUp)
            assert open_dials <= 1
            if dialled:
                if fault is None:
                    rule.feed(Opened(rule.dial), now)
                    rule.feed(Drained(), now)
                open_dials -= 1
                closed = fault or Unreachable("closed by the far end, code 1008")
                orders = rule.feed(Lost(rule.dial, closed), now)
            else:
                assert rule.deadline is not None
                now = rule.deadline
                orders = rule.feed(Tick(), now)
        assert 1 <= len([one for one in at if one < 10 * MINUTE_S]) <= most
        gaps = [b - a for a, b in pairwise(at)]
        assert gaps == sorted(gaps), "exponential"
    first, second = dials_at.values()
    if fault is None or not isinstance(fault, Refused):
        assert first != second, "jitter"


def test_case_c9_a_handshake_that_never_completes_is_one_socket_and_a_deadline(
    folder: Path,
) -> None:
    open_now: list[int] = []
    peak: list[int] = [0]

    def counted(sock: Any) -> None:
        open_now.append(1)
        peak[0] = max(peak[0], len(open_now))
        try:
            hold(sock)
        finally:
            open_now.pop()

    async def story() -> None:
        silent = RawFarEnd(counted)
        try:
            written = _settings(silent.url, "dial_deadline_s = 1", "http_after = 0")
            async with started(folder, written) as here:
                rule = here.delivery().rule
                since = time.monotonic()
                await until(lambda: rule.reason is not None)
                assert time.monotonic() - since < 3
                assert "took longer than" in str(rule.reason)
                rule.backoff = Backoff(base_s=0.01, cap_s=0.01)
                await until(lambda: silent.accepted >= 3, within_s=10)
                assert peak == [1]
        finally:
            silent.stop()

    asyncio.run(story())


# --- C7, C8 --------------------------------------------------------------------------------------


def test_case_c7_opting_out_closes_the_socket_purges_the_queue_and_lasts(folder: Path) -> None:
    async def story() -> None:
        async with far_end(nobody) as far:
            async with running(folder, acme=far.endpoint) as here:
                await here.report("private-1", "private-2")
                await until(lambda: len(names_of(far)) == 2)
                await here.controls.ask(DenyApp(app_id="acme"))
                await until(lambda: not here.core.departures.of("acme"))
            heard = len(far.frames)
            for file in folder.rglob("*"):
                if file.is_file():
                    assert b"private-" not in file.read_bytes(), file
            far.answer = all_of
            async with running(folder, acme=far.endpoint) as here:
                assert here.core.status().apps[0].consent == "denied"
                await asyncio.sleep(0.3)
                assert here.core.departures.of("acme") == []
            assert len(far.frames) == heard, "nothing is sent after the restart"

    asyncio.run(story())


def test_case_c8_two_agents_with_two_apps_never_send_each_others_events(folder: Path) -> None:
    async def story() -> None:
        async with far_end() as first_end, far_end() as second_end:
            async with (
                running(folder / "one", first=first_end.endpoint) as one,
                running(folder / "two", second=second_end.endpoint) as two,
            ):
                await one.report("of-first", app_id="first")
                await two.report("of-second", app_id="second")
                await until(lambda: one.account("first").pending == 0)
                await until(lambda: two.account("second").pending == 0)
                assert one.core.places.outbox != two.core.places.outbox
            assert names_of(first_end) == ["of-first"]
            assert names_of(second_end) == ["of-second"]
            devices = [
                {event["deviceId"] for frame in end.frames for event in frame}
                for end in (first_end, second_end)
            ]
            assert [len(one) for one in devices] == [1, 1]
            assert devices[0] != devices[1]
            assert "appId" not in json.dumps(first_end.frames + second_end.frames)

    asyncio.run(story())


# --- C10 -----------------------------------------------------------------------------------------


@contextmanager
def upgrade_killer(target_port: int, control: Path) -> Iterator[str]:
    """Run a proxy that treats upgrades as the control file says; give its WebSocket address."""
    program = ROOT / "tests" / "agent" / "link" / "upgrade_killer.py"
    with subprocess.Popen(
        [sys.executable, program, str(target_port), control], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield f"ws://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketEnd]:
    served = BucketEnd(tmp_path_factory.mktemp("collector"))
    yield served
    served.stop()


@pytest.mark.parametrize("how", ["cut", "strip", "swallow"])
def test_case_c10_where_websockets_are_blocked_events_go_by_post_once_and_back_when_they_are_not(
    folder: Path, tmp_path: Path, collector: BucketEnd, how: str
) -> None:
    app = BucketApp(collector, f"blocked-{how}")
    control = tmp_path / "control"
    control.write_text(how)

    async def story(endpoint: str) -> None:
        written = _settings(endpoint, "dial_deadline_s = 1", app_id=f"blocked-{how}")
        async with started(folder, written, Clocks(chance=0.0)) as here:
            way = here.delivery(f"blocked-{how}")
            rule = way.rule
            rule.fallback.retry_s = 0.3  # five minutes, for who has no time
            await here.report("one", "two", app_id=f"blocked-{how}")
            await until(lambda: here.account(f"blocked-{how}").pending == 0)
            assert rule.over == "http"
            status = way.status(0, 0)
            assert status.state == "live"
            assert status.note.startswith("over HTTP (WebSocket blocked: ")
            before = way.dials
            await here.report("three", app_id=f"blocked-{how}")
            await until(lambda: way.dials > before)  # it was tried again meanwhile, in vain
            await until(lambda: rule.over == "http" and rule.state is State.LIVE)
            await here.report("four", app_id=f"blocked-{how}")
            await until(lambda: here.account(f"blocked-{how}").pending == 0)

            control.write_text("through")
            await until(lambda: rule.over == "websocket" and rule.fallback.reason is None)
            assert way.status(0, 0).note == ""
            await here.report("five", app_id=f"blocked-{how}")
            await until(lambda: here.account(f"blocked-{how}").pending == 0)
            assert rule.state is State.LIVE
            assert here.account(f"blocked-{how}").balanced

    with upgrade_killer(collector.port, control) as endpoint:
        asyncio.run(story(endpoint))
    stored = [event.name for event in app.held.events if event.type == "event"]
    assert sorted(stored) == ["five", "four", "one", "three", "two"], "no doubles"


def test_case_c10_after_a_restart_one_blocked_dial_is_enough(
    folder: Path, tmp_path: Path, collector: BucketEnd
) -> None:
    app = BucketApp(collector, "restarted")
    control = tmp_path / "control"
    control.write_text("cut")

    async def run(endpoint: str, name: str) -> int:
        written = _settings(endpoint, app_id="restarted")
        async with started(folder, written, Clocks(chance=0.0)) as here:
            await here.report(name, app_id="restarted")
            await until(lambda: here.account("restarted").pending == 0)
            assert here.delivery("restarted").rule.over == "http"
            return here.delivery("restarted").dials

    with upgrade_killer(collector.port, control) as endpoint:
        assert asyncio.run(run(endpoint, "before")) == 4
        assert asyncio.run(run(endpoint, "after")) == 2
    assert [event.name for event in app.held.events if event.type == "event"] == ["before", "after"]


# --- C11, C12 ------------------------------------------------------------------------------------


def test_case_c11_garbage_and_unknown_keys_are_ignored_and_an_anonymous_id_is_adopted(
    folder: Path,
) -> None:
    async def story() -> None:
        async with far_end() as far:
            rude = [
                "OK",
                "[]",
                "\0",
                '{"latestVersion":"9.9","customData":{"x":[1]},"what":1}',
                "{",
            ]

            async def serve(ws: Any) -> None:
                async for text in ws:
                    frame = json.loads(text)["data"]
                    far.frames.append(frame)
                    for said in rude:
                        await ws.send(said)
                    echo = [event["anonId"] for event in frame if "anonId" in event]
                    reply: dict[str, Any] = {"reportedIds": all_of(frame)}
                    if not echo:  # a heartbeat: nothing to repeat, so it is a wish
                        reply["anonId"] = "wishedByThem"
                    elif echo[0] != "wishedByThem":
                        reply["anonId"] = echo[0]
                    await ws.send(json.dumps(reply))

            async with listen(serve, "127.0.0.1", 0) as server:
                port = next(iter(server.sockets)).getsockname()[1]
                async with running(folder, acme=f"ws://127.0.0.1:{port}") as here:
                    await until(lambda: _anon_id(here) == "wishedByThem")
                    await here.report("after")
                    await until(lambda: here.account().pending == 0)
                    assert here.delivery().dials == 1, "no garbage ended the connection"
                async with running(folder, acme=f"ws://127.0.0.1:{port}") as here:
                    assert _anon_id(here) == "wishedByThem", "and kept"
        (after,) = [e for frame in far.frames for e in frame if e.get("name") == "after"]
        assert after["anonId"] == "wishedByThem"

    asyncio.run(story())


def _anon_id(here: Any) -> str | None:
    identity = here.core.desks["acme"].profile.identity
    return None if identity is None else str(identity.anon_id)


def test_case_c12_an_idle_app_gives_one_sign_of_life_a_minute_with_its_machine_id(
    folder: Path,
) -> None:
    async def story() -> None:
        async with far_end() as far:
            async with started(folder, _settings(far.endpoint, "heartbeat_s = 1")) as here:
                await until(lambda: here.core.desks["acme"].profile.identity is not None)
                since, before = time.monotonic(), far.heartbeats()
                await until(lambda: far.heartbeats() - before >= 2)
                assert time.monotonic() - since >= 1, "one each interval, which is a minute"
                assert here.core.settings.link.heartbeat_s == 1
            beats = [e for frame in far.frames for e in frame if e["type"] == "heartbeat"]
            assert {event["machineId"] for event in beats} == {beats[0]["deviceId"]}
            assert all("id" not in event for event in beats)

    started_at = time.monotonic()
    asyncio.run(story())
    assert time.monotonic() - started_at < 20, "an idle agent ends when it is told to"


# --- the set -------------------------------------------------------------------------------------


def test_the_cases_are_complete() -> None:
    tree = ast.parse(Path(__file__).read_text("utf-8"))
    named = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    cases = {int(name.split("_")[2][1:]) for name in named if name.startswith("test_case_c")}
    assert cases == set(range(1, 13))


@contextmanager
def away() -> Iterator[str]:
    """Give the address of a far end that is not there."""
    end = RawFarEnd(lambda sock: None)
    end.stop()
    yield end.url


def _settings(endpoint: str, *link: str, app_id: str = "acme") -> str:
    lines = "\n".join(link)
    return (
        f'[[apps]]\nid = "{app_id}"\nname = "{app_id}"\nversion = "1"\n'
        f'[[apps.upstreams]]\nkind = "nucleus"\nendpoint = "{endpoint}"\n[link]\n{lines}\n'
    )
