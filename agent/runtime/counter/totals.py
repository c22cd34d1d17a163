"""The numbers of an app and of each of its upstreams, out of the accounts of its queues."""

from __future__ import annotations

from collections.abc import Iterable

from agent.adapters.outbox.outbox import Outbox
from agent.rules.ledger import Account, at_worst, summed
from agent.runtime.counter.desk import Desk, Lane


def by_upstream(desk: Desk) -> dict[str, list[Lane]]:
    """Return an app's ways out by the upstream that they are of, first upstream first."""
    return _by_upstream(desk.lanes)


def behind(desk: Desk) -> dict[str, list[Lane]]:
    """Return the queues that no way has any more by the upstream that they were of."""
    return _by_upstream(desk.behind)


def _by_upstream(lanes: Iterable[Lane]) -> dict[str, list[Lane]]:
    found: dict[str, list[Lane]] = {}
    for lane in lanes:
        found.setdefault(lane.way.upstream, []).append(lane)
    return found


def totals(outbox: Outbox, desk: Desk) -> Account:
    """Return an app's numbers, every event counted once (:func:`agent.rules.ledger.at_worst`)."""
    if len(desk.lanes) == 1:
        return outbox.account(desk.lanes[0].stream)
    return at_worst(
        [
            summed(outbox.account(lane.stream) for lane in lanes)
            for lanes in by_upstream(desk).values()
        ]
    )


def shown(outbox: Outbox, desk: Desk) -> Account:
    """Return an app's numbers with what upstreams that have gone did not get.

    What waits for one that the settings no longer name is pending, and what it lost (a person
    dropped it, say) is lost, although the others have it; what it took is not counted again.
    """
    left = []
    for lanes in behind(desk).values():
        one = summed(outbox.account(lane.stream) for lane in lanes)
        one.accepted, one.delivered = one.accepted - one.delivered, 0
        if one.accepted:
            left.append(one)
    return at_worst([totals(outbox, desk), *left])
