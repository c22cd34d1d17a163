"""A person's answers, from the first knock to the last, through each of the three doors."""

from __future__ import annotations

import time

import pytest

from agent.door import Door
from agent.door.apps import (
    AllowApp,
    AppConsent,
    DenyApp,
    ForgetAnswer,
    ListConsents,
    NotNow,
    Outcome,
    PauseApp,
    ResumeApp,
    ShowConsent,
)
from tracking.errors import RequestFault


def knock(door: Door, app_id: str = "stranger") -> None:
    with pytest.raises(RequestFault, match="not allowed on this computer yet") as refused:
        door.send("knock", app_id=app_id)
    assert refused.value.status == 403


def show(door: Door, app_id: str = "stranger") -> AppConsent:
    return door.ask(ShowConsent(app_id=app_id))


def told(outcome: Outcome) -> AppConsent:
    assert outcome.app is not None
    return outcome.app


def notices(door: Door) -> dict[str, str]:
    return {notice.code: notice.text for notice in door.status().notices}


def test_an_app_knocks_is_listed_is_allowed_and_heard(door: Door) -> None:
    knock(door)
    knock(door)
    listed = door.ask(ListConsents())
    assert [app.app_id for app in listed.apps] == ["stranger", "acme-notes", "acme-ci"]
    stranger = listed.apps[0]
    assert (stranger.consent, stranger.consent_from) == ("pending", "not asked yet")
    assert (stranger.asking, stranger.knocks, stranger.offered) == (True, 2, 2)
    assert stranger.ways == ("send",)
    assert "stranger (homing send) wants to report" in notices(door)["apps.pending"]
    shown = {app.app_id: app for app in door.status().apps}["stranger"]
    assert (shown.consent, shown.asking, shown.knocks) == ("pending", True, 2)
    assert door.outbox() == ()

    outcome = door.ask(AllowApp(app_id="stranger", name="A Stranger"))
    app = told(outcome)
    assert (app.consent, app.consent_from, app.name) == ("allowed", "you", "A Stranger")
    assert app.far_ends == ("ws://127.0.0.1:9",)  # the first that the settings file names
    assert "ws://127.0.0.1:9" in outcome.note
    assert "apps.pending" not in notices(door)
    door.send("heard", app_id="stranger")
    assert [row.app_id for row in door.outbox()] == ["stranger"] * 2
    assert show(door).waiting == 2
    assert "stranger" in {link.app_id for link in door.status().links}


def test_a_denial_drops_deletes_and_says_so_until_it_is_taken_back(door: Door) -> None:
    door.send("kept", app_id="acme-notes")
    door.send("of another", app_id="acme-ci")
    outcome = door.ask(DenyApp(app_id="acme-notes", reason="no thanks"))
    assert (outcome.purged, outcome.unpurged) == (2, ())
    app = told(outcome)
    assert (app.consent, app.consent_from, app.reason) == ("denied", "you", "no thanks")
    assert app.declared  # and yet denied: a person's no beats the settings file
    assert app.waiting == 0
    assert {row.app_id for row in door.outbox()} == {"acme-ci"}
    assert "acme-notes" not in {link.app_id for link in door.status().links}
    assert all(event.app_id != "acme-notes" for event in _passing(door))
    with pytest.raises(RequestFault, match="denied by you \\(no thanks\\)"):
        door.send("unheard", app_id="acme-notes")

    app = told(door.ask(ForgetAnswer(app_id="acme-notes")))
    assert (app.consent, app.consent_from) == ("allowed", "settings file")
    door.send("heard again", app_id="acme-notes")
    assert show(door, "acme-notes").waiting == 2


def _passing(door: Door) -> list[object]:
    heard: list[object] = []
    stop = door.watch(lambda status: None, heard.extend)
    time.sleep(0.3)
    stop()
    return heard


def test_with_keep_what_waits_stays_and_is_not_sent(door: Door) -> None:
    door.send("kept", app_id="acme-notes")
    outcome = door.ask(DenyApp(app_id="acme-notes", keep=True))
    assert outcome.purged == 0
    assert told(outcome).waiting == 2
    assert "acme-notes" not in {link.app_id for link in door.status().links}
    assert door.status().depth.events == 2
    door.ask(AllowApp(app_id="acme-notes"))
    assert "acme-notes" in {link.app_id for link in door.status().links}
    assert show(door, "acme-notes").waiting == 2


def test_a_paused_app_is_dropped_and_then_heard_again(door: Door) -> None:
    door.send("before", app_id="acme-notes")
    app = told(door.ask(PauseApp(app_id="acme-notes", for_s=3600, reason="giving a talk")))
    assert (app.consent, app.consent_from, app.then) == ("paused", "you", "allowed")
    assert app.until_ms is not None
    assert app.since_ms is not None
    assert app.until_ms - app.since_ms == 3_600_000
    with pytest.raises(RequestFault, match="paused by you \\(giving a talk\\)"):
        door.send("during", app_id="acme-notes")
    assert show(door, "acme-notes").waiting == 2  # what was accepted before is not sent, nor lost
    assert told(door.ask(ResumeApp(app_id="acme-notes"))).consent == "allowed"
    door.send("after", app_id="acme-notes")
    assert show(door, "acme-notes").waiting == 3


