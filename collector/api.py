"""The Data API v1: quick glance and what is live (seeds 001 and 002; NUCLEUS.md §6).

``GET /api/v1/apps/{appId}/…`` with ``Authorization: <token>`` or ``Bearer <token>``; each also as
POST with the token in the JSON body. A missing token, a wrong one and an unknown app get the same
401. Whatever clients called their events is data: bound, never part of a query.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import urllib.parse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collector.accounts import Accounts, Grant
from collector.limits import Limiter
from collector.presence import Device, Presence
from collector.store.interface import Store, Stored
from tracking.dates import iso
from tracking.endpoints import error_response
from tracking.errors import Fault, OverQuota, RequestFault, StorageFault
from tracking.nucleus import normal_language, normal_platform
from tracking.serving import peer_key

BASE = "/api/v1/apps/{app_id}"
LIVE_EVENTS = 100
LIVE_WINDOW_MS = 30 * 60 * 1000
QUERY_S = 10.0
MOST_BODY_BYTES = 64 * 1024
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'",
    "X-Frame-Options": "DENY",
}

P = ParamSpec("P")
T = TypeVar("T")
Answer = Callable[[str, Request], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class DataApi:
    """Answers questions about apps.

    Args:
        accounts: Who may ask.
        store: Knows the past.
        presence: Knows the present.
        failures: Wrong tokens per address: ten a minute.
        now_ms: Unix milliseconds.
        now_s: Monotonic seconds.

    """

    accounts: Accounts
    store: Store
    presence: Presence
    failures: Limiter
    now_ms: Callable[[], int]
    now_s: Callable[[], float]

    def routes(self) -> list[Route]:
        """Return the routes; each names the scope it needs."""
        table: tuple[tuple[str, str, Answer], ...] = (
            ("/analytics/quickglance", "stats:read", self._quickglance),
            ("/live/users", "users:read", self._live_users),
            ("/live/users/count", "stats:read", self._live_count),
            ("/live/events", "users:read", self._live_events),
        )
        routes = [
            Route(BASE + path, self._guarded(scope, answer), methods=["GET", "POST"])
            for path, scope, answer in table
        ]
        return [*routes, Route("/api/v1/{rest:path}", _nothing_here, methods=METHODS)]

    def _guarded(self, scope: str, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                app_id = str(request.path_params["app_id"])
                await self._authorise(request, app_id, scope)
                body = await answer(app_id, request)
            except Fault as fault:
                response = error_response(fault)
                response.headers.update(HEADERS)
                return response
            return Response(
                msgspec.json.encode(body), media_type="application/json", headers=HEADERS
            )

        return endpoint

    async def _authorise(self, request: Request, app_id: str, scope: str) -> Grant:
        peer = peer_key(request.client.host) if request.client else "local"
        text = await _token_of(request)
        grant = await asyncio.to_thread(self.accounts.grant, text, self.now_ms())
        if grant is None or grant.app_id != app_id:
            # Looked at first: an address is shared, and who has the token is never locked out.
            wait_s = self.failures.take(peer, 1.0, self.now_s())
            if wait_s > 0:
                raise OverQuota("too many wrong tokens from this address", retry_after_s=wait_s)
            raise RequestFault(
                "the token does not open this app",
                status=401,
                field="Authorization",
                advice="Make one: homing collector token add APPID",
            )
        if scope not in grant.scopes and "admin" not in grant.scopes:
            raise RequestFault(f"the token lacks the scope {scope}", status=403)
        return grant

    async def _quickglance(self, app_id: str, request: Request) -> object:
        del request
        glance = await _ask(self.store.quickglance, app_id, self.now_ms())
        return {
            "data": {
                "installs": glance.installs,
                "users": glance.users,
                "appStarts": glance.app_starts,
                "errors": glance.errors,
                "previousInstalls": glance.previous_installs,
                "previousUsers": glance.previous_users,
                "previousAppStarts": glance.previous_app_starts,
                "previousErrors": glance.previous_errors,
            }
        }

    async def _live_users(self, app_id: str, request: Request) -> object:
        del request
        return {"data": [_user(app_id, device) for device in self.presence.live(app_id)]}

    async def _live_count(self, app_id: str, request: Request) -> object:
        del request
        return {"data": len(self.presence.live(app_id))}

    async def _live_events(self, app_id: str, request: Request) -> object:
        del request
        rows = await _ask(self.store.newest, app_id, self.now_ms() - LIVE_WINDOW_MS, LIVE_EVENTS)
        return {"data": [data_row(row, first_time) for row, first_time in rows]}


async def _nothing_here(request: Request) -> Response:
    response = error_response(
        RequestFault(f"no question is asked by {request.method} of this path", status=404)
    )
    response.headers.update(HEADERS)
    return response


async def _ask(question: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
    """Ask the store from a worker thread, with a deadline."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(question, *args, **more), QUERY_S)
    except TimeoutError as exc:
        raise StorageFault("the store took too long to answer") from exc


