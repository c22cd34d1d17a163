"""What each part shows, from snapshots alone."""

from __future__ import annotations

import random
from types import ModuleType

import pytest
from msgspec.structs import replace
from scripted_door import snapshot

from agent.door import AppStatus, Glance, LinkStatus, Notice, Pause, Sentence
from ui import details, views

NOW = 1_773_320_000_000


def said(state: str, text: str = "So it is.", **parts: object) -> Sentence:
    return Sentence(state=state, text=text, since_ms=NOW - 720_000, **parts)  # type: ignore[arg-type]


def test_the_head_has_state_reason_since_and_next_step() -> None:
    sentence = said("offline", "Offline: refused.", reason="refused", next_step="Next try in 40 s")
    view = views.header(snapshot(sentence=sentence), NOW)
    assert (view.state, view.title, view.sentence) == ("offline", "Offline", "Offline: refused.")
    assert view.details[0].endswith("(12 min)")
    assert view.details[1:] == ("Next try in 40 s",)  # the reason is in the sentence already


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({}, ""),
        ({"sentence": said("paused"), "pause": Pause(reason="you asked", since_ms=NOW)}, "resume"),
        ({"sentence": said("attention"), "keeping": "offered"}, "keep"),
        (
            {
                "sentence": said("offline"),
                "links": (
                    LinkStatus(app_id="a", kind="n", endpoint="e", state="waiting", since_ms=0),
                ),
            },
            "retry",
        ),
        ({"sentence": said("attention")}, ""),
    ],
)
def test_the_button_fits_the_state(changes: dict[str, object], action: str) -> None:
    assert views.header(snapshot(**changes), NOW).action == action


def test_a_lost_agent_is_waited_for_and_what_is_shown_is_called_old() -> None:
    view = views.header(snapshot(at_ms=NOW - 60_000), NOW, gone="no agent answers")
    assert view.title == "Waiting for the agent"
    assert view.details == ("no agent answers", "What you see is from 60 s ago.")
    assert view.action == ""
    assert views.tray(snapshot(), gone="x").state == "offline"


def test_a_pause_tells_its_own_cause_and_end() -> None:
    pause = Pause(reason="metered network", since_ms=NOW, until_ms=None)
    view = views.header(snapshot(sentence=said("paused"), pause=pause), NOW)
    assert "Sending paused until you resume: metered network" in view.details


def test_more_errors_are_bad_and_fewer_are_good() -> None:
    glance = Glance(
        source="collector",
        at_ms=NOW,
        app_starts=5,
        previous_app_starts=5,
        errors=9,
        previous_errors=3,
    )
    tiles = {tile.key: tile for tile in views.tiles(snapshot(glance=glance))}
    assert (tiles["errors"].tone, tiles["errors"].difference) == ("bad", "+6 vs. yesterday")
    assert tiles["starts"].difference == "same as yesterday"
    assert "events" not in tiles  # nobody counted them: no tile, not a zero


def test_an_unknown_number_of_live_users_is_not_zero() -> None:
    assert views.tiles(snapshot(live_count=None))[0].value == "–"
    assert views.tiles(snapshot(live_count=0))[0].value == "0"
    assert "does not tell" in details.users(snapshot(live_count=None), NOW).empty


def test_a_ledger_that_lost_something_says_what_and_why() -> None:
    app = AppStatus(
        app_id="a", name="A", consent="allowed", consent_from="settings file",
        accepted=10, delivered=6, pending=1, dead=1, lost={"evicted": 2}, balanced=False,
    )  # fmt: skip
    (row,) = details.apps(snapshot(apps=(app,)))
    assert row.cells == ("10", "6", "1", "1", "2", "Allowed")
    assert row.tone == "bad"
    assert "lost: evicted 2" in row.about
    assert "does not balance" in row.about


def test_the_gravest_notice_comes_first() -> None:
    notices = tuple(
        Notice(code=severity, text=severity, severity=severity, since_ms=NOW)
        for severity in ("info", "error", "warning")
    )
    shown = [notice.severity for notice in views.notices(snapshot(notices=notices))]
    assert shown == ["error", "warning", "info"]


def test_the_line_to_copy_survives_a_folder_with_spaces_and_quotes() -> None:
    line = views.first_event_line(snapshot(address="/home/o'neil x/agent.sock", default_app="acme"))
    assert "--unix-socket '/home/o'\"'\"'neil x/agent.sock'" in line
    assert "http://homing/app/acme/track" in line
    assert views.first_event_line(snapshot(address="http://127.0.0.1:7777")).startswith(
        "homing send"
    )
    assert views.first_event_line(snapshot(default_app=None)) == ""


@pytest.mark.parametrize("state", ["full", "offline", "attention", "paused", "empty", "hostile"])
def test_no_view_fails_and_no_view_is_long(demo: ModuleType, state: str) -> None:
    status = demo.STATES[state](NOW, random.Random(1))
    for shown in (status, None, replace(status, at_ms=0, started_ms=0, live_count=-1)):
        view = views.header(shown, NOW)
        assert len(view.sentence) <= views.SENTENCE_CHARS
        views.tiles(shown)
        views.notices(shown)
        tray = views.tray(shown)
        assert "<" not in tray.tooltip
        assert len(tray.tooltip) < 260
        outbox = details.outbox(shown, NOW)
        assert 0.0 <= outbox.fill <= 1.0
        for row in (*details.machine(shown, NOW), *outbox.rows):
            assert len(row.value) <= 200
            assert "\u202e" not in row.value
        for link in details.links(shown, NOW):
            assert all(len(row.value) <= 240 for row in link.rows)
        details.users(shown, NOW)
        details.apps(shown)


def test_each_upstream_of_an_app_is_named_with_what_waits_for_it() -> None:
    links = tuple(
        LinkStatus(
            app_id="acme",
            kind="nucleus",
            endpoint=f"wss://{name}.example",
            state=state,
            since_ms=NOW,
            upstream=name,
            pending=pending,
        )
        for name, state, pending in (("vendor", "live", 0), ("mine", "waiting", 204))
    )
    worst, other = details.links(snapshot(links=links), NOW)
    assert worst.rows[0].value == "mine: wss://mine.example"
    assert [row.value for row in worst.rows if row.label == "Waiting"] == ["204"]
    assert other.rows[0].value == "vendor: wss://vendor.example"
