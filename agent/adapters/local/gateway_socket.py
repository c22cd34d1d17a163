"""The gateway's listening sockets: 127.0.0.1 and ::1, and nothing that could be anything else.

The addresses are constants: no argument, setting or variable reaches them (threat row 22). The
port is kept for ever, so it is chosen where the system takes none for outgoing connections: one
of those could sit on it at the next start.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from typing import Final

from tracking.errors import Fault

LOOPBACK: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
#: Below what any system takes for outgoing connections (Linux from 32768, others from 49152).
PORTS: Final = range(20_000, 32_000)
TRIES: Final = 64
BACKLOG: Final = 128
_NO_IPV6: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})


class PortTaken(Fault):
    """Somebody else listens where apps expect the gateway."""

    code = "gateway.port_taken"


def listen_on_loopback(port: int) -> list[socket.socket]:
    """Return listening sockets on ``port`` of both loopback addresses.

    A machine without IPv6 has one of them. If somebody else has the port on either, there is
    none: half of the apps would talk to a stranger.

    Raises:
        PortTaken: Somebody else has it, or we may not have it.

    """
    opened: list[socket.socket] = []
    try:
        for family, address in LOOPBACK:
            try:
                opened.append(_listen(family, address, port))
            except OSError as exc:
                if family == socket.AF_INET6 and exc.errno in _NO_IPV6:
                    continue
                raise
    except OSError as exc:
        for sock in opened:
            sock.close()
        raise PortTaken(
            f"cannot listen on port {port} of this computer: {os.strerror(exc.errno or 0).lower()}",
            advice="Find out who has it; or set gateway.port, restart, and give your apps the new "
            "address.",
        ) from exc
    return opened


def listen_on_a_fresh_port(below: Callable[[int], int]) -> tuple[list[socket.socket], int]:
    """Return listening sockets on a port that nobody had, and the port.

    Args:
        below: Returns a whole number from 0 up to, not including, its argument.

    Raises:
        PortTaken: None was free.

    """
    for attempt in range(TRIES):
        port = PORTS.start + below(len(PORTS))
        try:
            return listen_on_loopback(port), port
        except PortTaken:
            if attempt == TRIES - 1:
                raise
    raise AssertionError("the loop ends by returning or raising")


def _listen(family: int, address: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:  # after a restart; two listeners on one port it does not allow
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
