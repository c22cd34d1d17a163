"""An app whose calls are refused because the settings do not name its language: everybody hears it.

Official Bucket clients throw away what is refused (BUCKET.md §5), so a yes that leaves all calls
lost must say so to whom it may concern: the app, the person who said yes, and the status.
"""

from __future__ import annotations

from agent.door import Door, Notice
from agent.door.apps import AllowApp, DenyApp
from agent.rules.consent import Consent
from agent.rules.quota import Bucket
from agent.runtime.counter.desk import Desk
from agent.runtime.counter.unspoken import Tongues, notices_of
from tests.agent.host.counter import FarEnd, Make, apps, post
from tests.agent.host.test_apps_command import Typed

CALL = {"event": "Sent", "userId": "u1"}
LINE = 'Write speaks = ["bucket", "nucleus"] beneath id = "stranger" in homing.toml.'


def speaking(door: Door) -> list[Notice]:
    return [one for one in door.status().notices if one.code == "apps.speaks"]


def test_who_allows_an_app_that_came_with_buckets_words_is_told_of_them(make_agent: Make) -> None:
    agent, door = make_agent()
    status, body, _ = post(agent, CALL, "/stranger/event")
    assert (status, body["success"]) == (403, False)
    assert "homing apps allow stranger" in body["error"]["message"]
    note = door.ask(AllowApp(app_id="stranger")).note
    assert "ws://127.0.0.1:9" in note
    assert "with the words of Bucket" in note
    assert LINE in note
    assert speaking(door) == []  # nothing is lost yet

    for _ in range(2):
        status, body, _ = post(agent, CALL, "/stranger/event")
        assert status == 403
        assert body["error"]["message"].endswith(LINE)
    (notice,) = speaking(door)
    assert notice.severity == "warning"
    lost = "What stranger reports in the words of Bucket is refused and lost."
    assert notice.text == f"{lost} {LINE}"
    assert {app.app_id: app.refused for app in door.status().apps}["stranger"] == 2
    assert LINE in door.ask(AllowApp(app_id="stranger")).note

    door.ask(DenyApp(app_id="stranger"))
    assert speaking(door) == []  # what it sends is dropped now, and by that person's will


def test_the_command_says_it_too(make_agent: Make) -> None:
    agent, door = make_agent()
    post(agent, CALL, "/stranger/event")
    typed = Typed(agent, door)
    assert typed("allow stranger") == 0
    assert LINE in " ".join(typed.out.getvalue().split())


def test_who_speaks_what_the_settings_name_is_told_nothing(make_agent: Make, far: FarEnd) -> None:
    agent, door = make_agent(apps(far, "acme-web"))
    assert post(agent, CALL, "/acme-web/event")[0] == 200
    post(agent, {"data": [{"name": "knock"}]}, "/app/stranger/track")
    for app_id in ("acme-web", "stranger"):
        assert "words" not in door.ask(AllowApp(app_id=app_id)).note
    assert speaking(door) == []


def test_many_apps_are_one_notice_and_what_is_remembered_is_bounded() -> None:
    desks = [
        Desk(
            app_id=f"app-{number}",
            name="",
            version="",
            consent=Consent.ALLOWED,
            consent_from="you",
            bucket=Bucket(rate_per_s=1, burst=1),
            unspoken={"bucket": 9 - number},
        )
        for number in range(5)
    ]
    (notice,) = notices_of(desks)
    assert "app-0, app-1, app-2 and 2 more" in notice.text
    assert notice.since_ms == 5
    tongues = Tongues(most=2)
    for desk in desks:
        tongues.heard(desk.app_id, "bucket")
        desk.unspoken.clear()
    told = [desk.app_id for desk in desks if tongues.remark(desk.app_id, desk)]
    assert told == ["app-3", "app-4"]
    assert notices_of(desks) == ()
