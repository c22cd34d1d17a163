"""A core on its own loop with clocks that a test turns, and a far end that does as told."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from agent.adapters.machine.places import Places
from agent.runtime.control import Controls
from agent.runtime.core import Core
from agent.runtime.means import Means
from agent.runtime.ways.delivery import Delivery
from agent.settings import load
from tracking.bucket import parse_body
from tracking.endpoints import Origin, Receipt
from tracking.events import Limits
from tracking.nucleus import parse_frame

ORIGIN = Origin(transport="http", connection=1, peer="test", received_ms=0)
DEADLINE_S = 20.0
FAR_LOG = logging.getLogger("far end of the core's tests")
# An agent that is stopped while it dials is no mistake; one in our own ``serve`` is still told.
FAR_LOG.addFilter(lambda record: record.getMessage() != "opening handshake failed")

Frame = list[dict[str, Any]]
Answer = Callable[[Frame], Iterable[str]]


def all_of(frame: Frame) -> list[str]:
    """Acknowledge everything."""
    return [event["id"] for event in frame if "id" in event]


@dataclass
class Far:
    """A far end that keeps what it heard, and acknowledges what ``answer`` chooses."""

    answer: Answer = all_of
    frames: list[Frame] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)  # frames heard before each began
    endpoint: str = ""

    async def serve(self, ws: ServerConnection) -> None:
        self.connections.append(len(self.frames))
        with suppress(ConnectionClosed):  # an agent that gives a dial up says no goodbye
            async for text in ws:
                frame = json.loads(text)["data"]
                self.frames.append(frame)
                await ws.send(json.dumps({"reportedIds": list(self.answer(frame))}))

    def heartbeats(self, since: int = 0) -> int:
        return sum(event["type"] == "heartbeat" for frame in self.frames[since:] for event in frame)


@asynccontextmanager
async def far_end(answer: Answer = all_of) -> AsyncIterator[Far]:
    far = Far(answer)
    async with serve(far.serve, "127.0.0.1", 0, logger=FAR_LOG) as server:
        far.endpoint = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield far


@dataclass
class Clocks:
    """The machine's own clocks, moved ahead by what a test says."""

    wall_ahead_s: float = 0.0
    chance: float = 0.0

    def means(self, env: dict[str, str]) -> Means:
        return Means(
            wall_ms=lambda: round((time.time() + self.wall_ahead_s) * 1000),
            mono_s=time.monotonic,
            rng=lambda: self.chance,
            zone=UTC,
            environment=env,
        )


@dataclass
class Running:
    """A core and what a test does with it."""

    core: Core
    controls: Controls
    sent: int = 0

    async def report(self, *names: str, app_id: str = "acme") -> None:
        """Hand events in, as one frame; return when they are on disk."""
        receipts: list[Receipt] = []
        events = [{"type": "event", "name": name} for name in names]
        frame = parse_frame(json.dumps({"data": events}).encode())
        self.core.intake.take(app_id, frame, ORIGIN, receipts.append)
        await until(lambda: bool(receipts))
        assert receipts[0].fault is None

    def delivery(self, app_id: str = "acme") -> Delivery:
        (leaving,) = self.core.departures.of(app_id)
        assert isinstance(leaving, Delivery)
        return leaving

    async def call(
        self, method: str, body: object, app_id: str = "acme", repeat: str = ""
    ) -> Receipt:
        """Hand in one request of Bucket's API; return when it is on disk."""
        receipts: list[Receipt] = []
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        batch = parse_body(method, raw)
        assert batch.accepted
        self.core.intake.take_calls(app_id, batch, ORIGIN, receipts.append, repeat=repeat)
        await until(lambda: bool(receipts))
        assert receipts[0].fault is None
        return receipts[0]

    def account(self, app_id: str = "acme") -> Any:
        stream = self.core.desks[app_id].stream
        assert stream is not None
        return self.core.outbox.account(stream)


async def until(true: Callable[[], bool], within_s: float = DEADLINE_S) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


@contextmanager
def short_folder() -> Any:
    """A home short enough for a socket's path."""
    path = Path(tempfile.mkdtemp(prefix="hr-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@asynccontextmanager
async def running(
    folder: Path, clocks: Clocks | None = None, /, *, ack_s: float = 30.0, **endpoints: str
) -> AsyncIterator[Running]:
    """Run a core with an app per endpoint."""
    apps = "".join(
        f'[[apps]]\nid = "{app_id}"\nname = "{app_id}"\nversion = "1"\n'
        f'[[apps.upstreams]]\nkind = "nucleus"\nendpoint = "{endpoint}"\n'
        for app_id, endpoint in endpoints.items()
    )
    async with started(folder, apps, clocks, ack_s=ack_s) as here:
        yield here


@asynccontextmanager
async def started(
    folder: Path, written: str, clocks: Clocks | None = None, /, *, ack_s: float = 30.0
) -> AsyncIterator[Running]:
    """Run a core with these settings."""
    env = {"HOMING_HOME": str(folder), "DBUS_SESSION_BUS_ADDRESS": f"unix:path={folder}/no-bus"}
    places = Places.find(env).prepare()
    places.settings_file.parent.mkdir(parents=True, exist_ok=True)
    places.settings_file.write_text(written)
    settings = load(places.settings_file, env, {})
    settings = replace(settings, link=replace(settings.link, ack_timeout_s=ack_s))
    died: list[BaseException] = []
    core = Core(
        settings,
        places,
        (clocks or Clocks()).means(env),
        version="1",
        address="nowhere",
        on_death=died.append,
    )
    core.open()
    try:
        yield Running(core, Controls(core, Limits()))
    finally:
        await core.close()
    assert died == []
