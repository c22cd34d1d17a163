"""Apps that nobody allowed: heard of, counted, bounded; and nothing of theirs is kept."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import websocket

from agent.door import Door
from agent.door.apps import (
    AllowApp,
    AppConsent,
    DenyApp,
    ForgetAnswer,
    ListConsents,
    PauseApp,
    ShowConsent,
)
from agent.host import Agent, HostDoor
from agent.rules.knocks import MOST_KNOCKERS
from tests.agent.host.conftest import APPS
from tests.agent.host.test_life import ask
from tracking.errors import RequestFault

MakeAgent = Callable[..., tuple[Agent, HostDoor]]
CANARY = "canary-91d2"


def show(door: Door, app_id: str = "stranger") -> AppConsent:
    return door.ask(ShowConsent(app_id=app_id))


def lines(agent: Agent, *said: object) -> list[dict[str, Any]]:
    """Speak lines; return what came back."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(agent.places.socket))
        sock.sendall(b"".join(json.dumps(one).encode() + b"\n" for one in said))
        sock.shutdown(socket.SHUT_WR)
        raw = b""
        while part := sock.recv(65_536):
            raw += part
    return [json.loads(line) for line in raw.splitlines()]


def converse(agent: Agent, app_id: str) -> websocket.WebSocket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(agent.places.socket))
    ws = websocket.WebSocket()
    ws.connect(f"ws://localhost/app/{app_id}/track", socket=sock, suppress_origin=True)
    return ws


def frame(*names: str) -> str:
    return json.dumps({"data": [{"id": f"{name}-id", "name": name} for name in names]})


def nowhere(agent: Agent, word: str = CANARY) -> bool:
    home = agent.places.home
    assert home is not None
    files = [file for file in home.rglob("*") if file.is_file() and not file.is_symlink()]
    return not [file for file in files if word.encode() in file.read_bytes()]


def test_each_way_in_knocks_with_the_program_behind_it(make_agent: MakeAgent) -> None:
    agent, door = make_agent()
    status, said = ask(agent.places.socket, "POST", "/app/over-http/track", frame(CANARY, "b"))
    assert status == 403
    assert said["reportedIds"] == []
    assert "homing apps allow over-http" in str(said["advice"])
    (answer,) = lines(agent, {"appId": "over-lines", "data": [{"name": CANARY}]})
    assert (answer["reportedIds"], answer["code"]) == ([], "request")
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        converse(agent, "over-ws")
    assert refused.value.status_code == 403
    call = json.dumps({"event": CANARY, "userId": "1"})
    status, _ = ask(agent.places.socket, "POST", "/over-bucket/event", call)
    assert status == 403
    found = {app.app_id: app for app in door.ask(ListConsents()).apps if app.asking}
    assert {app_id: (app.ways, app.offered) for app_id, app in found.items()} == {
        "over-http": (("http",), 2),
        "over-lines": (("line",), 1),
        "over-ws": (("ws",), 0),  # refused before its upgrade, so before it said anything
        "over-bucket": (("http",), 1),
    }
    me = str(Path(f"/proc/{os.getpid()}/exe").readlink())
    assert {(app.pid, app.executable) for app in found.values()} == {(os.getpid(), me)}
    assert {app.consent_from for app in found.values()} == {"not asked yet"}
    assert door.outbox() == ()
    agent.stop()
    assert nowhere(agent)


