"""The people's half of the model: users, companies, feedback, and what goes beyond the seeds."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from model import DAY, Clock, Json, Model, Person, attributes, row_name, spelled_platform

from collector.store.interface import INACTIVE, Stored

WEEK = 7 * DAY


def latest(events: Iterable[Stored], column: str) -> str:
    """Return the latest non-empty value, of equal times the greatest."""
    said = [(event.ts, getattr(event, column)) for event in events if getattr(event, column)]
    return max(said)[1] if said else ""


def averaged(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


class PeopleModel(Model):
    """The whole model."""

    # --- the list ------------------------------------------------------------------------------

    def everybody(self) -> dict[Person, list[Stored]]:
        """Return who is in the list, each with the events that belong to it."""
        people = dict(self.persons(self.events))
        called = [one.id for one in self.seen if one.kind == "user"]
        for user in called:
            people.setdefault(("u", user), [])
        return people

    def id_of(self, who: Person) -> str:
        text = f"{self.app}\0{who[0]}\0{who[1]}"
        return hashlib.md5(text.encode()).hexdigest()[:24]

    def users(self) -> list[dict[str, Json]]:
        found = [self.user(who, theirs) for who, theirs in self.everybody().items()]
        return sorted(found, key=lambda one: (-(one["lastSeen"] or 0), one["_id"]))

    def user(self, who: Person, theirs: list[Stored]) -> dict[str, Json]:
        """Return one of the list; times in Unix milliseconds."""
        named = who[1] if who[0] == "u" else ""
        devices = {event.device_id for event in theirs} - {""}
        stays = [stay for stay in self.beats if stay.device_id in devices and stay.user_id == named]
        calls = [one for one in self.seen if one.kind == "user" and named and one.id == named]
        active = [event.ts for event in theirs if not event.flags & INACTIVE]
        times = active + [stay.last_ts for stay in stays] + [one.last_ts for one in calls]
        rows = []
        for device in devices:
            on_it = [event for event in theirs if event.device_id == device]
            there = [stay.last_ts for stay in stays if stay.device_id == device]
            rows.append(
                {
                    "_id": device,
                    "lastSeen": max([event.ts for event in on_it] + there),
                    "platform": spelled_platform(latest(on_it, "platform")) or None,
                    "osVersion": latest(on_it, "os_version") or None,
                    "version": latest(on_it, "version") or None,
                }
            )
        rows.sort(key=lambda row: (-int(row["lastSeen"]), row["_id"]))
        if named:
            created = self.first_of_user.get(named)
        else:
            created = min(event.ts for event in theirs)
        sets = self._sets(theirs)
        props: dict[str, Json] = {}
        for _, said in sorted(sets.values(), key=lambda one: one[0]):
            props |= said
        if named:
            props |= self.bucket_attributes("user", named)
        return {
            "_id": self.id_of(who),
            "userId": named or None,
            "anonId": None if named else who[1],
            "createdAt": created,
            "lastSeen": max(times, default=0) or None,
            "devices": rows,
            "props": props,
            "propsByDevice": {device: said for device, (_, said) in sets.items()},
        }

    @staticmethod
    def _sets(theirs: list[Stored]) -> dict[str, tuple[tuple[int, str], dict[str, Json]]]:
        """Return the latest set of each device, with its time."""
        newest: dict[str, tuple[int, int, str]] = {}
        for event in theirs:
            full = event.payload and json.loads(event.payload)
            if event.device_id and (
                (event.kind == "props" and event.payload)
                or (event.kind in ("userid", "init") and full)
            ):
                sent = (event.ts, event.recv_ts, event.payload)
                newest[event.device_id] = max(sent, newest.get(event.device_id, sent))
        return {
            device: (
                (ts, device),
                {k: v for k, v in json.loads(payload).items() if v is not None},
            )
            for device, (ts, _, payload) in newest.items()
        }

    def bucket_attributes(self, kind: str, id_: str) -> dict[str, Json]:
        """BUCKET.md §6 row 18: per key the latest wins."""
        newest: dict[str, tuple[int, int, str]] = {}
        for one in self.attributes:
            if (one.kind, one.id) == (kind, id_):
                said = (one.ts, one.recv_ts, one.value)
                newest[one.key] = max(said, newest.get(one.key, said))
        return {key: json.loads(said[2]) for key, said in newest.items()}

    def find(self, wanted: str) -> Person | None:
        """Resolve ``:userId``: as userId, then as ``_id``, then as anonId."""
        people = self.everybody()
        if ("u", wanted) in people:
            return ("u", wanted)
        for who in people:
            if self.id_of(who) == wanted:
                return who
        return ("a", wanted) if ("a", wanted) in people else None

    def sessions_of(self, who: Person) -> list[dict[str, Json]]:
        """Return the sessions of one person, newest first."""
        if who[0] == "u":
            theirs = [one for one in self.sessions() if who[1] in one.users]
        else:
            devices = {event.device_id for event in self.everybody()[who]}
            theirs = [one for one in self.sessions() if one.device in devices]
        return [
            {
                "device": one.device,
                "session": one.session,
                "start": one.start,
                "end": one.end,
                "actions": one.actions,
                "errors": one.errors,
            }
            for one in theirs
        ]

    # --- companies and feedback ----------------------------------------------------------------

    def companies(self) -> list[dict[str, Json]]:
        named = {event.company_id for event in self.events}
        named |= {one.id for one in self.seen if one.kind == "company"}
        found = [self.company(company) for company in named - {""}]
        return sorted(found, key=lambda one: (-(one["lastSeen"] or 0), one["companyId"]))

    def company(self, company: str) -> dict[str, Json]:
        events = [event for event in self.events if event.company_id == company]
        calls = [one for one in self.seen if (one.kind, one.id) == ("company", company)]
        firsts = [event.ts for event in events] + [one.first_ts for one in calls if one.first_ts]
        active = [event.ts for event in events if not event.flags & INACTIVE]
        return {
            "companyId": company,
            "firstSeen": min(firsts, default=None),
            "lastSeen": max(active + [one.last_ts for one in calls], default=0) or None,
            "users": sorted(
                {one.user_id for one in self.memberships if one.company_id == company}
                | {event.user_id for event in events if event.user_id}
            ),
            "events": len(events),
            "attributes": self.bucket_attributes("company", company),
        }

    def feedback(self, start: int, end: int) -> list[Any]:
        """Return each feedback as its last call left it, newest first."""
        newest: dict[str, Any] = {}
        for one in self.feedbacks:
            known = newest.get(one.feedback_id, one)
            newest[one.feedback_id] = max(known, one, key=lambda each: each.recv_ts)
        found = [one for one in newest.values() if start <= one.ts < end]
        return sorted(found, key=lambda one: (-one.ts, one.feedback_id))

    def feedback_days(
        self, start: int, end: int, clock: Clock
    ) -> dict[str, tuple[int, float | None]]:
        """Return per local day: how many, and the mean of the scores given."""
        found = {}
        for day in clock.days(start, end):
            scores = [one.score for one in self.feedback(start, end) if clock.day(one.ts) == day]
            found[day] = (len(scores), averaged([score for score in scores if score]))
        return found

    def feedback_averages(self, start: int, end: int) -> dict[str, tuple[int, float | None]]:
        """Return per feature: how many, and the mean of the scores given."""
        scores: defaultdict[str, list[float]] = defaultdict(list)
        for one in self.feedback(start, end):
            scores[one.feature].append(one.score)
        return {
            feature: (len(them), averaged([score for score in them if score]))
            for feature, them in scores.items()
        }

    # --- retention, funnel, errors -------------------------------------------------------------

    def persons_for_life(self) -> dict[Person, list[Stored]]:
        """Return userIds, and devices that never named anybody, with the events that are theirs.

        A nameless event of a device that named exactly one user ever is that user's.
        """
        found: defaultdict[Person, list[Stored]] = defaultdict(list)
        for event in self.events:
            named = self.named_on[event.device_id]
            if event.user_id:
                found["u", event.user_id].append(event)
            elif event.device_id and not named:
                found["d", event.device_id].append(event)
            elif event.device_id and len(named) == 1:
                (user,) = named
                found["u", user].append(event)
        return found

    @cached_property
    def named_on(self) -> defaultdict[str, set[str]]:
        """Who was ever named on each device."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for event in self.events:
            if event.user_id:
                found[event.device_id].add(event.user_id)
        return found

    def first_for_life(self, who: Person) -> int:
        """Return when a person was first seen: themselves, or a device that is only theirs."""
        if who[0] == "d":
            return self.first_of_device[who[1]]
        own = [device for device, named in self.named_on.items() if named == {who[1]}]
        firsts = [self.first_of_device[device] for device in own if device]
        return min([self.first_of_user[who[1]], *firsts])

    def retention(self, start: int, end: int, clock: Clock) -> dict[str, dict[str, int]]:
        """Return per cohort week how many of it had an event in which week."""
        cohorts: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
        for who, theirs in self.persons_for_life().items():
            first = self.first_for_life(who)
            if start <= first < end:
                for week in {clock.week(event.ts) for event in theirs}:
                    cohorts[clock.week(first)][week] += 1
        return {cohort: dict(weeks) for cohort, weeks in cohorts.items()}

    def funnel(self, start: int, end: int, steps: Sequence[str], window: int = WEEK) -> list[int]:
        """Return how many persons got to each step."""
        reached = [0] * len(steps)
        for theirs in self.persons_for_life().values():
            firsts = [
                event.ts
                for event in theirs
                if row_name(event) == steps[0] and start <= event.ts < end
            ]
            if not firsts:
                continue
            first = at = min(firsts)
            reached[0] += 1
            for n, step in enumerate(steps[1:], start=1):
                later = [
                    event.ts
                    for event in theirs
                    if row_name(event) == step and at <= event.ts <= first + window
                ]
                if not later:
                    break
                at = min(later)
                reached[n] += 1
        return reached

    def error_groups(self, start: int, end: int) -> list[dict[str, Json]]:
        """Return the errors of an interval by hash, the most frequent first."""
        groups: defaultdict[str, list[Stored]] = defaultdict(list)
        for event in self.inside(start, end):
            if event.kind == "error":
                groups[error_hash(event)].append(event)
        found = [
            {
                "hash": hash_,
                "name": theirs[0].name,
                "count": len(theirs),
                "firstSeen": min(event.ts for event in theirs),
                "lastSeen": max(event.ts for event in theirs),
            }
            for hash_, theirs in groups.items()
        ]
        return sorted(found, key=lambda one: (-int(one["count"]), one["hash"]))


def error_hash(event: Stored) -> str:
    """Return what an error is grouped by."""
    stack = attributes(event).get("stack")
    bare = re.sub(
        "[0-9]", "", re.sub("0x[0-9a-fA-F]+", "", stack if isinstance(stack, str) else "")
    )
    return hashlib.sha256(f"{event.name}\0{bare}".encode()).hexdigest()[:16]
