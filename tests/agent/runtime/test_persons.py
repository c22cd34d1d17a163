"""Whom far ends are asked to delete: everybody the app named, and who cannot be asked is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.door.your_data import ReadHeld
from agent.runtime.counter import profile
from tests.agent.runtime.cores import far_end, short_folder, started, until
from tests.agent.runtime.test_your_data import (
    NOWHERE,
    deleted,
    on_a_loop,
    settings,
    settled,
    stubborn,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "collector"))  # of the room beside

from collectors import Collector

CANARY = "cAnArY-of-bucket"
BOTH = 'speaks = ["nucleus", "bucket"]\n'


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets", "agent.deletions", "agent.delivery", "agent.posting")
    with short_folder() as path:
        yield path


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    there = Collector(tmp_path_factory.mktemp("far") / "data")
    yield there
    there.kill()


def private(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o600)
    return file


@on_a_loop
async def test_persons_whom_bucket_calls_named_are_gone_from_a_collector(
    folder: Path, collector: Collector
) -> None:
    token = private(folder / "token", collector.app("acme", "users:delete", "users:read"))
    made = collector.command("app", "secret", "acme", "--json")
    key = private(folder / "key", json.loads(made.stdout)["secretKey"])

    def users() -> str:
        return collector.command("export", "acme", "--what", "users").stdout

    written = (
        f'[[apps]]\nid = "acme"\nname = "Acme"\n{BOTH}[[apps.upstreams]]\nkind = "homing"\n'
        f'name = "main"\nendpoint = "ws://127.0.0.1:{collector.port}"\nkey_file = "{key}"\n'
        f'data_api = "http://127.0.0.1:{collector.port}"\ntoken_file = "{token}"\n'
    )
    people = (CANARY, f"{CANARY}-2")
    async with started(folder, written) as here:
        for person in people:
            said = {"userId": person, "attributes": {"email": "c@d.example"}}
            await here.call("user", said)
        bucket = next(lane for lane in here.core.desks["acme"].lanes if lane.way.name != "main")
        await until(lambda: here.core.outbox.account(bucket.stream).delivered == 2)
    assert all(person in users() for person in people)
    async with started(folder, written) as here:  # they are known to the next process
        gone = await deleted(here, app_id="acme", remote=True)
        assert gone.not_asked == ()
        await settled(here)
        (request,) = here.core.deleting.told()
        assert (request.state, request.answered, request.receipts) == ("done", 4, 2)
        assert here.core.desks["acme"].profile.named == {}
    assert CANARY not in users()


@on_a_loop
async def test_everybody_is_asked_for_and_those_beyond_the_bound_are_told_before_and_after(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "MOST_NAMED", 3)
    with stubborn() as there:
        written = settings(folder, NOWHERE, there.origin)
        written = written.replace("[[apps.up", BOTH + "[[apps.up").replace(
            '"nucleus"\ne', '"homing"\ne'
        )
        async with started(folder, written) as here:
            for n in (1, 2, 3, 1, 4, 5):
                await here.call("user", {"userId": f"u-{n}"})
            identity = here.core.desks["acme"].profile.identity
            assert identity is not None
            (held,) = (await here.core.your_data.held(ReadHeld(app_id="acme"))).apps
            gone = await deleted(here, app_id="acme", remote=True)
            assert [one.why_not for one in held.far_ends] == ["", gone.not_asked[0].why_not]
            assert gone.not_asked[0].why_not.startswith("about 2 earlier names of persons")
            await settled(here)
            asked = {path.split("?")[0].rsplit("/", 1)[1] for _, path, _ in there.heard}
            assert asked == {"u-3", "u-4", "u-5", identity.anon_id, identity.device_id}
            gone = await deleted(here, app_id="acme", remote=True)
            assert gone.not_asked == (), "what was counted is gone with the rest"


@on_a_loop
async def test_nobody_is_kept_where_no_far_end_knows_a_deletion(folder: Path) -> None:
    key = private(folder / "key", "k" * 24)
    written = (
        f'[[apps]]\nid = "acme"\nname = "Acme"\n{BOTH}[[apps.upstreams]]\nkind = "bucket"\n'
        f'endpoint = "http://127.0.0.1:9"\nkey_file = "{key}"\n'
        'leave_out = ["channel-status-event", "feature-flag-event", "prompt-event"]\n'
    )
    async with started(folder, written) as here:
        await here.call("user", {"userId": CANARY})
        assert here.core.desks["acme"].profile.named == {}


@on_a_loop
async def test_a_far_end_that_the_settings_name_no_more_is_told_before_and_after(
    folder: Path,
) -> None:
    with stubborn() as there:
        async with far_end() as far:
            named = 'kind = "nucleus"\nname = "{}"\n'
            written = settings(folder, far.endpoint, there.origin)
            old = written.replace('kind = "nucleus"\n', named.format("old"))
            async with started(folder, old) as here:
                await here.report("A", "B")
                await until(lambda: here.account().delivered == 3)
            new = written.replace('kind = "nucleus"\n', named.format("new"))
            async with started(folder, new) as here:
                (held,) = (await here.core.your_data.held(ReadHeld(app_id="acme"))).apps
                assert [one.upstream for one in held.far_ends] == ["new", "old"]
                gone = await deleted(here, app_id="acme", remote=True)
                assert [one.upstream for one in gone.requests] == ["new"]
                (former,) = gone.not_asked
                assert former == held.far_ends[1]
                assert former.upstream == "old"
                assert "was given 3 events" in former.why_not
                await settled(here)
