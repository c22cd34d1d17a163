"""Answers about days, events and their attributes (docs/numbers.md); times in Unix milliseconds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from collector.store import queries_daily as queries
from collector.store.asking import EVER_MS
from collector.store.local_time import DAY_MS, Wall, day_name
from collector.store.questions_sessions import SessionQuestions
from tracking.nucleus import normal_language, normal_platform

MOST_VALUES = 10_000  #: Different values of an attribute that are told, the most frequent first.
_TYPES = {'"': "string", "t": "boolean", "f": "boolean"}
_GLANCE = ("installs", "users", "appStarts", "errors")
_SPELLED: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("platforms", normal_platform),
    ("versions", lambda version: version),
    ("languages", normal_language),
    ("ram", lambda gigabytes: gigabytes),
    ("countries", lambda country: country),
)


class DailyQuestions(SessionQuestions):
    """What can be asked about an app and an interval."""

    def quickglance(self, app: str, now: int) -> dict[str, int]:
        """Return the last 24 hours and the 24 before."""
        before, middle, end = now - 2 * DAY_MS, now - DAY_MS, now + 1
        ((starts, errors, starts_before, errors_before),) = self._ask(
            queries.STARTS_AND_ERRORS, app=app, start=before, middle=middle, end=end
        )
        ((installs, installs_before, _),) = self._ask(
            queries.INSTALLS, app=app, before=before, start=middle, end=end
        )
        users = self.count_users(app, middle, end)
        users_before = self.count_users(app, before, middle)
        current = (installs, users, starts, errors)
        previous = (installs_before, users_before, starts_before, errors_before)
        return {
            **dict(zip(_GLANCE, map(int, current), strict=True)),
            **{
                f"previous{key[0].upper()}{key[1:]}": int(value)
                for key, value in zip(_GLANCE, previous, strict=True)
            },
        }

    def count_users(self, app: str, start: int = 0, end: int = EVER_MS) -> int:
        """Return the size of users(interval); of all time if no interval is named."""
        ((named, nameless),) = self._ask(queries.USERS, app=app, start=start, end=end)
        return int(named + nameless)

    def daily(self, app: str, start: int, end: int, wall: Wall) -> dict[str, Any]:
        """Return the daily analytics of an interval."""
        # Side by side, because each half has parts in which the engine uses one core only.
        with ThreadPoolExecutor(1, thread_name_prefix="durations") as beside:
            durations = beside.submit(self.durations, app, start, end, wall)
            days = self._days(app, start, end, wall)
            return days | {"avgSessionDuration": durations.result()}

    def _days(self, app: str, start: int, end: int, wall: Wall) -> dict[str, Any]:
        """Return the daily analytics but for the sessions."""
        clock = wall.over(start, end)
        span = {"app": app, "start": start, "end": end, **clock.values}
        days = wall.days(start, end)
        hours = {day: [0] * 24 for day in days}
        for hour, n in self._ask(clock.fill(queries.STARTS), **span):
            hours[day_name(hour // 24)][hour % 24] += n
        active, new = dict.fromkeys(days, 0), dict.fromkeys(days, 0)
        users = 0
        counts: list[Counter[Any]] = [Counter() for _ in _SPELLED]
        # First sights matter if they are on a day of the interval, the whole local day.
        near = {"early": start - 2 * DAY_MS, "late": end + 2 * DAY_MS}
        shared = {name: clock.fill(text) for name, text in queries.SHARED.items()}
        persons = clock.fill(queries.PERSONS)
        for what, day, n, fresh, *said in self._ask(persons, shared, **span, **near):
            match what:
                case "day":
                    active[day_name(day)] += n
                    new[day_name(day)] += fresh
                case "all":
                    users += n
                case _:
                    for counter, (_, spelled), value in zip(counts, _SPELLED, said, strict=True):
                        if value:
                            counter[spelled(value)] += n
        ((installs, _, installs_ever),) = self._ask(
            queries.INSTALLS, app=app, before=start, start=start, end=end
        )
        return {
            "totalNumbers": {"users": users, "installs": int(installs)},
            "allTime": {
                "users": users if self._all_within(app, start, end) else self.count_users(app),
                "installs": int(installs_ever),
            },
            "usage": {day: sum(by_hour) for day, by_hour in hours.items()},
            "newUsers": new,
            "activeUsers": active,
            "nonNewUsers": {day: active[day] - new[day] for day in days},
            "hours": hours,
            **{
                key: [
                    {"value": value, "count": counter[value]}
                    for value in sorted(filter(None, counter), key=lambda v: (-counter[v], v))
                ]
                for counter, (key, _) in zip(counts, _SPELLED, strict=True)
            },
        }

    def _all_within(self, app: str, start: int, end: int) -> bool:
        return not self._ask(queries.OUTSIDE, app=app, start=start, end=end)

    def by_name(
        self, app: str, start: int, end: int, wall: Wall, kind: str = "event"
    ) -> dict[str, dict[str, int]]:
        """Return the events of a kind (``event``, ``error``) by name and local day."""
        clock = wall.over(start, end)
        rows = self._ask(
            clock.fill(queries.BY_NAME), app=app, start=start, end=end, kind=kind, **clock.values
        )
        found: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for name, day, n in sorted(rows):
            found[name][day_name(day)] = n
        return dict(found)

    def one_event(
        self, app: str, start: int, end: int, wall: Wall, event: str
    ) -> dict[str, dict[str, int]]:
        """Return one row name by local day."""
        clock = wall.over(start, end)
        rows = self._ask(
            clock.fill(queries.ONE_EVENT), app=app, start=start, end=end, event=event,
            **clock.values,
        )  # fmt: skip
        return {event: {day_name(day): n for day, n in sorted(rows)}}

    def eventsprops(self, app: str, start: int, end: int) -> list[dict[str, Any]]:
        """Return which attributes the rows of each name have, by JSON type."""
        found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for name, key, mark in self._ask(queries.PROPERTIES, app=app, start=start, end=end):
            found[name, _TYPES.get(mark, "number")].add(key)
        return [
            {"event": name, "keys": sorted(found[name, kind]), "type": kind}
            for name, kind in sorted(found)
        ]

    def attribute_counts(
        self, app: str, start: int, end: int, event: str, attr: str, limit: int = MOST_VALUES
    ) -> list[dict[str, Any]]:
        """Return how often each value of an attribute occurs, most frequent first."""
        rows = self._ask(
            queries.VALUES, app=app, start=start, end=end, event=event, attr=attr, limit=limit
        )
        return [{"value": msgspec.json.decode(said), "count": n} for said, n in rows]
