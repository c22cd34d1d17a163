"""Everything that the Data API answers from the store, whichever engine it is.

    Asking ◄── SessionQuestions ◄─┬─ DailyQuestions   days, events, attributes
                                  └─ PeopleQuestions  users, their sessions
           ◄── ReckoningQuestions                     what a sender's own count is compared with
                                     └─ Questions     all of it, and what is beyond the seeds

Answers are plain values with times in Unix milliseconds; the API says them as the seeds do. One
object answers one request: its deadline is for the whole answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from collector.store import queries_more as queries
from collector.store.asking import Row
from collector.store.interface import Stored
from collector.store.local_time import DAY_MS, Wall, day_name, week_name
from collector.store.questions_daily import DailyQuestions
from collector.store.questions_people import PeopleQuestions, Person, Record
from collector.store.questions_reckoning import ReckoningQuestions

WEEK_MS = 7 * DAY_MS
SLICE = 2_000  #: Events of one person that are read at a time for an export.
NO_DEVICE = ["\0"]  #: No device has this name, and an empty list has no type.
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_DIGITS = re.compile(r"[0-9]+")


def error_hash(name: str, stack: str) -> str:
    """Return what an error is grouped by: name and stack without line numbers and addresses."""
    bare = _DIGITS.sub("", _ADDRESS.sub("", stack))
    said = f"{name}\0{bare}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(said).hexdigest()[:16]


class Questions(DailyQuestions, PeopleQuestions, ReckoningQuestions):
    """All questions."""

    # --- companies -----------------------------------------------------------------------------

    def companies(self, app: str) -> list[Record]:
        """Return all companies, latest seen first, then by id; without users and attributes."""
        found = [
            {
                "companyId": company,
                "firstSeen": first or None,
                "lastSeen": last or None,
                "events": int(events),
            }
            for company, first, last, events in self._ask(queries.COMPANIES, app=app)
        ]
        return sorted(found, key=lambda one: (-(one["lastSeen"] or 0), one["companyId"]))

    def company_details(self, app: str, companies: Sequence[Record]) -> list[Record]:
        """Return companies with their users and attributes."""
        ids = [one["companyId"] for one in companies]
        if not ids:
            return []
        users: defaultdict[str, list[str]] = defaultdict(list)
        for company, user in self._ask(queries.COMPANY_USERS, app=app, companies=ids):
            users[company].append(user)
        said = self.attributes(app, "company", ids)
        return [
            {**one, "users": users[one["companyId"]], "attributes": said[one["companyId"]]}
            for one in companies
        ]

    def company(self, app: str, company: str) -> Record | None:
        """Return one company, None if nobody ever named it."""
        known = [one for one in self.companies(app) if one["companyId"] == company]
        return self.company_details(app, known)[0] if known else None

    def company_rows(self, app: str, company: str, skip: int, limit: int) -> list[Stored]:
        """Return a company's events, newest first."""
        rows = self._ask(queries.COMPANY_ROWS, app=app, company=company, skip=skip, limit=limit)
        return [Stored(*row) for row in rows]

    # --- feedback ------------------------------------------------------------------------------

    def feedback(self, app: str, start: int, end: int, skip: int, limit: int) -> list[Row]:
        """Return feedback as ``(id, ts, score, feature, user, company, comment, source, question,
        prompt)``, newest first."""
        span = {"app": app, "start": start, "end": end}
        return self._ask(queries.FEEDBACK, skip=skip, limit=limit, **span)

    def feedback_count(self, app: str, start: int, end: int) -> int:
        ((count,),) = self._ask(queries.FEEDBACK_COUNT, app=app, start=start, end=end)
        return int(count)

    def feedback_averages(
        self, app: str, start: int, end: int
    ) -> dict[str, tuple[int, float | None]]:
        """Return per feature: how many, and the mean of the scores given."""
        rows = self._ask(queries.FEEDBACK_BY_FEATURE, app=app, start=start, end=end)
        return {feature: (int(n), _mean(total, scored)) for feature, n, scored, total in rows}

    def feedback_days(
        self, app: str, start: int, end: int, wall: Wall
    ) -> dict[str, tuple[int, float | None]]:
        """Return the same per local day, every day of the interval."""
        clock = wall.over(start, end)
        days: dict[str, tuple[int, float | None]] = dict.fromkeys(wall.days(start, end), (0, None))
        text = clock.fill(queries.FEEDBACK_BY_DAY)
        for day, n, scored, total in self._ask(text, app=app, start=start, end=end, **clock.values):
            days[day_name(day)] = (int(n), _mean(total, scored))
        return days

    # --- retention and funnels -----------------------------------------------------------------

    def retention(
        self, app: str, start: int, end: int, wall: Wall, until: int | None = None
    ) -> dict[str, dict[str, int]]:
        """Return per cohort week how many of it had an event in which week (both: Mondays).

        Args:
            app: Whose.
            start: First sights from here on.
            end: ... and before this.
            wall: Whose weeks.
            until: No event is later; where the clock's changes need not be known any more.

        """
        clock = wall.over(start, max(end, until or end))
        cohorts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        text = clock.fill(queries.RETENTION)
        span = {"app": app, "start": start, "end": end}
        for cohort, week, n in self._ask(text, queries.SHARED, **span, **clock.values):
            cohorts[week_name(cohort)][week_name(week)] += int(n)
        return {cohort: dict(sorted(weeks.items())) for cohort, weeks in sorted(cohorts.items())}

    def funnel(
        self, app: str, start: int, end: int, steps: Sequence[str], window: int = WEEK_MS
    ) -> list[int]:
        """Return how many persons got to each step; ``window`` in milliseconds."""
        names = {f"step_{n}": step for n, step in enumerate(steps)}
        rows = self._ask(
            queries.funnel(len(steps)), queries.SHARED, app=app, start=start, end=end,
            last=end + window, window=window, **names,
        )  # fmt: skip
        return [int(n) for _, n in sorted(rows)]

    # --- errors --------------------------------------------------------------------------------

    def error_groups(self, app: str, start: int, end: int) -> list[Record]:
        """Return the errors of an interval by hash, most frequent first."""
        groups: dict[str, Record] = {}
        for name, said, n, first, last in self._stacks(app, start, end):
            hash_ = error_hash(name, _text(said))
            group = groups.setdefault(
                hash_,
                {"hash": hash_, "name": name, "count": 0, "firstSeen": first, "lastSeen": last},
            )
            group["count"] += int(n)
            group["firstSeen"] = min(group["firstSeen"], first)
            group["lastSeen"] = max(group["lastSeen"], last)
        return sorted(groups.values(), key=lambda one: (-one["count"], one["hash"]))

    def error_group(self, app: str, start: int, end: int, wanted: str) -> Record | None:
        """Return one group: its devices, its versions, and the latest of its errors."""
        ways = [
            (name, said, int(n), first, last)
            for name, said, n, first, last in self._stacks(app, start, end)
            if error_hash(name, _text(said)) == wanted
        ]
        if not ways:
            return None
        name = ways[0][0]
        which = {
            "app": app, "start": start, "end": end, "name": name, "stack": "stack",
            "stacks": [said for _, said, *_ in ways],
        }  # fmt: skip
        (row,) = self._ask(queries.STACK_SAMPLE, **which)
        return {
            "hash": wanted,
            "name": name,
            "count": sum(n for _, _, n, _, _ in ways),
            "firstSeen": min(first for *_, first, _ in ways),
            "lastSeen": max(last for *_, last in ways),
            "devices": self._ask(queries.STACK_DEVICES, **which),
            "versions": self._ask(queries.STACK_VERSIONS, **which),
            "sample": Stored(*row),
        }

    def _stacks(self, app: str, start: int, end: int) -> list[Row]:
        return self._ask(queries.STACKS, app=app, start=start, end=end, stack="stack")

    def arrivals(self, app: str, since: int) -> tuple[int, int, int]:
        """Return how many events came since then, the sum of their delays, and the last receipt."""
        ((count, late, last),) = self._ask(queries.ARRIVALS, app=app, since=since)
        return int(count), int(late), int(last)

    # --- all that is held about one person -----------------------------------------------------

    def held(self, app: str, who: Person, devices: Sequence[str]) -> dict[str, int]:
        """Return how many rows of each table are about a person and their own devices."""
        whose = _whose(app, who, devices)
        return {table: int(self._ask(text, **whose)[0][0]) for table, text in queries.HELD.items()}

    def held_facts(self, app: str, who: Person, devices: Sequence[str]) -> dict[str, list[Row]]:
        """Return what is held besides events, by name, as :mod:`collector.store.queries_more`."""
        whose = _whose(app, who, devices)
        return {name: self._ask(text, **whose) for name, text in queries.EXPORTED.items()}

    def held_rows(self, app: str, who: Person, devices: Sequence[str]) -> Iterator[list[Stored]]:
        """Yield a person's events by time, a slice at a time."""
        whose = _whose(app, who, devices)
        at, a, b = -1, 0, 0
        while True:
            rows = [
                Stored(*row)
                for row in self._ask(queries.EXPORTED_ROWS, at=at, a=a, b=b, limit=SLICE, **whose)
            ]
            if rows:
                yield rows
            if len(rows) < SLICE:
                return
            at, a, b = rows[-1].ts, rows[-1].key_a, rows[-1].key_b


def _whose(app: str, who: Person, devices: Sequence[str]) -> dict[str, Any]:
    return {"app": app, "user": who.user, "devices": list(devices) or NO_DEVICE}


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None


def _text(said: str) -> str:
    """Return an attribute's text, '' if it is none."""
    return str(json.loads(said)) if said.startswith('"') else ""
