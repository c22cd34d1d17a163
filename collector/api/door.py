"""Who may ask, and how a question is read off a request.

    path ─► token ─► scope ─► parameters ─► answer, or {"error": …}

``Authorization: <token>`` or ``Bearer <token>``; on POST also ``token`` in a JSON object or a form.
Never in the query, which ends up in logs. A missing token, a wrong one and an unknown app get the
same 401. Segments of the path are cut before they are percent-decoded, so ``a%2Fb`` is one.
"""

from __future__ import annotations

import asyncio
import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from collector.access.accounts import Accounts
from collector.access.limits import Limiter
from collector.access.tokens import Grant
from tracking.endpoints import error_response
from tracking.errors import Fault, OverQuota, RequestFault
from tracking.peers import peer_key

MOST_BODY_BYTES: Final = 64 * 1024
METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'",
    "X-Frame-Options": "DENY",
}
_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = ("", "application/json", "text/plain")


class SegmentRoute(Route):
    """A route whose variables (``:name``) are single segments of the path as it was sent."""

    def __init__(self, path: str, endpoint: Callable[..., Any]) -> None:
        super().__init__(
            re.sub(r":([A-Za-z]+)", r"{\1}", path).replace("{appId}", "{app_id}"),
            endpoint,
            methods=METHODS,
        )
        self._pattern = re.compile(
            re.sub(r":([A-Za-z]+)", r"(?P<\1>[^/]+)", path) + "/?", re.DOTALL
        )

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        raw = scope.get("raw_path") or urllib.parse.quote(scope["path"]).encode()
        found = self._pattern.fullmatch(raw.partition(b"?")[0].decode("latin-1"))
        if found is None:
            return Match.NONE, {}
        said = {name: urllib.parse.unquote(part) for name, part in found.groupdict().items()}
        return Match.FULL, {"endpoint": self.endpoint, "path_params": said}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the endpoint answer to any method: a refusal is JSON, too."""
        await self.app(scope, receive, send)


class Door:
    """Lets in whoever has a token for an app.

    Args:
        accounts: Who may ask.
        failures: Wrong tokens per address.
        now_ms: Unix milliseconds.
        now_s: Monotonic seconds.

    """

    def __init__(
        self,
        accounts: Accounts,
        failures: Limiter,
        now_ms: Callable[[], int],
        now_s: Callable[[], float],
    ) -> None:
        self.accounts = accounts
        self.failures = failures
        self.now_ms = now_ms
        self.now_s = now_s

    async def grant(self, asker: HTTPConnection, app: str, said: str, scope: str) -> Grant:
        """Return what a token opens.

        Raises:
            RequestFault: 401 it does not open the app, 403 it lacks the scope, 429 too many wrong.

        """
        scheme, _, rest = said.partition(" ")
        text = rest.strip() if scheme.lower() == "bearer" else said.strip()
        grant = await asyncio.to_thread(self.accounts.grant, text, self.now_ms())
        if grant is None or grant.app_id != app:
            # Looked at first: an address is shared, and who has the token is never locked out.
            peer = peer_key(asker.client.host) if asker.client else "local"
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


async def said_in(request: Request) -> Mapping[str, object]:
    """Return the body of a POST, JSON or a form, as names and values; nothing of other methods."""
    if request.method != "POST":
        return {}
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise RequestFault("Content-Encoding must be absent", status=415)
    kind = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if kind != _FORM and kind not in _JSON and not kind.endswith("+json"):
        raise RequestFault(
            "a body is JSON or a form", field="Content-Type", status=415,
            advice="Use application/json or application/x-www-form-urlencoded.",
        )  # fmt: skip
    raw = b""
    try:
        async for part in request.stream():
            raw += part
            if len(raw) > MOST_BODY_BYTES:
                raise RequestFault("the body is too large", status=413)
    except ClientDisconnect as exc:  # nobody reads this, and nothing is to be logged of it
        raise RequestFault("the body ends too early") from exc
    if kind == _FORM:
        return dict(urllib.parse.parse_qsl(raw.decode("utf-8", "replace")))
    try:
        body = msgspec.json.decode(raw) if raw.strip() else {}
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as exc:
        raise RequestFault("the body is not JSON") from exc
    return body if isinstance(body, dict) else {}


def token_of(request: HTTPConnection, body: Mapping[str, object]) -> str:
    """Return what a request has for a token; never anything of its query."""
    said = request.headers.get("authorization", "")
    if not said and isinstance(body.get("token"), str):
        return str(body["token"])
    return said


def refusal(fault: Fault) -> Response:
    """Return a fault as a response."""
    response = error_response(fault)
    response.headers.update(HEADERS)
    return response
