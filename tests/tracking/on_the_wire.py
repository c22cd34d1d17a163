"""Bytes that clients send, and how a test sees that the far end closed or still serves."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

import websocket

FRAME = '{"data":[{"name":"E","id":1,"machineId":"m"}]}'
LINE = b'{"appId":"A","data":[{"name":"E","id":1}]}\n'
POST = b"POST /A HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
UPGRADE = (
    b"GET /A HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def until_closed(sock: socket.socket) -> bytes:
    """Read until the far side closes."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := sock.recv(65536):
            data += more
    return data


def close_code(ws: websocket.WebSocket) -> int:
    """Read until the far side says that it closes; return why."""
    while (frame := ws.recv_frame()).opcode != websocket.ABNF.OPCODE_CLOSE:
        pass
    code: int = struct.unpack("!H", frame.data[:2])[0]
    return code


def is_served(far_end: Any) -> bool:
    return bool(far_end.request("POST", "/A", FRAME)[1] == b'{"reportedIds":[1]}')
