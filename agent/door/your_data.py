"""What may be asked about a person's own data: what is held, its deletion, here and far away."""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Struct

from agent.door.asking import Request

State = Literal["waiting", "done", "parked"]


class HeldStream(Struct, frozen=True, kw_only=True):
    """One queue of an app, and its ledger."""

    name: str
    accepted: int
    delivered: int
    pending: int
    dead: int
    lost: dict[str, int] = {}


class HeldApp(Struct, frozen=True, kw_only=True):
    """What is kept of an app, besides its events and the record of the wire.

    Attributes:
        profile: Ids, session and what is kept of its ways out, as JSON text.
        consent: The answer that stands, and who gave it.
        tallies: Events by hour and kind.
        reckoning: What its far ends confirmed by hour and device: hour, device, events, digest.
        shapes: What was learned of its events, as JSON text; empty if nothing.
        spool: Paths of the files that it left while no agent ran, not taken in or set aside.
        settings: The rows of the settings file about it: key, value, origin.
        far_ends: Where its events go, or went, and whether deletion can be asked for there; one
            twice if it can be asked about some persons only.

    """

    app_id: str
    name: str
    consent: str
    consent_from: str
    profile: str = ""
    streams: tuple[HeldStream, ...] = ()
    tallies: tuple[tuple[int, str, int], ...] = ()
    reckoning: tuple[tuple[int, str, int, str], ...] = ()
    shapes: str = ""
    spool: tuple[str, ...] = ()
    settings: tuple[tuple[str, str, str], ...] = ()
    far_ends: tuple[FarEnd, ...] = ()


class FarEnd(Struct, frozen=True, kw_only=True):
    """A far end of an app.

    Attributes:
        upstream: Its name.
        kind: ``nucleus``, ``homing``, ``bucket``, ``bucket-bulk``; empty if the settings do not
            name it any more.
        origin: Of its Data API; empty if it has none that we know.
        why_not: Why it cannot be asked for deletion, in words; empty if it can be.

    """

    upstream: str
    kind: str
    origin: str = ""
    why_not: str = ""


class Held(Struct, frozen=True, kw_only=True):
    """What is held."""

    apps: tuple[HeldApp, ...] = ()


class ReadHeld(Request[Held], frozen=True):
    """Tell what is held for an app, or for all."""

    timeout_s: ClassVar[float] = 60.0

    app_id: str | None = None


class Deletion(Struct, frozen=True, kw_only=True):
    """One far end that is asked to delete, until it has.

    Attributes:
        id: Of the request.
        origin: Which Data API is asked.
        persons: Whom it is about there, as far as that is not answered yet.
        answered: How many were answered.
        state: ``waiting`` for its next try, ``done``, or ``parked`` until a person acts.
        attempts: Tries in vain since the last answer.
        made_ms: When it was asked for.
        next_ms: When it is tried next, None if not by itself.
        reason: Why it is not done, or what the far end said.
        receipts: How many signed receipts are kept.

    """

    id: str
    app_id: str
    upstream: str
    origin: str
    state: State
    persons: tuple[str, ...] = ()
    answered: int = 0
    attempts: int = 0
    made_ms: int = 0
    next_ms: int | None = None
    reason: str = ""
    receipts: int = 0


class Deletions(Struct, frozen=True, kw_only=True):
    """The requests there are, the newest first."""

    requests: tuple[Deletion, ...] = ()


class ReadDeletions(Request[Deletions], frozen=True):
    """Tell what far ends were asked to delete, and what became of it."""


class Receipts(Struct, frozen=True, kw_only=True):
    """The signed receipts of one request, each byte for byte as the far end gave it."""

    receipts: tuple[str, ...] = ()


class ReadReceipts(Request[Receipts], frozen=True):
    """Hand out the receipts of a request."""

    id: str


class RetryDeletion(Request[Deletions], frozen=True):
    """Ask again now; ends a wait and a park."""

    id: str | None = None


class Deleted(Struct, frozen=True, kw_only=True):
    """What went, and what could not.

    Attributes:
        events: Waiting events and dead letters.
        records: Of the wire.
        left: What is still there, and why.
        requests: What was asked of far ends.
        not_asked: Far ends that were not asked, or not about everybody, and why.

    """

    apps: tuple[str, ...] = ()
    events: int = 0
    records: int = 0
    left: tuple[str, ...] = ()
    requests: tuple[Deletion, ...] = ()
    not_asked: tuple[FarEnd, ...] = ()


class DeleteData(Request[Deleted], frozen=True):
    """Delete what is held for an app, or for all.

    Attributes:
        app_id: Whose; None: everybody's.
        remote: Ask the far ends to delete, too; that is kept before anything is deleted here.
        local: Delete here; False only asks the far ends.

    """

    timeout_s: ClassVar[float] = 300.0

    app_id: str | None = None
    remote: bool = False
    local: bool = True
