"""What may be kept, what is marked, and what an acknowledgement means: a whole agent, real sockets,
a real far end. Threat row 48; FIELD.md R21, §3 items 2, 16 and 17.
"""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest
import websocket

from agent.door.lint import ForgetShapes, ListShapes, ReadMarks
from agent.door.redaction import ListRules, ReloadRules, TryRule
from tests.agent.host.counter import FarEnd, Make, apps, events, lines, post, until

# --- acknowledgement levels ----------------------------------------------------------------------


def test_delivered_is_answered_when_the_far_end_has_it_and_durable_at_once(
    make_agent: Make, far: FarEnd
) -> None:
    agent, _ = make_agent(apps(far, "acme"))
    paid = events({"name": "paid", "id": "p-1"})
    far.acknowledges.clear()
    assert post(agent, events({"name": "open", "id": "o-1"}))[0] == 200
    status, body, _ = post(agent, paid, Homing_Ack="delivered; timeout=0.3")
    assert (status, body) == (202, {"reportedIds": ["p-1"], "delivered": False})
    far.acknowledges.set()
    status, body, _ = post(agent, paid, Homing_Ack="delivered; timeout=20")  # the same one again
    assert (status, body) == (200, {"reportedIds": ["p-1"], "delivered": True})
    status, body, _ = post(agent, events({"name": "new", "id": "n-1"}, ack="delivered"))
    assert (status, body) == (200, {"reportedIds": ["n-1"], "delivered": True})
    assert [event["name"] for event in far.heard if event["type"] == "event"].count("paid") == 1


def test_delivered_on_a_websocket_and_on_lines(make_agent: Make, far: FarEnd) -> None:
    agent, _ = make_agent(apps(far, "acme"))
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(agent.places.socket))
    ws = websocket.create_connection("ws://localhost/app/acme/track", timeout=20, socket=sock)
    far.acknowledges.clear()
    ws.send(json.dumps(events({"name": "one", "id": 1}, ack="delivered", timeout=30)))
    ws.send(json.dumps(events({"name": "two", "id": 2})))
    assert json.loads(ws.recv()) == {"reportedIds": [2]}
    far.acknowledges.set()
    assert json.loads(ws.recv()) == {"reportedIds": [1], "delivered": True}
    ws.close()
    line = lines(agent)
    said = events({"name": "three", "id": 3}, appId="acme", ack="delivered", timeout=20)
    line.sendall(json.dumps(said).encode() + b"\n")
    assert json.loads(line.makefile().readline()) == {"reportedIds": [3], "delivered": True}
    line.close()


def test_delivered_in_the_words_of_bucket(make_agent: Make, far: FarEnd) -> None:
    agent, _ = make_agent(apps(far, "acme"))
    call = {"event": "sent", "userId": 1234567890}
    assert post(agent, call, "/acme/event", Homing_Ack="delivered; timeout=20")[:2] == (
        200,
        {"success": True, "delivered": True},
    )
    far.acknowledges.clear()
    path = "/acme/event?ack=delivered&timeout=0.3"
    assert post(agent, call, path, Idempotency_Key="k-1")[:2] == (
        202,
        {"success": True, "delivered": False},
    )
    far.acknowledges.set()
    path = "/acme/event?ack=delivered&timeout=20"
    assert post(agent, call, path, Idempotency_Key="k-1")[:2] == (
        200,
        {"success": True, "delivered": True},
    )
    status, body, _ = post(agent, call, "/acme/event", Homing_Ack="soon")
    assert (status, body["error"]["code"]) == (400, "BODY_VALIDATION_FAILED")
    assert [event.get("name") for event in far.heard].count("sent") == 2


# --- what is not to be kept ----------------------------------------------------------------------

