"""BUCKET.md §9, cases 56 to 60: what the agent does as a client, each under its number.

A whole core with a real outbox posts over real sockets; the far end is the collector's own server
with a real store where the store's end counts, else one that answers as the case says. Days pass by
moving the clock.
"""

from __future__ import annotations

import ast
import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.rules.backoff import Backoff
from agent.rules.notices import State
from tests.agent.link.far_ends import RawFarEnd
from tests.agent.link.http_ends import Request, response
from tests.agent.runtime.bucket_cores import (
    delivered,
    http_end,
    in_state,
    items_of,
    pending,
    posting,
)
from tests.agent.runtime.cores import Clocks, short_folder
from tests.collector.bucket_ends import BucketApp, BucketEnd, post

DAY_S = 86_400.0
OOPS = response(b"<html>oops</html>", "500 Internal Server Error")


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets", "agent.core", "agent.posting")
    with short_folder() as path:
        yield path


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketEnd]:
    served = BucketEnd(tmp_path_factory.mktemp("collector"))
    yield served
    served.stop()


class Lossy:
    """A far end in front of the collector: it hands on, and loses answers as it is told."""

    def __init__(self, end: BucketEnd, plan: list[str]) -> None:
        self.end = end
        self.plan = plan
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> bytes | None:
        self.requests.append(request)
        what = self.plan.pop(0) if self.plan else "through"
        if what == "500":
            return OOPS
        headers = {k: v for k, v in request.headers.items() if k != "content-length"}
        status, said = post(self.end.port, request.path, request.body, headers)
        if what == "lose the answer":
            return None
        return response(json.dumps(said).encode(), f"{status} X")


def test_case_56_500_three_times_then_200_is_four_equal_attempts_and_kept_once(
    folder: Path, collector: BucketEnd
) -> None:
    async def story() -> None:
        app = BucketApp(collector)
        lossy = Lossy(collector, ["500", "500", "500", "through", "lose the answer"])
        with http_end(lossy) as far:
            clocks = Clocks(chance=0.5)
            settings = {"key": app.secret}
            async with posting(folder, "bucket-bulk", far.url, clocks=clocks, **settings) as (
                here,
                way,
            ):
                way.rule.backoff = Backoff(base_s=0.4, cap_s=10)
                await here.call("bulk", [_event(n) for n in range(3)])
                await delivered(here, way)
                await here.call("bulk", [_event(n) for n in range(3, 5)])
                await delivered(here, way)
            first, second = lossy.requests[:4], lossy.requests[4:]
            for requests in (first, second):
                assert len({one.body for one in requests}) == 1, "the same bytes"
                assert len({one.headers["idempotency-key"] for one in requests}) == 1
            assert [len(json.loads(one.body)) for one in lossy.requests] == [3, 3, 3, 3, 2, 2]
            gaps = [b - a for a, b in zip(far.at_s[:4], far.at_s[1:4], strict=False)]
            assert gaps[0] < gaps[1] < gaps[2], "growing gaps"
            names = [event.name for event in app.held.events]
            assert sorted(names) == [f"e{n}" for n in range(5)], "once, although told twice"

    asyncio.run(story())


def test_case_57_a_400_is_one_attempt_then_a_dead_letter_and_the_rest_flows(
    folder: Path, collector: BucketEnd
) -> None:
    async def story() -> None:
        app = BucketApp(collector)
        url = f"http://127.0.0.1:{collector.port}"
        async with posting(folder, "bucket", url, key=app.key) as (here, way):
            # a company that a later, stricter server refuses: the id is longer than it allows
            told = here.core.outbox
            await here.call("event", {"event": "before", "userId": "u"})
            await delivered(here, way)
            _put(here, way, "event", b'{"event":5,"userId":"u"}')
            await here.call("event", {"event": "behind", "userId": "u"})
            await delivered(here, way)
            (letter,) = told.letters("acme", 10)
            assert letter.reason == "refused"
            assert "event" in letter.detail
            assert way.rule.asked == 3, "one attempt each"
            assert [event.name for event in app.held.events] == ["before", "behind"]
            account = told.account(way.stream)
            assert (account.delivered, account.dead, account.balanced) == (2, 1, True)

    asyncio.run(story())


