"""What is acknowledged besides what is on this disk, as docs/local-api.md and gateway.md say."""

from __future__ import annotations

import json

from agent.door import Door
from agent.door.apps import DenyApp, ListConsents, PauseApp
from tests.agent.host.counter import FarEnd, Make, apps, events, post

GOOD = {"name": "good", "id": "g"}
BAD = {"name": "bad", "id": "b", "payload": [1]}


def names(door: Door) -> list[str]:
    stored = [json.loads(row.body) for row in door.outbox()]
    return [one["name"] for one in stored if one["type"] != "init"]


def test_a_wrong_event_is_acknowledged_named_and_not_kept(make_agent: Make, far: FarEnd) -> None:
    agent, door = make_agent(apps(far, "acme"))
    door.pause(None, "so that it waits")
    status, body, _ = post(agent, events(GOOD, BAD))
    assert (status, body["reportedIds"]) == (200, ["g", "b"])
    assert [one["field"] for one in body["refused"]] == ["data[1].payload"]
    status, body, _ = post(agent, events(BAD))
    assert (status, body["reportedIds"], len(body["refused"])) == (400, ["b"], 1)
    assert names(door) == ["good"]


def test_a_denied_and_a_paused_app_hear_nothing_of_it(make_agent: Make, far: FarEnd) -> None:
    agent, door = make_agent(apps(far, "acme", "other"))
    door.ask(DenyApp(app_id="acme"))
    door.ask(PauseApp(app_id="other"))
    for app_id in ("acme", "other"):
        heard = post(agent, events(GOOD), f"/app/{app_id}/track")[:2]
        assert heard == (200, {"reportedIds": ["g"]})
        call = {"event": "Sent", "userId": "u1"}
        assert post(agent, call, f"/{app_id}/event")[:2] == (200, {"success": True})
    assert names(door) == []


def test_a_word_that_nobody_knows_waits_for_nothing(make_agent: Make, far: FarEnd) -> None:
    agent, _ = make_agent(apps(far, "acme"))
    assert post(agent, events(GOOD), Homing_Ack="deliverd")[0] == 400
    assert post(agent, events(GOOD), "/app/acme/track?ack=deliverd")[0] == 400
    assert post(agent, events(GOOD, ack="deliverd"))[:2] == (200, {"reportedIds": ["g"]})


def test_a_key_stands_for_its_first_body(make_agent: Make, far: FarEnd) -> None:
    agent, door = make_agent(apps(far, "acme"))
    door.pause(None, "so that it waits")
    for name in ("first", "another"):
        call = {"event": name, "userId": "u1"}
        answer = post(agent, call, "/acme/event", Idempotency_Key="k-1")
        assert answer[:2] == (200, {"success": True})
    assert names(door) == ["first"]


def test_a_bearer_that_names_nobody_does_not_knock(make_agent: Make, far: FarEnd) -> None:
    agent, door = make_agent(apps(far, "acme"))
    call = {"event": "Sent", "userId": "u1"}
    assert post(agent, call, "/event", Authorization="Bearer stranger")[0] == 403
    assert post(agent, call, "/event?publishableKey=stranger")[0] == 403
    assert [app.app_id for app in door.ask(ListConsents()).apps] == ["acme"]
    assert post(agent, call, "/stranger/event")[0] == 403
    assert [app.app_id for app in door.ask(ListConsents()).apps if app.asking] == ["stranger"]
