"""HTTP at the local socket: what a person's own tools ask is heard when every place is taken.

A newcomer that finds no place waits in the side room (:mod:`tracking.places`). If what it asks is
under ``/v1/``, it steers the agent and stays; events have to come again later. So `homing status`
and `homing apps deny` work while apps hold everything.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

from tracking.errors import RequestFault
from tracking.http_protocols import Connection, Http

STEERING: Final = b"/v1/"


class LocalHttp(Http):
    """:class:`tracking.http_protocols.Http` that knows who steers."""

    def __init__(self, connection: Connection, expected: bytes) -> None:
        super().__init__(connection)
        self.expected = expected
        self.aside = connection.waits  #: It is here to steer, or not at all.

    def on_headers_complete(self) -> None:
        if self.aside and not self.too_large:
            if not self._steers():
                self.refuse(RequestFault("too many connections are open, come again", status=503))
                raise RequestFault("no place is free", status=503)  # ends the parser; is answered
            self.connection.steers()
        super().on_headers_complete()

    def _steers(self) -> bool:
        if not self.url.startswith(STEERING):
            return False
        if not self.expected:
            return True
        said = [value for name, value in self.headers if name == b"authorization"]
        return len(said) == 1 and hmac.compare_digest(said[0], self.expected)


def local_http(token: str) -> Callable[[Connection], LocalHttp]:
    """Return what a listener calls with a connection.

    Args:
        token: Asked of every request over loopback, empty for a Unix socket.

    """
    expected = f"Bearer {token}".encode() if token else b""
    return lambda connection: LocalHttp(connection, expected)
