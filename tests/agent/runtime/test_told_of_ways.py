"""What the doctor and the lists say of ways out: what is known since the start, and of whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.door.upstream_keys import ForgetUpstreamKey
from agent.runtime.doctor import _links
from agent.runtime.ways.upstream_keys import handlers
from tests.agent.link.http_ends import response
from tests.agent.runtime.bucket_cores import delivered, http_end, posting
from tests.agent.runtime.cores import short_folder


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets")
    with short_folder() as path:
        yield path


def test_a_way_without_anything_to_send_is_not_said_never_to_have_sent(folder: Path) -> None:
    async def story() -> None:
        with http_end(response()) as far:
            async with posting(folder, "bucket", far.url) as (here, way):
                (idle,) = _links(here.core)
                assert idle.evidence == f"{far.url}: nothing to send since the agent started"
                await here.call("user", {"userId": "u"})
                await delivered(here, way)
                (live,) = _links(here.core)
                assert live.evidence.startswith(f"{far.url}: live")

    asyncio.run(story())


def test_a_dead_letter_names_its_upstream_and_the_far_ends_code(
    folder: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.secrets", "agent.core")
    error = b'{"success":false,"error":{"code":"NO_SUCH_USER","message":"nobody"}}'

    async def story() -> None:
        with http_end(response(error, "400 Bad Request")) as far:
            async with posting(folder, "bucket", far.url, 'name = "vendor"') as (here, way):
                await here.call("user", {"userId": "u"})
                await delivered(here, way)
                (letter,) = await here.controls.dead_letters("acme", 10)
                assert letter.upstream == "vendor"
                assert (letter.reason, letter.detail) == ("refused", "nobody (NO_SUCH_USER)")

    asyncio.run(story())


def test_a_key_in_a_file_is_not_said_not_to_be_there(folder: Path) -> None:
    async def story() -> None:
        with http_end(response()) as far:
            async with posting(folder, "bucket", far.url, 'name = "vendor"') as (here, _):
                forget = handlers(here.core)[ForgetUpstreamKey]
                told = await forget(ForgetUpstreamKey("acme", "vendor"))
                assert told.notice == (
                    "the key of vendor is in the file that key_file names, which stays"
                )

    asyncio.run(story())
