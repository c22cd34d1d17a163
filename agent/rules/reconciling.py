"""Do both ends hold the same events? The comparison, hour by hour, and the sentence about it.

Pure. Ours is what was confirmed, counted before and after the far end was asked: an hour that
changed meanwhile is left for the next time. A difference is one of these:

    missing   it has fewer, or as many but others: events that it confirmed are not there
    more      it has more: confirmed, but the acknowledgement was lost before it was counted here,
              or sent before counting began, or by an earlier life of this device

What explains fewer events is told apart, and is no finding: people were erased there, or the app's
retention removed the hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from agent.rules.wording import count, events
from tracking.reckoning import HOUR_MS

Key = tuple[str, int]  #: Device, and the beginning of an hour.
Held = tuple[int, str]  #: How many events, and the digest of their ids.
MOST_TOLD: Final = 200  #: Hours that one answer tells.


@dataclass(frozen=True, slots=True)
class Difference:
    """One device's hour in which both ends do not agree.

    Attributes:
        kind: ``missing`` or ``more``.
        ours: Events that the far end confirmed.
        theirs: Events that it has.

    """

    kind: Literal["missing", "more"]
    device: str
    hour_ms: int
    ours: int
    theirs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a comparison found.

    Attributes:
        confirmed: Events that were confirmed here, in the hours that were compared.
        held: Of those, how many the far end has for certain: those of hours that agree, and in
            the others at most as many as it says.
        hours: Hours compared.
        differences: Hours that differ, in order.
        moving: Hours that changed while they were compared.
        unbelieved: Events there whose date was not believed; they are counted where they said.
        erased: People and devices erased there since the first of these hours.
        since_ms: The first hour compared, None if there is none.

    """

    confirmed: int = 0
    held: int = 0
    hours: int = 0
    differences: tuple[Difference, ...] = field(default=())
    moving: int = 0
    unbelieved: int = 0
    erased: int = 0
    since_ms: int | None = None

    @property
    def missing(self) -> int:
        """How many hours lack events."""
        return sum(one.kind == "missing" for one in self.differences)

    @property
    def explained(self) -> bool:
        """Whether what is missing may have been erased there on purpose."""
        return bool(self.missing and self.erased)


def compare(
    before: Mapping[Key, Held],
    after: Mapping[Key, Held],
    theirs: Mapping[Key, Held],
    *,
    from_ms: int,
    unbelieved: int = 0,
    erased: int = 0,
) -> Outcome:
    """Compare what was confirmed with what is there.

    Args:
        before: Ours, as it was before the far end was asked.
        after: Ours, when it had answered.
        theirs: What it said.
        from_ms: Hours that begin earlier are not compared: not counted, or removed there.
        unbelieved: As it said.
        erased: Likewise.

    """
    confirmed = held = hours = moving = 0
    found: list[Difference] = []
    keys = sorted({*after, *theirs} | {*before}, key=lambda key: (key[1], key[0]))
    compared = [key for key in keys if key[1] >= from_ms]
    for key in compared:
        mine, there = after.get(key, (0, "")), theirs.get(key, (0, ""))
        if before.get(key, (0, "")) != mine and there != before.get(key, (0, "")) and there != mine:
            moving += 1
            continue
        if there == before.get(key, (0, "")):
            mine = there  # it answered before the newest were confirmed
        hours += 1
        confirmed += mine[0]
        held += min(mine[0], there[0])
        if there == mine:
            continue
        kind: Literal["missing", "more"] = "more" if there[0] > mine[0] else "missing"
        found.append(Difference(kind, key[0], key[1], mine[0], there[0]))
    return Outcome(
        confirmed=confirmed,
        held=held,
        hours=hours,
        differences=tuple(found),
        moving=moving,
        unbelieved=unbelieved,
        erased=erased,
        since_ms=compared[0][1] if compared else None,
    )


def first_hour(*moments_ms: int) -> int:
    """Return the beginning of the first hour that lies wholly after all of these."""
    latest = max(moments_ms)
    return -(-latest // HOUR_MS) * HOUR_MS


def sentence(outcome: Outcome) -> str:
    """Say what was found, in one line."""
    if not outcome.confirmed and not outcome.differences:
        return "Nothing to compare yet."
    said = f"The far end confirms {count(outcome.held)} of {events(outcome.confirmed)}."
    missing = [one for one in outcome.differences if one.kind == "missing"]
    more = len(outcome.differences) - len(missing)
    if missing:
        short = sum(one.ours - one.theirs for one in missing)
        hours = f"{count(len(missing))} hour{'' if len(missing) == 1 else 's'}"
        what = f"{events(short)} missing in {hours}" if short else f"other events in {hours}"
        said += f" {what[0].upper()}{what[1:]}."
    if outcome.explained:
        n = outcome.erased
        said += f" {count(n)} {'person or device was' if n == 1 else 'people and devices were'}"
        said += " erased there, which may be why."
    if more:
        said += (
            f" In {count(more)} hour{'' if more == 1 else 's'} it has more than was counted here."
        )
    return said


def lines(differences: Sequence[Difference]) -> list[Difference]:
    """Return the differences that are told: what is missing first, at most so many."""
    return sorted(differences, key=lambda one: (one.kind == "more", one.hour_ms))[:MOST_TOLD]
