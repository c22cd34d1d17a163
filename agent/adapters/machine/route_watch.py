"""Linux says when an address or a route comes or goes; an agent that waits dials then, at once.

A netlink socket (rtnetlink(7)) in the core's loop: silent as long as nothing happens, so an idle
agent is not woken by it. The kernel repeats itself (a router's advertisement renews what was known
every few minutes), so after each word the routes are compared with what they were, and only a
difference counts. Where there is no such socket nothing is lost but time: the backoff comes round.

All on the core's thread, for the loop's readers belong to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import sys
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("agent.routes")

# linux/rtnetlink.h
RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE = 0x10, 0x40
RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE = 0x100, 0x400
GROUPS = RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE
SETTLE_S = 0.3  #: An address is followed by its routes; they are one change.
ROUTES = Path("/proc/self/net")

Snapshot = frozenset[tuple[str, ...]]


def open_netlink() -> socket.socket | None:
    """Return a socket that hears of addresses and routes, None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    except OSError:
        return None
    try:
        sock.setblocking(False)
        sock.bind((0, GROUPS))
    except OSError:
        sock.close()
        return None
    return sock


def routes(folder: Path = ROUTES) -> Snapshot:
    """Return every way off this machine, and the addresses that come with them.

    Destination, gateway and interface of each; what the kernel counts beside them is left out.
    """
    found: set[tuple[str, ...]] = set()
    for name, columns in (("route", (0, 1, 2, 7)), ("ipv6_route", (0, 1, 4, 9))):
        with contextlib.suppress(OSError):
            for line in (folder / name).read_text("ascii", "replace").splitlines():
                parts = line.split()
                if len(parts) > max(columns) and parts[0] != "Iface":
                    found.add((name, *(parts[n] for n in columns)))
    return frozenset(found)


def has_default(known: Snapshot) -> bool:
    """Tell whether any route leads off the machine's own networks."""
    return any(
        (one[0] == "route" and one[2] == one[4] == "0" * 8)
        or (one[0] == "ipv6_route" and one[1] == "0" * 32 and one[2] == "00" and one[4] != "lo")
        for one in known
    )


class RouteWatch:
    """Calls back when the ways off this machine are others than before.

    Args:
        loop: The core's; :meth:`close` before it ends.
        changed: Called on it.
        sock: Of :func:`open_netlink`; None: nothing is watched.
        look: Returns the routes; replaced in tests.

    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        changed: Callable[[], None],
        sock: socket.socket | None,
        *,
        look: Callable[[], Snapshot] = routes,
    ) -> None:
        self._loop = loop
        self._changed = changed
        self._sock = sock
        self._look = look
        self._known = look()
        self._timer: asyncio.TimerHandle | None = None
        if sock is not None:
            loop.add_reader(sock, self._ready)

    @property
    def watching(self) -> bool:
        """Whether a change will be noticed."""
        return self._sock is not None

    def close(self) -> None:
        """Watch no longer; twice is harmless."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def _ready(self) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            while sock.recv(65536):
                pass
        except BlockingIOError:
            pass
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:  # too much was said at once: look, all the same
                log.warning("cannot watch the routes, the backoff will errno=%s", exc.errno)
                self.close()
                return
        if self._timer is None:
            self._timer = self._loop.call_later(SETTLE_S, self._compare)

    def _compare(self) -> None:
        self._timer = None
        now = self._look()
        if now != self._known:
            self._known = now
            self._changed()
