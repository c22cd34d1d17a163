"""A road to a far end: name, connection, proxy and TLS, all under one deadline.

Everything here works on non-blocking sockets and waits in one place,
:meth:`agent.adapters.patience.Patience.wait`, so that a far end which drips one byte a second
gains nothing by it, and a person who quits is not kept waiting.

Traps that shaped it:
    - ``socket.create_connection`` gives every address the whole timeout, ``ssl`` gives every
      round of the handshake the whole timeout again.
    - The name ``localhost`` is never looked up: RFC 6761 §6.3 keeps it for loopback, and a
      resolver that says otherwise must not lead plain text off this machine.
    - websocket-client and ``http.client`` speak plain HTTP to a proxy that is configured as
      ``socks5://`` or ``https://``; here that is a fault.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.adapters.patience import (
    Patience,
    as_fault,
    read_head,
    send_all,
    status_of,
    words,
)
from agent.rules.endpoints import Address, is_loopback
from tracking.errors import Unreachable

SILENCE_MS = 30_000  #: Sent bytes may stay unconfirmed by the peer's kernel for so long.
UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN)

Place = tuple[socket.AddressFamily, tuple[str, int]]  #: Family, then address and port.


def look_up(host: str, port: int, patience: Patience) -> list[Place]:
    """Return the places that a host name stands for. Blocks as long as the resolver likes.

    Raises:
        Unreachable: The name stands for nothing.

    """
    del patience
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise as_fault(exc, host) from exc
    inet = (socket.AF_INET, socket.AF_INET6)
    return [(family, (str(at[0]), port)) for family, _, _, _, at in found if family in inet]


Resolve = Callable[[str, int, Patience], list[Place]]


def open_road(
    address: Address,
    patience: Patience,
    *,
    context: Callable[[], ssl.SSLContext],
    resolve: Resolve = look_up,
) -> socket.socket:
    """Return a connected socket that does not block, with TLS done if the address asks for it.

    Args:
        address: Checked by ``agent.rules.endpoints``.
        patience: Covers everything.
        context: Gives the TLS context; asked only if TLS is spoken.
        resolve: Name to places.

    Raises:
        LinkFault: No road, or the far end did not prove its name.
        SettingsFault: From ``context``.
        Abandoned: Nobody wants it any more.

    """
    sock: socket.socket | None = None
    try:
        proxy = proxy_for(address)
        if proxy is None:
            sock = connect(address.host, address.port, patience, resolve)
        else:
            sock = connect(proxy.host, proxy.port, patience, resolve)
            ask_proxy(sock, proxy, address, patience)
        if not address.secure:
            require_loopback(address.host, str(sock.getpeername()[0]))
            return sock
        patience.doing = "proving the far end's name"
        sock = context().wrap_socket(
            sock, server_hostname=address.host, do_handshake_on_connect=False
        )
        _shake_hands(sock, patience)
    except BaseException as exc:
        if sock is not None:
            sock.close()
        if isinstance(exc, OSError):
            raise as_fault(exc, address.host) from exc
        raise
    return sock


def require_loopback(host: str, peer: str) -> None:
    """Refuse to speak plain text to a peer that is not this machine (SECURITY.md, row 38)."""
    if not ipaddress.ip_address(peer).is_loopback:
        raise Unreachable(f"{host} is {peer}, which is not this machine")


def connect(host: str, port: int, patience: Patience, resolve: Resolve) -> socket.socket:
    """Connect to the first place of a host that answers."""
    patience.doing = f"looking up {host}"
    places = _known(host, port) or resolve(host, port, patience)
    patience.doing = f"connecting to {host}"
    last: Exception = Unreachable(f"{host} has no address")
    for n, (family, at) in enumerate(places):
        now = time.monotonic()
        share = now + (patience.until - now) / (len(places) - n)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            _tune(sock)
            error = sock.connect_ex(at)
            while error in UNDER_WAY:
                patience.wait(sock, write=True, until=share)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not error:
                    with contextlib.suppress(OSError):  # woken by a letter, not yet connected
                        sock.getpeername()
                        return sock
                    error = errno.EINPROGRESS
            if not error:
                return sock
            raise OSError(error, errno.errorcode.get(error, "error"))
        except (OSError, Unreachable) as exc:
            sock.close()
            last = exc if isinstance(exc, Unreachable) else as_fault(exc, f"{at[0]} port {port}")
        except BaseException:
            sock.close()
            raise
    raise last


def _known(host: str, port: int) -> list[Place]:
    """Return the places of a host that needs no looking up."""
    if host == "localhost":
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port))]
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return []
    return [(socket.AF_INET6 if version == 6 else socket.AF_INET, (host, port))]


def _tune(sock: socket.socket) -> None:
    """Small frames at once; a peer that vanished is noticed by the kernel as well."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_USER_TIMEOUT", SILENCE_MS), ("TCP_KEEPIDLE", 90)):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _shake_hands(sock: socket.socket, patience: Patience) -> None:
    assert isinstance(sock, ssl.SSLSocket)
    while True:
        try:
            sock.do_handshake()
            return
        except ssl.SSLWantReadError:
            patience.wait(sock)
        except ssl.SSLWantWriteError:
            patience.wait(sock, write=True)


# --- proxies ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that is asked to CONNECT."""

    host: str
    port: int
    credentials: str = ""  #: ``user:password`` as it was written, never shown.


def proxy_for(address: Address) -> Proxy | None:
    """Return the proxy that this computer names for an address; never one for loopback.

    Raises:
        Unreachable: It names one that speaks something other than HTTP.

    """
    if not address.secure or is_loopback(address.host):
        return None
    import urllib.request  # 4 MiB and 20 ms that an agent on this machine alone never needs

    named = urllib.request.getproxies()
    url = named.get("https") or named.get("all") or ""
    if not url or urllib.request.proxy_bypass(f"{address.host}:{address.port}"):
        return None
    advice = "Set https_proxy to http://host:port, or name this far end in no_proxy."
    try:
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port or 80
    except ValueError as exc:
        raise Unreachable("https_proxy is not an address", advice=advice) from exc
    if parts.scheme != "http" or not host:
        raise Unreachable(f"a {words(parts.scheme)} proxy is not spoken here", advice=advice)
    name, password = parts.username, parts.password
    unquote = urllib.parse.unquote
    return Proxy(host, port, f"{unquote(name)}:{unquote(password or '')}" if name else "")


def ask_proxy(sock: socket.socket, proxy: Proxy, address: Address, patience: Patience) -> None:
    """Have the proxy lay the rest of the road; only CONNECT is ever asked of it."""
    patience.doing = f"asking the proxy {proxy.host}"
    host = f"[{address.host}]" if ":" in address.host else address.host
    target = f"{host}:{address.port}"
    ask = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if proxy.credentials:
        secret = base64.b64encode(proxy.credentials.encode()).decode()
        ask += f"Proxy-Authorization: Basic {secret}\r\n"
    send_all(sock, f"{ask}\r\n".encode(), patience)
    head, rest = read_head(sock, patience)
    status = status_of(head)
    if not 200 <= status < 300:
        raise Unreachable(
            f"the proxy {proxy.host} answered {status or 'nonsense'}",
            advice="Check https_proxy." if status != 407 else "The proxy wants a password.",
        )
    if rest:
        raise Unreachable(f"the proxy {proxy.host} talks when it should be silent")
