"""The Data API v1: what the seeds 001 and 002 describe, and more in the same style.

    endpoints   the table: path, scope, parameters, answer
    door        who may ask; what a request says
    answers, answers_more, erasing, stream     what is answered
    shapes      the answers, key by key
    openapi, page    the same, for machines and for people

``docs/data-api.md`` has an example of each; ``docs/numbers.md`` says what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from collector.access.accounts import Accounts
from collector.access.limits import Limiter
from collector.api.door import HEADERS, METHODS, Door, SegmentRoute, refusal, said_in, token_of
from collector.api.endpoints import BASE, ENDPOINTS, Endpoint
from collector.api.erasing import ErasingAnswers
from collector.api.openapi import document
from collector.api.page import STYLE_HASH, page
from collector.api.parameters import Asked
from collector.api.stream import LiveStream
from collector.api.threads import Threads
from collector.forgetting import Forgetting
from collector.intake.presence import Presence
from collector.receipts import Seal
from collector.store.interface import Store
from tracking.errors import Fault, RequestFault

__all__ = ["DataApi"]

QUERY_S = 10.0
PAGE_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{STYLE_HASH}';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "public, max-age=3600",
}


class DataApi:
    """Answers questions about apps.

    Args:
        accounts: Who may ask.
        store: Knows the past.
        presence: Knows the present.
        failures: Wrong tokens per address.
        now_ms: Unix milliseconds.
        now_s: Monotonic seconds.
        query_s: What one answer may take, in seconds; the engine is interrupted then.
        waiting: Tells how many events wait for the disk.
        kept_days: Tells how many days an app's events are kept; 0: for ever.
        forgetting: Erases; without it DELETE answers 503.
        seal: Makes what signs receipts.
        set_aside: Counts the folders that no erasure goes into (receipts say so).

    """

    def __init__(
        self,
        accounts: Accounts,
        store: Store,
        presence: Presence,
        failures: Limiter,
        now_ms: Callable[[], int],
        now_s: Callable[[], float],
        *,
        query_s: float = QUERY_S,
        waiting: Callable[[], int] = lambda: 0,
        kept_days: Callable[[str], int] = lambda _: 0,
        forgetting: Forgetting | None = None,
        seal: Callable[[], Seal] | None = None,
        set_aside: Callable[[], int] = lambda: 0,
    ) -> None:
        self.now_ms = now_ms
        self.door = Door(accounts, failures, now_ms, now_s)
        self.threads = Threads(query_s)
        self.answers = ErasingAnswers(
            store,
            presence,
            self.threads,
            waiting=waiting,
            kept_days=kept_days,
            forgetting=forgetting,
            seal=seal,
            set_aside=set_aside,
        )
        self.stream = LiveStream(self.answers, self.door.grant, now_ms)

    def routes(self) -> list[BaseRoute]:
        """Return the routes, one for each path; the last answers 404 to all others."""
        by_path: dict[str, list[Endpoint]] = {}
        for endpoint in ENDPOINTS:
            by_path.setdefault(endpoint.full, []).append(endpoint)
        return [
            WebSocketRoute(
                f"{BASE.replace(':appId', '{app_id}')}/live/stream", self.stream.endpoint
            ),
            *(SegmentRoute(path, self._guarded(those)) for path, those in by_path.items()),
            Route("/api/v1/openapi.json", _openapi, methods=["GET"]),
            Route("/api/v1/docs", _docs, methods=["GET"]),
            Route("/api/v1/{rest:path}", _nothing_here, methods=METHODS),
        ]

    def close(self) -> None:
        """Take no more questions; those that are being answered go on to their end."""
        self.threads.close()

    def _guarded(self, endpoints: list[Endpoint]) -> Callable[[Request], Awaitable[Response]]:
        by_method = {
            method: endpoint
            for endpoint in endpoints
            for method in (("GET", "POST", "HEAD") if endpoint.method == "GET" else ("DELETE",))
        }
        allowed = ", ".join(method for method in by_method if method != "HEAD")

        async def answer(request: Request) -> Response:
            endpoint = by_method.get(request.method)
            try:
                response = await self._answer(endpoint, endpoints[0].scope, request)
            except Fault as fault:
                response = refusal(fault)
                if endpoint is None and isinstance(fault, RequestFault) and fault.status == 405:
                    response.headers["Allow"] = allowed
                return response
            response.headers.update(HEADERS)
            return response

        return answer

    async def _answer(self, endpoint: Endpoint | None, least: str, request: Request) -> Response:
        path = dict(request.path_params)
        app = str(path.pop("appId"))
        body = await said_in(request)
        scope = least if endpoint is None else endpoint.scope
        await self.door.grant(request, app, token_of(request, body), scope)
        if endpoint is None:  # said to who may ask: others learn nothing of what there is
            raise RequestFault(f"this path does not answer to {request.method}", status=405)
        asked = Asked(
            path, {**body, **request.query_params}, self.now_ms(), request.headers.get("prefer", "")
        )
        said = await getattr(self.answers, endpoint.name)(app, asked)
        if isinstance(said, Response):
            return said
        return Response(msgspec.json.encode(said), media_type="application/json")


async def _openapi(request: Request) -> Response:
    del request
    return Response(document(), media_type="application/json", headers=HEADERS)


async def _docs(request: Request) -> Response:
    del request
    return Response(page(), media_type="text/html; charset=utf-8", headers=PAGE_HEADERS)


async def _nothing_here(request: Request) -> Response:
    return refusal(
        RequestFault(f"no question is asked by {request.method} of this path", status=404)
    )
