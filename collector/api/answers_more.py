"""The answers beyond the seeds: companies, feedback, retention, funnels, errors, export, status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec
from starlette.responses import StreamingResponse

from collector.api import saying, shapes
from collector.api.answers import SeedAnswers, shown
from collector.api.parameters import Asked
from collector.intake.rows import exported
from collector.store.interface import Stored
from collector.store.local_time import DAY_MS
from collector.store.questions import Questions
from collector.store.questions_people import Person
from tracking.dates import iso
from tracking.errors import RequestFault
from tracking.strict_json import clip

PAGE = 100  #: Rows if no limit is named, where everything could be very much.
MOST_DEVICES = 1_000
MINUTE_MS = 60_000

#: What an export calls the columns of facts.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "stays": ("deviceId", "sessionId", "userId", "start", "end"),
    "attributes": ("key", "value", "time", "receivedAt"),
    "memberships": ("companyId", "time", "receivedAt"),
    "feedback": ("feedbackId", "time", "receivedAt", "raw"),
    "rawItems": ("receivedAt", "source", "type", "note", "raw"),
}
_MOMENTS = frozenset({"start", "end", "time", "receivedAt"})


@dataclass(frozen=True, slots=True)
class MoreAnswers(SeedAnswers):
    """What is beyond the seeds.

    Args:
        waiting: Tells how many events wait for the disk.
        kept_days: Tells how many days an app's events are kept; 0: for ever.

    """

    waiting: Callable[[], int] = lambda: 0
    kept_days: Callable[[str], int] = lambda _: 0

    # --- companies -----------------------------------------------------------------------------

    async def companies(self, app: str, asked: Asked) -> object:
        skip, limit = asked.part()

        def read(q: Questions) -> tuple[int, list[dict[str, Any]]]:
            known = q.companies(app)
            return len(known), q.company_details(app, shown(known, skip, limit))

        total, found = await self.ask(read)
        return shapes.Listing(total, [saying.company(one) for one in found])

    async def company(self, app: str, asked: Asked) -> object:
        wanted = asked.path["companyId"]
        found = await self.ask(lambda q: q.company(app, wanted))
        if found is None:
            raise _no_company(wanted)
        return shapes.Data(saying.company_record(found))

    async def company_events(self, app: str, asked: Asked) -> object:
        wanted, (skip, limit) = asked.path["companyId"], asked.part(PAGE)

        def read(q: Questions) -> tuple[bool, list[Stored], dict[str, int]]:
            known = any(one["companyId"] == wanted for one in q.companies(app))
            rows = q.company_rows(app, wanted, skip, limit) if known else []
            return known, rows, q.sights(app, [row.device_id for row in rows if row.device_id])

        known, rows, sights = await self.ask(read)
        if not known:
            raise _no_company(wanted)
        return shapes.Data(saying.event_rows(rows, sights))

    # --- feedback ------------------------------------------------------------------------------

    async def feedback(self, app: str, asked: Asked) -> object:
        (start, end), (skip, limit) = asked.interval(optional=True), asked.part(PAGE)
        total, rows = await self.ask(
            lambda q: (
                q.feedback_count(app, start, end),
                q.feedback(app, start, end, skip, limit),
            )
        )
        return shapes.Listing(total, [saying.feedback_row(row) for row in rows])

    async def feedback_average(self, app: str, asked: Asked) -> object:
        start, end = asked.interval(optional=True)
        found = await self.ask(lambda q: q.feedback_averages(app, start, end))
        return shapes.Data(
            [shapes.FeatureScore(feature, *score) for feature, score in sorted(found.items())]
        )

    async def feedback_days(self, app: str, asked: Asked) -> object:
        (start, end), wall = asked.interval(), asked.wall()
        found = await self.ask(lambda q: q.feedback_days(app, start, end, wall))
        return shapes.Data({day: shapes.DayScore(*score) for day, score in found.items()})

    # --- retention, funnels, errors ------------------------------------------------------------

    async def retention(self, app: str, asked: Asked) -> object:
        (start, end), wall = asked.interval(), asked.wall()
        found = await self.ask(lambda q: q.retention(app, start, end, wall, asked.now_ms))
        return shapes.Data([_cohort(week, weeks) for week, weeks in found.items()])

    async def funnel(self, app: str, asked: Asked) -> object:
        (start, end), steps, window = asked.interval(), asked.steps(), asked.window_ms()
        counts = await self.ask(lambda q: q.funnel(app, start, end, steps, window))
        return shapes.Data(
            [shapes.FunnelStep(step, n) for step, n in zip(steps, counts, strict=True)]
        )

    async def error_groups(self, app: str, asked: Asked) -> object:
        (start, end), (skip, limit) = asked.interval(optional=True), asked.part(PAGE)
        found = await self.ask(lambda q: q.error_groups(app, start, end))
        groups = [
            shapes.ErrorGroup(
                one["hash"],
                one["name"],
                one["count"],
                iso(one["firstSeen"]),
                iso(one["lastSeen"]),
            )
            for one in shown(found, skip, limit)
        ]
        return shapes.Listing(len(found), groups)

    async def error_group(self, app: str, asked: Asked) -> object:
        (start, end), wanted = asked.interval(optional=True), asked.path["hash"]
        found = await self.ask(lambda q: q.error_group(app, start, end, wanted))
        if found is None:
            raise RequestFault(
                f"no error of this interval is {clip(wanted)}", field="hash", status=404
            )
        sample: Stored = found["sample"]
        sights = await self.ask(lambda q: q.sights(app, [sample.device_id]))
        devices = [
            shapes.ErrorDevice(device, n, iso(first), iso(last))
            for device, n, first, last in found["devices"]
            if device
        ]
        return shapes.Data(
            shapes.ErrorRecord(
                hash=wanted,
                name=found["name"],
                count=found["count"],
                first_seen=iso(found["firstSeen"]),
                last_seen=iso(found["lastSeen"]),
                device_count=len(devices),
                devices=devices[:MOST_DEVICES],
                versions=[shapes.TextCount(value, n) for value, n in found["versions"] if value],
                stack=saying.stack_of(sample),
                sample=saying.event_row(sample, sights.get(sample.device_id) == sample.ts),
            )
        )

    # --- one person, and the collector ---------------------------------------------------------

    async def export(self, app: str, asked: Asked) -> object:
        """Stream one JSON object; nothing is read before the one before it was sent."""
        who = await self.person(app, asked)
        record, sessions, devices = await self.ask(
            lambda q: (q.user(app, who), q.sessions_of(app, who), q.devices_of(app, who))
        )
        facts = await self.ask(lambda q: q.held_facts(app, who, devices))
        head: dict[str, object] = {
            "appId": app,
            "exportedAt": iso(asked.now_ms),
            "user": None if record is None else saying.user_record(app, record),
            "sessions": [saying.session_row(one) for one in sessions],
            "devices": devices,
            **{name: [_fact(name, row) for row in rows] for name, rows in facts.items()},
        }

        async def parts() -> AsyncIterator[bytes]:
            yield msgspec.json.encode(head)[:-1] + b',"events":['
            async for part in self._held_events(app, who, devices):
                yield part
            yield b"]}"

        name = f'attachment; filename="person-{iso(asked.now_ms)[:10]}.json"'
        return StreamingResponse(
            parts(), media_type="application/json", headers={"Content-Disposition": name}
        )

    async def _held_events(self, app: str, who: Person, devices: list[str]) -> AsyncIterator[bytes]:
        slices = Questions(self.store, 600.0).held_rows(app, who, devices)
        first = True
        while (rows := await self.threads.run(lambda: next(slices, None))) is not None:
            lines = b",".join(exported(row).rstrip() for row in rows)
            yield lines if first else b"," + lines
            first = False

    async def reckoning(self, app: str, asked: Asked) -> object:
        (start, end), devices = asked.interval(), asked.devices()
        days = self.kept_days(app)

        def read(q: Questions) -> shapes.Reckoning:
            count, last = q.erasures(app, start)
            return shapes.Reckoning(
                hours=[
                    shapes.ReckonedHour(one.device, iso(one.hour_ms), *one[2:])
                    for one in q.reckoning(app, start, end, devices)
                ],
                erasures=shapes.Erasures(count, saying.moment(last)),
                kept_since=iso(asked.now_ms - days * DAY_MS) if days else None,
            )

        return shapes.Data(await self.ask(read))

    async def condition(self, app: str, asked: Asked) -> object:
        now = asked.now_ms

        def read(q: Questions) -> shapes.Condition:
            count, late, last = q.arrivals(app, now - MINUTE_MS)
            return shapes.Condition(
                engine=self.store.dialect,
                size_bytes=self.store.size_bytes(),
                events=self.store.count(app),
                unswept=self.store.unswept,
                events_per_second=round(count / 60, 3),
                lag_ms=round(late / count, 3) if count else None,
                last_received=saying.moment(last),
                waiting=self.waiting(),
                live=len(self.presence.live(app)),
            )

        return shapes.Data(await self.ask(read, heavy=False))


def _no_company(wanted: str) -> RequestFault:
    return RequestFault(f"no company here is {clip(wanted)}", field="companyId", status=404)


def _cohort(week: str, weeks: Mapping[str, int]) -> shapes.Cohort:
    first = date.fromisoformat(week)
    cells = {(date.fromisoformat(name) - first).days // 7: n for name, n in weeks.items()}
    return shapes.Cohort(
        week, cells.get(0, 0), [cells.get(k, 0) for k in range(max(cells, default=0) + 1)]
    )


def _fact(name: str, row: tuple[Any, ...]) -> dict[str, object]:
    return {
        key: iso(value) if key in _MOMENTS else value
        for key, value in zip(COLUMNS[name], row, strict=True)
    }
