"""What each part of the face shows, made from one :class:`agent.door.Status`. Pure and Qt-free.

Every function here is called with a snapshot and the time and returns words; the widgets put
them on the screen and decide nothing. Outer text passes :func:`ui.words.plain` on its way in.
Invariants:
    1. Nothing here fails on a snapshot with empty or absurd parts: a face that crashes hides
       what it should show.
    2. A snapshot that is no longer current (``gone``) says so before anything else.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from agent.door import Health, Status
from ui.language import tr, trn
from ui.words import (
    Trend,
    ago,
    count,
    difference,
    duration,
    health_name,
    moment,
    plain,
    short_count,
    unmarked,
)

Tone = Literal["plain", "good", "bad", "muted"]
Action = Literal["", "retry", "resume", "resume_apps", "keep"]

SENTENCE_CHARS = 300  #: The agent's sentence may hold a reason; it wraps, so it may be longer.
NOTICES_SHOWN = 5
ASKED = "apps.pending"  #: The notice whose question :mod:`ui.question` asks itself.


@dataclass(frozen=True, slots=True)
class HeaderView:
    """The top of the first page."""

    state: Health
    title: str
    sentence: str
    details: tuple[str, ...] = ()
    action: Action = ""
    action_text: str = ""
    can_pause: bool = False


@dataclass(frozen=True, slots=True)
class Tile:
    """One number at a glance."""

    key: str
    label: str
    value: str
    trend: Trend = "none"
    difference: str = ""
    tone: Tone = "plain"
    about: str = ""  #: For the tooltip and the screen reader.


@dataclass(frozen=True, slots=True)
class Row:
    """A fact: what it is called, and what it is."""

    label: str
    value: str
    tone: Tone = "plain"
    about: str = ""


@dataclass(frozen=True, slots=True)
class NoticeView:
    code: str
    text: str
    severity: Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class TrayView:
    state: Health
    sentence: str
    tooltip: str
    paused: bool = False


def header(status: Status | None, now_ms: int, gone: str | None = None) -> HeaderView:
    """Say how things are, why, since when, and what can be done about it [R7]."""
    if status is None or gone is not None:
        return _waiting(status, now_ms, gone)
    said = status.sentence
    action, action_text = _action(status)
    sentence = plain(said.text, SENTENCE_CHARS)
    details = []
    if said.since_ms:
        details.append(
            tr(
                "Since {clock} ({time})",
                clock=moment(said.since_ms, now_ms),
                time=duration((now_ms - said.since_ms) / 1000),
            )
        )
    for part in (plain(said.reason, SENTENCE_CHARS), plain(said.next_step, SENTENCE_CHARS)):
        if part and part.casefold().rstrip(".") not in sentence.casefold():
            details.append(part)
    if status.pause is not None:
        details.append(_pause_words(status, now_ms))
    return HeaderView(
        state=said.state,
        title=health_name(said.state),
        sentence=sentence,
        details=tuple(details),
        action=action,
        action_text=action_text,
        can_pause=status.pause is None,
    )


def _waiting(status: Status | None, now_ms: int, gone: str | None) -> HeaderView:
    details = [plain(gone, SENTENCE_CHARS)] if gone else []
    if status is not None:
        details.append(tr("What you see is from {time}.", time=ago(status.at_ms, now_ms)))
    return HeaderView(
        state="offline",
        title=tr("Waiting for the agent"),
        sentence=tr("Nobody answers yet. This window keeps asking every few seconds.")
        if gone
        else tr("Asking the agent how things are."),
        details=tuple(details),
    )


def _action(status: Status) -> tuple[Action, str]:
    if status.every_app is not None:
        if status.every_app.consent == "paused":
            return "resume_apps", tr("&Resume the apps")
        return "", ""  # DO_NOT_TRACK, or the settings: no button of ours undoes that
    if status.pause is not None:
        return "resume", tr("&Resume sending")
    if status.sentence.state == "paused":
        return "", ""  # each app was denied or paused for itself
    if status.keeping == "offered":
        return "keep", tr("&Keep it on this computer")
    if any(link.state in {"waiting", "parked"} for link in status.links):
        return "retry", tr("&Retry now")
    if status.sentence.state in {"offline", "attention"} and status.links:
        return "retry", tr("&Retry now")
    return "", ""


def _pause_words(status: Status, now_ms: int) -> str:
    assert status.pause is not None
    why = plain(status.pause.reason)
    if status.pause.until_ms is None:
        return tr("Sending paused until you resume: {why}", why=why)
    until = moment(status.pause.until_ms, now_ms)
    return tr("Sending paused until {clock}: {why}", clock=until, why=why)


def tiles(status: Status | None) -> tuple[Tile, ...]:
    """Return the numbers at a glance; one that nobody knows is left out, but for the first."""
    live = None if status is None else status.live_count
    shown = [
        Tile(
            key="live",
            label=tr("Live now"),
            value="–" if live is None else short_count(live),
            tone="good" if live else "plain",
            difference=tr("not told by the far end")
            if status and live is None
            else trn("user", "users", live or 0),
            about=tr("Users with a sign of life in the last minutes"),
        )
    ]
    glance = None if status is None else status.glance
    if glance is None:
        about = tr("Counted once the first day has something to count")
        return (
            *shown,
            Tile("events", tr("Events, 24 h"), "–", about=about),
            Tile("starts", tr("App starts, 24 h"), "–", about=about),
            Tile("errors", tr("Errors, 24 h"), "–", about=about),
        )
    source = (
        tr("counted by the collector")
        if glance.source == "collector"
        else tr("counted on this computer")
    )
    numbers = (
        ("events", tr("Events, 24 h"), glance.events, glance.previous_events, False),
        ("users", tr("Users, 24 h"), glance.users, glance.previous_users, False),
        ("starts", tr("App starts, 24 h"), glance.app_starts, glance.previous_app_starts, False),
        ("installs", tr("New installs, 24 h"), glance.installs, glance.previous_installs, False),
        ("errors", tr("Errors, 24 h"), glance.errors, glance.previous_errors, True),
    )
    for key, label, now, before, bad_if_more in numbers:
        if now is None:
            continue
        trend, words = difference(now, before)
        tone: Tone = "muted"
        if trend == "up":
            tone = "bad" if bad_if_more else "good"
        elif trend == "down" and bad_if_more:
            tone = "good"
        about = tr(
            "{n}, {source}: the last 24 hours against the 24 before", n=count(now), source=source
        )
        shown.append(Tile(key, label, short_count(now), trend, words, tone, about))
    return tuple(shown)


def notices(status: Status | None) -> tuple[NoticeView, ...]:
    """Return what a person should know, the gravest first."""
    if status is None:
        return ()
    grave = {"error": 0, "warning": 1, "info": 2}
    told = [notice for notice in status.notices if notice.code != ASKED]
    ranked = sorted(told, key=lambda notice: grave.get(notice.severity, 0))
    return tuple(
        NoticeView(notice.code, plain(notice.text, SENTENCE_CHARS), notice.severity)
        for notice in ranked[:NOTICES_SHOWN]
    )


def tray(status: Status | None, gone: str | None = None) -> TrayView:
    """Return the icon's state, the menu's first line and the tooltip."""
    if status is None or gone is not None:
        words = tr("Waiting for the agent")
        return TrayView("offline", words, f"Homing: {words}")
    text = plain(status.sentence.text, 100)
    tooltip = unmarked(status.sentence.text)
    name = health_name(status.sentence.state)
    return TrayView(
        state=status.sentence.state,
        sentence=text or name,
        tooltip=f"Homing: {tooltip or name}",
        paused=status.pause is not None,
    )


def first_event_line(status: Status | None) -> str:
    """Return a command that reports an event, to be copied into a terminal; empty if none fits."""
    if status is None or not status.address:
        return ""
    app_id = status.default_app or (status.apps[0].app_id if status.apps else "")
    if not app_id:
        return ""
    body = """'{"data":[{"name":"hello"}]}'"""
    if status.address.startswith("/"):
        where = f"--unix-socket {shlex.quote(status.address)} http://homing"
    else:
        # The loopback listener wants its token, which a face neither knows nor shows.
        return f"homing send hello --app {shlex.quote(app_id)}"
    return f"curl {where}/app/{shlex.quote(app_id)}/track -d {body}"
