"""Every question of the Data API, asked of two engines: the answers have to be equal.

``asked`` is the list: what is timed, what is compared, at any size of the data set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from benchmarks.dataset import DAY, History
from collector.store.interface import Store
from collector.store.local_time import Wall
from collector.store.questions import Questions
from collector.store.questions_people import Person
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


STEPS = ("init", "ITEM_PLAYED", "SEARCH", "error:RenderError")
PEOPLE = (
    Person("u", "user000001@example.com"),
    Person("u", "user000033@example.com"),
    Person("u", "user000012@example.com"),
    Person("a", "an0000000005"),
    Person("u", "nobody"),
)


def asked(history: History, apps: tuple[str, ...] = ("app1", "app2")) -> list[Asked]:
    """Return every question, each with several values."""
    return [
        one
        for app in apps
        for part in (_glances, _days, _people, _others)
        for one in part(app, history)
    ]


def _glances(app: str, history: History) -> Iterator[Asked]:
    for now in (history.end - HOUR, history.end - 40 * DAY):
        yield Asked(f"{app} glance", lambda q, n=now: q.quickglance(app, n))


def _days(app: str, history: History) -> Iterator[Asked]:
    for span, (start, end) in spans(history).items():
        at = (app, start, end)
        for n, wall in enumerate(WALLS[:2] if span == "90 days" else WALLS):
            on = f"{app}, {span}, clock {n}:"
            yield Asked(f"{on} daily", lambda q, i=at, w=wall: q.daily(*i, w))
            yield Asked(f"{on} sessions", lambda q, i=at, w=wall: q.durations(*i, w, few=0))
            yield Asked(f"{on} events", lambda q, i=at, w=wall: q.by_name(*i, w))
            yield Asked(f"{on} errors", lambda q, i=at, w=wall: q.by_name(*i, w, "error"))
            yield Asked(f"{on} one", lambda q, i=at, w=wall: q.one_event(*i, w, "ITEM_SAVED"))
        on = f"{app}, {span}:"
        yield Asked(f"{on} props", lambda q, i=at: q.eventsprops(*i))
        for name, attr in (
            *(("ITEM_PLAYED", attr) for attr in ("plan", "count", "ok", "ratio")),
            ("init", "plan"),
            ("nucleus:props", "seats"),
        ):
            yield Asked(
                f"{on} counts of {attr}",
                lambda q, i=at, e=name, k=attr: q.attribute_counts(*i, e, k),
            )


def _people(app: str, history: History) -> Iterator[Asked]:
    yield Asked(f"{app} everybody", lambda q: q.everybody(app))
    yield Asked(f"{app} users", lambda q: q.users(app, 0, 300))
    for who in PEOPLE:
        yield Asked(f"{app} {who.id}", lambda q, w=who: [q.user(app, w)])
        yield Asked(f"{app} {who.id}: sessions", lambda q, w=who: [q.sessions_of(app, w)])
        yield Asked(f"{app} {who.id}: found", lambda q, w=who: [q.find(app, w.id)])
        yield Asked(f"{app} {who.id}: devices", lambda q, w=who: [q.devices_of(app, w)])


def _others(app: str, history: History) -> Iterator[Asked]:
    yield Asked(f"{app} companies", lambda q: q.company_details(app, q.companies(app)))
    for span, (start, end) in spans(history).items():
        at, on = (app, start, end), f"{app}, {span}:"
        yield Asked(f"{on} feedback", lambda q, i=at: [q.feedback(*i, 0, 1_000)])
        yield Asked(f"{on} scores", lambda q, i=at: [q.feedback_averages(*i)])
        yield Asked(f"{on} groups", lambda q, i=at: q.error_groups(*i))
        yield Asked(f"{on} funnel", lambda q, i=at: q.funnel(*i, STEPS))
        yield Asked(f"{on} reckoning", lambda q, i=at: q.reckoning(*i, _devices(q, i[0])))
        for n, wall in enumerate((WALLS[1], WALLS[-1])):
            yield Asked(f"{on} scores by day {n}", lambda q, i=at, w=wall: q.feedback_days(*i, w))
            yield Asked(f"{on} retention {n}", lambda q, i=at, w=wall: [q.retention(*i, w)])


def _devices(q: Questions, app: str) -> list[str]:
    """Return the devices of the first users that have any."""
    devices = {one["_id"] for user in q.users(app, 0, 60) for one in user["devices"]}
    return sorted(devices)[:64]


@dataclass(slots=True)
class Found:
    """What a comparison found."""

    compared: int = 0
    differing: list[str] = field(default_factory=list)
    empty_everywhere: list[str] = field(default_factory=list)


def differences(
    one: Store, other: Store, questions: Iterable[Asked], within_s: float = 60.0
) -> Found:
    """Ask both the same."""
    found = Found()
    for question in questions:
        here, there = _answer(one, question, within_s), _answer(other, question, within_s)
        found.compared += 1
        if where := parting(here, there):
            found.differing.append(f"{question.name}{where}")
        if not here:
            found.empty_everywhere.append(question.name)
    return found


def _answer(store: Store, question: Asked, within_s: float) -> Any:
    """Return what a store answers; that it cannot is an answer, unlike the other's."""
    try:
        return question.ask(Questions(store, within_s))
    except StorageFault as fault:
        return f"{store.dialect}: {fault}"


def parting(one: Any, other: Any, at: str = "") -> str:
    """Return where two answers part, empty if they are equal but for floating point's last digits.

    The order of an object's members says nothing, that of a list does.
    """
    if isinstance(one, float) and isinstance(other, float):
        equal = math.isclose(one, other, rel_tol=1e-9)
    elif isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return next(filter(None, (parting(one[k], other[k], f"{at}[{k!r}]") for k in one)), "")
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return f"{at}: {len(one)} and {len(other)} of them"
        pairs = enumerate(zip(one, other, strict=True))
        return next(filter(None, (parting(a, b, f"{at}[{n}]") for n, (a, b) in pairs)), "")
    else:
        equal = type(one) is type(other) and one == other
    return "" if equal else f"{at}: {str(one)[:300]} and {str(other)[:300]}"
