"""The question that an app's knock raises, in words. Pure and Qt-free, like :mod:`ui.views`.

Everything that the app says of itself is its id; what the system says is its program. Both pass
:func:`ui.words.plain`, for an app may call itself anything (SECURITY.md row 43).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from agent.door import AppStatus, Status
from ui.language import tr, trn
from ui.words import count, moment, plain

PROGRAM_CHARS = 300


@dataclass(frozen=True, slots=True)
class Question:
    """One app that waits for an answer.

    Attributes:
        app_id: Which; for the door, never for the screen.
        name: Its id, fit for the screen.
        title: The question.
        program: The program that knocked.
        story: How often, since when, how much; and that nothing is kept.
        goes_to: Where its events would go.
        more: How many others wait; empty if none.

    """

    app_id: str
    name: str
    title: str
    program: str
    story: str
    goes_to: str
    more: str

    @property
    def whole(self) -> str:
        """All of it, for the screen reader."""
        said = (self.program, self.goes_to, self.story, self.more)
        return " ".join(part for part in said if part)


def waiting(status: Status | None, answered: Collection[str] = ()) -> list[AppStatus]:
    """Return the apps that wait for an answer, the longest first."""
    apps = () if status is None else status.apps
    return [app for app in apps if app.asking and app.app_id not in answered]


def question(status: Status | None, now_ms: int, answered: Collection[str] = ()) -> Question | None:
    """Return what to ask now, None if nothing.

    Args:
        status: The newest snapshot.
        now_ms: Unix milliseconds.
        answered: Apps whose answer is on its way to the agent.

    """
    asking = waiting(status, answered)
    if status is None or not asking:
        return None
    app = asking[0]
    name = plain(app.app_id, 64)
    program = plain(app.executable, PROGRAM_CHARS)
    others = len(asking) - 1
    return Question(
        app_id=app.app_id,
        name=name,
        title=tr("{name} wants to report usage through this computer", name=name),
        program=tr("Program: {path} (process {pid})", path=program, pid=app.pid)
        if program
        else tr("The system does not say which program this is."),
        story=_story(app, now_ms) + _at_stake(app),
        goes_to=tr("Allowed, its events go to {place}.", place=plain(status.strangers_go_to))
        if status.strangers_go_to
        else tr("Allowed, its events wait on this computer until it has a far end."),
        more=trn("{n} more app asks.", "{n} more apps ask.", others, n=count(others))
        if others
        else "",
    )


def _story(app: AppStatus, now_ms: int) -> str:
    since = moment(app.first_knock_ms or now_ms, now_ms)
    knocked = trn(
        "It asked once, at {clock}.",
        "It asked {n} times since {clock}.",
        app.knocks,
        n=count(app.knocks),
        clock=since,
    )
    if not app.offered:
        return f"{knocked} {tr('Nothing of it is kept until you answer.')}"
    offered = trn(
        "{n} event was turned away; nothing of it is kept until you answer.",
        "{n} events were turned away; nothing of them is kept until you answer.",
        app.offered,
        n=count(app.offered),
    )
    return f"{knocked} {offered}"


def _at_stake(app: AppStatus) -> str:
    """Say what a denial would delete, of an app that was allowed before."""
    if not app.pending:
        return ""
    said = trn(
        "Denied, {n} event of it that still waits here is deleted.",
        "Denied, {n} events of it that still wait here are deleted.",
        app.pending,
        n=count(app.pending),
    )
    return f" {said}"


def told(app: AppStatus) -> str:
    """Say it in a notification: one sentence, and where to answer."""
    name = plain(app.app_id, 64)
    program = plain(app.executable, 100)
    by = f" ({program})" if program else ""
    asks = tr("{name} wants to report usage through this computer", name=f"{name}{by}")
    return f"{asks}. {tr('Open Homing to answer.')}"