RULES = """
[[redaction.rules]]
name = "mail"
path = "$.payload..email"
action = "drop"
examples = [{ before = { payload = { email = 1 } }, after = { payload = {} } }]
[[redaction.rules]]
name = "codes"
pattern = "canary-[0-9a-f]{4}"
action = "mask"
examples = [{ before = { name = "x canary-0000" }, after = { name = "x ***" } }]
[[redaction.rules]]
name = "hidden"
event = "hidden.*"
path = "$.name"
action = "drop_event"
examples = [{ before = { name = "hidden.x" } }]
"""
CANARY = "canary-7f3a"


def test_what_a_rule_takes_away_is_in_no_file_and_on_no_wire(
    make_agent: Make, far: FarEnd, folder: Path
) -> None:
    far.acknowledges.clear()
    agent, door = make_agent(RULES + apps(far, "acme"))
    secret = {
        "email": f"{CANARY}@mail.example",
        "deep": [{"email": CANARY}],
        CANARY: CANARY,
        "n": 1,
    }
    said = [
        {"name": "signup", "id": f"{CANARY}-1", "userId": CANARY, "payload": secret},
        {"name": f"hidden.{CANARY}", "id": "h-1", "payload": {"x": CANARY}},
        {"type": "error", "name": CANARY, "payload": {"stack": f"at {CANARY}:1"}},
        {"name": "bad", "payload": [CANARY]},
    ]
    status, body, _ = post(agent, events(*said))
    assert status == 200
    assert body["reportedIds"] == [f"{CANARY}-1", "h-1"]  # dropped is acknowledged (decision 8)
    line = lines(agent)
    line.sendall(json.dumps(events(*said, appId="acme")).encode() + b"\n")
    line.makefile().readline()
    line.close()
    call = {"event": "sent", "userId": CANARY, "attributes": secret, CANARY: secret}
    assert post(agent, call, "/acme/event")[1] == {"success": True}
    door.ask(ReadMarks())
    for wait in ("while it waits", "after it was sent", "after the end"):
        if wait == "after it was sent":
            far.acknowledges.set()
            until(lambda: door.status().apps[0].pending == 0 and len(far.heard) >= 4)
        if wait == "after the end":
            agent.stop()
        found = [
            path
            for path in folder.rglob("*")
            if path.is_file() and CANARY.encode() in path.read_bytes()
        ]
        assert found == [], wait
    assert not any(CANARY in text for text in far.frames)
    names = [event.get("name") for event in far.heard]
    assert "signup" in names
    assert not any(name and name.startswith("hidden") for name in names)
    payload = next(event["payload"] for event in far.heard if event.get("name") == "signup")
    assert payload == {"deep": [{}], "***": "***", "n": 1}


def test_rules_are_listed_with_what_they_did_tried_and_used_at_once(
    make_agent: Make, far: FarEnd, folder: Path
) -> None:
    agent, door = make_agent(RULES + apps(far, "acme"))
    post(agent, events({"name": "hidden.x"}, {"name": "a", "payload": {"email": "b", "zip": "1"}}))
    counts = {one.name: (one.touched, one.dropped) for one in door.ask(ListRules()).rules}
    assert counts == {"mail": (1, 0), "codes": (0, 0), "hidden": (0, 1)}
    new = {"name": "zip", "path": "$.payload.zip", "action": "hash"}
    tried = door.ask(TryRule(rule=new, last=10))
    assert (tried.looked_at, tried.concerned, tried.changed) == (2, 2, 1)  # an init, and `a`
    assert '"zip":"1"' in tried.trials[0].before
    assert '"zip":"1"' not in (tried.trials[0].after or "")
    file = folder / "config" / "homing.toml"
    example = '{ before = { payload = { zip = "1" } }, after = { payload = { zip = "<hash>" } } }'
    rule = (
        '[[redaction.rules]]\nname = "zip"\npath = "$.payload.zip"\naction = "hash"\n'
        f"examples = [{example}]\n"
    )
    file.write_text(RULES + rule + apps(far, "acme"))
    assert [one.name for one in door.ask(ReloadRules()).rules][-1] == "zip"
    post(agent, events({"name": "b", "payload": {"zip": "1"}}))
    until(lambda: any(event.get("name") == "b" for event in far.heard))
    sent = next(event for event in far.heard if event.get("name") == "b")
    assert len(sent["payload"]["zip"]) == 24
    assert (folder / "state" / "redaction.key").stat().st_mode & 0o777 == 0o600


