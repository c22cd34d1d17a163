"""Dialing a far end to see what comes of it, and the rude far ends that several tests meet."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

from far_ends import FarEnd, Listener, RawFarEnd, hold, read_request

from agent.rules.link import Lost, Opened

Links = Callable[..., Listener]
FarEnds = Callable[..., FarEnd]
RawFarEnds = Callable[..., RawFarEnd]

HEARTBEAT = b'{"data":[{"type":"heartbeat"}]}'


def connected(listener: Links, url: str, **limits: Any) -> Listener:
    made = listener(**limits)
    made.connect(url)
    assert made.next() == Opened(1)
    return made


def lost(listener: Links, url: str, **limits: Any) -> Lost:
    """Dial and return why it ended, with nothing posted after."""
    made = listener(**limits)
    made.connect(url)
    fault: Lost = made.wait(Lost)
    assert fault.dial == 1
    assert made.silent()
    return fault


# --- what a far end does with a handshake ------------------------------------------------------


def silence(sock: socket.socket) -> None:
    hold(sock)


def half_a_handshake(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websock")
    hold(sock)


def a_drip(sock: socket.socket) -> None:
    read_request(sock)
    for byte in b"HTTP/1.1 101 Switching Protocols\r\n" + b"X-Drip: 1\r\n" * 1000:
        sock.sendall(bytes([byte]))
        time.sleep(0.02)


def endless_headers(sock: socket.socket) -> None:
    read_request(sock)
    while True:
        sock.sendall(b"X-Padding: " + b"p" * 1000 + b"\r\n")
