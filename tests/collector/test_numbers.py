"""The numbers are right: a search for a history in which an answer differs from the model.

The model (model.py, model_people.py) is docs/numbers.md in plain Python and knows no query. One
store serves all examples, each in an app of its own, so that they stand beside each other as apps
do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from histories import DAY, EDGES, HALF_HOUR, History, histories, intervals, moments, plain, zones
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model import Clock
from model_people import PeopleModel

from collector.store.duck import DuckStore
from collector.store.local_time import Wall
from collector.store.questions import Questions

NAMES = ("E", "F", "é", "init", "error:X", "nucleus:userid", "nucleus:props", "nucleus:view", "-")
KEYS = ("plan", "n", "é", "X", "-")
WITHIN_S = 600.0  #: One object asks for a whole example here, on a machine that may be busy.
_numbers = itertools.count()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckStore]:
    opened = DuckStore(tmp_path_factory.mktemp("numbers") / "events.duckdb", EDGES[0])
    yield opened
    opened.close()


def told(store: DuckStore, history: History) -> tuple[str, PeopleModel]:
    """Write a history into an app of its own; return the app and its model."""
    app = f"app{next(_numbers)}"
    batches = history.of(app)
    for rows, facts in batches:
        store.write(rows, facts)
    rows = [row for batch, _ in batches for row in batch]
    return app, PeopleModel(app, rows, [fact for _, facts in batches for fact in facts])


def wall(zone: tuple[int, str | None]) -> Wall:
    offset, name = zone
    return Wall(offset, ZoneInfo(name) if name else None)


def near(said: Any, right: Any) -> bool:
    """Whether two answers are one: floating point may differ in its last digits."""
    if isinstance(right, float) and isinstance(said, (int, float)):
        return math.isclose(said, right, rel_tol=1e-9)
    if isinstance(right, dict):
        return (
            isinstance(said, dict)
            and said.keys() == right.keys()
            and all(near(said[key], value) for key, value in right.items())
        )
    if isinstance(right, list):
        return isinstance(said, list) and len(said) == len(right) and all(map(near, said, right))
    return type(said) is type(right) and said == right


def same(said: Any, right: Any) -> None:
    """Fail with both if they differ."""
    if not near(plain(said), plain(right)):
        assert plain(said) == plain(right)
        raise AssertionError(f"{said!r} is not of the types of {right!r}")


def searching(examples: int) -> Callable[[Any], Any]:
    """Search so many histories."""
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def check_days(store: DuckStore, history: History, interval: Any, zone: Any) -> None:
    app, model = told(store, history)
    start, end = interval
    ask, clock = Questions(store, WITHIN_S), Clock(*zone)
    daily = model.daily(start, end, clock)
    same(ask.daily(app, start, end, wall(zone)), daily)
    same(ask.durations(app, start, end, wall(zone), few=0), daily["avgSessionDuration"])
    same(ask.by_name(app, start, end, wall(zone)), model.events_by_day(start, end, clock))
    same(
        ask.by_name(app, start, end, wall(zone), "error"),
        model.events_by_day(start, end, clock, "error"),
    )


def check_attributes(store: DuckStore, history: History, interval: Any, zone: Any) -> None:
    app, model = told(store, history)
    start, end = interval
    ask = Questions(store, WITHIN_S)
    same(ask.eventsprops(app, start, end), model.eventsprops(start, end))
    for name, key in zip(NAMES, itertools.cycle(KEYS), strict=False):
        same(
            ask.one_event(app, start, end, wall(zone), name),
            model.one_event(start, end, Clock(*zone), name),
        )
        for attr in {"plan", key}:
            same(
                ask.attribute_counts(app, start, end, name, attr),
                model.attribute_counts(start, end, name, attr),
            )


def check_glance(store: DuckStore, history: History, now: int) -> None:
    app, model = told(store, history)
    same(Questions(store, WITHIN_S).quickglance(app, now), model.quickglance(now))


def check_people(store: DuckStore, history: History, interval: Any, zone: Any) -> None:
    del interval, zone
    app, model = told(store, history)
    ask = Questions(store, WITHIN_S)
    people = model.users()
    same(ask.users(app), people)
    same(ask.users(app, 1, 2), people[1:3])
    wanted = [one["_id"] for one in people] + ["u1", "a1", "d1", "Ω", "nobody", ""]
    for word in wanted:
        said, right = ask.find(app, word), model.find(word)
        assert (said and tuple(said)) == right, word
        if said is not None and right is not None:
            same(
                ask.user(app, said), next(one for one in people if one["_id"] == model.id_of(right))
            )
            same(ask.sessions_of(app, said), model.sessions_of(right))


def check_companies(store: DuckStore, history: History, interval: Any, zone: Any) -> None:
    app, model = told(store, history)
    start, end = interval
    ask = Questions(store, WITHIN_S)
    right = model.companies()
    same(ask.company_details(app, ask.companies(app)), right)
    for one in right:
        same(ask.company(app, one["companyId"]), one)
    assert ask.company(app, "nobody") is None
    words = model.feedback(start, end)
    assert [row[:6] for row in ask.feedback(app, start, end, 0, 100)] == [
        (one.feedback_id, one.ts, one.score, one.feature, one.user_id, one.company_id)
        for one in words
    ]
    assert ask.feedback_count(app, start, end) == len(words)
    same(ask.feedback_averages(app, start, end), model.feedback_averages(start, end))
    same(
        ask.feedback_days(app, start, end, wall(zone)),
        model.feedback_days(start, end, Clock(*zone)),
    )


def check_ways(store: DuckStore, history: History, interval: Any, zone: Any) -> None:
    app, model = told(store, history)
    start, end = interval
    ask = Questions(store, WITHIN_S)
    same(ask.retention(app, start, end, wall(zone)), model.retention(start, end, Clock(*zone)))
    for steps, window in WAYS:
        said = ask.funnel(app, start, end, steps, window)
        assert said == model.funnel(start, end, steps, window), (steps, window)
    groups = model.error_groups(start, end)
    same(ask.error_groups(app, start, end), groups)
    for group in groups:
        found = ask.error_group(app, start, end, group["hash"])
        assert found is not None
        same({key: found[key] for key in group}, group)


CHECKS = {
    "days": check_days,
    "attributes": check_attributes,
    "people": check_people,
    "companies": check_companies,
    "ways": check_ways,
}
WAYS = (
    (("E", "F"), HALF_HOUR),
    (("init", "E"), HALF_HOUR),
    (("F", "E", "F"), 7 * DAY),
    (("init", "E", "error:X", "E", "F", "nucleus:userid", "é", "init"), 7 * DAY),
)


given_all = given(history=histories, interval=intervals, zone=zones)


@pytest.mark.parametrize("what", CHECKS)
@searching(25)
@given_all
def test_answers_over_an_interval_equal_the_model(
    what: str, store: DuckStore, history: History, interval: tuple[int, int], zone: Any
) -> None:
    CHECKS[what](store, history, interval, zone)


@pytest.mark.fuzz
@pytest.mark.parametrize("what", CHECKS)
@searching(2_000)
@given_all
def test_answers_over_an_interval_equal_the_model_for_long(
    what: str, store: DuckStore, history: History, interval: tuple[int, int], zone: Any
) -> None:
    CHECKS[what](store, history, interval, zone)


@searching(25)
@given(history=histories, now=moments | st.sampled_from([edge + DAY for edge in EDGES]))
def test_d2_d3_the_glance_equals_the_model(store: DuckStore, history: History, now: int) -> None:
    check_glance(store, history, now)