def test_a_pause_of_all_apps_covers_each_and_the_sentence_says_so(door: Door) -> None:
    outcome = door.ask(PauseApp(reason="giving a talk"))
    assert outcome.every_app is not None
    status = door.status()
    assert status.every_app == outcome.every_app
    assert {app.consent for app in status.apps} == {"paused"}
    assert status.links == ()
    assert status.sentence.state == "paused"
    assert "giving a talk" in status.sentence.text
    assert "dropped" in status.sentence.text
    for app_id in (None, "acme-notes", "stranger"):
        with pytest.raises(RequestFault, match="paused by you, for all apps"):
            door.send("dropped", app_id=app_id)
    with pytest.raises(RequestFault, match="paused with all apps") as refused:
        door.ask(ResumeApp(app_id="acme-notes"))
    assert "--all" in refused.value.advice
    assert door.ask(ResumeApp()).every_app is None
    assert {app.consent for app in door.status().apps} == {"allowed"}
    assert len(door.status().links) == 1


def test_pausing_sending_is_something_else_and_keeps(door: Door) -> None:
    status = door.pause(3600, "on a train")
    assert "Sending paused" in status.sentence.text
    door.send("kept")
    assert door.status().depth.events == 2
    assert {app.consent for app in door.status().apps} == {"allowed"}
    door.resume()


def test_not_now_leaves_an_app_waiting_and_asks_no_more(door: Door) -> None:
    knock(door)
    app = told(door.ask(NotNow(app_id="stranger")))
    assert (app.consent, app.consent_from, app.asking) == ("pending", "you, not now", False)
    assert "apps.pending" not in notices(door)
    knock(door)
    assert "apps.pending" not in notices(door)
    assert show(door).knocks == 2
    door.ask(ForgetAnswer(app_id="stranger"))
    assert show(door).asking


def test_forgetting_an_allowed_app_makes_it_wait_with_what_it_has_here(door: Door) -> None:
    knock(door)
    door.ask(AllowApp(app_id="stranger"))
    door.send("kept", app_id="stranger")
    app = told(door.ask(ForgetAnswer(app_id="stranger")))
    assert (app.consent, app.waiting) == ("pending", 2)
    assert "stranger" not in {link.app_id for link in door.status().links}
    knock(door)
    assert show(door).waiting == 2


def test_a_denial_with_an_end_ends_by_itself(door: Door) -> None:
    app = told(door.ask(DenyApp(app_id="acme-notes", for_s=0.4)))
    assert (app.consent, app.then) == ("denied", "allowed")
    deadline = time.monotonic() + 10
    while show(door, "acme-notes").consent != "allowed":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert show(door, "acme-notes").consent_from == "settings file"
    assert "acme-notes" in {link.app_id for link in door.status().links}


@pytest.mark.parametrize(
    ("request_", "status", "said", "advice"),
    [
        (AllowApp(app_id="acme-note"), 404, "acme-note", "Did you mean acme-notes?"),
        (DenyApp(app_id="zzz"), 404, "zzz", "--new"),
        (PauseApp(app_id="acme-nots"), 404, "acme-nots", "acme-notes"),
        (ShowConsent(app_id="../../etc"), 400, "id is 1 to 64", ""),
        (DenyApp(app_id="acme-notes", for_s=0), 400, "for_s", ""),
        (PauseApp(for_s=1e9), 400, "for_s", ""),
        (AllowApp(app_id="acme-notes", name="x" * 81), 400, "80 characters", ""),
    ],
)
def test_what_cannot_be_is_refused_with_what_was_meant(
    door: Door,
    request_: AllowApp,
    status: int,
    said: str,
    advice: str,
) -> None:
    with pytest.raises(RequestFault, match=said) as refused:
        door.ask(request_)
    assert refused.value.status == status
    assert advice in refused.value.advice
    assert door.ask(ListConsents()).apps[0].consent == "allowed"


def test_what_is_not_paused_cannot_be_resumed_nor_what_waits_paused(door: Door) -> None:
    knock(door)
    with pytest.raises(RequestFault, match="waits for your answer"):
        door.ask(PauseApp(app_id="stranger"))
    door.ask(DenyApp(app_id="stranger"))
    with pytest.raises(RequestFault, match="not paused but denied"):
        door.ask(ResumeApp(app_id="stranger"))
    with pytest.raises(RequestFault, match="more than a pause"):
        door.ask(PauseApp(app_id="stranger"))


def test_an_app_may_be_answered_before_it_comes(door: Door) -> None:
    assert told(door.ask(AllowApp(app_id="later-app", new=True))).consent == "allowed"
    door.send("heard", app_id="later-app")
    assert show(door, "later-app").waiting == 2