def test_row_48_nothing_that_leaves_names_the_machine_or_its_person(
    make_agent: Make, far: FarEnd
) -> None:
    home, user, host = "/home/quentin-zx", "quentin-zx", socket.gethostname()
    macs = {
        one.address
        for cards in psutil.net_if_addrs().values()
        for one in cards
        if one.family == psutil.AF_LINK and one.address not in ("", "00:00:00:00:00:00")
    } or {"3c:22:fb:01:9a:7e"}
    agent, door = make_agent(apps(far, "acme"), HOME=home, USER=user)
    stack = f"Error: no {home}/x\n at {user}@{host} ({home}/src/app.js:3) via {' '.join(macs)}"
    post(
        agent,
        events(
            {"type": "error", "name": f"ENOENT {home}/x", "payload": {"stack": stack}},
            {"name": "opened", "payload": {"n": 1}},
        ),
    )
    until(lambda: any(event.get("name") == "opened" for event in far.heard))
    left = "\n".join(far.frames).lower()
    for named in (home, user, *macs):
        assert named.lower() not in left
    said = "\n".join(json.dumps([e.get("name"), e.get("payload")]) for e in far.heard)
    assert not re.search(rf"(?<!\w){re.escape(host)}(?!\w)", said, re.IGNORECASE)
    (error,) = [event for event in far.heard if event["type"] == "error"]
    assert error["name"] == "ENOENT ~/x"
    assert "(~/src/app.js:3)" in error["payload"]["stack"]
    assert door.ask(ListRules()).machine_touched == 1


# --- what was learned ----------------------------------------------------------------------------


def test_shapes_and_marks_are_learned_shown_kept_and_forgotten(
    make_agent: Make, far: FarEnd, folder: Path
) -> None:
    agent, door = make_agent(apps(far, "acme"))
    for n in range(25):
        post(agent, events({"name": "saved", "payload": {"n": n}}))
    seen: list[Any] = []
    stop = door.watch(lambda _: None, seen.extend)
    odd = {"n": "many", "mail": "bob@mail.example"}
    post(agent, events({"name": "saved", "payload": odd}))
    until(lambda: any(event.marks for event in seen))
    stop()
    assert next(event.marks for event in seen if event.marks) == (
        "odd-kind: text instead of number in payload.n",
        "new-property in payload.mail",
        "personal: email in payload.mail",
    )
    marks = door.ask(ReadMarks(app_id="acme")).marks
    assert {(mark.what, mark.path, mark.detail) for mark in marks} == {
        ("odd-kind", "payload.n", ""),
        ("new-property", "payload.mail", ""),
        ("personal", "payload.mail", "email"),
    }
    assert door.status().apps[0].marks == 3
    agent.stop()
    kept = (folder / "state" / "shapes.json").read_bytes()
    assert b"payload.mail" in kept
    assert b"bob@" not in kept
    agent, door = make_agent(apps(far, "acme"))
    (shape,) = [s for s in door.ask(ListShapes()).shapes if s.name == "saved"]
    assert shape.seen == 26
    assert door.ask(ForgetShapes(app_id="acme")).shapes == ()
    assert b"saved" not in (folder / "state" / "shapes.json").read_bytes()


@pytest.mark.parametrize("learn", ["on", "off"])
def test_learning_can_be_switched_off(make_agent: Make, far: FarEnd, learn: str) -> None:
    agent, door = make_agent(f'[lint]\nlearn = "{learn}"\n' + apps(far, "acme"))
    post(agent, events({"name": "saved", "payload": {"mail": "bob@mail.example"}}))
    assert bool(door.ask(ReadMarks()).marks) == (learn == "on")
