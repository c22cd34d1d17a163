"""The sentence [R7]: worst news first, one cause, what is safe, what happens next."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from itertools import product
from typing import Any

import msgspec
import pytest

from agent.door import LinkStatus, Notice, Pause, Sentence
from agent.rules.sentence import Words, sentence

NOW_MS = 1_760_007_600_000  #: 2025-10-09 11:00 UTC.
MINUTE_MS = 60_000


def road(state: Any = "live", **changes: Any) -> LinkStatus:
    """One app's link, as the door tells it: the rule takes it as it is."""
    known: dict[str, Any] = {
        "app_id": "acme-notes",
        "kind": "nucleus",
        "endpoint": "wss://far.example",
        "state": state,
        "since_ms": NOW_MS - 12 * MINUTE_MS,
    }
    return LinkStatus(**(known | changes))


def offline(**changes: Any) -> LinkStatus:
    known: dict[str, Any] = {
        "state": "waiting",
        "code": "link.unreachable",
        "reason": "connection refused",
        "next_try_ms": NOW_MS + 40_000,
    }
    return road(**(known | changes))


REFUSED = road("parked", code="link.refused", reason="the far end does not know the app acme-notes")
PAUSE = Pause(reason="you asked", since_ms=NOW_MS - MINUTE_MS, until_ms=NOW_MS + 4 * 60 * MINUTE_MS)
FULL = Notice(
    code="storage", text="The disk is full", severity="error", since_ms=NOW_MS - MINUTE_MS
)
MEMORY = Notice(
    code="secret.memory", text="The key is kept in memory only", severity="warning", since_ms=1
)


def say(*roads: LinkStatus, **known: Any) -> Words:
    """Say how things are at :data:`NOW_MS`, in UTC."""
    told: dict[str, Any] = {"pending": 0, "delivered_today": 0} | known
    return sentence(roads, now_ms=NOW_MS, zone=UTC, **told)


def test_connected_tells_what_was_delivered_today() -> None:
    words = say(road(), delivered_today=1204)
    assert words.text == "Connected. 1,204 delivered today."
    assert (words.state, words.code, words.next_step) == ("live", "", "")


def test_connected_tells_what_is_on_the_way_what_is_dead_and_what_is_odd() -> None:
    assert say(road(), pending=12).text == "Connected. 0 delivered today, 12 on the way."
    dead = say(road(), dead=3)
    assert dead.text == "Connected. 0 delivered today. 3 events refused for good."
    assert dead.next_step == "See `homing outbox list --dead`."
    odd = say(road(), dead=3, remarks=(MEMORY,))
    assert odd.text == "Connected. 0 delivered today. The key is kept in memory only."
    assert (odd.state, odd.code) == ("live", "secret.memory")


def test_offline_tells_the_reason_since_when_what_is_safe_and_the_next_try() -> None:
    words = say(offline(), pending=214)
    assert words.text == ("Offline 12 min: connection refused. 214 events safe. Next try in 40 s.")
    assert words == Words(
        state="offline",
        text=words.text,
        code="link.unreachable",
        reason="connection refused",
        since_ms=NOW_MS - 12 * MINUTE_MS,
        next_step="Next try in 40 s.",
    )


def test_a_dial_under_way_is_not_a_promise_of_a_later_one() -> None:
    dialing = offline(state="dialing", next_try_ms=None)
    assert say(dialing).text == "Offline 12 min: connection refused. Trying now."
    assert say(offline(next_try_ms=NOW_MS - 1)).next_step == "Trying now."
    assert say(offline(next_try_ms=NOW_MS + 200)).next_step == "Next try in 1 s."


def test_a_pause_tells_until_when_and_whose_it_is() -> None:
    words = say(offline(), halt=PAUSE, pending=3)
    assert words.text == "Sending paused until 15:00 (you asked). 3 events safe."
    assert (words.state, words.since_ms) == ("paused", PAUSE.since_ms)
    endless = say(halt=Pause(reason="metered network", since_ms=1))
    assert endless.text == "Sending paused until you resume (metered network)."


def test_the_hour_is_the_persons_own_and_another_day_is_named() -> None:
    east = timezone(timedelta(hours=9))
    words = sentence((), pending=0, delivered_today=0, now_ms=NOW_MS, zone=east, halt=PAUSE)
    assert words.text.startswith("Sending paused until Fri 00:00 ")


