"""A poisoned event from a person's side: shown, listed, offered again."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from websockets.sync.server import ServerConnection, serve

from agent.cli import main
from agent.cli.shell import Shell
from agent.client import LocalDoor
from agent.door import Door
from agent.host import Agent, HostDoor

SETTINGS = """
[link]
ack_timeout_s = 1
[[apps]]
id = "acme-notes"
name = "Acme Notes"
version = "1.2.3"
  [[apps.upstreams]]
  kind = "nucleus"
  endpoint = "ENDPOINT"
"""


@dataclass
class Far:
    """Acknowledges everything but what is named ``poison``, until it is cured."""

    cured: bool = False
    names: list[str] = field(default_factory=list)
    endpoint: str = ""

    def talk(self, ws: ServerConnection) -> None:
        for text in ws:
            events = [event for event in json.loads(text)["data"] if "id" in event]
            taken = [e for e in events if self.cured or e.get("name") != "poison"]
            self.names += [event.get("name", "") for event in taken]
            ws.send(json.dumps({"reportedIds": [event["id"] for event in taken]}))


@pytest.fixture
def far() -> Iterator[Far]:
    far = Far()
    with serve(far.talk, "127.0.0.1", 0) as server:
        far.endpoint = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield far
        server.shutdown()
        thread.join(5)


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 40
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def homing(door: Door, *words: str) -> str:
    """Run a command as a person would; return what it said."""

    def nowhere() -> object:
        raise AssertionError("no listener is needed for this")

    out, err = io.StringIO(), io.StringIO()
    shell = Shell(
        out=out,
        err=err,
        inward=io.StringIO(),
        env={},
        door=lambda: door,
        entrance=nowhere,  # type: ignore[arg-type]
    )
    assert main(words, shell) == 0, err.getvalue()
    return out.getvalue()


def test_a_person_sees_the_dead_letter_and_offers_it_again(
    make_agent: Callable[..., tuple[Agent, HostDoor]],
    folder: Path,
    far: Far,
    expected_warnings: Callable[..., None],
) -> None:
    expected_warnings("agent.secrets", "agent.core")
    agent, host = make_agent(SETTINGS.replace("ENDPOINT", far.endpoint))
    door = LocalDoor(agent.places.socket)
    host.send("poison")

    def buried() -> bool:
        """Report whenever nobody would be dialled for else; tell whether it is over."""
        status = host.status()
        if status.links[0].in_flight == 0 and not status.depth.dead:
            host.send("later")
        return bool(status.depth.dead)

    until(buried, "the poison is offered for ever")
    assert host.status().links[0].dials <= 8
    host.send("last")
    until(lambda: host.status().depth.events == 0, "what is behind the poison is held up")
    assert "poison" not in far.names
    assert [name for name in far.names if name][-1] == "last"

    status = door.status()
    (app,) = status.apps
    assert app.balanced
    assert (app.dead, app.pending) == (1, 0)
    assert status.sentence.code == "dead_letters"
    assert "1 refused for good" in homing(door, "status")
    listed = homing(door, "outbox", "list", "--dead")
    assert f"never acknowledged: on 5 dials in a row, by {far.endpoint}" in listed
    assert '"poison"' in listed

    far.cured = True
    assert "1 event offered again" in homing(door, "outbox", "retry")
    until(lambda: "poison" in far.names, "the revived event is not sent")
    until(lambda: door.status().depth.events == 0, "the revived event is not settled")
    (app,) = door.status().apps
    assert app.balanced
    assert (app.dead, app.delivered) == (0, app.accepted)
