"""Which apps may report through this machine, who said so, until when (SECURITY.md, decision 3).

Several may have said something of the same app: the environment, the settings, a person. One rule
orders them: **a no beats a yes, whoever says either**; among those who say yes, the one named first
below is shown.

    no    DO_NOT_TRACK in the agent's environment          denied
          consent.all = "deny" in the settings             denied
          a person denied the app                          denied, perhaps until a moment
          a person paused all apps, or this one            paused, perhaps until a moment
    yes   a person allowed the app                         allowed
          ── a person's answers were lost: pending, for a no may be among them ──
          the settings file declares it                    allowed
          the agent made it for its own far end here       allowed
          consent.all = "allow" in the settings            allowed
    else  nobody said anything                             pending

An answer with an end is as if it had not been given once the end has come; a pause lies upon
whatever was answered before and uncovers it again.

Invariants:
    1. Only ``ALLOWED`` leads to a row, a network card, an identity or a connection.
    2. ``ALLOWED`` has no end: only a new answer takes it away. So who was told yes a moment ago
       need not be asked again with each frame.
    3. What is denied or paused is acknowledged and dropped, so that its sender does not repeat it
       for ever; what is pending is refused and keeps its events.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple, TypeVar

import msgspec

UNTRACKED = "DO_NOT_TRACK is set where the agent was started"
FORBIDDEN = "the settings deny every app (consent.all)"
LOST = "your answers could not be read, so each app needs a new one"
YOU = "you"
MOST_REASON_CHARS = 200
MOST_NAME_CHARS = 80
MOST_ANSWERS = 500  #: Only a person gives them; a script that goes wild is stopped here.

Policy = Literal["ask", "allow", "deny"]
T = TypeVar("T", "Answer", "Break")


class Consent(enum.Enum):
    """What an app may do; the words of the window and of ``--json``."""

    ALLOWED = "allowed"  #: Events are stored and sent.
    PENDING = "pending"  #: Nobody answered yet: refused with 403, counted as a knock.
    DENIED = "denied"  #: Acknowledged and dropped: no row, no address read, no connection.
    PAUSED = "paused"  #: The same for a while; what was accepted before stays, and is not sent.


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person said of one app.

    Attributes:
        verdict: ``later`` is no answer: pending, but do not ask again.
        since_ms: When they said it.
        until_ms: When it ends; None: when they say something else.
        reason: In their words.
        name: What they call the app; empty: its id.
        keep: Of a denial: what waited stays on this disk, unsent.
        purged: Of a denial without ``keep``: everything of the app is off this disk.

    """

    verdict: Literal["allowed", "denied", "later"]
    since_ms: int
    until_ms: int | None = None
    reason: str = ""
    name: str = ""
    keep: bool = False
    purged: bool = False


