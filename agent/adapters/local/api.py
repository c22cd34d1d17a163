"""The local API: the tracking endpoints for apps, and ``/v1/…`` for the person's tools.

Routes only; what they do is a :class:`Control`, which the core implements. Everything answers
JSON with the names of :mod:`agent.door`; errors are ``{"error", "code", "field", "advice"}``.
docs/local-api.md shows each with a line of curl that a test runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Literal, Protocol, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from agent.door import Check, QueuedEvent, Sent, Status, WireEntry
from agent.door.asking import Request as Asked
from agent.door.table import TABLE, Line
from agent.rules.wording import visible
from tracking.bucket_endpoints import BucketSink, bucket_routes
from tracking.endpoints import Sink, error_response, tracking_routes
from tracking.errors import Fault, RequestFault
from tracking.events import Limits

MOST_ROWS = 10_000  #: Rows one listing answers at most; `outbox export` streams instead.
MOST_BODY_BYTES = 1024 * 1024  #: A control request is small; events have their own routes.
_PATH = re.compile(r" - at `\$\.?([^`]*)`")  # where msgspec says that a value is wrong
_FIELD = re.compile(r"(?:required|unknown) field `([^`]*)`")

T = TypeVar("T")


class SendBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    app_id: str | None = None
    payload: dict[str, object] | None = None
    type: str = "event"
    wait: Literal["durable", "delivered"] = "durable"
    timeout_s: float = 30.0


class PauseBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    for_s: float | None = None
    reason: str = "you asked"


class RetryBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    app_id: str | None = None


class IdsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ids: tuple[str, ...] | None = None


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Control(Protocol):
    """What the routes ask of the core. Called on the core's loop."""

    def status(self) -> Status: ...
    async def ask(self, request: Asked[T]) -> T: ...
    def news(self, *, events: bool, face: bool) -> AsyncGenerator[bytes, None]:
        """Yield the messages of one watcher: newest status, at most four times a second.

        Args:
            events: It also wants events as they pass.
            face: It is a window, and can be raised.

        """
        ...

    async def send(self, body: SendBody) -> Sent: ...
    async def pause(self, for_s: float | None, reason: str) -> Status: ...
    async def resume(self) -> Status: ...
    async def retry(self, app_id: str | None) -> Status: ...
    async def keep_here(self) -> Status: ...
    async def outbox(self, app_id: str | None, limit: int) -> tuple[QueuedEvent, ...]: ...
    def export(self, app_id: str | None) -> AsyncIterator[bytes]:
        """Yield every queued event as NDJSON, in slices, without holding the core up."""
        ...

    async def dead_letters(self, app_id: str | None, limit: int) -> tuple[QueuedEvent, ...]: ...
    async def retry_dead(self, ids: tuple[str, ...] | None) -> int: ...
    async def drop_dead(self, ids: tuple[str, ...] | None) -> int: ...
    async def wire(self, app_id: str | None, limit: int) -> tuple[WireEntry, ...]: ...
    async def doctor(self) -> tuple[Check, ...]: ...
    async def raise_window(self) -> bool: ...
    async def stop(self) -> None: ...


def make_app(
    control: Control, sink: Sink, bucket_sink: BucketSink, limits: Limits, *, token: str = ""
) -> ASGIApp:
    """Return the ASGI application of the local socket.

    Args:
        control: The core.
        sink: Where events go.
        bucket_sink: Where calls of the Bucket API go.
        limits: Of the tracking endpoints.
        token: Required of every request when the listener is loopback TCP, else empty.

    """
    app = Starlette(
        routes=[
            *_control_routes(control),
            *bucket_routes(bucket_sink, limits, cors=False, calls_only=True),
            *tracking_routes(sink, limits),
        ],
        exception_handlers={Fault: _on_fault, HTTPException: _on_nothing_there},
    )
    return Keyed(app, token) if token else app


class Keyed:
    """Lets nobody past who does not bring the loopback token; the answer tells nothing."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self.expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            said = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(said, self.expected):
                if scope["type"] == "http":
                    await Response(status_code=404)(scope, receive, send)
                else:
                    await send({"type": "websocket.close", "code": 1008})
                return
        await self.app(scope, receive, send)


async def _on_fault(request: Request, exc: Exception) -> Response:
    del request
    assert isinstance(exc, Fault)
    return error_response(exc)


async def _on_nothing_there(request: Request, exc: Exception) -> Response:
    """Answer a wrong path or method as every other mistake is answered."""
    assert isinstance(exc, HTTPException)
    said = f"{request.method} {visible(request.url.path, 100)}"
    sentence = {
        404: f"there is nothing at {said}",
        405: f"{said} is not how this path is used",
    }.get(exc.status_code, exc.detail)
    fault = RequestFault(sentence, status=exc.status_code, advice="See docs/local-api.md.")
    response = error_response(fault)
    response.headers.update(exc.headers or {})
    return response


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def _body(request: Request, shape: type[T]) -> T:
    """Read a control request's JSON body, refusing what does not fit with the field's name."""
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > MOST_BODY_BYTES:
            raise RequestFault(f"the body is larger than {MOST_BODY_BYTES} bytes", status=413)
    try:
        return msgspec.json.decode(raw or b"{}", type=shape)
    except msgspec.MsgspecError as exc:
        raise RequestFault(f"the body does not fit: {exc}", field=_named(str(exc))) from exc


def _named(sentence: str) -> str:
    """Return the field that a sentence of msgspec's names, or nothing."""
    path = _PATH.search(sentence)
    name = _FIELD.search(sentence)
    parts = (path[1] if path else "", name[1] if name else "")
    return ".".join(part for part in parts if part)


