"""What a whole core writes into the record: handshakes, frames, who was there, how each ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.door import WireEntry
from agent.door.wire import ReadWire
from agent.runtime.core import Core
from tests.agent.runtime.cores import all_of, far_end, running, short_folder, until


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets", "agent.delivery", "agent.core")
    with short_folder() as path:
        yield path


def entries(core: Core, **wanted: object) -> list[WireEntry]:
    page = core.wire.page(ReadWire(limit=500, **wanted))  # type: ignore[arg-type]
    return list(reversed(page.entries))


def test_a_conversation_is_there_from_its_first_byte_to_its_verdict(folder: Path) -> None:
    async def scenario() -> None:
        async with far_end() as far, running(folder, acme=far.endpoint) as here:
            await here.report("A", "B")
            await until(lambda: here.account().delivered == 3)
            said = entries(here.core)
            kinds = [(one.kind, one.direction) for one in said[:2]]
            assert kinds == [("handshake", "sent"), ("handshake", "received")]
            assert said[0].head.startswith("GET /acme/")
            assert "Upgrade: websocket" in said[0].text
            assert said[1].head.startswith("HTTP/1.1 101")
            port = far.endpoint.rpartition(":")[2]
            assert {one.peer for one in said} == {f"127.0.0.1:{port}, no TLS"}
            assert {one.upstream for one in said} == {"nucleus"}
            (batch,) = [one for one in said if '"name":"A"' in one.text]
            assert batch.verdict == "acknowledged 3 of 3"
            assert batch.size == len(batch.text.encode())
            (reply,) = [
                one for one in entries(here.core, search="reportedIds") if one.text != "{}"
            ][-1:]
            assert reply.direction == "received"
            assert [one.text for one in entries(here.core, verdict="acknowledged")] == [batch.text]

    asyncio.run(scenario())


def test_what_nobody_answered_is_told_and_told_again_when_it_is_sent_again(folder: Path) -> None:
    heard = 0

    def deaf_at_first(frame: list[dict[str, object]]) -> list[str]:
        nonlocal heard
        events = [one for one in frame if one.get("type") != "heartbeat"]
        heard += bool(events)
        return [] if heard <= 1 else all_of(frame)  # type: ignore[arg-type]

    async def scenario() -> None:
        async with (
            far_end(deaf_at_first) as far,
            running(folder, ack_s=1.0, acme=far.endpoint) as here,
        ):
            await here.report("A")
            await until(lambda: here.account().delivered == 2)
            sent = [one for one in entries(here.core) if '"name":"A"' in one.text]
            assert [one.verdict for one in sent] == ["retried", "acknowledged 2 of 2"]
            assert here.core.wire.ring is not None
            about = [one for one in here.core.wire.ring.newest_first() if one.of == sent[0].n]
            assert [one.verdict.partition(":")[0] for one in reversed(about)] == [
                "not answered",
                "retried",
            ]

    asyncio.run(scenario())


def test_a_purged_app_has_nothing_in_the_record(folder: Path) -> None:
    async def scenario() -> None:
        async with far_end() as far, running(folder, acme=far.endpoint, other=far.endpoint) as here:
            await here.report("CANARY-a")
            await here.report("B", app_id="other")
            await until(lambda: here.account().delivered == 2)
            await until(lambda: here.account("other").delivered == 2)
            assert entries(here.core, search="CANARY-a")
            here.core.wire.forget("acme")
            left = entries(here.core)
            assert left
            assert {one.app_id for one in left} == {"other"}

    asyncio.run(scenario())
