"""Consent: who said yes, and DO_NOT_TRACK above all."""

from __future__ import annotations

import pytest

from agent.rules.consent import Consent, decide, do_not_track


def test_an_app_in_the_settings_file_is_allowed_by_it() -> None:
    ruling = decide("notes", declared=["notes"], do_not_track=False)
    assert ruling == (Consent.ALLOWED, "settings file")


def test_the_app_of_this_computers_own_far_end_is_allowed_by_this_computer() -> None:
    ruling = decide("here", declared=["notes"], embedded=["here"], do_not_track=False)
    assert ruling == (Consent.ALLOWED, "this computer")


def test_a_stranger_is_pending_until_a_person_answers() -> None:
    ruling = decide("stranger", declared=["notes"], do_not_track=False)
    assert ruling == (Consent.PENDING, "not asked yet")


@pytest.mark.parametrize("app_id", ["notes", "here", "stranger"])
def test_do_not_track_denies_everyone(app_id: str) -> None:
    ruling = decide(app_id, declared=["notes"], embedded=["here"], do_not_track=True)
    assert ruling == (Consent.DENIED, "DO_NOT_TRACK")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        *((said, True) for said in ("1", "true", "yes", "2", "no")),
        *((said, False) for said in ("0", "false", "FALSE", " 0 ", "")),
    ],
)
def test_any_value_but_zero_and_false_asks_not_to_be_tracked(said: str, meant: bool) -> None:
    assert do_not_track({"DO_NOT_TRACK": said}) is meant


def test_an_environment_that_says_nothing_asks_nothing() -> None:
    assert do_not_track({}) is False
