"""One WebSocket of the tracking API: frames in, replies out.

Invariants:
    1. Frames enter the sink in order and are answered in order, but the next is read while the
       last becomes durable, so that many share one commit.
    2. A frame that asked to hear of its delivery is answered when there is something to hear, and
       holds up neither the frames behind it nor the room that frames in flight have.
    3. When the far side has gone, nothing waits for a delivery any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec
from starlette.types import Receive, Send

from tracking.acknowledging import Arrival, told
from tracking.events import Frame
from tracking.sink import Origin

FRAMES_IN_FLIGHT: Final = 64  #: Of one WebSocket; enough to fill a group commit.


class Answered(msgspec.Struct, frozen=True):
    """What the sink made of a frame.

    Attributes:
        reply: To be sent.
        arrival: What to wait for before it is sent, if the sender asked for that.
        wait_s: How long; None if it did not ask, or if there is nothing to hope for.

    """

    reply: bytes
    arrival: Arrival | None = None
    wait_s: float | None = None


class Room(Protocol):
    """Bounds the bytes of frames that were read and are not yet safe."""

    async def enter(self, size: int) -> None: ...
    async def leave(self, size: int) -> None: ...


class Route(Protocol):
    """What a conversation asks of the route that it is on."""

    async def understand(self, app_id: str, raw: bytes | str) -> Frame: ...
    async def answer(self, app_id: str, frame: Frame, origin: Origin) -> Answered: ...


async def arrives(
    arrival: Arrival | None, within_s: float, gone: Callable[[], Awaitable[object]] | None = None
) -> bool:
    """Wait for an arrival; return whether it came.

    Args:
        arrival: None where durable is delivered.
        within_s: How long to wait.
        gone: Ends when nobody waits for the answer any more; it is cancelled with the wait.

    """
    if arrival is None:
        return True
    came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    give_up = arrival.tell(lambda: None if came.done() else came.set_result(None))
    leaving = None if gone is None else asyncio.ensure_future(gone())
    try:
        waiting: set[asyncio.Future[Any]] = {came} if leaving is None else {came, leaving}
        await asyncio.wait(waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        return came.done()
    finally:
        give_up()
        if leaving is not None:
            leaving.cancel()


class Conversation:
    """One connection.

    Args:
        route: Understands and answers.
        room: Shared by all connections of the route.
        app_id: Whose.
        origin: Where its frames come from.

    """

    def __init__(self, route: Route, room: Room, app_id: str, origin: Origin) -> None:
        self.route = route
        self.room = room
        self.app_id = app_id
        self.origin = origin
        self._answers: asyncio.Queue[_Pending | None] = asyncio.Queue(FRAMES_IN_FLIGHT)
        self._patience = asyncio.Semaphore(FRAMES_IN_FLIGHT)
        self._waiting: set[asyncio.Task[None]] = set()

    async def hold(self, receive: Receive, send: Send, now_ms: Callable[[], int]) -> None:
        """Converse until the far side leaves."""
        async with asyncio.TaskGroup() as both:  # a bug in one ends the other
            both.create_task(self._answer(send))
            while (message := await receive())["type"] == "websocket.receive":
                raw = message.get("text")
                if raw is None:
                    raw = message["bytes"]
                size = len(raw)
                await self.room.enter(size)
                frame = await self.route.understand(self.app_id, raw)
                del message, raw
                wait_s = None if frame.asked is None else frame.asked.wait_s
                origin = msgspec.structs.replace(self.origin, received_ms=now_ms(), wait_s=wait_s)
                if wait_s is None:
                    task = asyncio.create_task(self.route.answer(self.app_id, frame, origin))
                    del frame  # understood it is several times its size; replies may wait for long
                    await self._answers.put(_Pending(size, task))
                    continue
                await self._patience.acquire()
                late = both.create_task(self._late(size, frame, origin))
                self._waiting.add(late)
                late.add_done_callback(self._waiting.discard)
                del frame
            for late in tuple(self._waiting):
                late.cancel()  # invariant 3
            await self._answers.put(None)

    async def _late(self, size: int, frame: Frame, origin: Origin) -> None:
        """Answer a frame whose sender wants to hear of its delivery."""
        try:
            try:
                answered = await self.route.answer(self.app_id, frame, origin)
            finally:
                await self.room.leave(size)  # it is safe, or nowhere
            del frame
            reply = answered.reply
            if answered.wait_s is not None:
                reply = told(reply, await arrives(answered.arrival, answered.wait_s))
            await self._answers.put(_Pending(0, _done(Answered(reply))))
        finally:
            self._patience.release()

    async def _answer(self, send: Send) -> None:
        """Send the replies; when the far side has gone, only wait for the sink."""
        gone = False
        while (pending := await self._answers.get()) is not None:
            answered = await pending.task
            if pending.size:
                await self.room.leave(pending.size)
            if gone:
                continue
            try:
                await send({"type": "websocket.send", "text": answered.reply.decode()})
            except OSError:
                gone = True


class _Pending(msgspec.Struct, frozen=True):
    """A frame on its way to the disk; its size is 0 if it holds no room any more."""

    size: int
    task: asyncio.Future[Answered]


def _done(answered: Answered) -> asyncio.Future[Answered]:
    future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
    future.set_result(answered)
    return future
