"""Which apps may report through this machine, and who said so (SECURITY.md, decision 3).

An app that the settings file declares is allowed by it, and the window says so. The app that
the agent makes for its own far end on this computer is allowed because a person asked for that.
Anyone else is pending: nothing is stored and nothing acknowledged until a person answers.
``DO_NOT_TRACK`` in the agent's environment denies all of them.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import NamedTuple

UNTRACKED = "DO_NOT_TRACK is set where the agent was started"


class Consent(enum.Enum):
    """What an app may do; the words of the window and of ``--json``."""

    ALLOWED = "allowed"  #: Events are stored and sent.
    PENDING = "pending"  #: Nobody answered yet: refused with 403, counted as a knock.
    DENIED = "denied"  #: Acknowledged and dropped: no row, no address read, no connection.


class Ruling(NamedTuple):
    """A consent, and in two or three words where it comes from."""

    consent: Consent
    source: str


def decide(
    app_id: str,
    *,
    declared: Collection[str],
    embedded: Collection[str] = (),
    do_not_track: bool,
) -> Ruling:
    """Return what an app may do, and who said so.

    Args:
        app_id: Who asks.
        declared: Ids of the apps in the settings file.
        embedded: Ids that the agent made for the far end on this computer.
        do_not_track: The environment asks not to be tracked.

    """
    if do_not_track:
        return Ruling(Consent.DENIED, "DO_NOT_TRACK")
    if app_id in declared:
        return Ruling(Consent.ALLOWED, "settings file")
    if app_id in embedded:
        return Ruling(Consent.ALLOWED, "this computer")
    return Ruling(Consent.PENDING, "not asked yet")


def do_not_track(env: Mapping[str, str]) -> bool:
    """Tell whether ``DO_NOT_TRACK`` is set to anything but ``0`` or ``false``.

    Source:
        "Console Do Not Track", consoledonottrack.com: any value but 0 and false means yes. An
        empty variable is read as unset, as shells leave it.

    """
    return env.get("DO_NOT_TRACK", "").strip().lower() not in {"", "0", "false"}
