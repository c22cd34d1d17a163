"""A running core goes on when its outbox is damaged, and leaves no deleted event behind."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from agent.adapters.machine.places import Places
from agent.runtime import upkeep
from agent.runtime.core import Core
from agent.runtime.means import Means
from agent.settings import load
from tracking.endpoints import Origin, Receipt
from tracking.nucleus import parse_frame

PAGE = 4096
ORIGIN = Origin(transport="http", connection=1, peer="test", received_ms=0)
DEADLINE_S = 20.0


@dataclass
class Far:
    """A far end that may hold back its acknowledgements."""

    ids: list[str] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, ws: ServerConnection) -> None:
        async for text in ws:
            ids = [one["id"] for one in json.loads(text)["data"] if "id" in one]
            self.ids += ids
            if ids:
                await self.answers.wait()
            await ws.send(json.dumps({"reportedIds": ids}))


@dataclass
class Running:
    """A core on its loop, its far end, and what it answered."""

    core: Core
    far: Far
    sent: int = 0

    def report(self, count: int, payload: str) -> list[Receipt]:
        """Hand events in, one frame each; the list fills when they were committed."""
        receipts: list[Receipt] = []
        for number in range(self.sent, self.sent + count):
            body: dict[str, Any] = {"type": "event", "name": f"n{number}", "id": f"own-{number}"}
            raw = json.dumps({"data": [{**body, "payload": {"text": payload}}]}).encode()
            self.core.intake.take("acme", parse_frame(raw), ORIGIN, receipts.append)
        self.sent += count
        return receipts

    @property
    def account(self) -> Any:
        stream = self.core.desks["acme"].stream
        assert stream is not None
        return self.core.outbox.account(stream)


async def until(true: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(DEADLINE_S):
        while not true():
            await asyncio.sleep(0.01)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hc-"))
    yield path
    shutil.rmtree(path)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    far = Far()
    env = {"HOMING_HOME": str(folder), "DBUS_SESSION_BUS_ADDRESS": f"unix:path={folder}/no-bus"}
    async with serve(far.serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        places = Places.find(env).prepare()
        places.settings_file.parent.mkdir(parents=True, exist_ok=True)
        places.settings_file.write_text(
            '[[apps]]\nid = "acme"\nname = "Acme"\nversion = "1"\n'
            f'[[apps.upstreams]]\nkind = "nucleus"\nendpoint = "ws://127.0.0.1:{port}"\n'
        )
        died: list[BaseException] = []
        core = Core(
            load(places.settings_file, env, {}),
            places,
            Means.real(env),
            version="1",
            address="nowhere",
            on_death=died.append,
        )
        core.open()
        try:
            yield Running(core, far)
        finally:
            far.answers.set()
            await core.close()
        assert died == []


def strike(core: Core) -> None:
    """Fold everything into the file, then wipe all its pages but a few."""
    path = core.outbox.path
    core.outbox.tidy()
    core.outbox._db.execute("PRAGMA shrink_memory")
    with path.open("r+b") as file:
        for page in range(1, path.stat().st_size // PAGE):
            if page % 8:
                file.seek(page * PAGE)
                file.write(bytes(PAGE))


async def goes_on(folder: Path, found_by: str) -> None:
    async with running(folder) as here:
        first = here.report(300, "x" * 500)
        await until(lambda: len(first) == 300)
        await until(lambda: bool(here.far.ids))  # some are lent, none is settled
        strike(here.core)
        if found_by == "the far end":
            here.far.answers.set()
            await until(lambda: bool(here.core.outbox.opening.set_aside))
        more = here.report(40, "y")
        await until(lambda: len(more) == 40)
        assert all(receipt.fault is None for receipt in more)
        assert here.core.outbox.opening.set_aside is not None
        here.far.answers.set()
        await until(lambda: here.account.pending == 0)
        account = here.account
        assert account.balanced
        assert account.delivered >= 40
        assert account.accepted >= 340
        assert account.delivered + sum(account.lost.values()) == account.accepted
        assert any("set aside" in notice.text for notice in here.core.status().notices)


@pytest.mark.parametrize("found_by", ["a report", "the far end"])
def test_a_core_whose_file_is_damaged_accepts_delivers_and_tells(
    folder: Path, expected_warnings: Callable[..., None], found_by: str
) -> None:
    expected_warnings("agent.outbox", "agent.secrets", "agent.core")
    asyncio.run(goes_on(folder, found_by))


def traces(path: Path) -> int:
    return sum(one.read_bytes().count(b"canary-77") for one in path.iterdir() if one.is_file())


def test_a_drained_outbox_is_tidied_by_itself_and_at_the_end(
    folder: Path, expected_warnings: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected_warnings("agent.secrets")
    monkeypatch.setattr(upkeep, "TIDY_AFTER_S", 0.3)

    async def story() -> Path:
        async with running(folder) as here:
            first = here.report(50, "canary-77")
            await until(lambda: len(first) == 50)
            data = here.core.outbox.path.parent
            assert traces(data)
            here.far.answers.set()
            await until(lambda: here.account.pending == 0)
            await until(lambda: not traces(data))
            last = here.report(5, "canary-77")
            await until(lambda: len(last) == 5)
            await until(lambda: here.account.pending == 0)
        return data

    assert traces(asyncio.run(story())) == 0
