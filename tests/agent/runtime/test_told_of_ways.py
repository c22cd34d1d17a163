"""What the doctor and the lists say of ways out: what is known since the start, and of whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.runtime.doctor import _links
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
