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

from collections.abc import Iterator, Mapping, Sequence

from agent.adapters.outbox.outbox import Outbox
from agent.rules.ledger import Account
from agent.rules.ways import BUCKET_WAY, ONLY, Kind, Way
from agent.runtime.counter.desk import NOTHING_KEPT, Desk, Lane
from agent.runtime.counter.profile import Kept

Accounts = Mapping[tuple[str, str], Account]  #: By app and queue.


def lanes_of(desk: Desk, ways: Sequence[Way], outbox: Outbox) -> tuple[Lane, ...]:
    """Return an app's ways out with their queues, and note in the profile whose each is."""
    keys = _keys(desk.app_id, desk.profile.ways, ways, outbox)
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


def _keys(
    app_id: str, kept: Mapping[str, Kept], ways: Sequence[Way], outbox: Outbox
) -> dict[str, str]:
    """Return the name of each way's queue, by the way's name."""
    accounts = outbox.accounts()
    keys = {way.name: _key(app_id, kept, way, accounts) for way in ways}
    heir = _heir(app_id, kept, ways, keys, accounts)
    return keys if heir is None else keys | {heir.name: ONLY}


def _key(app_id: str, kept: Mapping[str, Kept], way: Way, accounts: Accounts) -> str:
    """Return the name of a way's queue, as far as nobody's is taken over.

    Where nothing is kept of a way, its app was purged, or the queue is of a version that knew
    Nucleus only. An empty queue goes on with its ledger; one that holds something may hold other
    words than Bucket's.
    """
    known = kept.get(way.name, NOTHING_KEPT)
    apart = f"{way.name}:{way.language}"
    if known.stream and known.language == way.language:
        return known.stream
    if known.stream:
        return kept.get(apart, NOTHING_KEPT).stream or apart
    if (app_id, apart) in accounts:
        return apart
    before = accounts.get((app_id, way.name))
    if way.language == "bucket" and before is not None and (before.pending or before.dead):
        return apart
    return way.name


def _heir(
    app_id: str,
    kept: Mapping[str, Kept],
    ways: Sequence[Way],
    keys: Mapping[str, str],
    accounts: Accounts,
) -> Way | None:
    """Return the way that takes the queue over that has no owner, None if it is not to be had."""
    left = accounts.get((app_id, ONLY))
    owned = ONLY in keys.values() or any(one.stream == ONLY for one in kept.values())
    if left is None or not left.accepted or owned:
        return None
    for way in ways:
        if way.language == "nucleus":
            return way if (app_id, way.name) not in accounts else None
    return None


def left_behind(desk: Desk, outbox: Outbox) -> tuple[Lane, ...]:
    """Return the queues of an app that no way of it has any more, whatever is left on them."""
    taken = {lane.stream for lane in desk.lanes}
    return tuple(
        lane for lane in _others(desk.app_id, desk.profile.ways, outbox) if lane.stream not in taken
    )


def forgotten_lanes(desk: Desk, outbox: Outbox) -> tuple[Lane, ...]:
    """Return the queues of an app that wait, or hold dead letters, for no way that it has."""
    return tuple(lane for lane in left_behind(desk, outbox) if holds(outbox.account(lane.stream)))


def kept_lanes(
    app_id: str, kept: Mapping[str, Kept], ways: Sequence[Way], outbox: Outbox
) -> tuple[Lane, ...]:
    """Return the queues of an app that may not report, to be shown: its ledger and what waits.

    Args:
        app_id: Whose.
        kept: What its profile keeps of its ways, if there is one.
        ways: As the settings name them.
        outbox: Where its queues are.

    """
    keys = _keys(app_id, kept, ways, outbox)
    lanes = [
        Lane(way, outbox.stream(app_id, keys[way.name]))
        for way in ways
        if (app_id, keys[way.name]) in outbox.accounts()
    ]
    taken = {lane.stream for lane in lanes}
    return (
        *(lane for lane in lanes if outbox.account(lane.stream).accepted),
        *(
            lane
            for lane in _others(app_id, kept, outbox)
            if lane.stream not in taken and holds(outbox.account(lane.stream))
        ),
    )


def holds(account: Account) -> bool:
    """Return whether something of a queue is on the disk."""
    return bool(account.pending or account.dead)


def _others(app_id: str, kept: Mapping[str, Kept], outbox: Outbox) -> Iterator[Lane]:
    """Yield every queue of an app under the name of the way that had it last."""
    owners = {one.stream: (name, one.language) for name, one in kept.items() if one.stream}
    for owner, key in outbox.accounts():
        if owner != app_id:
            continue
        name, language = owners.get(key, (key, NOTHING_KEPT.language))
        kind: Kind = "nucleus" if language == "nucleus" else "bucket"
        if name.endswith(BUCKET_WAY):
            kind = "homing"
        way = Way(name=name, upstream=name.removesuffix(BUCKET_WAY), kind=kind, language=language)
        yield Lane(way, outbox.stream(app_id, key))
