"""What is kept of an app for ever: ids, session, and what its far ends taught us.

Kept in the outbox, written in the same transaction as the events that changed it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import msgspec

from agent.rules.endurance import Hold
from agent.rules.sessions import Session
from agent.rules.stamp import Identity
from agent.rules.ways import ONLY, Language

MOST_NAMED = 1_000  #: Persons of one app that are known by name here; the newest of them.


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of one way out of an app.

    Attributes:
        form: The endpoint form that the far end accepted: ``seed`` or ``track``.
        http: No WebSocket got through when it last connected, and HTTP did.
        hold: How hard its far end was tried in vain; None once a link has proved itself.
        stream: The outbox's key of its queue. Where it is not the way's own name, the app had
            one unnamed far end before, and this way took its queue over.
        language: Of what is on it.
        mark: The last wire id of a question that was asked, and may not have been answered; it
            is asked again with the same end (:mod:`agent.runtime.ways.posting`).

    """

    form: str = ""
    http: bool = False
    hold: Hold | None = None
    stream: str = ""
    language: Language = "nucleus"
    mark: str = ""


class Today(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Since when an app's deliveries are those of today.

    Attributes:
        day: ``2026-11-21``, the person's own, on which something was last delivered.
        before: What the app's ledger had delivered by then.

    """

    day: str = ""
    before: int = 0


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an app for ever.

    Attributes:
        identity: Its device and anonymous ids; made at its first event, after consent.
        session: The conversation under way.
        recent: Session ids used before, newest last.
        user_id: The last user the app named, told in an ``init`` of ours.
        named: Every id by which the app named somebody, the newest last; only here is it known
            whom to ask far ends about when all is to be deleted.
        unnamed: How many were named before those and are known no more.
        ways: What is kept of each way out, by its name.
        today: Changed with a day's first delivery, so that a restart still knows the day's number.
        form: As in :class:`Kept`, of the one way that an app had in older files.
        hold: Likewise.

    """

    identity: Identity | None = None
    session: Session | None = None
    recent: tuple[int, ...] = ()
    user_id: str | None = None
    named: dict[str, None] = {}
    unnamed: int = 0
    ways: dict[str, Kept] = {}
    today: Today = Today()
    form: str = ""
    hold: Hold | None = None


def naming(profile: Profile, names: Iterable[str]) -> Profile:
    """Return a profile that knows these persons, too; the oldest beyond the bound are counted."""
    named = profile.named | dict.fromkeys(names)
    spare = max(0, len(named) - MOST_NAMED)
    if spare:
        named = dict(islice(named.items(), spare, None))
    return msgspec.structs.replace(profile, named=named, unnamed=profile.unnamed + spare)


class ProfileCodec:
    """Profiles as bytes in the outbox; unreadable ones count as absent."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Profile)

    def encode(self, profile: Profile) -> bytes:
        return self._encoder.encode(profile)

    def decode(self, raw: bytes | None) -> Profile:
        """Return the kept profile, or an empty one."""
        if raw is None:
            return Profile()
        try:
            profile = self._decoder.decode(raw)
        except msgspec.MsgspecError:
            return Profile()
        if not (profile.form or profile.hold):
            return profile
        ways = {ONLY: Kept(form=profile.form, hold=profile.hold)} | profile.ways
        return msgspec.structs.replace(profile, ways=ways, form="", hold=None)


PROFILE = ProfileCodec()
