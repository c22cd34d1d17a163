"""The server side of the tracking API: WebSocket and HTTP over a :class:`Sink`.

The agent's local API and the collector mount the same routes; what differs is the sink. A reply
is sent when the sink says that the events are durable, never before.

    GET  …/app/{id}/track  with Upgrade   a conversation: one reply per frame, in order
    POST …/app/{id}/track                 one frame, one reply
    /{id}, /{id}/, //app/{id}/track       the same, as third parties spell it (NUCLEUS.md §1)
    …/app/{id}/license/validate, customdata, crash    what electron-nucleus also asks (§4)

Invariants:
    1. A WebSocket reply is the golden reply and nothing else, unless the frame asks for more; a
       bad event is acknowledged and counted, because its sender would repeat it for ever
       (SECURITY.md, decision 8).
    2. An app is admitted before its connection is upgraded and before its body is read.
    3. What is in flight is bounded, per connection and in all.
    4. Who asks to hear of a delivery (``tracking.acknowledging``) holds up nobody by waiting.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import time
from typing import Final, Literal, cast

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from tracking.acknowledging import told, wait_of_request
from tracking.conversation import Answered, Conversation, arrives
from tracking.errors import Fault, OverQuota, RequestFault
from tracking.events import Frame, Limits
from tracking.nucleus import APP_ID, golden_reply, parse_frame, parse_in_steps
from tracking.sink import (
    LineSink,
    Origin,
    Receipt,
    Sink,
    error_body,
    explained,
    status_of,
)
from tracking.strict_json import clip

__all__ = [
    "LineSink",
    "Origin",
    "Receipt",
    "Sink",
    "error_body",
    "error_response",
    "now_ms",
    "status_of",
    "tracking_routes",
]

BYTES_IN_FLIGHT: Final = 128 * 1024 * 1024  #: Of all connections of these routes together.
LARGE_BYTES: Final = 128 * 1024  #: A smaller frame is understood in milliseconds at worst.

NUCLEUS_PATH: Final = re.compile(
    r".*/app/([^/]*)/(track|license/validate|customdata|crash)/?", re.DOTALL
)
_BARE = re.compile(r"/+([A-Za-z0-9_-]{1,64})/?", re.ASCII)
_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
    "Access-Control-Max-Age": "86400",
}
_connections = itertools.count(1)


def error_response(fault: Fault, **more: object) -> Response:
    """Return the HTTP response to a fault; ``more`` are further members of its object."""
    return _refusal(fault, error_body(fault, **more))


def tracking_routes(
    sink: Sink,
    limits: Limits,
    *,
    side_calls: bool = True,
    cors: bool = True,
    require_ids: bool = False,
    tell_anon_id: bool = True,
    in_flight_bytes: int = BYTES_IN_FLIGHT,
) -> list[BaseRoute]:
    """Return the routes; mount them last, because ``/{id}`` takes every path of one segment.

    Args:
        sink: Where frames go.
        limits: What is too much.
        side_calls: Answer electron-nucleus's other requests too.
        cors: Let pages of any origin in; the API has no credentials to steal.
        require_ids: Refuse events that name neither a device nor a person (A19).
        tell_anon_id: Let a reply say which anonId the frame's events had.
        in_flight_bytes: Frames read and not yet answered; one more waits unread.

    """
    route = _TrackingRoute(sink, limits, side_calls, cors, require_ids, in_flight_bytes)
    route.tell_anon_id = tell_anon_id
    return [route]


def now_ms() -> int:
    """Return the wall clock as Unix milliseconds."""
    return time.time_ns() // 1_000_000


async def read_body(headers: dict[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """Return the body of a request.

    Raises:
        RequestFault: It has more than ``limit`` bytes (413), or its sender has gone (400).

    """
    announced = headers.get(b"content-length", b"0")
    too_large = RequestFault(f"the body is larger than {limit} bytes", status=413)
    if announced.isdigit() and int(announced) > limit:
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestFault("the body ended early")
        body += message.get("body", b"")
        if len(body) > limit:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


class InFlight:
    """Bounds the bytes of frames that were read and not yet answered."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._room = asyncio.Condition()

    async def enter(self, size: int) -> None:
        """Wait until there is room; alone, any size has room."""
        if self._held and self._held + size > self._limit:
            async with self._room:
                await self._room.wait_for(
                    lambda: not self._held or self._held + size <= self._limit
                )
        self._held += size

    async def leave(self, size: int) -> None:
        crowded = self._held > self._limit // 2
        self._held -= size
        if crowded:
            async with self._room:
                self._room.notify_all()


