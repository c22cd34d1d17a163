"""A real agent in this process, seen through each of its doors."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.server import serve

from agent.adapters.local.asking import LocalAddress, read_loopback
from agent.client import LOOPBACK_FILE, LocalDoor
from agent.door import Door
from agent.host import Agent, HostDoor
from tests.agent.host.counter import FarEnd

APPS = """
[link]
heartbeat_s = 1.0
[[apps]]
id = "acme-notes"
name = "Acme Notes"
version = "1.2.3"
  [[apps.upstreams]]
  kind = "nucleus"
  endpoint = "ws://127.0.0.1:9"
[[apps]]
id = "acme-ci"
name = "Acme CI"
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home short enough for a socket's path, without a keyring to be asked."""
    path = Path(tempfile.mkdtemp(prefix="hh-"))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={path}/no-bus")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def make_agent(
    folder: Path, expected_warnings: Callable[..., None]
) -> Iterator[Callable[..., tuple[Agent, HostDoor]]]:
    """Start an agent on the folder with these settings; stopped at the end."""
    running: list[Agent] = []
    expected_warnings("agent.secrets")

    def make(settings: str = APPS, **env: str) -> tuple[Agent, HostDoor]:
        (folder / "config").mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "config" / "homing.toml").write_text(settings)
        agent = Agent({"HOMING_HOME": str(folder), **env})
        door = agent.start()
        running.append(agent)
        return agent, door

    yield make
    for agent in running:
        agent.stop()


@pytest.fixture(params=["host", "socket", "loopback"])
def door(
    request: pytest.FixtureRequest,
    folder: Path,
    make_agent: Callable[..., tuple[Agent, HostDoor]],
) -> Door:
    """The same agent through the in-process door, the Unix socket and loopback."""
    settings = APPS
    if request.param == "loopback":
        settings = '[ipc]\ntransport = "loopback"\n' + APPS
    agent, host = make_agent(settings)
    if request.param == "host":
        return host
    if request.param == "socket":
        return LocalDoor(agent.places.socket)
    loopback = read_loopback(folder / "state" / LOOPBACK_FILE)
    assert loopback is not None
    return LocalDoor(LocalAddress(loopback=loopback))


@pytest.fixture
def far() -> Iterator[FarEnd]:
    far = FarEnd()
    far.acknowledges.set()
    with serve(far.hear, "127.0.0.1", 0) as server:
        far.server = server
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield far
        far.acknowledges.set()
        server.shutdown()
        thread.join(10)
