"""Every route of the Data API wants a token of its app and of its scope (SECURITY.md, threat 51).

The walk goes over the table that a server really mounts, so a route that is added tomorrow is
walked tomorrow. What needs no token is named here, and nothing else may answer without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from starlette.routing import Route, WebSocketRoute

from collector.access.accounts import SCOPES, Accounts
from collector.entrance import Entrance
from collector.intake.presence import Presence
from collector.intake.writer import Writer
from collector.metrics import Metrics
from collector.server import _Server
from collector.settings import Settings
from collector.store.duck import DuckStore
from tracking.endpoints import now_ms
from tracking.nucleus import normal_platform

#: Under /api/ without an app in the path: they tell how to ask, and that there is nothing to ask.
OPEN = {"/api/v1/{rest:path}", "/api/v1/openapi.json", "/api/v1/docs", "/api/v1"}
#: What tells numbers alone. All else tells of people, removes them, or is the operator's.
NUMBERS = {
    *("/analytics/quickglance", "/analytics", "/analytics/events", "/analytics/eventsprops"),
    *("/analytics/events/", "/analytics/events//", "/analytics/errors", "/live/users/count"),
    *("/feedback/average", "/feedback/daily", "/retention", "/funnel", "/errors", "/reckoning"),
}
BODY = msgspec.json.encode({"steps": ["a", "b"], "devices": ["d"], "start": 1, "end": 2})

Asked = tuple[int, dict[str, Any]]


class House:
    """A server's public routes over real accounts and a real store."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.accounts = Accounts(folder / "accounts.db")
        self.store = DuckStore(folder / "events.duckdb", now_ms())
        self.writer = Writer(self.store, loop)
        settings = Settings(wrong_tokens_per_min=10_000.0)
        who = cast(Any, None)
        server = _Server(who, settings, self.accounts, self.store, self.writer, Metrics(), None)
        presence = Presence(now_ms, normal_platform)
        self.routes = server._questions(presence)
        self.entrance = server._public(self.routes, presence)
        for app_id in ("A", "B"):
            self.accounts.add_app(app_id, now_ms(), app_id=app_id)

    def token(self, app_id: str, *scopes: str) -> str:
        return self.accounts.add_token(app_id, scopes, now_ms())

    def close(self) -> None:
        self.writer.close()
        self.store.close()
        self.accounts.close()


async def ask(entrance: Entrance, kind: str, method: str, path: str, token: str | None) -> Asked:
    """Ask the application as the listener does."""
    headers = [(b"host", b"x"), (b"content-type", b"application/json")]
    if token is not None:
        headers.append((b"authorization", token.encode()))
    scope: dict[str, Any] = {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("192.0.2.1", 1),
        "server": ("127.0.0.1", 7780),
        "state": {},
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }
    first = (
        {"type": "websocket.connect"}
        if kind == "websocket"
        else {
            "type": "http.request",
            "body": BODY,
            "more_body": False,
        }
    )
    waiting = [first]
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        gone = "websocket.disconnect" if kind == "websocket" else "http.disconnect"
        return {"type": gone, "code": 1000}

    async def send(message: Any) -> None:
        said.append(message)

    await asyncio.wait_for(entrance(scope, receive, send), 30)
    start = said[0]
    if start["type"] == "websocket.accept":
        # Without a header the first message has to be a token, and nothing is said before it.
        unheard = not token and not any(one["type"] == "websocket.send" for one in said)
        return (401, {}) if unheard else (101, {})
    body = b"".join(one.get("body", b"") for one in said[1:])
    with contextlib.suppress(msgspec.DecodeError):
        return start["status"], msgspec.json.decode(body)
    return start["status"], {}


@pytest.fixture
def walk(tmp_path: Path) -> Callable[[Callable[[House], Awaitable[None]]], None]:
    def run(scene: Callable[[House], Awaitable[None]]) -> None:
        async def whole() -> None:
            house = House(tmp_path, asyncio.get_running_loop())
            try:
                await scene(house)
            finally:
                await asyncio.to_thread(house.close)

        asyncio.run(whole())

    return run