class _TrackingRoute(BaseRoute):
    def __init__(
        self,
        sink: Sink,
        limits: Limits,
        side_calls: bool,
        cors: bool,
        require_ids: bool,
        in_flight_bytes: int,
    ) -> None:
        self.sink = sink
        self.limits = limits
        self.side_calls = side_calls
        self.headers = _CORS if cors else {}
        self.require_ids = require_ids
        self.tell_anon_id = True
        self.in_flight = InFlight(in_flight_bytes)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] not in ("http", "websocket"):
            return Match.NONE, {}
        path = scope["path"]
        if found := NUCLEUS_PATH.fullmatch(path):
            app_id, call = found.groups()
        elif found := _BARE.fullmatch(path):
            app_id, call = found[1], "track"
        else:
            return Match.NONE, {}
        if call != "track" and (scope["type"] == "websocket" or not self.side_calls):
            return Match.NONE, {}
        return Match.FULL, {"path_params": {"app_id": app_id, "call": call}}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        app_id: str = scope["path_params"]["app_id"]
        call: str = scope["path_params"]["call"]
        if scope["type"] == "websocket":
            await self._upgrade(app_id, scope, receive, send)
            return
        try:
            response = await self._respond(app_id, call, scope, receive)
        except Fault as fault:
            response = error_response(fault, reportedIds=())
            # What is left of a body is read and dropped by the protocol: closing on it would
            # reset the connection before the sender, still sending, could read why.
        response.headers.update(self.headers)
        await response(scope, receive, send)

    async def _admit(self, app_id: str, origin: Origin, *, frame_follows: bool = False) -> None:
        if not APP_ID.fullmatch(app_id):
            raise RequestFault(f"no app has the id {clip(app_id)}", field="appId", status=404)
        await self.sink.admit(app_id, origin, frame_follows=frame_follows)

    # --- HTTP ----------------------------------------------------------------------------------

    async def _respond(self, app_id: str, call: str, scope: Scope, receive: Receive) -> Response:
        method = scope["method"]
        if method == "OPTIONS":
            return Response(status_code=204)
        if call != "track":
            await self._admit(app_id, origin_of(scope, "http"))
            return _side_call(call, method)
        if method == "GET":
            fault = RequestFault("this path speaks WebSocket, or takes a POST", status=426)
            response = error_response(fault, reportedIds=())
            response.headers.update({"Upgrade": "websocket", "Connection": "Upgrade"})
            return response
        if method != "POST":
            return _wrong_method(method, "GET, POST, OPTIONS")
        headers = dict(scope["headers"])
        await self._admit(app_id, origin_of(scope, "http"), frame_follows=True)
        encoding = headers.get(b"content-encoding", b"identity")
        if encoding.lower() != b"identity":
            raise RequestFault(
                f"Content-Encoding must be absent, got {clip(encoding.decode('latin-1'))}",
                status=415,
            )
        wait_s = wait_of_request(headers, scope["query_string"])
        body = await read_body(headers, receive, self.limits.body_bytes)
        await self.in_flight.enter(len(body))
        try:
            answered, refused = await self._post(app_id, body, origin_of(scope, "http"), wait_s)
        finally:
            await self.in_flight.leave(len(body))
        if refused is not None:
            return _refusal(refused, answered.reply)
        if answered.wait_s is None:
            return _json(answered.reply, 200)
        delivered = await arrives(answered.arrival, answered.wait_s, receive)
        return _json(told(answered.reply, delivered), 200 if delivered else 202)

    async def _post(
        self, app_id: str, body: bytes, origin: Origin, wait_s: float | None
    ) -> tuple[Answered, Fault | None]:
        frame = await self.understand(app_id, body)
        if wait_s is None and frame.asked is not None:
            wait_s = frame.asked.wait_s
        origin = msgspec.structs.replace(origin, wait_s=wait_s)
        receipt = await self._accept(app_id, frame, origin)
        fault, said = explained(frame, receipt, self._golden(frame, receipt))
        return Answered(said, receipt.arrival, wait_s), fault

    async def _parse(self, raw: bytes | str) -> Frame:
        """Understand a frame; let others be served while a large one needs patience."""
        if len(raw) <= LARGE_BYTES:
            return parse_frame(raw, limits=self.limits, require_ids=self.require_ids)
        steps = parse_in_steps(raw, limits=self.limits, require_ids=self.require_ids)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                return cast(Frame, done.value)
            await asyncio.sleep(0)

    async def _accept(self, app_id: str, frame: Frame, origin: Origin) -> Receipt:
        if not frame.events and not frame.heartbeats:
            return Receipt()
        try:
            return await self.sink.accept(app_id, frame, origin)
        except Fault as fault:
            return Receipt(fault=fault)

    def _golden(self, frame: Frame, receipt: Receipt) -> bytes:
        unsafe = receipt.unsafe(frame)
        return golden_reply(frame, unacknowledged=unsafe, tell_anon_id=self.tell_anon_id)

    # --- WebSocket -----------------------------------------------------------------------------

    async def _upgrade(self, app_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        origin = origin_of(scope, "ws")
        try:
            await self._admit(app_id, origin)
        except Fault as fault:
            await error_response(fault, reportedIds=())(scope, receive, send)
            return
        try:
            await send({"type": "websocket.accept"})
        except OSError:
            return  # gone before it was welcomed
        self.sink.joined(app_id, origin.connection)
        try:
            await Conversation(self, self.in_flight, app_id, origin).hold(receive, send, now_ms)
        finally:
            self.sink.left(app_id, origin.connection)

    async def understand(self, app_id: str, raw: bytes | str) -> Frame:
        """Understand a frame, and count what is bad in it."""
        frame = await self._parse(raw)
        if frame.refused:
            self.sink.refused(app_id, frame)
        return frame

    async def answer(self, app_id: str, frame: Frame, origin: Origin) -> Answered:
        """Hand a frame of a conversation to the sink; return the reply when it is durable."""
        receipt = await self._accept(app_id, frame, origin)
        reply = self._golden(frame, receipt)
        if frame.asked is None:
            return Answered(reply)
        fault, said = explained(frame, receipt, reply)
        return Answered(said, receipt.arrival, origin.wait_s if fault is None else None)


def origin_of(scope: Scope, transport: Literal["ws", "http"]) -> Origin:
    """Return where a request came from; it counts as received now."""
    number = scope.get("state", {}).get("connection")
    return Origin(
        transport=transport,
        connection=next(_connections) if number is None else number,
        peer=scope["client"][0] if scope.get("client") else "",
        received_ms=now_ms(),
    )


def _side_call(call: str, method: str) -> Response:
    match call, method:
        case "license/validate", "POST":
            return _json(b'{"valid":false,"status":"nolicense"}', 200)
        case "customdata", "GET":
            return _json(b"{}", 200)
        case "crash", "POST":
            return Response(status_code=204)
        case "customdata", _:
            return _wrong_method(method, "GET, OPTIONS")
        case _:
            return _wrong_method(method, "POST, OPTIONS")


def _refusal(fault: Fault, body: bytes) -> Response:
    headers = {}
    if isinstance(fault, OverQuota):
        headers["Retry-After"] = str(max(1, math.ceil(fault.retry_after_s)))
    return _json(body, status_of(fault), headers)


def _wrong_method(method: str, allowed: str) -> Response:
    response = error_response(
        RequestFault(f"{clip(method)} is not for this path", status=405), reportedIds=()
    )
    response.headers["Allow"] = allowed
    return response


def _json(body: bytes, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status_code=status, headers=headers, media_type="application/json")
