"""A core that posts to far ends over HTTP: a real outbox, real sockets, every turn of the road."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.adapters.machine.places import Places
from agent.adapters.outbox.outbox import Bounds, Outbox
from agent.adapters.outbox.segments import Row
from agent.door.wire import ReadWire
from agent.rules.backoff import Backoff
from agent.rules.calls import idempotency_key
from agent.rules.notices import State
from tests.agent.link.http_ends import Request, response
from tests.agent.runtime.bucket_cores import (
    KEY,
    delivered,
    http_end,
    in_state,
    items_of,
    pending,
    posting,
    upstream,
    way_of,
)
from tests.agent.runtime.cores import Clocks, short_folder, started, until

SLOW, LONG = Backoff(base_s=600, cap_s=600), Clocks(chance=0.5)  #: Waits that no test waits for.
BAD = response(b'{"success":false,"error":{"message":"userId: Required"}}', "400 Bad Request")


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets")
    with short_folder() as path:
        yield path


def test_calls_go_one_by_one_with_the_key_in_the_path(folder: Path) -> None:
    async def story() -> None:
        with http_end() as far:
            async with posting(folder, "bucket", far.url) as (here, way):
                await here.call("user", {"userId": 1234567890, "attributes": {"n": 1}})
                await here.call(
                    "event", {"event": "Sent", "userId": "u", "timestamp": 1687946400000}
                )
                await here.call("feedback", {"userId": "u", "featureId": "f", "score": 4})
                await delivered(here, way)
                assert [one.path for one in far.requests] == [
                    f"/{KEY}/user",
                    f"/{KEY}/event",
                    f"/{KEY}/feedback",
                ]
                user, event, feedback = items_of(far)
                assert user["userId"] == "1234567890"
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", user["timestamp"])
                assert event["timestamp"] == 1687946400000
                assert "timestamp" not in feedback
                assert all("authorization" not in one.headers for one in far.requests)
                status = way.status(0, 0)
                assert (status.state, status.reason, status.kind) == ("live", "", "bucket")
                assert status.sent_bytes == sum(len(one.body) for one in far.requests)
                assert here.core.outbox.account(way.stream).delivered == 3

    asyncio.run(story())


def test_what_waits_goes_as_bulk_with_a_bearer_and_in_order(folder: Path) -> None:
    async def story() -> None:
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()

        def first(_: Request) -> bytes:
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)
            return response()

        with http_end(first, response()) as far:
            async with posting(folder, "bucket-bulk", far.url) as (here, way):
                await here.call("event", {"event": "e0", "userId": "u"})
                await until(lambda: len(far.requests) == 1)
                await here.call(
                    "bulk",
                    [{"type": "event", "event": f"e{n}", "userId": "u"} for n in range(1, 251)],
                )
                gate.set()
                await delivered(here, way)
                assert [one.path for one in far.requests] == ["/bulk"] * 4
                assert {one.headers["authorization"] for one in far.requests} == {f"Bearer {KEY}"}
                assert [len(json.loads(one.body)) for one in far.requests] == [1, 100, 100, 50]
                assert [one["event"] for one in items_of(far)] == [f"e{n}" for n in range(251)]
                assert {one["type"] for one in items_of(far)} == {"event"}

    asyncio.run(story())


def test_an_event_of_nucleus_is_told_in_buckets_words(folder: Path) -> None:
    async def story() -> None:
        with http_end() as far:
            async with posting(folder, "bucket-bulk", far.url) as (here, way):
                await here.report("PLAYED")
                await delivered(here, way)
                init, played = items_of(far)
                assert (init["type"], played["type"]) == ("user", "event")
                assert played["event"] == "PLAYED"
                assert init["userId"] == played["userId"]
                assert init["attributes"]["version"] == "1"

    asyncio.run(story())


def test_a_key_that_nobody_gave_parks_with_a_sentence_and_asks_nobody(
    folder: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.secrets", "agent.posting")

    async def story() -> None:
        with http_end() as far:
            async with posting(folder, "bucket", far.url) as (here, way):
                assert way.status(0, 0).state == "idle"  # with nothing to send, no key is wanted
                (folder / "bucket.key").unlink()
                await here.call("user", {"userId": "u"})
                await in_state(way, State.PARKED)
                assert far.requests == []
                status = way.status(0, 0)
                assert status.code == "secret.file"
                assert "bucket.key does not exist" in status.reason
                assert status.next_try_ms is None
                (folder / "bucket.key").write_text(KEY)
                (folder / "bucket.key").chmod(0o600)
                here.core.departures.go_on("acme")  # a person
                await delivered(here, way)

    asyncio.run(story())


@pytest.mark.parametrize(
    "answer",
    [
        response(
            b'{"error":{"message":"no such key trCqx4DGo1lk3Lcct5NHLjWy"}}', "401 Unauthorized"
        ),
        response(b"{}", "403 Forbidden"),
        response(b"{}", "404 Not Found"),
        response(b"", "301 Moved Permanently", "Location: https://elsewhere.example/"),
        response(b"{}", "407 Proxy Authentication Required"),
        response(b'{"success":false,"error":{"code":"INVALID_API_KEY","message":"x"}}', "400 Bad"),
    ],
    ids=["401", "403", "404", "301", "407", "400 of the key"],
)
def test_a_refusal_of_who_asks_parks_with_the_reason_and_keeps_everything(
    folder: Path, expected_warnings: Callable[..., None], answer: bytes
) -> None:
    expected_warnings("agent.secrets", "agent.posting")

    async def story() -> None:
        with http_end(answer) as far:
            async with posting(folder, "bucket", far.url) as (here, way):
                await here.call("user", {"userId": "u1"})
                await here.call("user", {"userId": "u2"})
                await in_state(way, State.PARKED)
                await asyncio.sleep(0.1)
                assert len(far.requests) == 1
                assert pending(here, way) == 2
                status = way.status(0, 0)
                assert (status.state, status.code) == ("parked", "link.refused")
                assert KEY not in status.reason
                assert status.next_try_ms is not None
                assert status.next_try_ms >= 900_000

    asyncio.run(story())


def test_one_bad_call_of_many_is_buried_with_the_far_ends_words_and_the_rest_arrives(
    folder: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.secrets", "agent.core")

    def picky(request: Request) -> bytes:
        return BAD if b'"bad"' in request.body else response()

    async def story() -> None:
        with http_end(picky) as far:
            async with posting(folder, "bucket-bulk", far.url) as (here, way):
                names = [f"e{n}" for n in range(40)]
                names[13] = "bad"
                calls = [{"type": "event", "event": name, "userId": "u"} for name in names]
                await here.call("bulk", calls)
                await delivered(here, way)
                account = here.core.outbox.account(way.stream)
                assert (account.delivered, account.dead, account.balanced) == (39, 1, True)
                (letter,) = here.core.outbox.letters("acme", 10)
                assert (letter.reason, letter.detail) == ("refused", "userId: Required")
                assert b'"bad"' in letter.body
                taken = [
                    item["event"]
                    for request in far.requests
                    if b'"bad"' not in request.body
                    for item in json.loads(request.body)
                ]
                assert taken == [name for name in names if name != "bad"]

    asyncio.run(story())


def test_what_a_collector_rejects_by_index_is_buried_and_not_asked_again(
    folder: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.secrets", "agent.core")
    reply = response(
        b'{"success":true,"accepted":2,"rejected":[{"index":1,"code":"X","message":"too long"}]}'
    )

    async def story() -> None:
        with http_end(reply, response()) as far:
            more = 'speaks = ["bucket"]'
            text = upstream(folder, "homing", far.url).replace(
                'speaks = ["nucleus", "bucket"]', more
            )
            async with started(folder, text) as here:
                way = way_of(here)
                calls = [{"type": "user", "userId": f"u{n}"} for n in range(3)]
                await here.call("bulk", calls)
                await delivered(here, way)
                account = here.core.outbox.account(way.stream)
                assert (account.delivered, account.dead) == (2, 1)
                assert here.core.outbox.letters("acme", 10)[0].detail == "too long (X)"
                assert len(far.requests) == 1

    asyncio.run(story())


@pytest.mark.parametrize("status", ["408 Request Timeout", "429 Too Many", "500 Oops", "503 Busy"])
def test_what_may_be_better_in_a_while_is_asked_again_under_the_same_key(
    folder: Path, status: str
) -> None:
    async def story() -> None:
        page = response(b"<html>oops</html>", status, "Retry-After: 0")
        with http_end(page, page, response()) as far:
            async with posting(folder, "bucket-bulk", far.url) as (here, way):
                await here.call("bulk", [{"type": "user", "userId": f"u{n}"} for n in range(5)])
                await here.call("user", {"userId": "later"})
                await delivered(here, way)
                first, second, third, *_ = far.requests
                assert first.body == second.body == third.body
                keys = {one.headers["idempotency-key"] for one in (first, second, third)}
                assert len(keys) == 1
                assert len(items_of(far)) == 3 * 5 + 1

    asyncio.run(story())


def test_a_question_that_a_restart_interrupts_is_asked_again_as_it_was(folder: Path) -> None:
    async def story() -> None:
        def nothing(_: Request) -> None:
            return None

        with http_end(nothing) as far:
            async with posting(folder, "bucket-bulk", far.url, clocks=LONG) as (here, way):
                way.rule.backoff = SLOW
                await here.call("bulk", [{"type": "user", "userId": f"u{n}"} for n in range(3)])
                await until(lambda: len(far.requests) >= 1)
                for n in range(3, 6):
                    await here.call("user", {"userId": f"u{n}"})
            asked = far.requests[0]
            ids = [json.loads(row.body)["id"] for row in _rows(folder)]
            assert asked.headers["idempotency-key"] == idempotency_key(ids[:3])
            far.plan[:] = [response()]
            before = len(far.requests)
            async with posting(folder, "bucket-bulk", far.url) as (here, way):
                await delivered(here, way)
            again, rest = far.requests[before:]
            assert (again.body, again.headers["idempotency-key"]) == (
                asked.body,
                asked.headers["idempotency-key"],
            )
            assert [item["userId"] for item in json.loads(rest.body)] == ["u3", "u4", "u5"]

    asyncio.run(story())


def _rows(folder: Path) -> list[Row]:
    box = Outbox.open(Places.find({"HOMING_HOME": str(folder)}).outbox, Bounds(), 0)
    try:
        return list(box.export("acme"))
    finally:
        box.close()


def test_what_a_person_deleted_while_it_waited_is_not_sent(folder: Path) -> None:
    async def story() -> None:
        with http_end(None, response()) as far:
            async with posting(folder, "bucket-bulk", far.url, clocks=LONG) as (here, way):
                way.rule.backoff = SLOW
                await here.call("user", {"userId": "secret"})
                await until(lambda: len(far.requests) == 1)
                await in_state(way, State.WAITING)
                here.core.outbox.purge("acme")
                await here.call("user", {"userId": "kept"})
                here.core.departures.go_on("acme")
                await delivered(here, way)
                assert [item["userId"] for item in items_of(far)] == ["secret", "kept"]

    asyncio.run(story())


def test_a_pause_ends_the_question_and_going_on_asks_it_again(folder: Path) -> None:
    async def story() -> None:
        answers = iter([False, True])

        def slow(_: Request) -> bytes:
            if not next(answers):
                time.sleep(0.5)
            return response()

        with http_end(slow) as far:
            async with posting(folder, "bucket", far.url) as (here, way):
                await here.call("user", {"userId": "u"})
                await until(lambda: len(far.requests) == 1)
                here.core.departures.halt()
                assert (way.rule.state, way.rule.in_flight) == (State.IDLE, 0)
                await asyncio.sleep(0.6)
                assert pending(here, way) == 1, "an answer that nobody waits for settles nothing"
                here.core.departures.go_on()
                await delivered(here, way)
                assert [one.body for one in far.requests] == [far.requests[0].body] * 2

    asyncio.run(story())


def test_the_record_of_the_wire_has_every_question_and_answer_and_no_key(folder: Path) -> None:
    async def story() -> None:
        busy = response(f'{{"error":"key {KEY} is busy"}}'.encode(), "500 Oops")
        with http_end(busy, response()) as far:
            async with posting(folder, "bucket", far.url) as (here, way):
                await here.call("user", {"userId": "u"})
                await delivered(here, way)
                page = await here.core.wire.read(ReadWire(limit=20))
            shown = [(one.direction, one.head, one.verdict) for one in reversed(page.entries)]
            assert [one[:2] for one in shown] == [
                ("sent", "POST /***/user"),
                ("received", "500 application/json"),
                ("sent", "POST /***/user"),
                ("received", "200 application/json"),
            ]
            assert shown[0][2].startswith("not answered: the far end answered 500")
            assert shown[2][2] == "acknowledged 1 of 1"
            assert page.entries[0].peer.startswith("127.0.0.1:")
            assert KEY not in repr(page)
            for file in folder.rglob("*"):
                if file.is_file() and file.name != "bucket.key":
                    assert KEY.encode() not in file.read_bytes(), file

    asyncio.run(story())


def test_a_way_that_is_down_does_not_hold_the_other_up(folder: Path) -> None:
    async def story() -> None:
        with http_end(None) as down, http_end() as up:
            second = (
                f'[[apps.upstreams]]\nname = "two"\nkind = "bucket-bulk"\nendpoint = "{up.url}"\n'
                f'key_file = "{folder}/bucket.key"'
            )
            text = upstream(folder, "bucket", down.url, second)
            async with started(folder, text) as here:
                for n in range(20):
                    await here.call("user", {"userId": f"u{n}"})
                two, one = way_of(here, "two"), way_of(here, "bucket")
                await delivered(here, two)
                assert pending(here, one) == 20
                assert len(items_of(up)) == 20

    asyncio.run(story())
