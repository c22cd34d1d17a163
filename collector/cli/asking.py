"""How a command asks the running server of its folder: HTTP over the admin socket."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

from tracking.errors import Fault


def ask(sock: socket.socket, path: str) -> http.client.HTTPResponse:
    """Ask the running server of this folder."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = sock
    try:
        connection.request("GET", path)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as exc:
        raise Fault(f"the server does not answer: {exc}") from exc
    if response.status != 200:
        raise Fault(f"the server answered {response.status}")
    return response


def parts_of(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield a long answer as it comes; who counts misses the end of one that broke off."""
    try:
        while part := response.read(256 * 1024):
            yield part
    except (OSError, http.client.HTTPException):
        return
