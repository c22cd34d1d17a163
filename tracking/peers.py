"""Who is at the other end of a connection: an address, or a process of this machine."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import sys

SOL_LOCAL, LOCAL_PEERPID = 0, 2  #: macOS, sys/un.h.


def peer_of(transport: asyncio.BaseTransport) -> str:
    """Return who is at the other end: an address, ``pid:1234`` on this machine, or nothing."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == getattr(socket, "AF_UNIX", None):
        pid = _peer_pid(sock)
        return f"pid:{pid}" if pid else ""
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""


def _peer_pid(sock: socket.socket) -> int:
    """Return the process that connected, 0 where the system cannot tell."""
    if hasattr(socket, "SO_PEERCRED"):
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])
    if sys.platform == "darwin":
        return int(struct.unpack("i", sock.getsockopt(SOL_LOCAL, LOCAL_PEERPID, 4))[0])
    return 0


def peer_key(peer: str) -> str:
    """Return what is counted as one peer: an IPv6 household has a whole /64 to come from."""
    if ":" not in peer or peer.startswith("pid:"):
        return peer
    try:
        address = ipaddress.IPv6Address(peer.split("%", 1)[0])
    except ValueError:
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
