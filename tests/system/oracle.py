"""Compares what was promised with what arrived.

The producers kept every acknowledgement; the far end tells what it stored; the agent tells its
ledger. The oracle knows nothing of how either of them works.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Payload = Mapping[str, object]


def compare(
    acknowledged: Iterable[Sequence[Payload]], arrived: Iterable[Mapping[str, Any]]
) -> None:
    """Assert that the far end has each acknowledged event once, in order, unchanged.

    Args:
        acknowledged: Per producer, the payloads that the agent answered for, in order.
        arrived: The far end's export, in its own order.

    """
    by_producer: dict[int, list[Payload]] = defaultdict(list)
    ids: Counter[str] = Counter()
    for event in arrived:
        if event["type"] != "event":
            continue
        by_producer[event["payload"]["producer"]].append(event["payload"])
        ids[str(event["id"])] += 1
    doubled = {event_id: times for event_id, times in ids.items() if times > 1}
    assert not doubled, f"{len(doubled)} events have come more than once: {list(doubled)[:5]}"

    for promised in acknowledged:
        producer = promised[0]["producer"]
        assert isinstance(producer, int)
        got = by_producer[producer]
        promised_numbers = [said["number"] for said in promised]
        got_numbers = [said["number"] for said in got]
        missing = set(promised_numbers) - set(got_numbers)
        assert not missing, f"producer {producer}: {len(missing)} missing: {sorted(missing)[:10]}"
        twice = [number for number, times in Counter(got_numbers).items() if times > 1]
        assert not twice, f"producer {producer}: {len(twice)} doubled: {twice[:10]}"
        extra = set(got_numbers) - set(promised_numbers)
        assert not extra, f"producer {producer}: {len(extra)} never acknowledged: {extra}"
        pairs = list(zip(promised, got, strict=True))
        turned = [said["number"] for said, came in pairs if said["number"] != came["number"]]
        assert not turned, f"producer {producer}: out of order from event {turned[0]} on"
        changed = [said["number"] for said, came in pairs if dict(said) != dict(came)]
        assert not changed, f"producer {producer}: changed on the way: {changed[:10]}"


def check_ledger(app: Mapping[str, Any]) -> None:
    """Assert that accepted = delivered + pending + dead + lost, and that nothing was lost."""
    lost = sum(app["lost"].values())
    accounted = app["delivered"] + app["pending"] + app["dead"] + lost
    assert app["accepted"] == accounted, app
    assert app["balanced"], app
    assert lost == 0, app
    assert app["dead"] == 0, app
