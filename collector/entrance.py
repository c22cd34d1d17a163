"""What every request of the public port passes before the routes.

    whose it is ─► draining? ─► its way in ─► routes ─► how long it took

**Whose it is** (SECURITY.md, threat 61): the address of the TCP peer, unless that is a configured
proxy; then the rightmost address in ``X-Forwarded-For`` that is not a configured proxy too. What
stands to the left of it was written by whoever sent the request, and is not read. Connections are
counted for that address as well: behind a proxy the listener sees the proxy alone.

**Draining**: who wants a WebSocket now is told to come back, at a moment of its own (503 and a
``Retry-After`` by chance), because a thousand clients that are told "now" come back together.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from collector.metrics import Metrics, way_in
from collector.settings import Network, network
from tracking.endpoints import error_response
from tracking.errors import RequestFault
from tracking.peers import peer_key

Headers = Iterable[tuple[bytes, bytes]]
API = "/api/"


class Entrance:
    """Wraps the public application.

    Args:
        app: The routes.
        routes: The same, to name what answered.
        trusted: Addresses and networks of reverse proxies.
        per_peer: Requests and WebSockets that one address may have open through a proxy.
        metrics: Told how long answers took.
        come_back_s: Seconds within which clients are asked to come back.

    Attributes:
        draining: Set when the server is to end.

    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Sequence[BaseRoute],
        *,
        trusted: Iterable[str],
        per_peer: int,
        metrics: Metrics,
        come_back_s: float,
    ) -> None:
        self.app = app
        self.names: Mapping[object, str] = {
            route.endpoint: route.path for route in routes if isinstance(route, Route)
        }
        self.trusted = tuple(network(one) for one in trusted)
        self.per_peer = per_peer
        self.metrics = metrics
        self.come_back_s = come_back_s
        self.draining = False
        self.open: Counter[str] = Counter()  #: Per address, of those who come through a proxy.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        way_in.set("ws" if scope["type"] == "websocket" else "http")
        peer = self._through_proxy(scope)
        if scope["type"] == "websocket" and self.draining:
            await _refuse(scope, receive, send, "the server is about to end", self.come_back_s)
            return
        if peer and self.open[peer] >= self.per_peer:
            await _refuse(scope, receive, send, "too many connections from one address", 10.0)
            return
        began_s = time.monotonic()
        if peer:
            self.open[peer] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            if peer:
                self.open[peer] -= 1
                if not self.open[peer]:
                    del self.open[peer]
            if scope["type"] == "http" and scope["path"].startswith(API):
                name = self.names.get(scope.get("endpoint"), "other")
                self.metrics.query(name).observe(time.monotonic() - began_s)

    def _through_proxy(self, scope: Scope) -> str:
        """Put the sender in place of a proxy; return whom to count, nothing for direct peers."""
        if not self.trusted or not scope.get("client"):
            return ""
        host, port = scope["client"]
        sender = forwarded_for(host, scope["headers"], self.trusted)
        if sender is None:
            return ""
        scope["client"] = (sender, port)
        proto = _last(scope["headers"], b"x-forwarded-proto")
        if proto in ("http", "https"):
            secure = {"http": proto, "websocket": "wss" if proto == "https" else "ws"}
            scope["scheme"] = secure[scope["type"]]
        return peer_key(sender)


def forwarded_for(host: str, headers: Headers, trusted: Sequence[Network]) -> str | None:
    """Return who sent a request that came through proxies; None if it did not.

    Args:
        host: The TCP peer.
        headers: As ASGI has them.
        trusted: Whose word about others is believed.

    Returns:
        The rightmost address that is not a trusted proxy; the last one that was understood if all
        are, or if what stands before it is no address.

    """
    sender = _address(host)
    if sender is None or not _within(sender, trusted):
        return None
    said = [
        hop.strip()
        for name, value in headers
        if name == b"x-forwarded-for"
        for hop in value.decode("latin-1").split(",")
    ]
    for hop in reversed(said):
        address = _address(hop)
        if address is None:
            break
        sender = address
        if not _within(address, trusted):
            break
    return str(sender)


def _address(said: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read ``192.0.2.1``, ``192.0.2.1:4711``, ``2001:db8::1`` or ``[2001:db8::1]:4711``."""
    if said.startswith("["):
        said = said[1:].partition("]")[0]
    elif said.count(":") == 1:
        said = said.partition(":")[0]
    try:
        address = ipaddress.ip_address(said.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _within(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, networks: Sequence[Network]
) -> bool:
    return any(address in one for one in networks)


def _last(headers: Headers, wanted: bytes) -> str:
    said = [value for name, value in headers if name == wanted]
    return said[-1].decode("latin-1").rpartition(",")[2].strip().lower() if said else ""


async def _refuse(scope: Scope, receive: Receive, send: Send, why: str, within_s: float) -> None:
    """Answer 503 and when to come back: by chance, so that not all come at once."""
    response = error_response(RequestFault(why, status=503), reportedIds=())
    response.headers["Retry-After"] = str(random.randint(1, max(2, int(within_s))))  # noqa: S311
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
    await response(scope, receive, send)
