"""Nothing of a denied app is left on this disk, nor is anything sent (rows 32, 49; NUCLEUS C7)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from agent.door import Door
from agent.door.apps import AllowApp, DenyApp, PauseApp, ResumeApp, ShowConsent
from agent.host import Agent, HostDoor
from tests.agent.host.test_life import ask

MakeAgent = Callable[..., tuple[Agent, HostDoor]]
CANARY = "canary-0b77e1"
QUIET = logging.getLogger("far end of the purge")
QUIET.setLevel(logging.CRITICAL)  # it writes what it hears, and into this process's log file


class Far:
    """A far end on a thread of its own that hears everything, and acknowledges if it is to."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.open = 0
        self.acknowledge = True
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        async with serve(self._converse, "127.0.0.1", 0, logger=QUIET) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._ready.set()
            await self._end.wait()

    async def _converse(self, ws: ServerConnection) -> None:
        self.open += 1
        try:
            async for text in ws:
                events = json.loads(text)["data"]
                self.heard += events
                if self.acknowledge:
                    ids = [event["id"] for event in events if "id" in event]
                    await ws.send(json.dumps({"reportedIds": ids}))
        except ConnectionClosed:
            pass
        finally:
            self.open -= 1

    def told(self, word: str) -> int:
        return sum(word in json.dumps(event) for event in self.heard)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)


@pytest.fixture
def far() -> Iterator[Far]:
    end = Far()
    yield end
    end.close()


def settings(far: Far) -> str:
    return "".join(
        f'[[apps]]\nid = "{app_id}"\nname = "{app_id}"\n  [[apps.upstreams]]\n'
        f'  kind = "nucleus"\n  endpoint = "ws://127.0.0.1:{far.port}"\n'
        for app_id in ("acme", "other")
    )


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def waiting(door: Door, app_id: str = "acme") -> int:
    return door.ask(ShowConsent(app_id=app_id)).waiting


def holding(agent: Agent, word: str = CANARY) -> list[Path]:
    """Return the files that hold a word, in any of the agent's folders."""
    home = agent.places.home
    assert home is not None
    files = (file for file in home.rglob("*") if file.is_file() and not file.is_symlink())
    return [file for file in files if word.encode() in file.read_bytes()]


def leave_in_the_spool(agent: Agent, app_id: str = "acme") -> Path:
    """Leave a file that the agent has not taken in, as an app does while none runs."""
    digest = hashlib.sha256(app_id.encode()).hexdigest()[:16]
    event = {"id": "s1", "date": "2026-11-21T01:34:28.124Z", "name": CANARY}
    path = agent.places.spool / f"{digest}-{os.urandom(8).hex()}.ndjson"
    path.write_text(json.dumps({"spool": 1, "appId": app_id}) + "\n" + json.dumps(event) + "\n")
    path.chmod(0o600)
    return path


def test_a_denial_leaves_nothing_of_the_app_on_the_disk_rows_32_49(
    make_agent: MakeAgent, far: Far
) -> None:
    agent, door = make_agent('[log]\nlevel = "debug"\n' + settings(far))
    for app_id, word in (("acme", CANARY), ("other", "neighbour-7a")):
        door.send(f"{word}.delivered", app_id=app_id, payload={"note": word}, wait="delivered")
    far.acknowledge = False
    for n in range(30):
        body = json.dumps({"data": [{"name": f"{CANARY}.{n}", "userId": CANARY, "id": f"w{n}"}]})
        assert ask(agent.places.socket, "POST", "/app/acme/track", body)[0] == 200
    door.send("neighbour-7a.waits", app_id="other")
    until(lambda: far.told(f"{CANARY}.0") > 0)
    assert holding(agent)
    neighbours = holding(agent, "neighbour-7a")
    assert neighbours

    outcome = door.ask(DenyApp(app_id="acme"))
    assert outcome.unpurged == ()
    assert outcome.purged >= 30
    assert holding(agent) == []  # the agent still runs: no log, no journal, no set-aside file
    until(lambda: far.open == 1)  # the neighbour's
    before = far.told(CANARY)
    for n in range(5):
        body = json.dumps({"data": [{"name": f"{CANARY}.late.{n}"}]})
        assert ask(agent.places.socket, "POST", "/app/acme/track", body)[0] == 200
    assert waiting(door, "other") == 1
    agent.stop()
    assert holding(agent) == []
    assert holding(agent, "neighbour-7a")

    leave_in_the_spool(agent)
    far.acknowledge = True
    agent, door = make_agent('[log]\nlevel = "debug"\n' + settings(far))
    until(lambda: waiting(door, "other") == 0)
    until(lambda: not holding(agent))  # what it left in the spool meanwhile goes unread
    assert far.told(CANARY) == before  # C7: nothing is sent after a restart
    assert {link.app_id for link in door.status().links} == {"other"}
    assert door.status().apps[0].consent == "denied"


