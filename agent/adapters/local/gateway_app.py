"""What the gateway serves to those who came in: the two tracking APIs, and nothing else.

Neither ``/v1/…`` nor the line protocol is here: who has a token may report, not steer. The checks
were made before (:mod:`agent.adapters.local.gateway_protocol`); what is left to say is which page
may read the answer (threat row 23), and that nobody keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.rules.gatekeeping import HEADERS, WEBSOCKET, Passed
from tracking.bucket_endpoints import BucketSink, bucket_call, bucket_routes
from tracking.endpoints import NUCLEUS_PATH, Sink, tracking_routes
from tracking.events import Limits

MAX_AGE_S: Final = 600
IN_FLIGHT_BYTES: Final = 64 * 1024 * 1024  #: Half of the socket's: this is the side door.
_BARE: Final = re.compile(r"/([A-Za-z0-9_-]{1,64})/?", re.ASCII)
_NUCLEUS: Final = {  # without crash: what Electron posts there is no JSON, and nobody keeps it
    "track": frozenset({WEBSOCKET, "POST"}),
    "license/validate": frozenset({"POST"}),
    "customdata": frozenset({"GET"}),
}
_GUARDED: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'"),
    (b"x-frame-options", b"DENY"),
)
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", ", ".join(HEADERS).encode()),
    (b"access-control-max-age", b"%d" % MAX_AGE_S),
)


def methods_for(is_app: Callable[[str], bool]) -> Callable[[str, str], frozenset[str]]:
    """Return what tells which methods a path takes for an app.

    Args:
        is_app: Tells whether the agent knows an app of this id.

    """
    return lambda path, app_id: methods_at(path, app_id, is_app)


def methods_at(path: str, app_id: str, is_app: Callable[[str], bool]) -> frozenset[str]:
    """Return which methods a path takes for an app; none where nothing is for it.

    A path of the Nucleus API names the app, which must be the token's own (threat row 14). A key
    in a path of the Bucket API may be the far end's, and is none of ours, unless it is the id of
    another app that is known here: that one's events are not for this token.
    """
    if found := NUCLEUS_PATH.fullmatch(path):
        return _NUCLEUS.get(found[2], frozenset()) if found[1] == app_id else frozenset()
    known = bucket_call(path)
    if known is not None:
        elsewhere = known.key not in ("", app_id) and is_app(known.key)
        return frozenset() if elsewhere else known.methods
    if found := _BARE.fullmatch(path):
        return _NUCLEUS["track"] if found[1] == app_id else frozenset()
    return frozenset()


def make_gateway_app(sink: Sink, bucket_sink: BucketSink, limits: Limits) -> ASGIApp:
    """Return the ASGI application of the gateway.

    Args:
        sink: Where frames go.
        bucket_sink: Where calls go; it is shown the app's id as a Bearer, whatever the app sent.
        limits: What is too much.

    """
    routes = [
        *bucket_routes(bucket_sink, limits, cors=False, in_flight_bytes=IN_FLIGHT_BYTES),
        *tracking_routes(
            sink, limits, cors=False, tell_anon_id=False, in_flight_bytes=IN_FLIGHT_BYTES
        ),
    ]
    return _Guarded(Starlette(routes=routes))


class _Guarded:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        passed: Passed = scope["state"]["passed"]
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        allowed = [*_GUARDED]
        if passed.origin:
            allowed += [
                (b"access-control-allow-origin", passed.origin.encode("latin-1")),
                (b"vary", b"Origin"),
            ]

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *allowed]
            await send(message)

        if scope["method"] == "OPTIONS":
            allowed += _PREFLIGHT
            await guarded({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        known = bucket_call(scope["path"])
        if known is not None:
            _name_the_app(scope, known.path, passed.grant.app_id)
        await self.app(scope, receive, guarded)


def _name_the_app(scope: Scope, path: str, app_id: str) -> None:
    """Put the app's id where the request had a key; the key goes no further than here."""
    headers = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
    scope["headers"] = [*headers, (b"authorization", b"Bearer " + app_id.encode())]
    scope["path"], scope["raw_path"], scope["query_string"] = path, path.encode(), b""
