"""`status`, `apps`, `wire`: facts in words and in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from agent.door import AppStatus, LinkStatus, Notice, Sentence, Status, WireEntry
from agent.door.wire import ReadWire

EVIL = "\x1b]0;owned\x07 a\u202egnp.exe\r\nb"


def test_status_says_the_sentence_first_then_the_tables(desk: Any) -> None:
    assert desk.run("status") == 0
    assert desk.said == (
        "Connected. 1,204 delivered today.\n"
        "\n"
        "APP         CONSENT  ACCEPTED  DELIVERED  PENDING  DEAD  LOST  LEDGER\n"
        "acme-notes  allowed     1,221      1,204       12     3     2  balanced\n"
        "\n"
        "APP         FAR END            LINK  FOR     LATENCY  LAST ACK  WHY\n"
        "acme-notes  wss://far.example  live  12 min  3 ms     2 s ago\n"
        "\n"
        "outbox  12 events, 2.3 KiB of 256.0 MiB (0 %), oldest 40 s, full in 3 d 4 h at this rate,"
        " 3 refused for good (`homing outbox list --dead`)\n"
        "agent   0.1.0, pid 4711, up 2 h, /run/user/1000/homing/agent.sock\n"
    )


def test_status_as_json_is_the_doors_own_status(desk: Any) -> None:
    assert desk.run("status", "--json") == 0
    assert desk.said.count("\n") == 1
    assert msgspec.json.decode(desk.said, type=Status) == desk.door.now


@pytest.mark.parametrize("state", ["offline", "paused", "attention"])
def test_a_status_that_is_not_live_is_exit_1(
    desk: Any, status_of: Callable[..., Status], state: Any
) -> None:
    desk.door.now = status_of(sentence=Sentence(state=state, text="Not quite."))
    assert desk.run("status") == 1
    assert desk.run("status", "--json") == 1


def test_notices_are_told_unless_the_sentence_has_told_them(
    desk: Any, status_of: Callable[..., Status], notice: Notice
) -> None:
    desk.door.now = status_of(notices=(notice,))
    desk.run("status")
    assert "warning: The device key is kept in memory only (for 1 min)\n" in desk.said
    told = Sentence(state="live", text=f"Connected. {notice.text}.")
    desk.door.now = status_of(notices=(notice,), sentence=told)
    desk.run("status")
    assert desk.said.count(notice.text) == 1


def test_a_computer_without_a_far_end_is_offered_one(
    desk: Any, status_of: Callable[..., Status]
) -> None:
    desk.door.now = status_of(keeping="offered")
    for words in (["status"], ["top", "--once"]):
        desk.run(*words)
        assert "`homing keep-here` keeps events on this computer" in desk.said
    untracked = Sentence(state="attention", text="Nothing is kept.", code="do_not_track")
    desk.door.now = status_of(keeping="offered", sentence=untracked)
    for words in (["status"], ["top", "--once"]):
        desk.run(*words)
        assert "keep-here" not in desk.said


def test_what_came_from_outside_cannot_steer_the_terminal(
    desk: Any, status_of: Callable[..., Status]
) -> None:
    app = AppStatus(app_id=EVIL, name=EVIL, consent="allowed", consent_from=EVIL)
    desk.door.now = status_of(apps=(app,), sentence=Sentence(state="live", text=EVIL))
    desk.door.frames = (WireEntry(at_ms=0, app_id=EVIL, direction="received", size=9, text=EVIL),)
    for words in (["status"], ["apps"], ["wire"], ["top", "--once"]):
        desk.run(*words)
        assert not set(desk.said) & set("\x1b\x07\r\u202e")
        assert "␛]0;owned␇" in desk.said
        assert "<U+202E>" in desk.said or words == ["top", "--once"]


def test_apps_tell_what_was_lost_and_why(desk: Any) -> None:
    assert desk.run("apps") == 0
    assert "acme-notes: allowed by settings file\n" in desk.said
    assert "  name Acme Notes\n" in desk.said
    assert "  lost: expired 2\n" in desk.said
    assert "  7 recognised as already accepted\n" in desk.said
    assert desk.run("apps", "--json") == 0
    assert json.loads(desk.said)[0]["accepted"] == 1221


def test_a_ledger_that_does_not_balance_is_shouted_and_exit_1(
    desk: Any, status_of: Callable[..., Status]
) -> None:
    app = AppStatus(
        app_id="x", name="x", consent="allowed", consent_from="settings file", balanced=False
    )
    desk.door.now = status_of(apps=(app,))
    assert desk.run("apps") == 1
    assert "DOES NOT BALANCE" in desk.said


def test_no_app_yet_is_a_sentence_with_a_next_step(
    desk: Any, status_of: Callable[..., Status]
) -> None:
    desk.door.now = status_of(apps=())
    assert desk.run("apps") == 0
    assert "homing send" in desk.said


def test_the_wire_shows_frames_whole_and_the_oldest_first(desk: Any) -> None:
    sent = '{"data":[{"type":"heartbeat"}]}'
    desk.door.frames = (  # as the agent answers: the newest first
        WireEntry(at_ms=1, app_id="a", direction="received", size=2, text="{}"),
        WireEntry(at_ms=0, app_id="a", direction="sent", size=31, text=sent),
    )
    assert desk.run("wire", "--app", "a", "--limit", "5") == 0
    assert desk.door.asked == [("ReadWire", (ReadWire(app_id="a", limit=5),))]
    lines = desk.said.splitlines()
    assert lines[0].endswith("→ a 31 B")
    assert lines[1] == f"  {sent}"
    assert lines[2].endswith("← a 2 B")
    assert desk.run("wire", "--json") == 0
    assert json.loads(desk.said)[0]["text"] == sent


def test_an_empty_wire_says_so(desk: Any) -> None:
    assert desk.run("wire") == 0
    assert desk.said == "Nothing has left this machine yet.\n"
    assert desk.run("wire", "--app", "acme-notes") == 0
    assert desk.said == "Nothing has left this machine for acme-notes yet.\n"


def test_a_link_that_works_otherwise_than_it_should_says_how(
    desk: Any, status_of: Callable[..., Status]
) -> None:
    (link,) = desk.door.now.links
    note = "over HTTP (WebSocket blocked: cut)"
    desk.door.now = status_of(links=(msgspec.structs.replace(link, note=note),))
    assert desk.run("status") == 0
    assert note in desk.said


def test_what_a_collector_confirmed_is_said_under_the_links(
    desk: Any, status_of: Callable[..., Status]
) -> None:
    said = "The far end confirms 1,204 of 1,204 events."
    link = LinkStatus(
        app_id="acme", kind="homing", endpoint="ws://x", state="live", since_ms=0, upstream="main"
    )
    one = msgspec.structs.replace(link, confirmed=said)
    desk.door.now = status_of(links=(one,))
    desk.run("status")
    assert f"acme: {said}\n" in desk.said
    desk.door.now = status_of(links=(one, msgspec.structs.replace(link, upstream="other")))
    desk.run("status")
    assert f"acme/main: {said}\n" in desk.said
