"""One GET under our patience: what a portal is asked, and how a PAC script is fetched.

``http.client`` reads the answer, but from us: one deadline covers it however the stranger cuts
its bytes, nothing is followed, and at most so much is read as is wanted.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
from dataclasses import dataclass
from typing import Any, cast

from agent.adapters.roads.patience import Patience, as_fault, receive, send_all
from tracking.errors import Unreachable

NOTED_BYTES = 16 * 1024  #: Of an answer, for the record of the wire.


@dataclass(frozen=True, slots=True)
class Page:
    """What came back.

    Attributes:
        status: Of the answer.
        location: The header of that name, or nothing.
        body: At most as much as was wanted.
        whole: Whether that was all.

    """

    status: int
    location: str
    body: bytes
    whole: bool


def get_page(
    sock: socket.socket,
    authority: str,
    path: str,
    patience: Patience,
    *,
    kind: str,
    most_bytes: int,
) -> Page:
    """Ask for ``path`` on a connected socket, which is closed afterwards.

    Args:
        sock: Owned from now on.
        authority: For the Host header.
        path: What is asked for.
        patience: Covers everything.
        kind: What the record of the wire calls it.
        most_bytes: Of the body, so many are wanted.

    Raises:
        Unreachable: No HTTP came back in time.
        Abandoned: Nobody wants it any more.

    """
    ask = (
        f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: */*\r\n"
        "Cache-Control: no-cache\r\nConnection: close\r\n\r\n"
    )
    heard = bytearray()
    try:
        patience.note(kind, "sent", ask.encode("ascii"))
        send_all(sock, ask.encode("ascii"), patience)
        with read_response(sock, patience, heard) as response:
            body = response.read(most_bytes + 1)
            location = response.getheader("location") or ""
    except http.client.HTTPException as exc:
        raise Unreachable(f"{authority} does not speak HTTP") from exc
    except OSError as exc:
        raise as_fault(exc, authority) from exc
    finally:
        sock.close()
        if heard:
            patience.note(kind, "received", bytes(heard[:NOTED_BYTES]))
    return Page(response.status, location, body[:most_bytes], len(body) <= most_bytes)


def read_response(
    sock: socket.socket, patience: Patience, heard: bytearray | None = None
) -> contextlib.closing[http.client.HTTPResponse]:
    """Let ``http.client`` read the answer under our patience instead of a timeout per read.

    Args:
        sock: Connected.
        patience: Covers the answer.
        heard: Gets the bytes as they came.

    """

    class Body(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            data = receive(sock, len(buffer), patience)
            buffer[: len(data)] = data
            if heard is not None:
                heard.extend(data)
            return len(data)

    class StandIn:
        def makefile(self, mode: str) -> io.BufferedReader:
            del mode
            return io.BufferedReader(Body())

    response = http.client.HTTPResponse(cast("socket.socket", StandIn()), method="GET")
    response.begin()
    return contextlib.closing(response)
