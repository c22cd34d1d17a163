"""One app at the counter: its consent, its quota, its profile, its ways out, its numbers.

A desk holds what the core must know of an app between two events. It is owned by the core
thread and never shared. What must survive a restart (ids, session) is its
:class:`agent.runtime.counter.profile.Profile`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from agent.rules.consent import Consent, Ruling
from agent.rules.quota import Bucket
from agent.rules.ways import Language, Way
from agent.runtime.counter.profile import Kept, Profile

MOST_RECENT_SESSIONS = 500  #: NUCLEUS.md: a session id never repeats within the last 500.
NOTHING_KEPT = Kept()


@dataclass(frozen=True, slots=True)
class Lane:
    """A way out and its queue.

    Attributes:
        stream: The outbox's number of it.

    """

    way: Way
    stream: int


@dataclass(slots=True)
class Desk:
    """What the core knows of one app.

    Attributes:
        consent: What it may do; the rest of that ruling (:mod:`agent.rules.consent`) beside it.
        lanes: Its ways out, first upstream first; empty until it is allowed.
        forgotten: Ways out that the settings no longer name but whose events are still here.
        behind: All queues that no way has any more, the empty ones, too: what they lost, and
            their days, are the app's.
        speaks: The languages that it may report in.
        dirty: The profile differs from the one on disk.
        written_ms: When the profile was last written.
        dropped: Events that were acknowledged and not kept, because a person said no.
        unspoken: Language that it reported in and may not → when first, Unix milliseconds.

    """

    app_id: str
    name: str
    version: str
    consent: Consent
    consent_from: str
    bucket: Bucket
    consent_reason: str = ""
    consent_since_ms: int | None = None
    consent_until_ms: int | None = None
    lanes: tuple[Lane, ...] = ()
    forgotten: tuple[Lane, ...] = ()
    behind: tuple[Lane, ...] = ()
    speaks: frozenset[Language] = frozenset({"nucleus"})
    profile: Profile = field(default_factory=Profile)
    dirty: bool = False
    written_ms: int = 0
    repeats: int = 0
    refused: int = 0
    dropped: int = 0
    marks: int = 0
    unspoken: dict[Language, int] = field(default_factory=dict)

    def rule(self, ruling: Ruling) -> None:
        """Take up what it may do from now on."""
        self.consent, self.consent_from, self.consent_reason = ruling[:3]
        self.consent_since_ms, self.consent_until_ms = ruling.since_ms, ruling.until_ms

    @property
    def is_open(self) -> bool:
        """Whether anything of the app may be written."""
        return self.consent is Consent.ALLOWED and bool(self.lanes)

    @property
    def stream(self) -> int | None:
        """The queue of its first way out; None until it is allowed."""
        return self.lanes[0].stream if self.lanes else None

    def change(self, **what: object) -> None:
        """Change the profile; it is written with the next commit."""
        self.profile = msgspec.structs.replace(self.profile, **what)
        self.dirty = True

    def kept(self, way: str) -> Kept:
        """Return what is kept of one of its ways."""
        return self.profile.ways.get(way, NOTHING_KEPT)

    def keep(self, way: str, **what: object) -> None:
        """Change what is kept of one of its ways; it is written with the next commit."""
        kept = msgspec.structs.replace(self.kept(way), **what)
        self.change(ways=self.profile.ways | {way: kept})
