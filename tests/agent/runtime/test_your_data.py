"""Held, deleted here, deleted far away: a whole core, a stubborn far end, a real collector."""

from __future__ import annotations

import asyncio
import functools
import json
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.door.reconciliation import Reconcile
from agent.door.wire import ReadWire
from agent.door.your_data import Deleted, DeleteData, ReadHeld, ReadReceipts, RetryDeletion
from agent.rules.backoff import Backoff
from collector.receipts import digest, verify
from tests.agent.runtime.cores import Clocks, Running, far_end, short_folder, started, until
from tracking.errors import RequestFault

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "collector"))  # of the room beside

from collectors import Collector

CANARY = "cAnArY-77"
TOKEN = "tOkEn-of-the-person-0123"
Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Stubborn:
    """A Data API that answers as it is told, and keeps what it heard."""

    replies: list[Reply] = field(default_factory=list)
    heard: list[tuple[str, str, str]] = field(default_factory=list)
    origin: str = ""

    def answer(self, method: str, path: str, token: str) -> Reply:
        self.heard.append((method, path, token))
        return self.replies.pop(0) if self.replies else (204, {}, b"")


@contextmanager
def stubborn(*replies: Reply) -> Iterator[Stubborn]:
    there = Stubborn(list(replies))

    class Handler(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            status, headers, body = there.answer(
                "DELETE", self.path, self.headers.get("Authorization", "")
            )
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_said: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    there.origin = f"http://127.0.0.1:{server.server_port}"
    try:
        yield there
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets", "agent.deletions", "agent.delivery")
    with short_folder() as path:
        yield path


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a loop of its own."""

    @functools.wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(test(*given, **named))

    return run


def settings(folder: Path, endpoint: str, data_api: str, token: str = TOKEN) -> str:
    file = folder / "token"
    file.write_text(token)
    file.chmod(0o600)
    named = f'data_api = "{data_api}"\ntoken_file = "{file}"\n' if data_api else ""
    return (
        '[[apps]]\nid = "acme"\nname = "Acme"\n[[apps.upstreams]]\nkind = "nucleus"\n'
        f'endpoint = "{endpoint}"\n{named}'
    )


def at_once(here: Running) -> None:
    """Let nothing wait longer than a moment between two tries."""
    here.core.deleting.backoff = Backoff(base_s=0.01, cap_s=0.02)


def residue(folder: Path, canary: str) -> list[str]:
    """Return the files below a folder in which the canary can be read."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and canary.encode() in path.read_bytes()
    ]


async def deleted(here: Running, **how: Any) -> Deleted:
    return await here.core.your_data.delete(DeleteData(**how))


async def settled(here: Running) -> None:
    """Wait until nothing is asked any more."""
    deleting = here.core.deleting
    await until(lambda: all(one.state != "waiting" for one in deleting.requests.values()))
    await until(lambda: deleting._task is None)


NOWHERE = "ws://127.0.0.1:9"
BUSY: Reply = (503, {"Retry-After": "0"}, b"busy")
NOBODY: Reply = (404, {}, b'{"error":"nobody here is x","code":"request","field":"userId"}')


@on_a_loop
async def test_row_49_an_opt_out_leaves_nothing_here_and_asks_the_far_end_until_it_answers(
    folder: Path,
) -> None:
    with stubborn(BUSY, (500, {}, b""), (204, {}, b"")) as there:
        async with started(folder, settings(folder, NOWHERE, there.origin)) as here:
            at_once(here)
            await here.report(CANARY, CANARY + "-2")
            here.core.wire.write()
            assert residue(folder / "data", CANARY)
            identity = here.core.desks["acme"].profile.identity
            assert identity is not None
            there.replies[1] = (500, {}, f'{{"who":"{identity.anon_id}"}}'.encode())
            gone = await deleted(here, app_id="acme", remote=True)
            assert (gone.apps, gone.events, gone.left) == (("acme",), 3, ())
            assert residue(folder, CANARY) == []
            (request,) = gone.requests
            assert request.origin == there.origin
            await settled(here)
            (told,) = here.core.deleting.told()
            assert (told.state, told.answered, told.persons) == ("done", 2, ())
            assert told.attempts == 0, "after each answer the waits begin anew"
            people = [identity.anon_id, identity.device_id]
            paths = [f"/api/v1/apps/acme/users/{one}?receipt=1" for one in people]
            assert [path for _, path, _ in there.heard] == [paths[0]] * 3 + [paths[1]]
            assert {token for _, _, token in there.heard} == {TOKEN}
            here.core.wire.write()
            for gone_for_good in (identity.anon_id, identity.device_id):
                assert residue(folder / "state", gone_for_good) == []
                page = here.core.wire.page(ReadWire(search=gone_for_good))
                assert page.entries == (), "the record names whom all were asked to forget"
            assert residue(folder / "data", TOKEN) == []
            assert here.core.desks["acme"].profile.identity != identity


