"""What every answer of the Data API has to be: docs/numbers.md in plain Python, slow and obvious.

It knows the stored facts (collector.store.interface) and the page, and nothing of the queries.
Each answer is worked out from the list of events by looking at all of them, again and again.
Answers have the shapes of the seeds (001, 002), with times in Unix milliseconds.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from collector.store.interface import (
    Attribute,
    Beat,
    Fact,
    Feedback,
    Membership,
    Seen,
    Stored,
)

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
SILENCE = 30 * MINUTE
EPOCH = datetime.datetime(1970, 1, 1)

Json = Any
Person = tuple[str, str]  #: ("u", userId) or ("a", anonymous identity): never the same.


class Clock:
    """The wall clock of whoever asks."""

    def __init__(self, utc_offset: int = 0, tz: str | None = None) -> None:
        self.utc_offset = utc_offset
        self.tz = tz

    def at(self, ms: int) -> datetime.datetime:
        """Return what the clock shows at a moment."""
        utc = EPOCH + datetime.timedelta(milliseconds=ms)
        if self.tz is None:
            return utc - datetime.timedelta(minutes=self.utc_offset)
        there = utc.replace(tzinfo=datetime.UTC).astimezone(ZoneInfo(self.tz))
        return there.replace(tzinfo=None)

    def day(self, ms: int) -> str:
        return self.at(ms).strftime("%Y-%m-%d")

    def week(self, ms: int) -> str:
        """Return the Monday of its week."""
        day = self.at(ms).date()
        return (day - datetime.timedelta(days=day.weekday())).isoformat()

    def days(self, start: int, end: int) -> list[str]:
        day, last = self.at(start).date(), self.at(end - 1).date()
        found = []
        while day <= last:
            found.append(day.isoformat())
            day += datetime.timedelta(days=1)
        return found


class Session(NamedTuple):
    """One instance of a session."""

    device: str
    session: str
    start: int
    end: int
    duration: int
    actions: int
    errors: int
    users: frozenset[str]
    events: tuple[Stored, ...]


def row_name(event: Stored) -> str:
    """Return the name under which an event's attributes are told."""
    named = {"userid": "nucleus:userid", "props": "nucleus:props", "init": "init"}
    if event.kind == "event":
        return event.name
    if event.kind == "error":
        return f"error:{event.name}"
    return named.get(event.kind, event.type)


def attributes(event: Stored) -> dict[str, Json]:
    """Return the attributes of an event: text, finite numbers, booleans."""
    if not event.payload:
        return {}
    said = json.loads(event.payload)
    found = {}
    for key, value in said.items():
        if isinstance(value, (str, bool, int)):
            found[key] = value
        elif isinstance(value, float) and abs(value) < float("inf"):
            found[key] = int(value) if value.is_integer() else value
    return found


def json_type(value: Json) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def as_json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


def spelled_platform(raw: str) -> str:
    """A17."""
    said = raw.strip().lower()
    if said == "darwin" or said.startswith("mac"):
        return "mac"
    if said.startswith("win"):
        return "win"
    if said in ("ios", "ipados"):
        return "ios"
    return said


def spelled_language(raw: str) -> str:
    """A12: the first subtag, lower case; C and POSIX are none."""
    said = raw.strip().replace("_", "-").replace(".", "-").split("-")[0].lower()
    return "" if said in ("c", "posix") else said


def counted(values: Iterable[Json], key: Callable[[Json], Any]) -> list[dict[str, Json]]:
    counts = Counter(values)
    order = sorted(counts, key=lambda value: (-counts[value], key(value)))
    return [{"value": value, "count": counts[value]} for value in order]