def test_a_refusal_asks_for_a_person() -> None:
    words = say(REFUSED, pending=12)
    assert words.text == (
        "Refused: the far end does not know the app acme-notes. 12 events safe."
        " Check the app id, then Retry."
    )
    assert words.state == "attention"


def test_an_unproven_identity_is_attention_though_we_try_again() -> None:
    words = say(offline(code="link.unproven", reason="self-signed certificate"), pending=1)
    assert words.text == (
        "Not sent: the far end did not prove who it is (self-signed certificate)."
        " 1 event safe. Check the address and its certificate."
    )
    assert words.state == "attention"


def test_a_sign_in_is_asked_for_and_not_called_an_outage() -> None:
    words = say(offline(code="link.portal", reason="the network wants a sign-in"), pending=3)
    assert words.text == (
        "Sign-in needed: the network wants a sign-in. 3 events safe."
        " Open any page in a browser, and sign in."
    )
    assert words.state == "attention"


def test_a_proxy_that_wants_a_login_is_told_with_the_command() -> None:
    words = say(road("parked", code="link.proxy_login", reason="the proxy wants a password"))
    assert words.text == ("Not sent: the proxy wants a password. Run `homing network proxy-login`.")


def test_a_locked_keyring_is_named() -> None:
    words = say(road("parked", code="secret", reason="the keyring is locked"))
    assert words.text == ("Waiting for your keyring: the keyring is locked. Unlock it, then Retry.")


def test_a_far_end_that_asks_us_to_wait_is_not_blamed_on_the_network() -> None:
    words = say(offline(code="link.throttled", reason="too many requests"))
    assert words.text.startswith("Held back by the far end for 12 min: too many requests.")


@pytest.mark.parametrize(
    ("keeping", "text", "state"),
    [
        (
            "offered",
            "No far end yet. Keep it on this computer, or name one in homing.toml.",
            "attention",
        ),
        (
            "off",
            "No far end yet. Keep it on this computer, or name one in homing.toml.",
            "attention",
        ),
        ("starting", "Starting the far end on this computer.", "offline"),
        (
            "failed",
            "The far end on this computer does not run: it stopped again and again."
            " Run `homing doctor`.",
            "attention",
        ),
    ],
)
def test_no_far_end_yet_offers_one(keeping: Any, text: str, state: str) -> None:
    words = say(keeping=keeping)
    assert (words.text, words.state) == (text, state)


@pytest.mark.parametrize("keeping", ["off", "offered", "starting", "running"])
def test_do_not_track_is_the_reason_why_there_is_no_road(keeping: Any) -> None:
    told = Notice(code="do_not_track", text="Nothing is kept", severity="warning", since_ms=NOW_MS)
    words = say(keeping=keeping, remarks=[told])
    assert (words.text, words.code) == ("Nothing is kept.", "do_not_track")
    assert "DO_NOT_TRACK" in words.next_step


def test_what_happened_before_there_was_a_far_end_is_still_safe() -> None:
    assert say(pending=2).text.startswith("No far end yet. 2 events safe. Keep it")


def test_the_first_dial_is_not_yet_an_outage() -> None:
    for state in ("idle", "dialing"):
        words = say(road(state), pending=2)
        assert words.text == "Connecting to the far end. 2 events safe."
        assert (words.state, words.code) == ("offline", "")


def test_five_apps_behind_one_dead_router_are_one_cause() -> None:
    roads = [offline(app_id=f"app-{n}", since_ms=NOW_MS - n * MINUTE_MS) for n in range(1, 6)]
    words = say(*roads, pending=9)
    assert words.text == "Offline 5 min: connection refused. 9 events safe. Next try in 40 s."


def test_another_cause_is_counted_and_live_roads_are_not_denied() -> None:
    other = offline(reason="no such host", since_ms=NOW_MS - MINUTE_MS)
    words = say(offline(), other, road())
    assert words.text == (
        "Offline 12 min: connection refused. 2 of 3 connections. 1 more has another cause."
        " Next try in 40 s."
    )