@on_a_loop
async def test_what_was_asked_survives_a_kill_and_is_asked_by_the_next_process(
    folder: Path,
) -> None:
    with stubborn(*[BUSY] * 3) as there:
        written = settings(folder, NOWHERE, there.origin)
        async with started(folder, written, Clocks(chance=0.999)) as here:
            await here.report(CANARY)
            await deleted(here, app_id="acme", remote=True)
            await until(lambda: here.core.deleting.told()[0].attempts == 1)
            (file,) = (folder / "state" / "deletions").iterdir()
            asked = file.read_bytes()
        file.write_bytes(asked)  # as a kill would have left it
        assert file.stat().st_mode & 0o077 == 0
        there.replies.clear()
        clocks = Clocks(wall_ahead_s=60.0)
        async with started(folder, written, clocks) as here:
            await settled(here)
            (told,) = here.core.deleting.told()
            assert (told.state, told.answered) == ("done", 2)


@on_a_loop
@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_is_parked_told_and_tried_again_when_a_person_says_so(
    folder: Path, status: int
) -> None:
    with stubborn((status, {}, b'{"error":"no such app","field":"appId"}')) as there:
        async with started(folder, settings(folder, NOWHERE, there.origin)) as here:
            await here.report("A")
            await deleted(here, remote=True, local=False)
            await settled(here)
            (told,) = here.core.deleting.told()
            assert told.state == "parked"
            assert str(status) in told.reason
            assert told.next_ms is None
            assert "deletion.parked" in here.core.board.notices
            assert here.account().pending == 2, "nothing was to be deleted here"
            await here.core.your_data.retry(RetryDeletion(id=told.id))
            await settled(here)
            assert here.core.deleting.told()[0].state == "done"
            assert "deletion.parked" not in here.core.board.notices


@on_a_loop
async def test_a_person_whom_the_far_end_does_not_know_is_answered(folder: Path) -> None:
    with stubborn(NOBODY, NOBODY) as there:
        async with started(folder, settings(folder, NOWHERE, there.origin)) as here:
            await here.report("A")
            await deleted(here, remote=True)
            await settled(here)
            (told,) = here.core.deleting.told()
            assert (told.state, told.answered, told.receipts) == ("done", 2, 0)


@on_a_loop
async def test_row_34_a_token_goes_to_no_other_origin_than_the_settings_name_it_for(
    folder: Path,
) -> None:
    with stubborn(BUSY, BUSY) as old, stubborn() as new:
        async with started(folder, settings(folder, NOWHERE, old.origin)) as here:
            await here.report("A")
            await deleted(here, remote=True)
            await until(lambda: bool(old.heard))
        old.heard.clear()
        written = settings(folder, NOWHERE, new.origin, "tOkEn-of-the-new-far-end")
        async with started(folder, written, Clocks(wall_ahead_s=60.0)) as here:
            await settled(here)
            (told,) = here.core.deleting.told()
            assert (told.state, told.origin) == ("parked", old.origin)
            assert old.heard == []
            assert new.heard == []


@on_a_loop
async def test_without_a_token_or_a_data_api_it_is_said_and_not_asked(folder: Path) -> None:
    async with started(folder, settings(folder, NOWHERE, "")) as here:
        await here.report("A")
        gone = await deleted(here, remote=True)
        assert gone.requests == ()
        assert [one.why_not for one in gone.not_asked] == [
            "no data_api is named for it in the settings"
        ]
    with short_folder() as other:
        written = settings(other, NOWHERE, "http://127.0.0.1:9")
        (other / "token").unlink()
        async with started(other, written) as here:
            await here.report("A")
            await deleted(here, remote=True)
            await settled(here)
            assert here.core.deleting.told()[0].state == "parked"


@on_a_loop
async def test_bucket_is_never_asked_and_that_is_said(folder: Path) -> None:
    key = folder / "key"
    key.write_text("k" * 24)
    key.chmod(0o600)
    written = (
        '[[apps]]\nid = "acme"\nname = "Acme"\nspeaks = ["nucleus"]\n[[apps.upstreams]]\n'
        f'kind = "bucket"\nendpoint = "http://127.0.0.1:9"\nkey_file = "{key}"\n'
    )
    async with started(folder, written) as here:
        gone = await deleted(here, remote=True)
        assert gone.requests == ()
        assert "knows no deletion" in gone.not_asked[0].why_not


