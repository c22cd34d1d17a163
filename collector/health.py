"""Is it alive, is it ready, how much is it: ``/healthz``, ``/readyz``, ``/metrics``.

The first two need no token and tell no secret, so that a load balancer may ask them on the public
port. The metrics are told on the admin socket, and on a port of their own on 127.0.0.1 if the
settings name one; never on the public port.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collector.metrics import TEXT, Metrics
from tracking.errors import StorageFault

log = logging.getLogger("collector.health")

PROBE_S = 2.0  #: A store that takes longer to say anything does not answer.
FRESH_S = 1.0  #: However many ask, the store is probed once a second at most.
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(slots=True)
class Health:
    """Answers for the server.

    Args:
        probe: Asks the store something cheap; raises StorageFault. Runs in a thread.
        behind: Tells whether events are being refused because too many wait.
        failing: Tells whether the last commit failed.
        draining: Tells whether the server is about to end.

    """

    probe: Callable[[], object]
    behind: Callable[[], bool]
    failing: Callable[[], bool]
    draining: Callable[[], bool]
    _said: str = ""
    _until_s: float = 0.0
    _pending: asyncio.Future[object] | None = None
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reasons(self) -> list[str]:
        """Return why the server is not ready; nothing if it is."""
        reasons = [
            word
            for word, holds in (
                ("draining", self.draining),
                ("behind", self.behind),
                ("not storing", self.failing),
            )
            if holds()
        ]
        async with self._asking:
            if time.monotonic() >= self._until_s:
                self._said = await self._probe()
                self._until_s = time.monotonic() + FRESH_S
        return [*reasons, self._said] if self._said else reasons

    async def _probe(self) -> str:
        if self._pending is None:  # one that hangs is waited for, not joined by others
            self._pending = asyncio.ensure_future(asyncio.to_thread(self.probe))
        done, _ = await asyncio.wait({self._pending}, timeout=PROBE_S)
        if not done:
            log.warning("the store does not answer seconds=%g", PROBE_S)
            return "store silent"
        pending, self._pending = self._pending, None
        if isinstance(fault := pending.exception(), StorageFault):
            log.warning("the store cannot be asked code=%s", fault.code)
            return "store broken"
        pending.result()
        return ""

    def routes(self) -> list[Route]:
        """Return what may be asked by anybody."""
        return [
            Route("/healthz", self._alive, methods=["GET"]),
            Route("/readyz", self._ready, methods=["GET"]),
        ]

    async def _alive(self, request: Request) -> Response:
        del request
        return _json({"alive": True}, 200)

    async def _ready(self, request: Request) -> Response:
        del request
        reasons = await self.reasons()
        return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)


def metrics_route(metrics: Metrics) -> Route:
    """Return what only the operator may ask."""

    async def endpoint(request: Request) -> Response:
        del request
        return Response(metrics.text(), headers={"Content-Type": TEXT})

    return Route("/metrics", endpoint, methods=["GET"])


def _json(said: object, status: int) -> Response:
    return Response(
        msgspec.json.encode(said), status, media_type="application/json", headers=HEADERS
    )