def scope_of(method: str, template: str) -> str:
    """Return the scope that a question is to want, said apart from the table of the endpoints."""
    asked = re.sub(r"\{[^}]*\}", "", template.removeprefix("/api/v1/apps/{app_id}"))
    if method == "DELETE" and asked == "/users/":
        return "users:delete"
    if asked == "/status":
        return "admin"
    return "stats:read" if asked in NUMBERS else "users:read"


def calls(house: House) -> Iterator[tuple[str, str, str]]:
    """Yield kind, method and path template of everything that may be asked about an app."""
    for route in house.routes:
        if isinstance(route, WebSocketRoute):
            yield "websocket", "GET", route.path
        elif isinstance(route, Route) and route.path not in OPEN:
            for method in sorted(route.methods or ()):
                yield "http", method, route.path


def test_51_every_route_of_the_table_wants_a_token_of_its_app_and_scope(
    walk: Callable[..., None],
) -> None:
    async def scene(house: House) -> None:
        walked = list(calls(house))
        assert len({path for _, _, path in walked}) >= 26
        tokens = {scope: house.token("A", scope) for scope in SCOPES}
        other = house.token("B", "admin")
        for kind, method, template in walked:
            assert template.startswith("/api/v1/apps/{app_id}"), template
            path = re.sub(r"\{[^}]*\}", "x", template.replace("{app_id}", "A"))
            call = (kind, method, path)

            async def said(token: str | None, call: tuple[str, str, str] = call) -> Asked:
                return await ask(house.entrance, *call, token)

            refusals = [
                await said(None),
                await said(""),
                await said("dat1_rubbish"),
                await said(f"Bearer {tokens['admin']}x"),
                await said(other),
                await ask(house.entrance, kind, method, path.replace("/A", "/nobody", 1), other),
            ]
            assert [status for status, _ in refusals] == [401] * 6, (call, refusals)
            if method != "HEAD" and kind == "http":
                assert all(body == refusals[0][1] for _, body in refusals), call
                assert "data" not in refusals[0][1]
            by_scope = {scope: (await said(token))[0] for scope, token in tokens.items()}
            opened = {scope for scope, status in by_scope.items() if status != 403}
            assert opened == {scope_of(method, template), "admin"}, (call, by_scope)
            assert 401 not in by_scope.values(), (call, by_scope)
            assert all(status != 500 for status in by_scope.values()), (call, by_scope)

    walk(scene)


def test_51_what_needs_no_token_is_named(walk: Callable[..., None]) -> None:
    async def scene(house: House) -> None:
        for route in house.routes:
            path = getattr(route, "path", None)
            assert path is not None, route  # a mount would hide its routes from the walk
            if "{app_id}" not in path:
                assert path in OPEN, path
        for method in ("GET", "POST", "DELETE", "PUT", "PATCH"):
            status, said = await ask(house.entrance, "http", method, "/api/v1/apps/A/none", None)
            assert status in (401, 404)
            assert "data" not in said

    walk(scene)


def test_51_a_token_of_one_app_never_opens_another_however_the_path_is_spelled(
    walk: Callable[..., None],
) -> None:
    async def scene(house: House) -> None:
        other = house.token("B", "admin")
        for path in (
            "/api/v1/apps/A/analytics/quickglance",
            "/api/v1/apps/B/../A/analytics/quickglance",
            "/api/v1/apps//A/analytics/quickglance",
            "/api/v1/apps/B%2F..%2FA/analytics/quickglance",
            "/api/v1/apps/A\0/analytics/quickglance",
            "/api/v1/apps/a/analytics/quickglance",
        ):
            status, said = await ask(house.entrance, "http", "GET", path, other)
            assert status in (401, 404), path
            assert "data" not in said

    walk(scene)