@on_a_loop
async def test_an_app_that_stays_goes_on_as_somebody_else(folder: Path) -> None:
    async with far_end() as far, started(folder, settings(folder, far.endpoint, "")) as here:
        await here.report("A")
        await until(lambda: here.account().delivered == 2)
        before = here.core.desks["acme"].profile.identity
        await deleted(here, app_id="acme")
        await here.report("B")
        await until(lambda: here.account().delivered == 4)
        after = here.core.desks["acme"].profile.identity
        assert before is not None
        assert after is not None
        assert before.anon_id != after.anon_id
        assert here.account().balanced


@on_a_loop
async def test_what_is_held_is_told_whole(folder: Path) -> None:
    async with started(folder, settings(folder, NOWHERE, "http://127.0.0.1:9")) as here:
        await here.report("A")
        (app,) = (await here.core.your_data.held(ReadHeld(app_id="acme"))).apps
        assert (app.name, app.consent, app.consent_from) == ("Acme", "allowed", "settings file")
        assert json.loads(app.profile)["identity"]["anon_id"]
        assert [(one.name, one.pending) for one in app.streams] == [("nucleus", 2)]
        assert sum(events for _, _, events in app.tallies) == 2
        assert ("apps.acme.name", "Acme") in [row[:2] for row in app.settings]
        assert [one.origin for one in app.far_ends] == ["http://127.0.0.1:9"]
        with pytest.raises(RequestFault):
            await here.core.your_data.held(ReadHeld(app_id="nobody"))


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    far_end = Collector(tmp_path_factory.mktemp("far") / "data")
    yield far_end
    far_end.kill()


@on_a_loop
async def test_a_collector_deletes_and_signs_and_what_was_sent_is_gone_there(
    folder: Path, collector: Collector
) -> None:
    token = collector.app("acme", "users:delete", "stats:read", "users:read")
    origin = f"http://127.0.0.1:{collector.port}"
    written = settings(folder, f"ws://127.0.0.1:{collector.port}", origin, token)
    async with started(folder, written) as here:
        await here.report("A", "B")
        await until(lambda: here.account().delivered == 3)
        identity = here.core.desks["acme"].profile.identity
        assert identity is not None
        assert len(collector.export("acme")) == 3
        await deleted(here, remote=True)
        await settled(here)
        (told,) = here.core.deleting.told()
        assert (told.state, told.receipts) == ("done", 1)
        assert collector.export("acme") == []
        (raw,) = (await here.core.your_data.receipts(ReadReceipts(id=told.id))).receipts
        signed, stated = verify(raw.encode())
        assert signed.algorithm == "Ed25519"
        assert stated["erased"]["events"] == 3
        named = {digest(stated["salt"], "acme", one) for one in msgspec.structs.astuple(identity)}
        assert stated["subject"] in named
        assert residue(folder / "state", identity.anon_id) == []


@on_a_loop
async def test_the_far_end_on_this_computer_is_compared_and_deletes_too(
    folder: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.keeper")
    written = '[far_end]\nkeep_here = "yes"\n[[apps]]\nid = "acme"\nname = "Acme"\n'
    async with started(folder, written) as here:
        await here.report("A", "B")
        await until(lambda: here.account().delivered == 3, 40.0)
        (one,) = (await here.core.reconciling.reconcile(Reconcile(app_id="acme"))).ways
        assert one.text == "The far end confirms 3 of 3 events."
        link = next(one for one in here.core.status().links if one.app_id == "acme")
        assert link.confirmed == one.text
        await deleted(here, app_id="acme", remote=True)
        await settled(here)
        (told,) = here.core.deleting.told()
        assert (told.state, told.receipts) == ("done", 1)
        tokens = folder / "state" / "far-end-tokens.json"
        assert tokens.stat().st_mode & 0o077 == 0


@on_a_loop
async def test_no_token_is_ever_in_the_record_of_the_wire(folder: Path) -> None:
    with stubborn((204, {}, b""), (403, {}, f"not {TOKEN}".encode())) as there:
        endpoint = f"{NOWHERE}/t/{TOKEN}"
        async with started(folder, settings(folder, endpoint, there.origin)) as here:
            await here.report("A")
            here.core.wire.add(1, "acme", "sent", f'{{"token":"{TOKEN}"}}'.encode())
            await deleted(here, remote=True, local=False)
            await settled(here)
            said = here.core.wire.page(ReadWire(limit=100)).entries
            asked = [one for one in said if one.kind == "data-api"]
            heads = sorted(one.head.split()[0] for one in asked)
            assert heads == ["204", "403", "DELETE", "DELETE"]
            verdicts = [one.verdict for one in asked if one.direction == "sent"]
            assert verdicts == ["refused: 403 Forbidden", "acknowledged"]
            assert any("Authorization: ***" in one.text for one in asked)
            assert "tOkEn" not in msgspec.json.encode(said).decode()
            assert "tOkEn" not in here.core.deleting.told()[0].reason
