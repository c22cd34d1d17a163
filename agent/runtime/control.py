"""What a person may ask of the agent, carried out on the core's loop.

The routes of the local API and the in-process door both call these; so what works through one
door works through the other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar, cast

import msgspec

from agent.adapters.local.api import SendBody
from agent.client import News
from agent.door import Check, QueuedEvent, Sent, Status, WireEntry
from agent.door.asking import Request
from agent.door.wire import ReadWire
from agent.runtime.answering import handlers
from agent.runtime.core import Core
from agent.runtime.counter.waiting import Streams
from agent.runtime.doctor import examine
from tracking.endpoints import Origin, Receipt
from tracking.errors import RequestFault
from tracking.events import Limits
from tracking.nucleus import parse_frame

EXPORT_SLICE = 500  #: Events read between two turns of the loop.

T = TypeVar("T")


class Controls:
    """Implements :class:`agent.adapters.local.api.Control`.

    Args:
        core: Decides.
        limits: Of one event.

    """

    def __init__(self, core: Core, limits: Limits) -> None:
        self.core = core
        self.limits = limits
        self.handlers = handlers(core)

    def status(self) -> Status:
        return self.core.status()

    async def ask(self, request: Request[T]) -> T:
        """Answer a request of ``agent.door.table``.

        Raises:
            Fault: As its handler says.

        """
        return cast(T, await self.handlers[type(request)](request))

    def watch(self, *, events: bool, face: bool = False) -> AsyncGenerator[News, None]:
        """Yield what a watcher is told."""
        before = self.core.intake.passing if events else ()
        return self.core.watchers.news(events=events, face=face, before=tuple(before))

    async def news(self, *, events: bool, face: bool) -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(self.watch(events=events, face=face)) as stream:
            async for news in stream:
                yield msgspec.json.encode(news)

    async def send(self, body: SendBody) -> Sent:
        """Accept one event from a person's tool.

        Raises:
            Fault: As an app would be told; with ``wait = "delivered"`` also that the far end
                did not confirm in time, although the event is kept.

        """
        core = self.core
        app_id = body.app_id or core.board.default_app
        if app_id is None:
            if (refusal := core.consents.refusal("")) is not None:
                raise refusal
            raise RequestFault(
                "there is no app to send for",
                field="app_id",
                advice="Declare one in homing.toml, or run `homing keep-here`.",
            )
        if (refusal := core.consents.refusal(app_id)) is not None:
            raise refusal
        event: dict[str, object] = {"type": body.type, "name": body.name}
        if body.payload is not None:
            event["payload"] = body.payload
        frame = parse_frame(msgspec.json.encode({"data": [event]}), limits=self.limits)
        if frame.refused:
            raise frame.refused[0].fault
        if not frame.events:
            raise RequestFault("a heartbeat is the agent's own, not an event", field="type")
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Receipt] = loop.create_future()
        delivered: asyncio.Future[None] = loop.create_future()
        made: list[str] = []

        def accepted(receipt: Receipt) -> None:
            if not answered.done():
                answered.set_result(receipt)

        def arrived() -> None:
            if not delivered.done():
                delivered.set_result(None)

        def ids(streams: Streams) -> None:
            made.extend(streams)
            if body.wait == "delivered":
                core.waiters.expect(streams, arrived)

        core.intake.take(
            app_id,
            frame,
            Origin(transport="http", connection=0, peer="person", received_ms=core.means.wall_ms()),
            accepted,
            ids=ids,
        )
        receipt = await answered
        if receipt.fault is not None:
            raise receipt.fault
        if body.wait == "delivered" and made:
            try:
                await asyncio.wait_for(delivered, min(max(body.timeout_s, 0.1), 3600.0))
            except TimeoutError:
                return Sent(ids=tuple(made), delivered=False)
            finally:  # also if who asked has gone
                core.waiters.give_up(made)
            return Sent(ids=tuple(made), delivered=True)
        return Sent(ids=tuple(made), delivered=False)

    async def pause(self, for_s: float | None, reason: str) -> Status:
        self.core.pause(for_s, reason)
        return self.core.status()

    async def resume(self) -> Status:
        self.core.resume()
        return self.core.status()

    async def retry(self, app_id: str | None) -> Status:
        core = self.core
        if app_id is not None and not core.departures.of(app_id):
            raise RequestFault(f"the app {app_id!r} has no far end", field="app_id", status=404)
        if core.board.pause is None:
            core.departures.go_on(app_id)
        return core.status()

    async def keep_here(self) -> Status:
        self.core.keep_here()
        return self.core.status()

    async def outbox(self, app_id: str | None, limit: int) -> tuple[QueuedEvent, ...]:
        rows = self.core.outbox.queued(app_id, limit)
        return tuple(
            QueuedEvent(
                id=row.id, app_id=row.app_id, accepted_ms=row.accepted_ms, body=row.body.decode()
            )
            for row in rows
        )

    async def export(self, app_id: str | None) -> AsyncIterator[bytes]:
        rows = []
        for row in self.core.outbox.export(app_id):
            rows.append(row.body)
            if len(rows) >= EXPORT_SLICE:
                yield b"\n".join(rows) + b"\n"
                rows.clear()
                await asyncio.sleep(0)
        if rows:
            yield b"\n".join(rows) + b"\n"

    async def dead_letters(self, app_id: str | None, limit: int) -> tuple[QueuedEvent, ...]:
        outbox = self.core.outbox
        names = {
            lane.stream: lane.way.name
            for desk in self.core.desks.values()
            for lane in (*desk.lanes, *desk.forgotten)
        }
        return tuple(
            QueuedEvent(
                id=letter.id,
                app_id=letter.app_id,
                accepted_ms=letter.buried_ms,
                body=letter.body.decode(),
                reason=letter.reason,
                detail=letter.detail,
                upstream=names.get(outbox.stream(letter.app_id, letter.queue), letter.queue),
            )
            for letter in outbox.letters(app_id, limit)
        )

    async def retry_dead(self, ids: tuple[str, ...] | None) -> int:
        core = self.core
        with core.outbox.turn():
            revived = core.outbox.revive(ids, core.means.wall_ms())
        core.departures.offer_all()
        core.watchers.changed()
        return revived

    async def drop_dead(self, ids: tuple[str, ...] | None) -> int:
        core = self.core
        with core.outbox.turn():
            dropped = core.outbox.drop_letters(ids)
        core.watchers.changed()
        return dropped

    async def wire(self, app_id: str | None, limit: int) -> tuple[WireEntry, ...]:
        return (await self.core.wire.read(ReadWire(app_id=app_id, limit=limit))).entries

    async def doctor(self) -> tuple[Check, ...]:
        return await examine(self.core)

    async def raise_window(self) -> bool:
        raised = self.core.on_raise
        if raised is not None:
            raised()
            return True
        return self.core.watchers.raise_faces()

    async def stop(self) -> None:
        # a moment later, so that this answer still gets out
        asyncio.get_running_loop().call_later(0.05, self.core.stopping.set)
