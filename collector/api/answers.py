"""The answers of the seeds: analytics, users, what is live. One method for each endpoint.

Each asks the questions in a thread and says the answer as :mod:`collector.api.shapes`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import msgspec
from starlette.responses import StreamingResponse

from collector.api import saying, shapes
from collector.api.parameters import MOST_ROWS, Asked
from collector.api.threads import Threads
from collector.intake.presence import Presence
from collector.store.interface import Store
from collector.store.questions import Questions
from collector.store.questions_daily import MOST_VALUES
from collector.store.questions_people import Person, Record
from tracking.errors import RequestFault
from tracking.strict_json import clip

T = TypeVar("T")
LIVE_EVENTS = 100
LIVE_WINDOW_MS = 30 * 60 * 1000
STREAMED = 1_000  #: A list that may be longer is sent as it is read.


@dataclass(frozen=True, slots=True)
class Asking:
    """What every answer stands on.

    Args:
        store: Knows the past.
        presence: Knows the present.
        threads: Where the store is asked.

    """

    store: Store
    presence: Presence
    threads: Threads

    async def ask(self, question: Callable[[Questions], T], *, heavy: bool = True) -> T:
        """Ask in a thread; the deadline runs from the moment at which it has one."""
        within_s = self.threads.within_s
        return await self.threads.run(
            lambda: question(Questions(self.store, within_s)), heavy=heavy
        )

    async def person(self, app: str, asked: Asked) -> Person:
        """Return whom ``:userId`` means.

        Raises:
            RequestFault: Nobody (404).

        """
        wanted = asked.path["userId"]
        who = await self.ask(lambda q: q.find(app, wanted))
        if who is None:
            raise RequestFault(f"nobody here is {clip(wanted)}", field="userId", status=404)
        return who


class SeedAnswers(Asking):
    """The thirteen endpoints of the seeds, but for the deletion."""

    # --- analytics -----------------------------------------------------------------------------

    async def quickglance(self, app: str, asked: Asked) -> object:
        said = await self.ask(lambda q: q.quickglance(app, asked.now_ms), heavy=False)
        return shapes.Data(msgspec.convert(said, shapes.Glance))

    async def daily(self, app: str, asked: Asked) -> object:
        (start, end), wall = asked.interval(), asked.wall()
        said = await self.ask(lambda q: q.daily(app, start, end, wall))
        return shapes.Data(msgspec.convert(said, shapes.Daily))

    async def events(self, app: str, asked: Asked) -> object:
        (start, end), wall = asked.interval(), asked.wall()
        return shapes.Data(await self.ask(lambda q: q.by_name(app, start, end, wall)))

    async def errors(self, app: str, asked: Asked) -> object:
        (start, end), wall = asked.interval(), asked.wall()
        return shapes.Data(await self.ask(lambda q: q.by_name(app, start, end, wall, "error")))

    async def eventsprops(self, app: str, asked: Asked) -> object:
        (start, end), _ = asked.interval(), asked.wall()
        return shapes.Data(await self.ask(lambda q: q.eventsprops(app, start, end)))

    async def one_event(self, app: str, asked: Asked) -> object:
        (start, end), wall, event = asked.interval(), asked.wall(), asked.path["event"]
        return shapes.Data(await self.ask(lambda q: q.one_event(app, start, end, wall, event)))

    async def values(self, app: str, asked: Asked) -> object:
        (start, end), _, limit = asked.interval(), asked.wall(), asked.limit() or MOST_VALUES
        event, attr = asked.path["event"], asked.path["attr"]
        return shapes.Data(
            await self.ask(lambda q: q.attribute_counts(app, start, end, event, attr, limit))
        )

    # --- users ---------------------------------------------------------------------------------

    async def users(self, app: str, asked: Asked) -> object:
        skip, limit = asked.part()[0], asked.limit()
        people = await self.ask(lambda q: q.everybody(app))
        total, people = len(people), people[skip : None if limit is None else skip + limit]
        if len(people) <= STREAMED:
            found = await self.ask(lambda q: [r for part in q.details(app, people) for r in part])
            return shapes.Listing(total, [saying.user_row(record) for record in found])

        def read(at: int) -> Callable[[Questions], list[Record]]:
            some = people[at : at + STREAMED]
            return lambda q: [record for part in q.details(app, some) for record in part]

        async def parts() -> AsyncIterator[bytes]:
            yield b'{"total":%d,"data":[' % total
            for at in range(0, len(people), STREAMED):
                rows = [saying.user_row(record) for record in await self.ask(read(at))]
                yield (b"," if at else b"") + msgspec.json.encode(rows)[1:-1]
            yield b"]}"

        return StreamingResponse(parts(), media_type="application/json")

    async def user(self, app: str, asked: Asked) -> object:
        who = await self.person(app, asked)
        record = await self.ask(lambda q: q.user(app, who))
        if record is None:  # erased between two looks
            raise RequestFault("nobody here is that any more", field="userId", status=404)
        sessions = await self.ask(lambda q: q.sessions_of(app, who))
        return shapes.UserDetails(
            saying.user_record(app, record), [saying.session_row(one) for one in sessions]
        )

    async def session(self, app: str, asked: Asked) -> object:
        who, session, device = (
            await self.person(app, asked),
            asked.path["sessionId"],
            asked.device(),
        )
        devices = await self.ask(lambda q: q.session_devices(app, who, session))
        if device is not None:
            devices = [one for one in devices if one == device]
        if not devices:
            raise RequestFault(
                f"this person had no session {clip(session)} there", field="sessionId", status=404
            )
        if len(devices) > 1:
            raise RequestFault(
                f"{len(devices)} devices had a session {clip(session)}: name one", field="device"
            )
        (device,) = devices
        rows = await self.ask(lambda q: q.session_rows(app, who, device, session, MOST_ROWS))
        sights = await self.ask(lambda q: q.sights(app, [device]))
        return shapes.Data(saying.event_rows(rows, sights))

    # --- live ----------------------------------------------------------------------------------

    async def live_events(self, app: str, asked: Asked) -> object:
        since = asked.now_ms - LIVE_WINDOW_MS
        rows = await self.threads.run(
            lambda: self.store.newest(app, since, LIVE_EVENTS), heavy=False
        )
        return shapes.Data([saying.event_row(row, first) for row, first in rows])

    async def live_users(self, app: str, asked: Asked) -> object:
        del asked
        return shapes.Data([saying.live_user(app, one) for one in self.presence.live(app)])

    async def live_count(self, app: str, asked: Asked) -> object:
        del asked
        return shapes.Data(len(self.presence.live(app)))


def shown(rows: list[T], skip: int, limit: int) -> list[T]:
    """Return a part of a list."""
    return list(islice(rows, skip, skip + limit))
