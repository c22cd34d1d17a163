"""What goes over HTTP is in the record when it left, whole and with whom it went to; else not."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.adapters.links.http_wire import Passed, Question
from agent.adapters.records.wire_log import Room, WireRing
from agent.door import WireEntry
from agent.door.wire import ReadWire
from agent.rules.notices import State
from agent.runtime.core import Core
from agent.runtime.ways.wire_notes import WireNotes
from agent.runtime.wire import WireLog
from tests.agent.link.http_ends import Request, response
from tests.agent.runtime.bucket_cores import KEY, delivered, http_end, posting
from tests.agent.runtime.cores import running, short_folder, until
from tracking.errors import SecretFault, Unreachable


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets", "agent.posting", "agent.delivery", "agent.core")
    with short_folder() as path:
        yield path


def entries(core: Core, **wanted: object) -> list[WireEntry]:
    page = core.wire.page(ReadWire(limit=500, **wanted))  # type: ignore[arg-type]
    return list(reversed(page.entries))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[WireLog]:
    made = WireLog(WireRing(tmp_path / "wire", Room(1 << 20, 14, 1_000)))
    yield made
    made.close()


def written(body: bytes) -> Passed:
    return Passed(Question("/bulk", body), "sent", "POST /bulk", b"POST" + body, 99, "there")


def told(log: WireLog) -> list[tuple[int, str]]:
    return [(one.size, one.verdict) for one in reversed(log.page(ReadWire()).entries)]


@pytest.mark.parametrize("kind", ["bucket", "bucket-bulk"])
def test_what_never_left_is_one_short_entry_however_often_it_is_tried(
    folder: Path, kind: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def story() -> None:
        async with posting(folder, kind, f"http://127.0.0.1:{port}") as (here, way):
            await here.call("user", {"userId": "CANARY-u"})
            await until(lambda: way.link.dials >= 4)
            (said,) = entries(here.core)
            assert said.verdict.startswith("not sent: connection refused")
            assert (said.kind, said.size, said.text, said.peer) == ("http", 0, "", "")
            assert said.head == ("POST /***/user" if kind == "bucket" else "POST /bulk")
            assert entries(here.core, verdict="not sent") == [said]
            assert way.link.sent_bytes == 0

    asyncio.run(story())


def test_a_question_without_its_key_is_not_said_to_be_sent(folder: Path) -> None:
    async def story() -> None:
        with http_end() as far:
            async with posting(folder, "bucket", far.url) as (here, way):
                (folder / "bucket.key").unlink()
                await here.call("user", {"userId": "u"})
                await until(lambda: way.rule.state is State.PARKED)
                (said,) = entries(here.core)
                assert said.verdict.startswith("not sent: ")
                assert "bucket.key does not exist" in said.verdict

    asyncio.run(story())


@pytest.mark.parametrize("kind", ["bucket", "bucket-bulk"])
def test_questions_and_answers_are_there_with_their_heads_and_without_the_key(
    folder: Path, kind: str
) -> None:
    async def story() -> None:
        with http_end(response(b'{"success":true}', "200 OK", "X-Far: away")) as far:
            async with posting(folder, kind, f"{far.url}/under") as (here, way):
                await here.call("user", {"userId": "u"})
                await delivered(here, way)
                asked, answered = entries(here.core)
        (request,) = far.requests
        key = "***/user" if kind == "bucket" else "bulk"
        assert asked.head == f"POST /under/{key}"
        assert asked.text.startswith(f"POST /under/{key} HTTP/1.1\r\n")
        head, _, body = asked.text.partition("\r\n\r\n")
        assert body.encode() == request.body
        lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
        assert set(lines) == set(request.headers)
        assert lines["idempotency-key"] == request.headers["idempotency-key"].lower()
        assert lines["user-agent"] == request.headers["user-agent"].lower()
        assert lines.get("authorization") == (None if kind == "bucket" else "bearer ***")
        assert asked.size == len(asked.text) - len("***") + len(KEY)
        assert answered.text.startswith("HTTP/1.1 200 OK\r\n")
        assert "X-Far: away" in answered.text
        assert answered.size == len(answered.text)
        peer = f"{far.url.removeprefix('http://')}, no TLS"
        assert (asked.peer, answered.peer) == (peer, peer)
        assert asked.verdict == "acknowledged 1 of 1"

    asyncio.run(story())


def test_nucleus_over_http_is_told_as_http_with_method_path_and_status(folder: Path) -> None:
    def far_end(request: Request) -> bytes:
        if request.method == "GET":
            return response(b"{}", "426 Upgrade Required", "Connection: close")
        ids = [event["id"] for event in request.json()["data"] if "id" in event]
        return response(json.dumps({"reportedIds": ids}).encode())

    async def story() -> None:
        with http_end(far_end) as far:
            async with running(folder, acme=far.url.replace("http", "ws")) as here:
                await here.report("A", "B")
                await until(lambda: here.account().delivered == 3)
                said = [one for one in entries(here.core) if one.kind != "handshake"]
        assert {one.kind for one in said} == {"http"}
        assert {one.head for one in said if one.direction == "sent"} == {"POST /app/acme/track"}
        answers = [one for one in said if one.direction == "received"]
        assert {one.head for one in answers} == {"200 application/json"}
        assert len(answers) == len(said) / 2
        assert {one.peer for one in said} == {f"{far.url.removeprefix('http://')}, no TLS"}
        batches = [one for one in said if '"name":"A"' in one.text]
        assert [one.verdict for one in batches] == ["acknowledged 3 of 3"]
        assert batches[0].text.startswith("POST /app/acme/track HTTP/1.1\r\n")
        posts = [one for one in far.requests if one.method == "POST"]
        assert len(posts) == len(answers), "each question once"

    asyncio.run(story())


def test_what_was_given_up_before_it_left_is_told_so_when_it_leaves(log: WireLog) -> None:
    notes = WireNotes(log, "acme", "main", lambda: 1_795_225_140_000)
    posted = notes.post(b"[1]")
    notes.became(posted, "not answered")
    assert told(log) == []
    notes.passed(written(posted.body))
    assert told(log) == [(99, "not answered")]


def test_what_leaves_a_second_time_is_told_twice_and_judged_once(log: WireLog) -> None:
    notes = WireNotes(log, "acme", "main", lambda: 1_795_225_140_000)
    posted = notes.post(b"[1]")
    notes.passed(written(posted.body))
    notes.passed(written(posted.body))
    notes.became(posted, "acknowledged 1 of 1")
    assert told(log) == [(99, "retried"), (99, "acknowledged 1 of 1")]


def test_a_reason_is_told_again_when_something_left_meanwhile(log: WireLog) -> None:
    notes = WireNotes(log, "acme", "main", lambda: 1_795_225_140_000)
    for fault in (Unreachable("a"), Unreachable("b"), SecretFault("c"), Unreachable("d")):
        notes.lost(notes.post(b"[1]"), "POST /bulk", fault)
    assert told(log) == [(0, "not sent: a"), (0, "not sent: c")]
    posted = notes.post(b"[2]")
    notes.passed(written(posted.body))
    notes.lost(posted, "POST /bulk", Unreachable("e"))
    notes.lost(notes.post(b"[3]"), "POST /bulk", Unreachable("f"))
    assert told(log)[2:] == [(99, "not answered: e"), (0, "not sent: f")]


def test_what_never_leaves_is_not_remembered_for_ever(log: WireLog) -> None:
    notes = WireNotes(log, "acme", "main", lambda: 1_795_225_140_000)
    for n in range(100):
        notes.became(notes.post(b"%d" % n), "not answered")
    assert len(notes._posted) < 10