def test_a_paused_app_is_hung_up_and_its_rows_wait_for_its_return(
    make_agent: MakeAgent, far: Far
) -> None:
    agent, door = make_agent(settings(far))
    door.send("first", app_id="acme", wait="delivered")
    until(lambda: far.open == 2)
    far.acknowledge = False
    door.send("waits", app_id="acme")
    until(lambda: far.told("waits") == 1)
    door.ask(PauseApp(app_id="acme", for_s=3600))
    until(lambda: far.open == 1)
    door.pause(None)
    door.resume()  # of sending; the app's own pause stays
    door.retry()
    assert waiting(door) == 1
    agent.stop()
    far.acknowledge = True
    agent, door = make_agent(settings(far))
    until(lambda: far.open == 1)
    assert waiting(door) == 1
    assert far.told("waits") == 1
    door.ask(ResumeApp(app_id="acme"))
    until(lambda: waiting(door) == 0)
    assert far.told("waits") == 2


def test_an_app_that_is_allowed_again_begins_anew(make_agent: MakeAgent, far: Far) -> None:
    """No id of before comes back with it: the purge took them."""
    _, door = make_agent(settings(far))
    door.send("one", app_id="acme", wait="delivered")
    door.ask(DenyApp(app_id="acme"))
    (denied,) = (app for app in door.status().apps if app.app_id == "acme")
    assert (denied.accepted, denied.delivered) == (2, 2), "the ledger stays, and is shown"
    door.ask(AllowApp(app_id="acme"))
    door.send("two", app_id="acme", wait="delivered")
    by_name = {event.get("name"): event for event in far.heard if event["type"] == "event"}
    one, two = by_name["one"], by_name["two"]
    assert one["anonId"] != two["anonId"]
    assert one["sessionId"] != two["sessionId"]
    assert one["deviceId"] == two["deviceId"]  # made of the card and a key that are still here
    inits = [event for event in far.heard if event["type"] == "init"]
    assert [init["anonId"] for init in inits] == [one["anonId"], two["anonId"]]


def test_a_denial_while_events_pour_in_leaves_nothing(make_agent: MakeAgent, far: Far) -> None:
    agent, door = make_agent(settings(far))
    stop = threading.Event()

    def pour() -> None:
        n = 0
        while not stop.is_set():
            body = json.dumps({"data": [{"name": CANARY, "id": f"p{n}"}] * 20})
            assert ask(agent.places.socket, "POST", "/app/acme/track", body)[0] == 200
            n += 1

    pourers = [threading.Thread(target=pour) for _ in range(4)]
    for one in pourers:
        one.start()
    until(lambda: far.told(CANARY) > 100)
    assert door.ask(DenyApp(app_id="acme")).unpurged == ()
    time.sleep(0.2)
    assert waiting(door) == 0
    assert holding(agent) == []
    heard = far.told(CANARY)
    stop.set()
    for one in pourers:
        one.join()
    assert door.ask(ShowConsent(app_id="acme")).dropped > 0
    agent.stop()
    assert holding(agent) == []
    assert far.told(CANARY) == heard
