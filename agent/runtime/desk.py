"""One app at the counter: its consent, its quota, its profile, its numbers.

A desk holds what the core must know of an app between two events. It is owned by the core
thread and never shared. What must survive a restart (ids, session) is its :class:`Profile`,
kept in the outbox and written in the same transaction as the events that changed it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from agent.rules.consent import Consent
from agent.rules.endurance import Hold
from agent.rules.quota import Bucket
from agent.rules.sessions import Session
from agent.rules.stamp import Identity

MOST_RECENT_SESSIONS = 500  #: NUCLEUS.md: a session id never repeats within the last 500.


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an app for ever.

    Attributes:
        identity: Its device and anonymous ids; made at its first event, after consent.
        session: The conversation under way.
        recent: Session ids used before, newest last.
        form: The endpoint form that the far end accepted: ``seed`` or ``track``.
        user_id: The last user the app named, told in an ``init`` of ours.
        hold: How hard its far end was tried in vain; None once a link has proved itself.

    """

    identity: Identity | None = None
    session: Session | None = None
    recent: tuple[int, ...] = ()
    form: str = ""
    user_id: str | None = None
    hold: Hold | None = None


@dataclass(slots=True)
class Desk:
    """What the core knows of one app."""

    app_id: str
    name: str
    version: str
    consent: Consent
    consent_from: str
    bucket: Bucket
    stream: int | None = None  #: The outbox's number for its one upstream; None until allowed.
    profile: Profile = field(default_factory=Profile)
    dirty: bool = False  #: The profile differs from the one on disk.
    written_ms: int = 0  #: When the profile was last written.
    knocks: int = 0
    repeats: int = 0
    refused: int = 0

    def change(self, **what: object) -> None:
        """Change the profile; it is written with the next commit."""
        self.profile = msgspec.structs.replace(self.profile, **what)
        self.dirty = True