class Break(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pause of one app, or of all."""

    since_ms: int
    until_ms: int | None = None
    reason: str = ""


class Answers(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a person said; what is kept in the state folder.

    Attributes:
        apps: App id → answer.
        breaks: App id → pause.
        all_apps: The pause of all apps.
        lost_ms: When earlier answers were found unreadable; None: they were not.

    """

    apps: dict[str, Answer] = {}
    breaks: dict[str, Break] = {}
    all_apps: Break | None = None
    lost_ms: int | None = None


class Ruling(NamedTuple):
    """What an app may do.

    Attributes:
        consent: That.
        source: Who said so, in two or three words.
        reason: Why, if they said it.
        since_ms: Since when, Unix milliseconds; None if it was so when the agent started.
        until_ms: When something else holds; None: not by itself.

    """

    consent: Consent
    source: str
    reason: str = ""
    since_ms: int | None = None
    until_ms: int | None = None


NOTHING_SAID = Answers()


def decide(
    app_id: str,
    *,
    declared: Collection[str],
    embedded: Collection[str] = (),
    do_not_track: bool,
    policy: Policy = "ask",
    answers: Answers = NOTHING_SAID,
    now_ms: int = 0,
) -> Ruling:
    """Return what an app may do, who said so, and until when.

    Args:
        app_id: Who asks.
        declared: Ids of the apps in the settings file.
        embedded: Ids that the agent made for the far end on this computer.
        do_not_track: The environment asks not to be tracked.
        policy: ``consent.all`` in the settings.
        answers: What a person said.
        now_ms: Unix milliseconds.

    """
    ruling = _no(app_id, do_not_track, policy, answers, now_ms)
    if ruling is not None:
        return ruling
    answer = in_force(answers.apps.get(app_id), now_ms)
    if answer is not None and answer.verdict == "allowed":
        return Ruling(Consent.ALLOWED, YOU, answer.reason, answer.since_ms)
    if answers.lost_ms is not None:
        return Ruling(Consent.PENDING, "not known any more", LOST, answers.lost_ms)
    if app_id in declared:
        return Ruling(Consent.ALLOWED, "settings file")
    if app_id in embedded:
        return Ruling(Consent.ALLOWED, "this computer")
    if policy == "allow":
        return Ruling(Consent.ALLOWED, "policy", "the settings allow every app (consent.all)")
    if answer is not None:
        return Ruling(Consent.PENDING, "you, not now", answer.reason, answer.since_ms)
    return Ruling(Consent.PENDING, "not asked yet")


def _no(
    app_id: str, do_not_track: bool, policy: Policy, answers: Answers, now_ms: int
) -> Ruling | None:
    """Return the no that holds, the one first that no answer of a person's can take away."""
    if do_not_track:
        return Ruling(Consent.DENIED, "DO_NOT_TRACK", UNTRACKED)
    if policy == "deny":
        return Ruling(Consent.DENIED, "policy", FORBIDDEN)
    answer = in_force(answers.apps.get(app_id), now_ms)
    if answer is not None and answer.verdict == "denied":
        return Ruling(Consent.DENIED, YOU, answer.reason, answer.since_ms, answer.until_ms)
    everyone = in_force(answers.all_apps, now_ms)
    alone = in_force(answers.breaks.get(app_id), now_ms)
    if everyone is not None and (alone is None or _end(everyone) >= _end(alone)):
        source = "you, for all apps"
        return Ruling(Consent.PAUSED, source, everyone.reason, everyone.since_ms, everyone.until_ms)
    if alone is not None:
        return Ruling(Consent.PAUSED, YOU, alone.reason, alone.since_ms, alone.until_ms)
    return None


def in_force(said: T | None, now_ms: int) -> T | None:
    """Return what was said unless its end has come."""
    if said is None or (said.until_ms is not None and said.until_ms <= now_ms):
        return None
    return said


def next_end_ms(answers: Answers, now_ms: int) -> int | None:
    """Return when the next of these ends, Unix milliseconds; None if none does by itself."""
    ends = (
        said.until_ms
        for said in (*answers.apps.values(), *answers.breaks.values(), answers.all_apps)
        if said is not None and said.until_ms is not None and said.until_ms > now_ms
    )
    return min(ends, default=None)


def without_ended(answers: Answers, now_ms: int) -> Answers:
    """Return the answers without those whose end has come."""
    return msgspec.structs.replace(
        answers,
        apps={id_: said for id_, said in answers.apps.items() if in_force(said, now_ms)},
        breaks={id_: said for id_, said in answers.breaks.items() if in_force(said, now_ms)},
        all_apps=in_force(answers.all_apps, now_ms),
    )


def found_again(answers: Answers, known: Collection[str]) -> Answers:
    """Return the answers, no longer as lost ones once each of ``known`` was answered anew."""
    if answers.lost_ms is None or not all(
        app_id in answers.apps and answers.apps[app_id].verdict != "later" for app_id in known
    ):
        return answers
    return msgspec.structs.replace(answers, lost_ms=None)


def do_not_track(env: Mapping[str, str]) -> bool:
    """Tell whether ``DO_NOT_TRACK`` is set to anything but ``0`` or ``false``.

    Source:
        "Console Do Not Track", consoledonottrack.com: any value but 0 and false means yes. An
        empty variable is read as unset, as shells leave it.

    """
    return env.get("DO_NOT_TRACK", "").strip().lower() not in {"", "0", "false"}


def _end(said: Break) -> float:
    return float("inf") if said.until_ms is None else said.until_ms