class Model:
    """All that is known of one app.

    Args:
        app: Which.
        rows: In the order of arrival, repeats and other apps' included.
        facts: Anything that was written beside them.

    """

    def __init__(self, app: str, rows: Iterable[Stored], facts: Iterable[Fact] = ()) -> None:
        self.app = app
        once: dict[tuple[int, int], Stored] = {}
        for row in rows:
            if row.app_id == app:
                once.setdefault((row.key_a, row.key_b), row)
        self.events = sorted(once.values(), key=lambda e: (e.ts, e.recv_ts))
        mine = [fact for fact in facts if fact.app_id == app]
        self.beats = [fact for fact in mine if isinstance(fact, Beat)]
        self.attributes = [fact for fact in mine if isinstance(fact, Attribute)]
        self.memberships = [fact for fact in mine if isinstance(fact, Membership)]
        self.feedbacks = [fact for fact in mine if isinstance(fact, Feedback)]
        self.seen = [fact for fact in mine if isinstance(fact, Seen)]

    # --- words ---------------------------------------------------------------------------------

    def inside(self, start: int, end: int) -> list[Stored]:
        return [event for event in self.events if start <= event.ts < end]

    def persons(self, events: Sequence[Stored]) -> dict[Person, list[Stored]]:
        """Return users(I), each with the events that belong to it, of the events of I."""
        people: defaultdict[Person, list[Stored]] = defaultdict(list)
        by_device: defaultdict[str, list[Stored]] = defaultdict(list)
        for event in events:
            if event.user_id:
                people["u", event.user_id].append(event)
            if event.device_id:
                by_device[event.device_id].append(event)
        for device, theirs in by_device.items():
            if not any(event.user_id for event in theirs):
                identity = max(event.anon_id for event in theirs) or device
                people["a", identity] += theirs
        return people

    @cached_property
    def first_of_device(self) -> dict[str, int]:
        first: dict[str, int] = {}
        for event in self.events:
            if event.device_id:
                first[event.device_id] = min(event.ts, first.get(event.device_id, event.ts))
        return first

    @cached_property
    def first_of_user(self) -> dict[str, int]:
        first: dict[str, int] = {}
        named = [(event.user_id, event.ts) for event in self.events]
        called = [(one.id, one.first_ts) for one in self.seen if one.kind == "user"]
        for user, at in named + called:
            if user and at:
                first[user] = min(at, first.get(user, at))
        return first

    def installs(self, start: int, end: int) -> int:
        return sum(start <= first < end for first in self.first_of_device.values())

    # --- the glance and the days ---------------------------------------------------------------

    def quickglance(self, now: int) -> dict[str, int]:
        answer = {}
        for prefix, start, end in (
            ("", now - DAY, now + 1),
            ("previous", now - 2 * DAY, now - DAY),
        ):
            events = self.inside(start, end)
            said = {
                "installs": self.installs(start, end),
                "users": len(self.persons(events)),
                "appStarts": sum(event.kind == "init" for event in events),
                "errors": sum(event.kind == "error" for event in events),
            }
            for key, value in said.items():
                answer[prefix + key[0].upper() + key[1:] if prefix else key] = value
        return answer

    def daily(self, start: int, end: int, clock: Clock) -> dict[str, Json]:
        events = self.inside(start, end)
        days = clock.days(start, end)
        inits = [clock.at(event.ts) for event in events if event.kind == "init"]
        active, new = {}, {}
        for day in days:
            people = self.persons([event for event in events if clock.day(event.ts) == day])
            active[day] = len(people)
            new[day] = sum(
                self._is_new(who, theirs, lambda ms, day=day: clock.day(ms) == day)
                for who, theirs in people.items()
            )
        hours = {
            day: [
                sum(at.date().isoformat() == day and at.hour == hour for at in inits)
                for hour in range(24)
            ]
            for day in days
        }
        return {
            "totalNumbers": {
                "users": len(self.persons(events)),
                "installs": self.installs(start, end),
            },
            "allTime": {
                "users": len(self.persons(self.events)),
                "installs": len(self.first_of_device),
            },
            "usage": {day: sum(hours[day]) for day in days},
            "newUsers": new,
            "activeUsers": active,
            "nonNewUsers": {day: active[day] - new[day] for day in days},
            "hours": hours,
            **self.distributions(events),
            "avgSessionDuration": self.durations(start, end, clock),
        }

    def _is_new(self, who: Person, theirs: list[Stored], today: Callable[[int], bool]) -> bool:
        if who[0] == "u":
            return today(self.first_of_user[who[1]])
        return all(today(self.first_of_device[event.device_id]) for event in theirs)

    def distributions(self, events: Sequence[Stored]) -> dict[str, list[dict[str, Json]]]:
        people = self.persons(events).values()

        def latest(of: Callable[[Stored], Json]) -> list[Json]:
            found = []
            for theirs in people:
                said = [(event.ts, of(event)) for event in theirs if of(event)]
                if said:
                    found.append(max(said)[1])
            return found

        platforms = [spelled_platform(raw) for raw in latest(lambda event: event.platform)]
        languages = [spelled_language(raw) for raw in latest(lambda event: event.locale)]
        return {
            "platforms": counted([one for one in platforms if one], str),
            "versions": counted(latest(lambda event: event.version), str),
            "languages": counted([one for one in languages if one], str),
            "ram": counted(latest(lambda event: event.avail_ram), int),
            "countries": counted(latest(lambda event: event.country), str),
        }

    # --- sessions ------------------------------------------------------------------------------

    def sessions(self) -> list[Session]:
        events: defaultdict[tuple[str, str], list[Stored]] = defaultdict(list)
        stays: defaultdict[tuple[str, str], list[Beat]] = defaultdict(list)
        for event in self.events:
            events[event.device_id, event.session_id].append(event)
        for beat in self.beats:
            stays[beat.device_id, beat.session_id].append(beat)
        found = []
        for (device, session), theirs in events.items():
            if device and session:
                found += self._instances(device, session, theirs, stays[device, session])
        return sorted(found, key=lambda one: (-one.start, one.device, one.session))

    @staticmethod
    def _instances(
        device: str, session: str, events: list[Stored], stays: list[Beat]
    ) -> list[Session]:
        moments = sorted(
            {event.ts for event in events}
            | {stay.first_ts for stay in stays}
            | {stay.last_ts for stay in stays}
        )
        inits = {event.ts for event in events if event.kind == "init"}
        instances: list[list[int]] = []
        for n, moment in enumerate(moments):
            silent = n > 0 and moment - moments[n - 1] >= SILENCE
            if n == 0 or (silent and moment in inits):
                instances.append([])
            instances[-1].append(moment)
        found = []
        for instance in instances:
            its = [event for event in events if instance[0] <= event.ts <= instance[-1]]
            if not its:
                continue
            start = min(event.ts for event in its)
            last = start
            for moment in instance:
                if moment > start:
                    if moment - last >= SILENCE:
                        break
                    last = moment
            errors = sum(event.kind == "error" for event in its)
            found.append(
                Session(
                    device,
                    session,
                    start,
                    max(event.ts for event in its),
                    last - start,
                    len(its) - errors,
                    errors,
                    frozenset(event.user_id for event in its) - {""},
                    tuple(its),
                )
            )
        return found

    def durations(self, start: int, end: int, clock: Clock) -> dict[str, float]:
        by_day: defaultdict[str, list[int]] = defaultdict(list)
        for one in self.sessions():
            if start <= one.start < end and one.duration > 0:
                by_day[clock.day(one.start)].append(one.duration)
        return {day: sum(them) / len(them) / 1000 for day, them in by_day.items()}

    # --- events --------------------------------------------------------------------------------

    def by_day(
        self, events: Iterable[tuple[str, Stored]], clock: Clock
    ) -> dict[str, dict[str, int]]:
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for name, event in events:
            found[name][clock.day(event.ts)] += 1
        return {name: dict(days) for name, days in found.items()}

    def events_by_day(self, start: int, end: int, clock: Clock, kind: str = "event") -> Json:
        them = [(event.name, event) for event in self.inside(start, end) if event.kind == kind]
        return self.by_day(them, clock)

    def one_event(self, start: int, end: int, clock: Clock, name: str) -> Json:
        them = [(name, event) for event in self.inside(start, end) if row_name(event) == name]
        return self.by_day(them, clock) or {name: {}}

    def eventsprops(self, start: int, end: int) -> list[dict[str, Json]]:
        found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for event in self.inside(start, end):
            for key, value in attributes(event).items():
                found[row_name(event), json_type(value)].add(key)
        return [
            {"event": name, "type": kind, "keys": sorted(found[name, kind])}
            for name, kind in sorted(found)
        ]

    def attribute_counts(self, start: int, end: int, name: str, key: str) -> list[dict[str, Json]]:
        texts: Counter[str] = Counter()
        for event in self.inside(start, end):
            if row_name(event) == name and key in attributes(event):
                texts[as_json(attributes(event)[key])] += 1
        order = sorted(texts, key=lambda text: (-texts[text], text))
        return [{"value": json.loads(text), "count": texts[text]} for text in order]
