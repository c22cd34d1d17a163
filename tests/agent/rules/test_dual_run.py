"""Whether an upstream may be left alone with an app's events, in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from agent.rules.dual_run import Side, judge

NOW_MS = 1_760_007_600_000


def side(**changes: Any) -> Side:
    known: dict[str, Any] = {
        "accepted": 1204,
        "confirmed": 1204,
        "dead": 0,
        "lost": 0,
        "waiting": 0,
        "oldest_ms": None,
        "days": 8,
    }
    return Side(**(known | changes))


def said(**changes: Any) -> tuple[bool, str]:
    return judge({"vendor": side(), "mine": side(**changes)}, "mine", NOW_MS)


def test_an_upstream_that_took_everything_is_safe_to_switch_to() -> None:
    safe, why = said()
    assert safe
    assert why == (
        "It is safe to switch to mine: of 1,204 events it was given, as many as vendor, none was"
        " refused or lost."
    )


def test_what_is_on_its_way_is_no_reason_to_wait() -> None:
    safe, why = said(confirmed=1200, waiting=4, oldest_ms=NOW_MS - 2000)
    assert safe
    assert why.endswith("lost, 4 are on their way.")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dead": 3, "confirmed": 1201}, "it refused 3 events for good"),
        ({"lost": 1}, "1 event lost before it had them"),
        (
            {"waiting": 12, "oldest_ms": NOW_MS - 3_600_000, "confirmed": 1192},
            "12 events still wait for it",
        ),
        ({"accepted": 1100, "confirmed": 1100}, "it was given 1,100 and vendor 1,204"),
        ({"days": 1}, "it was counted for less than a day"),
        ({"missing": 2, "accepted": 900}, "it was not there on 2 of these days"),
    ],
)
def test_each_reason_to_wait_is_said(changes: dict[str, Any], reason: str) -> None:
    safe, why = said(**changes)
    assert not safe
    assert why.startswith("Not yet: ")
    assert reason in why


def test_several_reasons_are_one_sentence() -> None:
    safe, why = said(dead=1, days=1)
    assert (safe, why) == (
        False,
        "Not yet: it was counted for less than a day and it refused 1 event for good.",
    )


def test_a_day_on_which_one_began_is_said_to_leave_the_comparison() -> None:
    for changes in ({"accepted": 4, "confirmed": 4}, {"missing": 2}):
        assert said(**changes)[1].endswith("`--days` leaves older days out.")
    assert "--days" not in said(dead=1)[1]


def test_an_upstream_that_was_given_nothing_proves_nothing() -> None:
    safe, why = said(accepted=0, confirmed=0)
    assert not safe
    assert "was given nothing" in why
