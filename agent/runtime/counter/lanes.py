"""Which queue of the outbox each way out of an app has.

A queue has its way's name, with two exceptions. An app that had no upstream, or whose one upstream
had no name yet, kept its events on a queue of the name :data:`agent.rules.ways.ONLY`; the first
way that speaks Nucleus takes it over, so that nothing is left behind when a far end is named. The
profile remembers who did, so that no other way takes it later: what waits for an upstream that
was removed is not sent to the next one behind a person's back. And a way that changed its language
begins a new queue, ``NAME:LANGUAGE``: what waits on the old one is in words that the far end does
not know.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.adapters.outbox.outbox import Outbox
from agent.rules.ways import BUCKET_WAY, ONLY, Way
from agent.runtime.counter.desk import NOTHING_KEPT, Desk, Lane


def lanes_of(desk: Desk, ways: Sequence[Way], outbox: Outbox) -> tuple[Lane, ...]:
    """Return an app's ways out with their queues, and note in the profile whose each is."""
    keys = {way.name: _key(desk, way, outbox) for way in ways}
    heir = _heir(desk, ways, keys, outbox)
    if heir is not None:
        keys[heir.name] = ONLY
    lanes = []
    for way in ways:
        key = keys[way.name]
        kept = desk.kept(way.name)
        if way.upstream and (kept.stream != key or kept.language != way.language):
            if kept.stream and kept.language != way.language:
                before = f"{way.name}:{kept.language}"
                desk.keep(before, stream=kept.stream, language=kept.language)
            desk.keep(way.name, stream=key, language=way.language)
        lanes.append(Lane(way, outbox.stream(desk.app_id, key)))
    if len({way.upstream for way in ways}) > 1:  # a dual run: its days are compared
        outbox.counting.streams.update(lane.stream for lane in lanes)
    return tuple(lanes)


def _key(desk: Desk, way: Way, outbox: Outbox) -> str:
    """Return the name of a way's queue, as far as nobody's is taken over."""
    kept = desk.kept(way.name)
    apart = f"{way.name}:{way.language}"
    if kept.stream and kept.language == way.language:
        return kept.stream
    if kept.stream:
        return desk.kept(apart).stream or apart
    if way.language == "bucket" and (desk.app_id, way.name) in outbox.accounts():
        return apart  # of a version that knew Nucleus only
    return way.name


def _heir(desk: Desk, ways: Sequence[Way], keys: dict[str, str], outbox: Outbox) -> Way | None:
    """Return the way that takes the queue over that has no owner, None if it is not to be had."""
    accounts = outbox.accounts()
    left = accounts.get((desk.app_id, ONLY))
    owned = ONLY in keys.values() or any(k.stream == ONLY for k in desk.profile.ways.values())
    if left is None or not left.accepted or owned:
        return None
    for way in ways:
        if way.language == "nucleus":
            return way if (desk.app_id, way.name) not in accounts else None
    return None


def forgotten_lanes(desk: Desk, outbox: Outbox) -> tuple[Lane, ...]:
    """Return the queues of an app that wait, or hold dead letters, for no way that it has."""
    taken = {lane.stream for lane in desk.lanes}
    owners = {kept.stream: (name, kept) for name, kept in desk.profile.ways.items() if kept.stream}
    found = []
    for (app_id, key), account in outbox.accounts().items():
        if app_id != desk.app_id or not (account.pending or account.dead):
            continue
        stream = outbox.stream(app_id, key)
        if stream not in taken:
            name, kept = owners.get(key, (key, NOTHING_KEPT))
            language, upstream = kept.language, name.removesuffix(BUCKET_WAY)
            found.append(Lane(Way(name=name, upstream=upstream, language=language), stream))
    return tuple(found)


def kept_lanes(app_id: str, outbox: Outbox) -> tuple[Lane, ...]:
    """Return the queues that hold something of an app that may not report, to be shown."""
    return tuple(
        Lane(Way(name=key, upstream=key), outbox.stream(app_id, key))
        for (owner, key), account in outbox.accounts().items()
        if owner == app_id and (account.pending or account.dead)
    )
