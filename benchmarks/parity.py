"""Every question of the Data API, asked of two engines: the answers have to be equal.

``asked`` is the list: what is timed, what is compared, at any size of the data set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from benchmarks.dataset import DAY, History
from collector.store.interface import Store
from collector.store.local_time import Wall
from collector.store.questions_daily import DailyQuestions as Questions
from tracking.errors import StorageFault

HOUR = DAY // 24
WALLS = (Wall(), Wall(480), Wall(-210), Wall(-330), Wall(0, ZoneInfo("Europe/Berlin")))


class Erased(NamedTuple):
    """Whom an erasure takes: a person with everything of theirs."""

    users: tuple[str, ...]
    devices: tuple[str, ...]


#: user 33 came over Bucket, user 1 signed in in mid-session, user 0 of device 2 has no name.
ERASED = Erased(
    users=("user000001@example.com", "user000033@example.com"),
    devices=(f"d0{1 * 2_654_435_761 % 2**32:08x}", "d000000000"),
)


class Asked(NamedTuple):
    """One question with its values."""

    name: str
    ask: Callable[[Questions], Any]


def fill(store: Store, history: Iterable[tuple[Any, Any]]) -> None:
    """Write a history as a collector does."""
    for rows, facts in history:
        store.write(rows, facts)


def spans(history: History) -> dict[str, tuple[int, int]]:
    """Return intervals: everything, a month, and one whose ends are no edge of anything."""
    return {
        "90 days": (history.start, history.end),
        "30 days": (history.end - 30 * DAY, history.end),
        "odd hours": (history.end - 9 * DAY - 12_345_678, history.end - 3 * DAY - 7 * HOUR - 1),
    }


def asked(history: History, apps: tuple[str, ...] = ("app1", "app2")) -> list[Asked]:
    """Return every question, each with several values."""
    found: list[Asked] = []

    def add(name: str, ask: Callable[[Questions], Any]) -> None:
        found.append(Asked(name, ask))

    for app in apps:
        for now in (history.end - HOUR, history.end - 40 * DAY):
            add(f"{app} glance", lambda q, a=app, n=now: q.quickglance(a, n))
        for span, (start, end) in spans(history).items():
            at = (app, start, end)
            title = f"{app}, {span}:"
            for n, wall in enumerate(WALLS):
                if span == "90 days" and n > 1:
                    continue
                on = f"{title} clock {n}"
                add(f"{on} daily", lambda q, i=at, w=wall: q.daily(*i, w))
                add(f"{on} events", lambda q, i=at, w=wall: q.by_name(*i, w))
                add(f"{on} errors", lambda q, i=at, w=wall: q.by_name(*i, w, "error"))
                add(f"{on} one event", lambda q, i=at, w=wall: q.one_event(*i, w, "ITEM_SAVED"))
            add(f"{title} props", lambda q, i=at: q.eventsprops(*i))
            for attr in ("plan", "count", "ok", "ratio"):
                add(
                    f"{title} counts of {attr}",
                    lambda q, i=at, k=attr: q.attribute_counts(*i, "ITEM_PLAYED", k),
                )
            add(f"{title} counts of init", lambda q, i=at: q.attribute_counts(*i, "init", "plan"))
    return found


@dataclass(slots=True)
class Found:
    """What a comparison found."""

    compared: int = 0
    differing: list[tuple[str, Any, Any]] = field(default_factory=list)
    empty_everywhere: list[str] = field(default_factory=list)


def differences(one: Store, other: Store, history: History, within_s: float = 60.0) -> Found:
    """Ask both everything."""
    found = Found()
    for question in asked(history):
        here, there = _answer(one, question, within_s), _answer(other, question, within_s)
        found.compared += 1
        if not near(here, there):
            found.differing.append((question.name, here, there))
        if not here:
            found.empty_everywhere.append(question.name)
    return found


def _answer(store: Store, question: Asked, within_s: float) -> Any:
    """Return what a store answers; that it cannot is an answer, unlike the other's."""
    try:
        return question.ask(Questions(store, within_s))
    except StorageFault as fault:
        return f"{store.dialect}: {fault}"


def near(one: Any, other: Any) -> bool:
    """Whether two answers are equal; the last digits of floating point apart."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(near(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(near, one, other))
    return type(one) is type(other) and one == other
