"""From a name to a connected socket: look-up, the two families, one deadline.

Connecting follows RFC 8305, "Happy Eyeballs": the addresses of a name take turns by family, a
new attempt begins every 250 ms while the earlier ones go on, and the first that is answered
wins. So a network whose IPv6 leads nowhere costs a quarter of a second, not the whole dial.

Connecting gets two thirds of the patience: a network that swallows everything is named before the
time is over, and what is left is enough to ask why (``agent.adapters.roads.portal``).
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import time
from collections.abc import Callable

from agent.adapters.roads.patience import Patience, as_fault
from tracking.errors import NoName, Silent, Unreachable

SILENCE_MS = 30_000  #: Sent bytes may stay unconfirmed by the peer's kernel for so long.
UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN)
STAGGER_S = 0.25  #: "Connection Attempt Delay", RFC 8305 §5.
MOST_PLACES = 8  #: Of one name; a resolver may name hundreds.
SHARE = 2 / 3  #: Of the patience, for connecting.

Place = tuple[socket.AddressFamily, tuple[str, int]]  #: Family, then address and port.
Resolve = Callable[[str, int, Patience], list[Place]]


def look_up(host: str, port: int, patience: Patience) -> list[Place]:
    """Return the places that a host name stands for. Blocks as long as the resolver likes.

    Raises:
        NoName: The name stands for nothing.

    """
    del patience
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise as_fault(exc, host) from exc
    inet = (socket.AF_INET, socket.AF_INET6)
    return [(family, (str(at[0]), port)) for family, _, _, _, at in found if family in inet]


def places_of(host: str, port: int, patience: Patience, resolve: Resolve) -> list[Place]:
    """Return a host's places in the order in which they are tried; at least one.

    Raises:
        NoName: The resolver does not know it, or did not answer in time.
        Abandoned: Nobody wants it any more.

    """
    patience.doing = f"looking up {host}"
    try:
        found = _known(host, port) or resolve(host, port, patience)
    except Silent as exc:
        raise NoName(
            f"the resolver does not answer: {exc}", advice="Is this computer offline?"
        ) from exc
    if not found:
        raise NoName(f"{host} has no address")
    return in_turn(found)[:MOST_PLACES]


def in_turn(places: list[Place]) -> list[Place]:
    """Let the families take turns, the resolver's first one first (RFC 8305 §4)."""
    families = list(dict.fromkeys(family for family, _ in places))
    queues = [[place for place in places if place[0] == family] for family in families]
    turns: list[Place] = []
    while any(queues):
        turns += [queue.pop(0) for queue in queues if queue]
    return turns


def connect(host: str, port: int, patience: Patience, resolve: Resolve) -> socket.socket:
    """Return a socket that is connected to the first place of a host that answers.

    Raises:
        NoName: It has none.
        Silent: Nobody answered, not even with a refusal.
        Unreachable: All refused.
        Abandoned: Nobody wants it any more.

    """
    places = places_of(host, port, patience, resolve)
    patience.doing = f"connecting to {host}"
    now = time.monotonic()
    share_s = (patience.until - now) * SHARE
    with contextlib.ExitStack() as stack:
        race = _Race(places, now + share_s)
        stack.callback(race.close)
        while (sock := race.step(time.monotonic())) is None:
            if race.over:
                raise race.last
            if time.monotonic() >= race.until:
                raise Silent(f"no answer from {host} port {port} in {share_s:.0f} s")
            race.ready = patience.first_of(list(race.running), race.wakes_at)
        return sock


class _Race:
    """Attempts to connect, one more every so often, until one of them wins."""

    def __init__(self, places: list[Place], until: float) -> None:
        self.until = until
        self.running: dict[socket.socket, tuple[str, int]] = {}
        self.ready: set[socket.socket] = set()
        self.last: Exception = Unreachable("there is nowhere to connect to")
        self._places = places
        self._next_at = 0.0

    @property
    def over(self) -> bool:
        return not self.running and not self._places

    @property
    def wakes_at(self) -> float:
        """When the next attempt begins, or all end."""
        return min(self._next_at, self.until) if self._places else self.until

    def step(self, now: float) -> socket.socket | None:
        """Look at what is ready, begin what is due; return the winner."""
        for sock in self.ready & self.running.keys():
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not error and self._won(sock):
                return sock
            if error:
                self._lost(sock, error)
        self.ready = set()
        while self._places and (now >= self._next_at or not self.running):
            family, at = self._places.pop(0)
            self._next_at = now + STAGGER_S
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as exc:
                self.last = as_fault(exc, f"{at[0]} port {at[1]}")
                continue
            self.running[sock] = at
            sock.setblocking(False)
            tune(sock)
            try:
                error = sock.connect_ex(at)
            except OSError as exc:  # an address that the kernel cannot even read
                error = exc.errno or errno.EINVAL
            if not error and self._won(sock):
                return sock
            if error and error not in UNDER_WAY:
                self._lost(sock, error)
        return None

    def _won(self, sock: socket.socket) -> bool:
        try:
            sock.getpeername()
        except OSError:
            return False
        self.running.pop(sock)
        return True

    def _lost(self, sock: socket.socket, error: int) -> None:
        at = self.running.pop(sock)
        sock.close()
        said = OSError(error, errno.errorcode.get(error, "error"))
        self.last = as_fault(said, f"{at[0]} port {at[1]}")

    def close(self) -> None:
        for sock in self.running:
            sock.close()


def require_loopback(host: str, peer: str) -> None:
    """Refuse to speak plain text to a peer that is not this machine (SECURITY.md, row 38)."""
    if not ipaddress.ip_address(peer).is_loopback:
        raise Unreachable(f"{host} is {peer}, which is not this machine")


def _known(host: str, port: int) -> list[Place]:
    """Return the places of a host that needs no looking up."""
    if host == "localhost":
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port))]
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return []
    return [(socket.AF_INET6 if version == 6 else socket.AF_INET, (host, port))]


def tune(sock: socket.socket) -> None:
    """Small frames at once; a peer that vanished is noticed by the kernel as well."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_USER_TIMEOUT", SILENCE_MS), ("TCP_KEEPIDLE", 90)):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