def test_the_worst_news_hides_what_follows_from_it() -> None:
    """Every mixture tells the cause that stands highest in the module's drawing."""
    causes: list[tuple[dict[str, Any], str]] = [
        ({"remarks": (FULL,)}, "storage"),
        ({"halt": PAUSE}, "paused"),
        ({"roads": (REFUSED,)}, "link.refused"),
        ({"roads": (offline(),)}, "link.unreachable"),
    ]
    for present in product((False, True), repeat=len(causes)):
        known: dict[str, Any] = {}
        roads: tuple[LinkStatus, ...] = (road(),)
        for there, (cause, _) in zip(present, causes, strict=True):
            if there:
                roads += cause.get("roads", ())
                known |= {key: value for key, value in cause.items() if key != "roads"}
        expected = [code for there, (_, code) in zip(present, causes, strict=True) if there]
        assert say(*roads, **known).code == (expected[0] if expected else "")


def test_an_error_tells_that_events_are_safe_and_who_knows_more() -> None:
    full = Notice(code="storage", text="the disk is full", severity="error", since_ms=NOW_MS)
    assert say(road(), remarks=(full,)).text == "The disk is full."
    words = say(offline(), remarks=(MEMORY, FULL), pending=7)
    assert words.text == "The disk is full. 7 events safe."
    assert words.next_step == "Run `homing doctor` for the evidence and the repair."


def test_a_far_ends_words_are_shown_as_text_and_clipped() -> None:
    words = say(road("parked", code="link.refused", reason="\x1b[2J\u202eon" + "!" * 500))
    assert "\x1b" not in words.text
    assert "␛[2J<U+202E>on" in words.text
    assert len(words.text) < 300


def test_the_words_fit_the_doors_sentence_field_for_field() -> None:
    names = [field.name for field in msgspec.structs.fields(Words)]
    assert names == [field.name for field in msgspec.structs.fields(Sentence)]
    assert msgspec.convert(msgspec.to_builtins(say(road())), Sentence).state == "live"


def test_where_an_app_has_several_upstreams_the_one_that_is_down_is_named() -> None:
    words = say(road(upstream="vendor"), offline(upstream="mine"), pending=214)
    assert words.text == (
        "Offline at mine for 12 min: connection refused. 1 of 2 connected. 214 events safe."
        " Next try in 40 s."
    )
    assert words.state == "offline"


def test_an_upstream_that_refuses_is_named_and_the_others_are_counted() -> None:
    parked = msgspec.structs.replace(REFUSED, upstream="mine")
    words = say(road(upstream="vendor"), parked)
    assert words.text == (
        "Refused at mine: the far end does not know the app acme-notes. 1 of 2 connected."
        " Check the app id, then Retry."
    )


def test_what_a_person_does_about_the_key_of_an_upstream_is_a_command() -> None:
    wrong = road("parked", kind="bucket", upstream="v", code="link.refused", reason="invalid key")
    words = say(wrong)
    assert words.text == (
        "Refused: invalid key. Check its address and its key"
        " (`homing upstreams key acme-notes v`), then Retry."
    )
    mine = msgspec.structs.replace(
        wrong, kind="homing", upstream="mine.bucket", code="secret.key", reason="there is no key"
    )
    assert say(mine, pending=2).text == (
        "Not sent: there is no key. 2 events safe. Run `homing upstreams key acme-notes mine`."
    )


def test_a_file_that_is_not_there_is_no_keyring_to_be_unlocked() -> None:
    words = say(road("parked", code="secret.file", reason="the file k does not exist"))
    assert words.text == "Stopped: the file k does not exist. Put that right, then Retry."


def test_one_that_is_parked_does_not_hide_how_many_are_down() -> None:
    down = [offline(app_id=f"app-{n}") for n in range(5)]
    parked = offline(state="parked", app_id="x", code="link.portal", reason="a sign-in")
    words = say(REFUSED, parked, *down, road(app_id="well"), road("idle", kind="bucket"))
    assert "6 more have another cause." in words.text


def test_apps_with_one_upstream_each_are_told_as_before() -> None:
    words = say(road(upstream="a", app_id="one"), offline(upstream="b", app_id="two"))
    assert words.text == "Offline 12 min: connection refused. 1 of 2 connections. Next try in 40 s."


def test_a_way_over_http_that_had_nothing_to_send_is_no_worry() -> None:
    unused = road("idle", kind="homing", upstream="mine.bucket")
    assert say(road(upstream="mine"), unused, delivered_today=3).text == (
        "Connected. 3 delivered today."
    )
    assert say(offline(upstream="mine"), unused).text.startswith("Offline 12 min: ")
    alone = say(road("idle", kind="bucket", upstream="b"))
    assert (alone.state, alone.text) == ("live", "Ready. 0 delivered today.")
