"""The dual run: whether an upstream may be left alone with an app's events.

Two upstreams are declared, both get everything, and for some days one looks whether the new one
confirms what it is given. Pure; the numbers come from the outbox's own transactions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.rules.wording import count, events

SETTLING_MS = 60_000  #: What waits for less long is on its way, not held up.


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One upstream's numbers over the days that are compared.

    Attributes:
        accepted: Given to it.
        confirmed: Taken by it.
        dead: Refused by it for good.
        lost: Given up before it had them, whatever the reason.
        waiting: Not confirmed yet.
        oldest_ms: Since when the oldest of them waits; None if none does.
        days: How many days were counted, the current one included.
        missing: Days that another upstream counted and this one did not.

    """

    accepted: int
    confirmed: int
    dead: int
    lost: int
    waiting: int
    oldest_ms: int | None
    days: int
    missing: int = 0


def judge(sides: Mapping[str, Side], name: str, now_ms: int) -> tuple[bool, str]:
    """Return whether an app may be switched to upstream ``name`` alone, and why in a sentence."""
    side = sides[name]
    others = {other: one for other, one in sides.items() if other != name}
    reasons: list[str] = []
    if not side.accepted:
        return False, f"Not yet: {name} was given nothing in these days."
    if side.days < 2:
        reasons.append("it was counted for less than a day")
    if side.missing:
        reasons.append(f"it was not there on {side.missing} of these days")
    if side.dead > 0:
        reasons.append(f"it refused {events(side.dead)} for good")
    if side.lost > 0:
        reasons.append(f"{events(side.lost)} lost before it had them")
    if side.waiting and side.oldest_ms is not None and now_ms - side.oldest_ms > SETTLING_MS:
        reasons.append(f"{events(side.waiting)} still wait for it")
    differences = _differences(side, others)
    reasons += differences
    if reasons:
        advice = ""
        if side.missing or differences:
            advice = " A day on which one of them began counts; `--days` leaves older days out."
        return False, f"Not yet: {_listed(reasons)}.{advice}"
    waiting = f", {count(side.waiting)} are on their way" if side.waiting else ""
    return True, (
        f"It is safe to switch to {name}: of {events(side.accepted)} it was given, as many as"
        f" {_listed(sorted(others)) or 'nobody else'}, none was refused or lost{waiting}."
    )


def _differences(side: Side, others: Mapping[str, Side]) -> list[str]:
    if side.missing:
        return []  # said already, and the numbers follow from it
    return [
        f"it was given {count(side.accepted)} and {other} {count(one.accepted)}"
        for other, one in others.items()
        if one.accepted != side.accepted and not one.missing
    ]


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