async def _token_of(request: Request) -> str:
    """Return the token of a request; never one from the query, which ends up in logs."""
    said = request.headers.get("authorization", "")
    if said:
        scheme, _, rest = said.partition(" ")
        return rest.strip() if scheme.lower() == "bearer" else said.strip()
    if request.method == "POST":
        body = await _body_of(request)
        if isinstance(body, dict) and isinstance(body.get("token"), str):
            return str(body["token"])
    return ""


async def _body_of(request: Request) -> object:
    """Return the body of a POST, JSON or a form."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise RequestFault("Content-Encoding must be absent", status=415)
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > MOST_BODY_BYTES:
            raise RequestFault("the body is too large", status=413)
    kind = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return dict(urllib.parse.parse_qsl(raw.decode("utf-8", "replace")))
    try:
        return msgspec.json.decode(raw) if raw else {}
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as exc:
        raise RequestFault("the body is not JSON") from exc


def _user(app_id: str, device: Device) -> dict[str, object]:
    identity = device.user_id or device.anon_id or device.device_id
    return {
        "userDbId": hashlib.blake2b(f"{app_id}\0{identity}".encode(), digest_size=12).hexdigest(),
        "userId": device.user_id or None,
        "deviceId": device.device_id,
        "platform": device.platform or None,
        "osVersion": device.os_version or None,
        "country": None,
        "lastSeen": iso(device.last_seen_ms),
    }


def row_type(row: Stored) -> str:
    """Return what the Data API calls a row (NUCLEUS.md §6, row.type)."""
    match row.kind:
        case "event":
            return row.name
        case "error":
            return f"error:{row.name}"
        case "userid" | "props":
            return f"nucleus:{row.kind}"
        case _:
            return row.type


def data_row(row: Stored, first_time: bool) -> dict[str, object]:
    """Return a stored event with exactly the nineteen keys of the seeds."""
    payload: object = msgspec.Raw(row.payload.encode()) if row.payload else None
    if row.kind == "other" and row.name:
        payload = {"name": row.name, **(json.loads(row.payload) if row.payload else {})}
    return {
        "app_id": row.app_id,
        "platform": normal_platform(row.platform),
        "user_id": row.user_id or None,
        "machine_id": row.device_id,
        "version": row.version or None,
        "locale": normal_language(row.locale),
        "renderer": {"renderer": True, "main": False}.get(row.process),
        "module_version": row.module_version or None,
        "avail_ram": row.avail_ram or None,
        "type": row_type(row),
        "time": iso(row.ts),
        "country": None,
        "arch": row.arch or None,
        "first_time": first_time,
        "session_id": row.session_id or None,
        "error_hash": _error_hash(row) if row.kind == "error" else None,
        "os_version": row.os_version or None,
        "data": payload,
        "duration": None,
    }


def _error_hash(row: Stored) -> str:
    """Return a hash of an error's name and its stack without line numbers."""
    payload = json.loads(row.payload) if row.payload else {}
    stack = str(payload.get("stack", "")) if isinstance(payload, dict) else ""
    bare = "".join(c for c in stack if not c.isdigit())
    return hashlib.blake2b(f"{row.name}\0{bare}".encode(), digest_size=8).hexdigest()