def _limit(request: Request) -> int:
    raw = request.query_params.get("limit", "100")
    if not (raw.isascii() and raw.isdigit()) or not 1 <= int(raw) <= MOST_ROWS:
        raise RequestFault(f"limit is from 1 to {MOST_ROWS}, got {raw[:40]!r}", field="limit")
    return int(raw)


def _app(request: Request) -> str | None:
    return request.query_params.get("app") or None


def _asking(control: Control, line: Line) -> Route:
    """Return the route of one line of the door's table."""

    async def endpoint(request: Request) -> Response:
        if line.reads:
            asked = _query(request, line.request)
        else:
            asked = await _body(request, line.request)
        return _json(await control.ask(asked))

    return Route(f"/v1/{line.name}", endpoint, methods=["GET" if line.reads else "POST"])


def _query(request: Request, shape: type[T]) -> T:
    """Read a request from its query parameters."""
    said = dict(request.query_params)
    try:
        return msgspec.convert(said, shape, strict=False)
    except msgspec.ValidationError as exc:
        raise RequestFault(f"the query does not fit: {exc}", field=_named(str(exc))) from exc


def _control_routes(control: Control) -> list[Route | WebSocketRoute]:
    async def status(request: Request) -> Response:
        return _json(control.status())

    async def apps(request: Request) -> Response:
        return _json({"apps": control.status().apps})

    async def send(request: Request) -> Response:
        return _json(await control.send(await _body(request, SendBody)))

    async def pause(request: Request) -> Response:
        body = await _body(request, PauseBody)
        if body.for_s is not None and not 0 < body.for_s <= 366 * 86_400:
            raise RequestFault("for_s is between 0 and 366 days", field="for_s")
        return _json(await control.pause(body.for_s, body.reason[:200]))

    async def resume(request: Request) -> Response:
        await _body(request, Nothing)
        return _json(await control.resume())

    async def retry(request: Request) -> Response:
        return _json(await control.retry((await _body(request, RetryBody)).app_id))

    async def keep_here(request: Request) -> Response:
        await _body(request, Nothing)
        return _json(await control.keep_here())

    async def outbox(request: Request) -> Response:
        return _json({"events": await control.outbox(_app(request), _limit(request))})

    async def export(request: Request) -> Response:
        return StreamingResponse(control.export(_app(request)), media_type="application/x-ndjson")

    async def dead_letters(request: Request) -> Response:
        return _json({"events": await control.dead_letters(_app(request), _limit(request))})

    async def retry_dead(request: Request) -> Response:
        return _json({"count": await control.retry_dead((await _body(request, IdsBody)).ids)})

    async def drop_dead(request: Request) -> Response:
        return _json({"count": await control.drop_dead((await _body(request, IdsBody)).ids)})

    async def wire(request: Request) -> Response:
        return _json({"entries": await control.wire(_app(request), _limit(request))})

    async def doctor(request: Request) -> Response:
        return _json({"checks": await control.doctor()})

    async def raise_window(request: Request) -> Response:
        await _body(request, Nothing)
        return _json({"raised": await control.raise_window()})

    async def stop(request: Request) -> Response:
        await _body(request, Nothing)
        await control.stop()
        return _json({"stopping": True}, 202)

    async def watch(socket: WebSocket) -> None:
        await socket.accept()
        news = control.news(
            events=socket.query_params.get("events") == "1",
            face=socket.query_params.get("face") == "1",
        )
        listener = asyncio.create_task(_until_gone(socket))
        teller = asyncio.create_task(_tell(socket, news))
        done, rest = await asyncio.wait({listener, teller}, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.gather(*done, *rest, return_exceptions=True)

    table: tuple[tuple[str, str, Callable[[Request], object]], ...] = (
        ("/v1/status", "GET", status),
        ("/v1/apps", "GET", apps),
        ("/v1/send", "POST", send),
        ("/v1/pause", "POST", pause),
        ("/v1/resume", "POST", resume),
        ("/v1/retry", "POST", retry),
        ("/v1/keep-here", "POST", keep_here),
        ("/v1/outbox", "GET", outbox),
        ("/v1/outbox/export", "GET", export),
        ("/v1/dead-letters", "GET", dead_letters),
        ("/v1/dead-letters/retry", "POST", retry_dead),
        ("/v1/dead-letters/drop", "POST", drop_dead),
        ("/v1/wire", "GET", wire),
        ("/v1/doctor", "GET", doctor),
        ("/v1/raise", "POST", raise_window),
        ("/v1/stop", "POST", stop),
    )
    routes: list[Route | WebSocketRoute] = [
        Route(path, endpoint, methods=[method]) for path, method, endpoint in table
    ]
    routes += [_asking(control, line) for line in TABLE]
    return [*routes, WebSocketRoute("/v1/watch", watch)]


async def _until_gone(socket: WebSocket) -> None:
    """Wait until the watcher closes; what it says is not listened to."""
    try:
        while True:
            await socket.receive_text()
    except (WebSocketDisconnect, KeyError, RuntimeError):
        return


async def _tell(socket: WebSocket, news: AsyncGenerator[bytes, None]) -> None:
    try:
        async with contextlib.aclosing(news):
            async for message in news:
                await socket.send_text(message.decode())
        await socket.close(1001)
    except (WebSocketDisconnect, RuntimeError):
        return
