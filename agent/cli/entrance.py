"""The two ways in for many events: lines on the Unix socket, requests over loopback.

On the Unix socket the connection itself proves who we are, and one frame is one line. Over
loopback each frame is an HTTP request that carries the token, pipelined like the lines. Both
answer in the order of the frames, with the same words.
"""

from __future__ import annotations

import asyncio
import re
import socket
from typing import NamedTuple, Self

from agent.cli.ndjson import Batch

ANSWER_BYTES = 4 * 1024 * 1024  #: The longest answer; 500 ids of an app's own may be long.
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d{1,9})\r\n")


class Entrance(NamedTuple):
    """An open connection to the agent, and the token that loopback asks for."""

    sock: socket.socket
    token: str = ""


class Lines:
    """Frames out, answers in, in order."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.token = token

    @classmethod
    async def of(cls, entrance: Entrance) -> Self | Requests:
        """Return the way in that this connection is good for."""
        entrance.sock.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=entrance.sock, limit=ANSWER_BYTES)
        kind = Requests if entrance.token else cls
        return kind(reader, writer, entrance.token)

    async def offer(self, batch: Batch) -> None:
        """Send one frame; waits for room, not for its answer."""
        self.writer.write(batch.frame())
        await self.writer.drain()

    async def answer(self) -> bytes:
        """Return the next answer.

        Raises:
            EOFError: The agent closed the connection.

        """
        line = await self.reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line

    def close(self) -> None:
        """End the connection."""
        self.writer.close()


class Requests(Lines):
    """The same over HTTP."""

    async def offer(self, batch: Batch) -> None:
        body = batch.frame()
        head = (
            f"POST /app/{batch.app_id}/track HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {self.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode("ascii") + body)
        await self.writer.drain()

    async def answer(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await self.reader.readexactly(int(length[1])) if length else b""
        status = head[9:12].decode("latin-1")
        return body or b'{"code":"request","error":"the agent answered HTTP %s"}' % status.encode()
