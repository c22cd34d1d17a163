"""Keys of upstreams: kept through the door, used at once, changed while it runs, and checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.door.upstream_keys import ForgetUpstreamKey, KeepUpstreamKey
from agent.rules.notices import State
from tests.agent.runtime.bucket_cores import (
    delivered,
    http_end,
    in_state,
    posting,
    upstream,
    way_of,
)
from tests.agent.runtime.cores import short_folder, started
from tracking.errors import RequestFault


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets", "agent.posting")
    with short_folder() as path:
        yield path


def without_file(folder: Path, kind: str, url: str) -> str:
    return upstream(folder, kind, url).replace("key_file", "# key_file")


def test_a_key_is_kept_through_the_door_used_at_once_and_changed_while_it_runs(
    folder: Path,
) -> None:
    async def story() -> None:
        with http_end() as far:
            async with started(folder, without_file(folder, "bucket-bulk", far.url)) as here:
                way = way_of(here)
                name = way.way.upstream
                await here.call("user", {"userId": "u"})
                await in_state(way, State.PARKED)
                assert f"nobody gave the upstream {name} its key" in way.status(0, 0).reason
                kept = await here.controls.ask(KeepUpstreamKey("acme", name, "first-key"))
                assert kept.kept_in == "memory (until it stops)"  # there is no keyring here
                assert kept.origin == far.url
                await delivered(here, way)
                await here.controls.ask(KeepUpstreamKey("acme", name, "second-key"))
                await here.call("user", {"userId": "u"})
                await delivered(here, way)
                assert [one.headers["authorization"] for one in far.requests] == [
                    "Bearer first-key",
                    "Bearer second-key",
                ]
                gone = await here.controls.ask(ForgetUpstreamKey("acme", name))
                assert gone.kept_in == gone.notice == ""
                await here.call("user", {"userId": "u"})
                await in_state(way, State.PARKED)
                assert len(far.requests) == 2

    asyncio.run(story())


def test_a_key_for_nobody_or_of_nonsense_is_refused_and_one_from_a_file_is_the_files(
    folder: Path,
) -> None:
    async def story() -> None:
        with http_end() as far:
            async with posting(folder, "bucket-bulk", far.url) as (here, way):
                name = way.way.upstream
                for asked, field in (
                    (KeepUpstreamKey("nobody", name, "k"), "app_id"),
                    (KeepUpstreamKey("acme", "other", "k"), "name"),
                    (KeepUpstreamKey("acme", name, "two words"), "key"),
                    (KeepUpstreamKey("acme", name, ""), "key"),
                    (KeepUpstreamKey("acme", name, "k"), "name"),
                ):
                    with pytest.raises(RequestFault) as refused:
                        await here.controls.ask(asked)
                    assert refused.value.field == field

    asyncio.run(story())


@pytest.mark.parametrize("key", ["two\nlines", "blank blank", "ключ", ""])
def test_what_a_keyring_holds_and_is_no_key_parks_and_ends_no_thread(
    folder: Path, key: str
) -> None:
    async def story() -> None:
        with http_end() as far:
            async with started(folder, without_file(folder, "bucket", far.url)) as here:
                here.core.secrets.keep_token(far.url, "acme", key, what="bucket")
                way = way_of(here)
                await here.call("user", {"userId": "u"})
                await in_state(way, State.PARKED)
                assert way.status(0, 0).code == "secret.key"
                assert far.requests == []

    asyncio.run(story())
