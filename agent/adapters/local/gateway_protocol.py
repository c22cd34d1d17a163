"""HTTP at the gateway: who may not come in is answered before anything else happens.

The check stands where the last header was read: before the body, before a WebSocket, before any
route. So every refusal is the same few bytes, whether it was a bad Host, a wrong token, a broken
header or no HTTP at all, and the token is cut out of the path before anything could log it
(threat rows 16, 17, 19, 21).
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Final

from agent.rules.gatekeeping import Gate, Grant, Knock
from tracking.errors import Fault, RequestFault
from tracking.http_protocols import Connection, Http

NOTHING_HERE: Final = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
LINGER_S: Final = 1.0  #: So long the rest of a refused request is read, and dropped.


class Gatehouse:
    """What the connections of one listener share.

    Args:
        gate: Decides.
        opened: Hears of each request that came in.

    Attributes:
        inside: Who came in last on each connection.

    """

    def __init__(self, gate: Gate, opened: Callable[[Grant], None]) -> None:
        self.gate = gate
        self.opened = opened
        self.inside: weakref.WeakKeyDictionary[Connection, Grant] = weakref.WeakKeyDictionary()

    def protocol(self, connection: Connection) -> GatewayHttp:
        """Return the protocol for a new connection."""
        return GatewayHttp(connection, self)


class GatewayHttp(Http):
    """:class:`tracking.http_protocols.Http` behind a gate."""

    def __init__(self, connection: Connection, house: Gatehouse) -> None:
        super().__init__(connection)
        self.house = house
        self.admitted = False  #: The request that is being read came in.
        self.over = False
        self._lingering: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if not self.over:
            super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.admitted = False

    def on_headers_complete(self) -> None:
        upgrade = self.parser.should_upgrade() and self._should_upgrade()
        knock = Knock(self.parser.get_method(), self.url, self.headers, upgrade)
        passed = None if self.too_large else self.house.gate.check(knock)
        if passed is None:
            raise RequestFault("nothing is here", status=404)  # ends the parser; see refuse
        self.admitted = True
        if not self.connection.admit(passed.grant.app_id):
            self.refuse(RequestFault("too many connections are open, come again", status=503))
            raise RequestFault("no place is free", status=503)  # ends the parser; is answered
        self.url = passed.target
        self.scope["state"]["passed"] = passed
        self.house.inside[self.connection] = passed.grant
        self.house.opened(passed.grant)
        super().on_headers_complete()

    def refuse(self, fault: Fault | None) -> None:
        """Answer as if nothing were here, unless who asks has been let in."""
        if self.admitted or fault is None:
            super().refuse(fault)
        elif self.busy:  # it sent this behind a request that came in and is not answered yet
            super().refuse(None)
        elif not self.over and not self.transport.is_closing():
            self.over = True
            self.in_header = self.in_body = False
            self.header_bytes = self.body_bytes = 0
            self.transport.write(NOTHING_HERE)
            # Closing on bytes that nobody read resets the connection, and the answer with it.
            self.transport.write_eof()
            self._lingering = self.loop.call_later(LINGER_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(exc)
