"""Whatever works through one door works through the other two."""

from __future__ import annotations

import json
import queue
import time

import pytest

from agent.door import Door, Passing, Status
from tracking.errors import Fault, RequestFault


def test_the_status_tells_the_apps_their_ledgers_and_the_machine(door: Door) -> None:
    status = door.status()
    assert [app.app_id for app in status.apps] == ["acme-notes", "acme-ci"]
    assert {app.consent_from for app in status.apps} == {"settings file"}
    assert all(app.balanced for app in status.apps)
    assert status.facts is not None
    assert status.facts.total_ram > 0
    assert status.default_app == "acme-notes"
    assert status.keeping == "offered"  # acme-ci has no far end


def test_a_sent_event_is_kept_and_can_be_looked_at(door: Door) -> None:
    sent = door.send("build.finished", payload={"seconds": 12, "word": "żółć"})
    assert len(sent.ids) == 1
    assert sent.delivered is False
    rows = door.outbox(app_id="acme-notes")
    said = [json.loads(row.body) for row in rows]
    assert [event["type"] for event in said] == ["init", "event"]
    assert said[0]["version"] == "1.2.3"
    assert said[1]["payload"] == {"seconds": 12, "word": "żółć"}
    assert rows[1].id == sent.ids[0]
    app = door.status().apps[0]
    assert (app.accepted, app.pending, app.delivered) == (2, 2, 0)


def test_a_send_that_cannot_be_names_the_field(door: Door) -> None:
    with pytest.raises(RequestFault, match="acme-nobody"):
        door.send("x", app_id="acme-nobody")
    with pytest.raises(Fault, match="nested"):
        door.send("x", payload={"a": _nested(20)})


def _nested(depth: int) -> object:
    return {"a": _nested(depth - 1)} if depth else 1


def test_waiting_for_the_far_end_ends_in_time_and_the_event_is_kept(door: Door) -> None:
    sent = door.send("x", wait="delivered", timeout_s=0.3)
    assert sent.delivered is False
    assert sent.ids[0] in {row.id for row in door.outbox()}


def test_a_pause_hangs_up_says_why_and_still_takes_events(door: Door) -> None:
    status = door.pause(3600, "giving a talk")
    assert status.pause is not None
    assert status.pause.reason == "giving a talk"
    assert status.sentence.state == "paused"
    assert {link.state for link in status.links} == {"idle"}
    door.send("kept")
    status = door.resume()
    assert status.pause is None
    assert status.links[0].state in ("dialing", "waiting")


def test_watchers_hear_of_events_and_changes(door: Door) -> None:
    statuses: queue.Queue[Status] = queue.Queue()
    events: queue.Queue[tuple[Passing, ...]] = queue.Queue()
    stop = door.watch(statuses.put, events.put)
    try:
        statuses.get(timeout=10)
        door.send("seen", payload={"n": 1})
        heard: list[Passing] = []
        while not any(event.name == "seen" for event in heard):
            heard.extend(events.get(timeout=10))
        event = next(event for event in heard if event.name == "seen")
        assert event.app_id == "acme-notes"
        assert json.loads(event.payload) == {"n": 1}
        deadline = time.monotonic() + 10
        while statuses.get(timeout=10).apps[0].accepted < 2:
            assert time.monotonic() < deadline
    finally:
        stop()


def test_dead_letters_and_the_wire_are_empty_at_first(door: Door) -> None:
    assert door.dead_letters() == ()
    assert door.retry_dead() == 0
    assert door.drop_dead() == 0
    assert door.wire() == ()


def test_the_doctor_finds_the_far_end_that_does_not_answer(door: Door) -> None:
    found = {check.code: check for check in door.doctor()}
    assert found["ledger"].verdict == "ok"
    assert found["link.unreachable"].verdict == "warning"
    assert "refused" in found["link.unreachable"].evidence


def test_retry_is_only_for_an_app_with_a_far_end(door: Door) -> None:
    assert door.retry("acme-notes").links[0].app_id == "acme-notes"
    with pytest.raises(RequestFault):
        door.retry("acme-ci")
