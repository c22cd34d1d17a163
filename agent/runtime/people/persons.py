"""By which names far ends know the persons behind an app, and what cannot be asked about them.

Known by name are the user and the anonymous and device ids that the agent gave, and whoever the
app named itself, up to :data:`agent.runtime.counter.profile.MOST_NAMED`. It is all in the app's
profile: kept with the events that said it, gone with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from agent.door.your_data import FarEnd
from agent.rules.ways import BUCKET_WAY, LANGUAGES, ONLY
from agent.rules.wording import count, events
from agent.runtime.counter.profile import MOST_NAMED, PROFILE, Profile

if TYPE_CHECKING:
    from agent.runtime.core import Core
    from agent.runtime.ways.far_ends import Place


def profile_of(core: Core, app_id: str) -> Profile:
    """Return what is known of an app; of one that may not report, what is still kept."""
    desk = core.desks.get(app_id)
    if desk is not None and desk.profile.identity is not None:
        return desk.profile
    return PROFILE.decode(core.outbox.profile(app_id))


def persons_of(profile: Profile) -> tuple[str, ...]:
    """Return the names by which far ends know the persons behind an app, if it has any."""
    identity = profile.identity
    ours = () if identity is None else (identity.anon_id, identity.device_id)
    named = (profile.user_id, *ours, *reversed(profile.named))
    return tuple(dict.fromkeys(name for name in named if name))


def not_about_all(place: Place, profile: Profile) -> FarEnd | None:
    """Return what to tell of a far end that cannot be asked about everybody; None if it can."""
    if not profile.unnamed or place.told.why_not:
        return None
    why = (
        f"about {count(profile.unnamed)} earlier names of persons, because only the newest"
        f" {count(MOST_NAMED)} are kept; ask whoever runs it"
    )
    return msgspec.structs.replace(place.told, why_not=why)


def former(core: Core, app_id: str) -> Iterator[FarEnd]:
    """Yield the far ends that have events of an app and that the settings do not name for it."""
    declared = core.settings.app(app_id)
    today = {one.name for one in declared.upstreams} if declared is not None else set()
    in_use = {way.stream for way in core.departures.of(app_id)} if declared is not None else set()
    ways = profile_of(core, app_id).ways
    owners = {kept.stream: name for name, kept in ways.items() if kept.stream}
    delivered: dict[str, int] = {}
    for (owner, key), account in core.outbox.accounts().items():
        if owner != app_id or not account.delivered or core.outbox.stream(app_id, key) in in_use:
            continue
        name = _upstream(owners.get(key, key))
        if name not in today and (name != ONLY or today):
            delivered[name] = delivered.get(name, 0) + account.delivered
    for name, some in delivered.items():
        why = f"homing.toml does not name it for this app; it was given {events(some)}"
        told = "" if name == ONLY else name
        yield FarEnd(upstream=told, kind="", why_not=f"{why}. Ask whoever runs it")


def _upstream(way: str) -> str:
    """Return the upstream that a queue or a way belonged to."""
    name, separator, language = way.rpartition(":")
    return (name if separator and language in LANGUAGES else way).removesuffix(BUCKET_WAY)