def test_another_program_is_named_by_its_own_path(make_agent: MakeAgent) -> None:
    agent, door = make_agent()
    done = subprocess.run(
        [
            *("/usr/bin/curl", "-sS", "--unix-socket", str(agent.places.socket)),
            *("http://localhost/app/stranger/track", "-d", frame("a")),
        ],
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["code"] == "request"
    shown = show(door)
    assert shown.executable == str(Path("/usr/bin/curl").resolve())
    assert shown.pid not in (0, os.getpid())


def test_twenty_apps_that_knock_at_once_are_twenty_questions_and_no_row(
    make_agent: MakeAgent,
) -> None:
    roomy = "[limits]\nconnections = 128\n"  # one process may have a quarter of them
    agent, door = make_agent(roomy + APPS)
    path = str(agent.places.socket)

    async def one(number: int) -> bytes:
        reader, writer = await asyncio.open_unix_connection(path)
        said = {"appId": f"app-{number}", "data": [{"name": CANARY}] * 3}
        writer.write(5 * (json.dumps(said).encode() + b"\n"))
        answer = b"".join([await reader.readline() for _ in range(5)])
        writer.close()
        return answer

    async def all_at_once() -> list[bytes]:
        return list(await asyncio.gather(*(one(number) for number in range(20))))

    answers = asyncio.run(all_at_once())
    assert all(answer.count(b"not allowed on this computer yet") == 5 for answer in answers)
    asking = [app for app in door.ask(ListConsents()).apps if app.asking]
    assert {app.app_id for app in asking} == {f"app-{number}" for number in range(20)}
    assert {(app.knocks, app.offered) for app in asking} == {(5, 15)}
    notices = {notice.code: notice.text for notice in door.status().notices}
    assert notices["apps.pending"].startswith("20 apps want to report: ")
    assert notices["apps.pending"].endswith("and 17 more; see `homing apps`")
    assert door.outbox() == ()
    agent.stop()
    assert nowhere(agent)


def test_an_app_that_invents_ids_cannot_flood_the_list(make_agent: MakeAgent) -> None:
    agent, door = make_agent()
    subprocess.run(
        [
            *("/usr/bin/curl", "-sS", "--unix-socket", str(agent.places.socket)),
            *("http://localhost/app/honest/track", "-d", frame("a")),
        ],
        capture_output=True,
        check=True,
    )
    lines(agent, *({"appId": f"id-{n}", "data": [{"name": "x"}]} for n in range(2_000)))
    status = door.status()
    assert sum(app.consent == "pending" for app in status.apps) == MOST_KNOCKERS
    assert show(door, "honest").asking
    assert show(door, "id-1999").asking
    with pytest.raises(RequestFault, match="none has knocked"):
        show(door, "id-1")


def test_an_id_that_is_none_is_refused_and_not_listed(make_agent: MakeAgent) -> None:
    agent, door = make_agent()
    assert ask(agent.places.socket, "POST", "/app/a%20b/track", frame("a"))[0] == 404
    with pytest.raises(RequestFault, match="no app has the id"):
        door.send("x", app_id="<img src=x>")
    assert [app.app_id for app in door.status().apps] == ["acme-notes", "acme-ci"]


def test_what_was_refused_before_is_taken_after_the_yes(make_agent: MakeAgent) -> None:
    """An SDK repeats what was not acknowledged; nothing of it was lost by the question."""
    agent, door = make_agent()
    said = frame("asked-before")
    assert ask(agent.places.socket, "POST", "/app/stranger/track", said)[0] == 403
    door.ask(AllowApp(app_id="stranger"))
    assert ask(agent.places.socket, "POST", "/app/stranger/track", said) == (
        200,
        {"reportedIds": ["asked-before-id"]},
    )
    assert any("asked-before" in row.body for row in door.outbox())


@pytest.mark.parametrize(
    ("settings", "env"),
    [(APPS, {"DO_NOT_TRACK": "1"}), ('[consent]\nall = "deny"\n' + APPS, {})],
    ids=["DO_NOT_TRACK", "policy"],
)
def test_where_all_are_denied_declared_apps_and_strangers_are_dropped_row_47(
    make_agent: MakeAgent,
    monkeypatch: pytest.MonkeyPatch,
    settings: str,
    env: dict[str, str],
) -> None:
    monkeypatch.setattr(psutil, "net_if_addrs", _never)
    agent, door = make_agent(settings, **env)
    for app_id in ("acme-notes", "stranger"):
        target = f"/app/{app_id}/track"
        assert ask(agent.places.socket, "POST", target, frame(CANARY)) == (
            200,
            {"reportedIds": [f"{CANARY}-id"]},
        )
        with pytest.raises(RequestFault, match="nothing is reported for"):
            door.send(CANARY, app_id=app_id)
    (answer,) = lines(agent, {"appId": "stranger", "data": [{"id": 7, "name": CANARY}]})
    assert answer == {"reportedIds": [7]}
    status = door.status()
    assert {app.consent for app in status.apps} == {"denied"}
    assert [app.dropped for app in status.apps] == [1, 0]
    assert door.ask(ListConsents()).dropped_of_others == 2
    assert status.links == ()
    assert status.keeping == "off"  # nothing to keep, so nothing is offered
    with pytest.raises(RequestFault, match="nothing to keep here"):
        door.keep_here()
    assert status.sentence.state == "attention"
    door.ask(AllowApp(app_id="acme-notes"))  # kept, and of no effect: a no beats a yes
    assert door.status().apps[0].consent == "denied"
    agent.stop()
    assert nowhere(agent)


def _never() -> None:
    raise AssertionError("the network cards were looked at")


@pytest.mark.parametrize("answer", [DenyApp, PauseApp])
def test_a_denied_or_paused_app_is_acknowledged_and_leaves_nothing_row_47(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch, answer: type[Any]
) -> None:
    agent, _ = make_agent()
    agent.stop()
    kept = agent.places.state / "consents.json"
    said = {"since_ms": 1}
    denied = {"verdict": "denied", "purged": True, **said}
    body = (
        {"apps": {"acme-notes": denied}} if answer is DenyApp else {"breaks": {"acme-notes": said}}
    )
    kept.write_text(json.dumps(body))
    kept.chmod(0o600)
    monkeypatch.setattr(psutil, "net_if_addrs", _never)
    only = APPS[: APPS.index('[[apps]]\nid = "acme-ci"')]
    agent, door = make_agent(only)
    ws = converse(agent, "acme-notes")
    ws.send(frame(CANARY))
    assert json.loads(ws.recv()) == {"reportedIds": [f"{CANARY}-id"]}
    ws.close()
    bad = {"id": 2, "name": "bad", "payload": [1]}
    (said_back,) = lines(agent, {"appId": "acme-notes", "data": [{"id": 1, "name": CANARY}, bad]})
    assert said_back["reportedIds"] == [1, 2]  # a bad one too, or it would come for ever
    (app,) = door.status().apps
    assert (app.dropped, app.accepted, app.refused) == (2, 0, 0)  # one number, and no other
    assert door.status().links == ()
    agent.stop()
    assert nowhere(agent)


def test_a_no_in_the_middle_of_a_conversation_holds_from_the_next_frame(
    make_agent: MakeAgent,
) -> None:
    agent, door = make_agent()
    ws = converse(agent, "acme-notes")
    ws.send(frame("before"))
    assert json.loads(ws.recv())["reportedIds"] == ["before-id"]
    door.ask(DenyApp(app_id="acme-notes"))
    ws.send(frame(CANARY))
    assert json.loads(ws.recv())["reportedIds"] == [f"{CANARY}-id"]
    assert door.outbox() == ()
    assert show(door, "acme-notes").dropped == 1
    door.ask(ForgetAnswer(app_id="acme-notes"))
    ws.send(frame("after"))
    assert json.loads(ws.recv())["reportedIds"] == ["after-id"]
    ws.close()
    assert {json.loads(row.body).get("name") for row in door.outbox()} == {None, "after"}
    agent.stop()
    assert nowhere(agent)


def test_the_settings_may_let_strangers_in_and_a_persons_no_beats_them(
    make_agent: MakeAgent,
) -> None:
    agent, door = make_agent('[consent]\nall = "allow"\n' + APPS)
    assert ask(agent.places.socket, "POST", "/app/stranger/track", frame("a"))[0] == 200
    shown = show(door)
    assert (shown.consent, shown.consent_from) == ("allowed", "policy")
    assert shown.far_ends == ("ws://127.0.0.1:9",)
    door.ask(DenyApp(app_id="stranger"))
    assert ask(agent.places.socket, "POST", "/app/stranger/track", frame(CANARY))[0] == 200
    assert {row.app_id for row in door.outbox()} == set()


def test_a_pause_ends_by_one_timer_and_no_other_wake_up(make_agent: MakeAgent) -> None:
    agent, door = make_agent()
    thread = agent._thread
    assert thread is not None
    consents = thread.core.consents
    looks: list[float] = []
    door.ask(PauseApp(app_id="acme-notes", for_s=0.5))
    before = consents.look
    timer = consents._timer
    assert timer is not None

    def look() -> None:
        looks.append(time.monotonic())
        before()

    def replace() -> None:
        timer.cancel()
        consents._timer = thread._loop.call_at(timer.when(), look)

    began = time.monotonic()
    thread._loop.call_soon_threadsafe(replace)
    while show(door, "acme-notes").consent != "allowed":
        assert time.monotonic() < began + 10
        time.sleep(0.01)
    assert len(looks) == 1
    assert consents._timer is None  # nobody waits for a time any more
    assert consents._clock is None


def test_a_pause_that_ended_in_a_sleep_is_over_at_once(make_agent: MakeAgent) -> None:
    """The loop's clock stands still in a sleep; the wall's does not, and the next frame asks it."""
    agent, door = make_agent()
    thread = agent._thread
    assert thread is not None
    consents = thread.core.consents
    door.ask(PauseApp(app_id="acme-notes", for_s=3600))
    assert consents._clock is not None
    assert consents._clock.watching == sys.platform.startswith("linux")
    wall_ms = consents.wall_ms
    consents.wall_ms = lambda: wall_ms() + 3_600_001
    assert ask(agent.places.socket, "POST", "/app/acme-notes/track", frame("a"))[0] == 200
    assert len(door.outbox()) == 2
    consents.wall_ms = wall_ms
