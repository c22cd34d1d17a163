"""What may be asked about apps and their consent (docs/consent.md).

*Pausing an app* drops what it reports meanwhile; *pausing sending* (``Door.pause``) keeps it. The
two are never called by one word.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from agent.door.asking import Request

Answered = Literal["allowed", "pending", "denied", "paused"]


class AppConsent(msgspec.Struct, frozen=True, kw_only=True):
    """What one app may do, who said so, since when, until when; and who knocked in its name.

    Attributes:
        app_id: The app.
        name: What people call it.
        consent: What it may do now.
        consent_from: Who said so: "you", "you, for all apps", "settings file", "this computer",
            "policy", "DO_NOT_TRACK", "not asked yet", "you, not now", "not known any more".
        reason: Why, in their words.
        since_ms: Since when; None: since the agent started.
        until_ms: When it ends by itself; None: it does not.
        then: What holds after that; empty if it does not end.
        declared: homing.toml declares it.
        asking: It waits for an answer, and was not put off.
        executable: Path of the program that knocked last; empty if the system did not tell.
        pid: Its process; 0 likewise.
        first_knock_ms: When it knocked first while it was not allowed.
        last_knock_ms: When last.
        knocks: How often.
        offered: Events that it offered then and still has.
        ways: How it came: ``http``, ``ws``, ``line``, ``spool``, ``send``.
        dropped: Events acknowledged and dropped since the agent started.
        waiting: Events of it in the outbox.
        dead: Its dead letters.
        far_ends: Where its events go, or would; empty: nowhere yet.

    """

    app_id: str
    name: str
    consent: Answered
    consent_from: str
    reason: str = ""
    since_ms: int | None = None
    until_ms: int | None = None
    then: Literal["", "allowed", "pending", "denied", "paused"] = ""
    declared: bool = False
    asking: bool = False
    executable: str = ""
    pid: int = 0
    first_knock_ms: int | None = None
    last_knock_ms: int | None = None
    knocks: int = 0
    offered: int = 0
    ways: tuple[str, ...] = ()
    dropped: int = 0
    waiting: int = 0
    dead: int = 0
    far_ends: tuple[str, ...] = ()


class EveryApp(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all apps at once, whatever each was told.

    Attributes:
        consent: ``denied`` or ``paused``.
        consent_from: "DO_NOT_TRACK", "policy" or "you".
        reason: Why.
        since_ms: Since when; None: since the agent started.
        until_ms: When it ends by itself; None: it does not.

    """

    consent: Literal["denied", "paused"]
    consent_from: str
    reason: str = ""
    since_ms: int | None = None
    until_ms: int | None = None


class Consenting(msgspec.Struct, frozen=True, kw_only=True):
    """All apps that are known, or knocked.

    Attributes:
        apps: Those who ask first, the longest first; then the others as they are declared.
        every_app: What holds for all of them; None if nothing does.
        dropped_of_others: Events dropped of apps that nobody knows by name.

    """

    apps: tuple[AppConsent, ...] = ()
    every_app: EveryApp | None = None
    dropped_of_others: int = 0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer led to.

    Attributes:
        app: How it is now; None if the answer was for all apps.
        every_app: The same for all apps.
        purged: Waiting events and dead letters that were deleted from this disk.
        unpurged: What could not be deleted yet, and why; tried again at the next start, if the
            answer is kept until then.
        unkept: Why the answer is not on the disk, so that it holds only until the agent stops;
            empty if it is there.
        note: What a person should know besides, as a sentence; may be empty.

    """

    app: AppConsent | None = None
    every_app: EveryApp | None = None
    purged: int = 0
    unpurged: tuple[str, ...] = ()
    unkept: str = ""
    note: str = ""


class ListConsents(Request[Consenting], frozen=True, kw_only=True):
    """Every app, what it may do, and who asks."""


class ShowConsent(Request[AppConsent], frozen=True, kw_only=True):
    """One app."""

    app_id: str


class AllowApp(Request[Outcome], frozen=True, kw_only=True):
    """Let an app report from now on; ends a denial and a pause of it.

    Attributes:
        name: What to call it; empty: as before.
        new: It may be one that nobody knows yet: no typing error.

    """

    app_id: str
    name: str = ""
    new: bool = False


class DenyApp(Request[Outcome], frozen=True, kw_only=True):
    """Acknowledge and drop what an app reports, and delete what is kept of it.

    Attributes:
        reason: Shown beside it.
        for_s: So long; None: until somebody says something else.
        keep: Leave on this disk what waits; it is not sent.
        new: It may be one that nobody knows yet: no typing error.

    """

    timeout_s: ClassVar[float] = 300.0  # a full outbox is deleted in slices

    app_id: str
    reason: str = ""
    for_s: float | None = None
    keep: bool = False
    new: bool = False


class PauseApp(Request[Outcome], frozen=True, kw_only=True):
    """Acknowledge and drop what an app, or every app, reports; what waits stays, unsent.

    Attributes:
        app_id: Which; None: every app.
        for_s: So long; None: until it is resumed.

    """

    app_id: str | None = None
    reason: str = ""
    for_s: float | None = None


class ResumeApp(Request[Outcome], frozen=True, kw_only=True):
    """End the pause of an app, or the one of all apps."""

    app_id: str | None = None


class ForgetAnswer(Request[Outcome], frozen=True, kw_only=True):
    """Take an answer back: the app is as if nobody had said anything of it."""

    app_id: str


class NotNow(Request[Outcome], frozen=True, kw_only=True):
    """Leave an app waiting and ask no more until it is forgotten or answered."""

    app_id: str
