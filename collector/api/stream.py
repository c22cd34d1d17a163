"""``live/stream``: what ``live/users/count`` and ``live/events`` answer, pushed when it changes.

    client   Authorization header (refused before the upgrade), or {"token": "…"} as the
             first message, within five seconds
    server   {"type": "snapshot", "count": n, "events": [rows]}      at once
             {"type": "change", "count": n, "events": [new rows]}    at most once a second
    closes   4401 no token that opens this app, or not any more
             4403 it lacks the scope        1013 the client reads too slowly

One look a second for each app that somebody watches, however many do; nothing where nobody does. Of
a second with more than a hundred events the newest hundred are told, as ``live/events`` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from collector.access.tokens import Grant
from collector.api import saying
from collector.api.answers import LIVE_EVENTS, LIVE_WINDOW_MS, Asking
from collector.api.door import refusal
from collector.store.interface import Stored
from tracking.errors import Fault, RequestFault, StorageFault

log = logging.getLogger("collector.api")

LOOK_S = 1.0
TOKEN_S = 5.0  #: How long a first message may take.
MOST_UNREAD = 16  #: Messages that one client has not taken; one more ends it.
MOST_WATCHERS = 256  #: Of all apps.
MOST_MESSAGE_BYTES = 4096
SCOPE = "users:read"
UNAUTHORISED, FORBIDDEN, TOO_SLOW, FULL = 4401, 4403, 1013, 1013

Key = tuple[int, int, int]


@dataclass(slots=True, eq=False)
class _Watcher:
    """What one of them has not been sent yet, and whether that became too much."""

    unread: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(MOST_UNREAD))
    slow: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, message: bytes) -> None:
        try:
            self.unread.put_nowait(message)
        except asyncio.QueueFull:
            self.slow.set()


@dataclass(slots=True)
class _Channel:
    """What the watchers of one app are told."""

    watchers: set[_Watcher] = field(default_factory=set)
    task: asyncio.Task[None] | None = None
    count: int = -1
    rows: dict[Key, tuple[Stored, bool]] = field(default_factory=dict)


class _Over(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class LiveStream:
    """Serves all watchers.

    Args:
        asking: Knows what is live.
        grant: Returns what a token opens for an app; raises RequestFault 401, 403 or 429.
        now_ms: Unix milliseconds.

    """

    def __init__(
        self,
        asking: Asking,
        grant: Callable[[WebSocket, str, str, str], Awaitable[Grant]],
        now_ms: Callable[[], int],
    ) -> None:
        self.asking = asking
        self.grant = grant
        self.now_ms = now_ms
        self._apps: dict[str, _Channel] = {}

    async def endpoint(self, socket: WebSocket) -> None:
        """Speak with one watcher until either side ends it."""
        app = str(socket.path_params["app_id"])
        token = socket.headers.get("authorization", "")
        if token:
            try:
                await self.grant(socket, app, token, SCOPE)
            except RequestFault as fault:
                await socket.send_denial_response(refusal(fault))
                return
        await socket.accept()
        code, reason = 1000, ""
        try:
            if not token:
                token = await _first_message(socket)
                await self._check(socket, app, token)
            await self._converse(socket, app, token)
        except _Over as over:
            code, reason = over.code, over.reason
        except WebSocketDisconnect:
            return
        if socket.application_state is not WebSocketState.DISCONNECTED:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(code, reason)

    async def _converse(self, socket: WebSocket, app: str, token: str) -> None:
        if sum(len(channel.watchers) for channel in self._apps.values()) >= MOST_WATCHERS:
            raise _Over(FULL, "too many watch already")
        async with self._watching(app) as watcher:
            ends = [
                asyncio.create_task(_tell(socket, watcher)),
                asyncio.create_task(_until_slow(watcher)),
                asyncio.create_task(self._guard(socket, app, token)),
                asyncio.create_task(_until_gone(socket)),
            ]
            try:
                done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in ends:
                    task.cancel()
                await asyncio.gather(*ends, return_exceptions=True)

    async def _check(self, socket: WebSocket, app: str, token: str) -> None:
        try:
            await self.grant(socket, app, token, SCOPE)
        except RequestFault as fault:
            code = FORBIDDEN if fault.status == 403 else UNAUTHORISED
            raise _Over(code, str(fault)[:120]) from None

    async def _guard(self, socket: WebSocket, app: str, token: str) -> None:
        """End a conversation whose token was revoked or has expired."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._check(socket, app, token)
            except StorageFault as fault:  # it cannot be known just now; the next look will
                log.warning("could not look at a token code=%s", fault.code)

    # --- one look for all ------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _watching(self, app: str) -> AsyncIterator[_Watcher]:
        channel = self._apps.setdefault(app, _Channel())
        watcher = _Watcher()
        first = not channel.watchers
        if first:
            await self._look(app, channel)
        watcher.tell(_message("snapshot", channel.count, list(channel.rows.values())))
        channel.watchers.add(watcher)
        if channel.task is None:
            channel.task = asyncio.create_task(self._follow(app, channel))
        try:
            yield watcher
        finally:
            channel.watchers.discard(watcher)
            if not channel.watchers and self._apps.get(app) is channel:
                del self._apps[app]
                channel.task.cancel()

    async def _follow(self, app: str, channel: _Channel) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            before, count = channel.rows, channel.count
            try:
                await self._look(app, channel)
            except Fault as fault:
                log.warning("could not look at what is live code=%s", fault.code)
                continue
            fresh = [row for key, row in channel.rows.items() if key not in before]
            if not fresh and count == channel.count:
                continue
            message = _message("change", channel.count, fresh)
            for watcher in channel.watchers:
                watcher.tell(message)

    async def _look(self, app: str, channel: _Channel) -> None:
        since = self.now_ms() - LIVE_WINDOW_MS
        store = self.asking.store
        rows = await self.asking.threads.run(
            lambda: store.newest(app, since, LIVE_EVENTS), heavy=False
        )
        channel.rows = {(row.recv_ts, row.key_a, row.key_b): (row, first) for row, first in rows}
        channel.count = len(self.asking.presence.live(app))


def _message(kind: str, count: int, rows: list[tuple[Stored, bool]]) -> bytes:
    events = [saying.event_row(row, first) for row, first in rows]
    return msgspec.json.encode({"type": kind, "count": count, "events": events})


async def _first_message(socket: WebSocket) -> str:
    try:
        raw = await asyncio.wait_for(socket.receive_text(), TOKEN_S)
        said = msgspec.json.decode(raw[:MOST_MESSAGE_BYTES], type=dict[str, str])
    except (TimeoutError, msgspec.MsgspecError, KeyError):
        raise _Over(UNAUTHORISED, "the first message is not a token") from None
    return said.get("token", "")


async def _tell(socket: WebSocket, watcher: _Watcher) -> None:
    while True:
        await socket.send_text((await watcher.unread.get()).decode())


async def _until_slow(watcher: _Watcher) -> None:
    await watcher.slow.wait()
    raise _Over(TOO_SLOW, "what was sent is not read")


async def _until_gone(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
    raise WebSocketDisconnect
