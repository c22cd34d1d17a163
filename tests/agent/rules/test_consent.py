"""Consent: who said what, who wins, until when, and DO_NOT_TRACK above all (threat row 47)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rules.consent import (
    Answer,
    Answers,
    Break,
    Consent,
    Policy,
    Ruling,
    decide,
    do_not_track,
    found_again,
    next_end_ms,
    without_ended,
)

NOW = 1_000_000
ALLOWED = Answer(verdict="allowed", since_ms=1)
DENIED = Answer(verdict="denied", since_ms=2, reason="no thanks")
LATER = Answer(verdict="later", since_ms=3)
REST = Break(since_ms=4, reason="giving a talk")


def ruling(
    app_id: str = "notes",
    *,
    answers: Answers | None = None,
    policy: Policy = "ask",
    untracked: bool = False,
    declared: tuple[str, ...] = ("notes",),
) -> Ruling:
    return decide(
        app_id,
        declared=declared,
        embedded=["here"],
        do_not_track=untracked,
        policy=policy,
        answers=answers or Answers(),
        now_ms=NOW,
    )


def said(app_id: str, answer: Answer, **more: object) -> Answers:
    return msgspec.structs.replace(Answers(apps={app_id: answer}), **more)


# --- who says yes -----------------------------------------------------------------------------


def test_an_app_in_the_settings_file_is_allowed_by_it() -> None:
    assert ruling()[:2] == (Consent.ALLOWED, "settings file")


def test_the_app_of_this_computers_own_far_end_is_allowed_by_this_computer() -> None:
    assert ruling("here")[:2] == (Consent.ALLOWED, "this computer")


def test_a_stranger_is_pending_until_a_person_answers() -> None:
    assert ruling("stranger")[:2] == (Consent.PENDING, "not asked yet")
    assert ruling("stranger", answers=said("stranger", ALLOWED))[:2] == (Consent.ALLOWED, "you")


def test_not_now_is_no_answer_but_is_remembered() -> None:
    assert ruling("stranger", answers=said("stranger", LATER))[:2] == (
        Consent.PENDING,
        "you, not now",
    )
    assert ruling("notes", answers=said("notes", LATER)).consent is Consent.ALLOWED


def test_a_policy_may_allow_those_whom_nobody_answered() -> None:
    assert ruling("stranger", policy="allow")[:2] == (Consent.ALLOWED, "policy")


# --- a no beats a yes, whoever says either -----------------------------------------------------


@pytest.mark.parametrize("app_id", ["notes", "here", "stranger"])
def test_do_not_track_denies_everyone(app_id: str) -> None:
    told = ruling(app_id, answers=said(app_id, ALLOWED), policy="allow", untracked=True)
    assert told[:2] == (Consent.DENIED, "DO_NOT_TRACK")


@pytest.mark.parametrize("app_id", ["notes", "here", "stranger"])
def test_a_policy_of_deny_beats_a_persons_yes_and_the_settings_file(app_id: str) -> None:
    told = ruling(app_id, answers=said(app_id, ALLOWED), policy="deny")
    assert told[:2] == (Consent.DENIED, "policy")


def test_a_persons_no_beats_the_settings_file_and_a_policy_of_allow() -> None:
    told = ruling(answers=said("notes", DENIED), policy="allow")
    assert told == (Consent.DENIED, "you", "no thanks", 2, None)


def test_a_pause_of_all_apps_covers_strangers_too() -> None:
    answers = said("notes", ALLOWED, all_apps=REST)
    for app_id in ("notes", "here", "stranger"):
        assert ruling(app_id, answers=answers)[:3] == (
            Consent.PAUSED,
            "you, for all apps",
            "giving a talk",
        )


def test_of_two_pauses_the_one_that_lasts_longer_is_told() -> None:
    short, long = Break(since_ms=1, until_ms=NOW + 5), Break(since_ms=1, until_ms=NOW + 9)
    both = Answers(breaks={"notes": long}, all_apps=short)
    assert ruling(answers=both)[1::3] == ("you", NOW + 9)
    other = Answers(breaks={"notes": short}, all_apps=long)
    assert ruling(answers=other)[1::3] == ("you, for all apps", NOW + 9)


# --- ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app_id", "after"), [("notes", Consent.ALLOWED), ("stranger", Consent.PENDING)]
)
def test_a_denial_that_ended_is_as_if_it_had_not_been_given(app_id: str, after: Consent) -> None:
    until = msgspec.structs.replace(DENIED, until_ms=NOW + 1)
    assert ruling(app_id, answers=said(app_id, until)).consent is Consent.DENIED
    ended = msgspec.structs.replace(DENIED, until_ms=NOW)
    assert ruling(app_id, answers=said(app_id, ended)).consent is after


def test_a_pause_that_ended_uncovers_what_was_answered_before() -> None:
    ended = Answers(
        apps={"stranger": ALLOWED}, breaks={"stranger": Break(since_ms=1, until_ms=NOW)}
    )
    assert ruling("stranger", answers=ended).consent is Consent.ALLOWED


# --- answers that were lost --------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["ask", "allow"])
@pytest.mark.parametrize("app_id", ["notes", "here", "stranger"])
def test_while_answers_are_lost_nobody_is_allowed_without_a_new_one(
    app_id: str, policy: Policy
) -> None:
    lost = Answers(lost_ms=5)
    assert ruling(app_id, answers=lost, policy=policy).consent is Consent.PENDING
    again = said(app_id, ALLOWED, lost_ms=5)
    assert ruling(app_id, answers=again, policy=policy).consent is Consent.ALLOWED


def test_they_are_found_again_when_each_known_app_was_answered_anew() -> None:
    lost = said("notes", ALLOWED, lost_ms=5)
    assert found_again(lost, ["notes", "here"]).lost_ms == 5
    assert found_again(said("notes", LATER, lost_ms=5), ["notes"]).lost_ms == 5
    assert found_again(lost, ["notes"]).lost_ms is None


# --- the environment ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        *((value, True) for value in ("1", "true", "yes", "2", "no")),
        *((value, False) for value in ("0", "false", "FALSE", " 0 ", "")),
    ],
)
def test_any_value_but_zero_and_false_asks_not_to_be_tracked(value: str, meant: bool) -> None:
    assert do_not_track({"DO_NOT_TRACK": value}) is meant


def test_an_environment_that_says_nothing_asks_nothing() -> None:
    assert do_not_track({}) is False


# --- whatever was said ---------------------------------------------------------------------------

moments = st.integers(NOW - 50, NOW + 50)
ends = st.none() | moments
ids = st.sampled_from(["notes", "here", "stranger", "other"])
answers_of = st.builds(
    Answers,
    apps=st.dictionaries(
        ids,
        st.builds(
            Answer,
            verdict=st.sampled_from(["allowed", "denied", "later"]),
            since_ms=moments,
            until_ms=ends,
        ),
    ),
    breaks=st.dictionaries(ids, st.builds(Break, since_ms=moments, until_ms=ends)),
    all_apps=st.none() | st.builds(Break, since_ms=moments, until_ms=ends),
    lost_ms=st.none() | moments,
)
policies: st.SearchStrategy[Policy] = st.sampled_from(["ask", "allow", "deny"])


@given(ids, answers_of, policies, st.booleans(), moments)
def test_allowed_needs_a_yes_in_force_and_no_no(
    app_id: str, answers: Answers, policy: Policy, untracked: bool, now: int
) -> None:
    """Invariant 1, written the other way round from the rule itself."""
    told = decide(
        app_id,
        declared=["notes"],
        embedded=["here"],
        do_not_track=untracked,
        policy=policy,
        answers=answers,
        now_ms=now,
    )

    def holds(end: int | None) -> bool:
        return end is None or end > now

    answer = answers.apps.get(app_id)
    pauses = [answers.all_apps, answers.breaks.get(app_id)]
    no = (
        untracked
        or policy == "deny"
        or (answer is not None and answer.verdict == "denied" and holds(answer.until_ms))
        or any(pause is not None and holds(pause.until_ms) for pause in pauses)
    )
    mine = answer is not None and answer.verdict == "allowed" and holds(answer.until_ms)
    others = answers.lost_ms is None and (app_id in ("notes", "here") or policy == "allow")
    assert (told.consent is Consent.ALLOWED) == (not no and (mine or others))
    assert (told.consent in (Consent.DENIED, Consent.PAUSED)) == no


@given(ids, answers_of, policies, moments)
def test_nothing_changes_before_the_next_end(
    app_id: str, answers: Answers, policy: Policy, now: int
) -> None:
    """One timer is enough: between now and the next end every ruling stays as it is."""

    def at(moment: int) -> Ruling:
        return decide(
            app_id,
            declared=["notes"],
            embedded=["here"],
            do_not_track=False,
            policy=policy,
            answers=answers,
            now_ms=moment,
        )

    end = next_end_ms(answers, now)
    for later in range(now, NOW + 60 if end is None else end):
        assert at(later) == at(now)


@given(ids, answers_of, moments)
def test_what_is_kept_without_the_ended_says_the_same(
    app_id: str, answers: Answers, now: int
) -> None:
    def from_(these: Answers) -> Ruling:
        return decide(app_id, declared=["notes"], do_not_track=False, answers=these, now_ms=now)

    kept = msgspec.json.decode(msgspec.json.encode(without_ended(answers, now)), type=Answers)
    assert from_(kept) == from_(answers)