def test_case_58_an_empty_200_of_a_vendor_is_delivered_but_warned_and_not_sent_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        with http_end(response(b""), response()) as far:
            async with posting(folder, "bucket", far.url) as (here, way):
                await here.call("user", {"userId": "u1"})
                await delivered(here, way)
                assert len(far.requests) == 1
                status = way.status(0, 0)
                assert (status.state, status.reason) == ("live", "")
                assert "answered 200 without a word" in status.note
                with caplog.at_level(logging.WARNING):
                    assert "answers oddly" in caplog.text
                await here.call("user", {"userId": "u2"})
                await delivered(here, way)
                assert [item["userId"] for item in items_of(far)] == ["u1", "u2"]
                assert way.status(0, 0).note == "", "it was put right"

    asyncio.run(story())


def test_case_59_offline_for_three_days_and_a_reboot_keeps_times_and_order(
    folder: Path, collector: BucketEnd
) -> None:
    async def story() -> None:
        app = BucketApp(collector)
        nowhere = RawFarEnd(lambda sock: None)
        nowhere.stop()
        away = f"http://127.0.0.1:{nowhere.port}"
        clocks = Clocks()
        told: list[int] = []
        for day in range(3):  # each day the machine is started, and shut down in the evening
            clocks.wall_ahead_s = (day - 3) * DAY_S
            async with posting(folder, "bucket-bulk", away, clocks=clocks, key=app.secret) as (
                here,
                way,
            ):
                await in_state(way, State.WAITING) if day else None
                for n in range(2):
                    told.append(here.core.means.wall_ms())
                    await here.call("event", _event(2 * day + n, bulk=False))
                    await asyncio.sleep(0.01)
                assert pending(here, way) == 2 * day + 2
        clocks.wall_ahead_s = 0
        url = f"http://127.0.0.1:{collector.port}"
        async with posting(folder, "bucket-bulk", url, clocks=clocks, key=app.secret) as (
            here,
            way,
        ):
            await delivered(here, way)
        events = sorted(app.held.events, key=lambda row: row.ts)
        assert [event.name for event in events] == [f"e{n}" for n in range(6)]
        for event, at_ms in zip(events, told, strict=True):
            assert 0 <= event.ts - at_ms < 1000, "the time at which it happened"
            assert event.recv_ts - event.ts > DAY_S * 1000 * 0.99

    asyncio.run(story())


def test_case_60_n_1_n_2_n_1_within_a_second_are_three_calls_and_end_at_1(
    folder: Path, collector: BucketEnd
) -> None:
    async def story() -> None:
        app = BucketApp(collector)
        with http_end(Lossy(collector, [])) as far:
            async with posting(folder, "bucket", far.url, key=app.key) as (here, way):
                for n in (1, 2, 1):
                    await here.call("user", {"userId": "u", "attributes": {"n": n}})
                    await asyncio.sleep(0.002)
                await delivered(here, way)
            assert [item["attributes"]["n"] for item in items_of(far)] == [1, 2, 1]
            assert app.held.users["u"].attributes == {"n": 1}

    asyncio.run(story())


def test_the_cases_are_complete() -> None:
    tree = ast.parse(Path(__file__).read_text("utf-8"))
    named = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    cases = [int(name.split("_")[2]) for name in named if name.startswith("test_case_")]
    assert cases == [56, 57, 58, 59, 60]


def _event(n: int, *, bulk: bool = True) -> dict[str, Any]:
    said: dict[str, Any] = {"event": f"e{n}", "userId": "u"}
    return {"type": "event"} | said if bulk else said


def _put(here: Any, way: Any, kind: str, call: bytes) -> None:
    """Put a call on the queue that this agent would not have accepted: rules change with time."""
    item = b'{"id":"odd-one","at":1795225137848,"type":"%s","call":%s}' % (kind.encode(), call)
    with here.core.outbox.turn():
        here.core.outbox.append(way.stream, [item], here.core.means.wall_ms())
    here.core.departures.offer("acme")
