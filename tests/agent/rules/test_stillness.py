"""What is said when no app may report: by whom, until when, and never in the words for sending."""

from __future__ import annotations

from datetime import UTC

import pytest

from agent.door.apps import EveryApp
from agent.rules.sentence import Words
from agent.rules.stillness import stillness

NOW_MS = 1_760_000_000_000  # 2025-10-09 08:53 UTC


def said(everyone: EveryApp | None, *consents: str, pending: int = 0) -> Words | None:
    return stillness(everyone, consents, pending=pending, now_ms=NOW_MS, zone=UTC)


@pytest.mark.parametrize("consents", [(), ("allowed",), ("denied", "allowed"), ("pending",)])
def test_while_an_app_is_heard_or_nobody_said_no_there_is_nothing_to_say(
    consents: tuple[str, ...],
) -> None:
    assert said(None, *consents) is None


def test_a_pause_of_all_apps_says_that_what_they_report_is_dropped() -> None:
    pause = EveryApp(
        consent="paused",
        consent_from="you",
        reason="giving a talk",
        since_ms=NOW_MS,
        until_ms=NOW_MS + 3_600_000,
    )
    words = said(pause, "paused", pending=3)
    assert words is not None
    assert words.text == (
        "All apps are paused until 09:53 (giving a talk): what they report is dropped."
        " 3 events from before safe."
    )
    assert (words.state, words.code, words.since_ms) == ("paused", "apps.paused", NOW_MS)
    assert "--all" in words.next_step


def test_a_pause_without_an_end_or_a_reason_is_still_a_sentence() -> None:
    words = said(EveryApp(consent="paused", consent_from="you"))
    assert words is not None
    assert words.text == "All apps are paused until you resume them: what they report is dropped."


def test_a_policy_is_named_and_do_not_track_is_left_to_its_own_sentence() -> None:
    words = said(EveryApp(consent="denied", consent_from="policy", reason="the settings deny it"))
    assert words is not None
    assert words.text == "No app may report: the settings deny it."
    assert words.code == "consent.deny"
    assert said(EveryApp(consent="denied", consent_from="DO_NOT_TRACK", reason="x")) is None


def test_apps_that_were_stilled_one_by_one_are_counted() -> None:
    words = said(None, "denied", "paused", "denied", "pending")
    assert words is not None
    assert words.text == "No app may report: 2 denied, 1 paused."
    assert words.code == "apps.none"
