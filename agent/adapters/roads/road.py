"""A road to a far end: allowed, named, connected, proxied and proven, all under one deadline.

Everything here works on non-blocking sockets and waits in one place,
:class:`agent.adapters.roads.patience.Patience`, so that a far end which drips one byte a second
gains nothing by it, and a person who quits is not kept waiting. Whatever leaves the agent leaves
through :func:`open_road`; what stands on the way (:class:`~agent.adapters.roads.atlas.Atlas`) is
asked there.

Traps that shaped it:
    - ``socket.create_connection`` gives every address the whole timeout, ``ssl`` gives every
      round of the handshake the whole timeout again.
    - The name ``localhost`` is never looked up: RFC 6761 §6.3 keeps it for loopback, and a
      resolver that says otherwise must not lead plain text off this machine.
    - websocket-client and ``http.client`` speak plain HTTP to a proxy that is configured as
      ``socks5://`` or ``https://``; here that is a fault.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from functools import partial

from agent.adapters.roads.atlas import Atlas
from agent.adapters.roads.connecting import Place, Resolve, connect, look_up, require_loopback
from agent.adapters.roads.pac import shake_hands
from agent.adapters.roads.patience import Patience, as_fault
from agent.adapters.roads.portal import explained
from agent.adapters.roads.proxy_login import lay_through
from agent.rules.endpoints import Address
from agent.rules.proxies import Proxy
from tracking.errors import LinkFault, ProxyFault, Unreachable

__all__ = ["Place", "Resolve", "look_up", "open_road"]


def open_road(
    address: Address,
    patience: Patience,
    *,
    context: Callable[[], ssl.SSLContext],
    resolve: Resolve = look_up,
    atlas: Atlas | None = None,
) -> socket.socket:
    """Return a connected socket that does not block, with TLS done if the address asks for it.

    Args:
        address: Checked by ``agent.rules.endpoints``.
        patience: Covers everything.
        context: Gives the TLS context; asked only if TLS is spoken.
        resolve: Name to places.
        atlas: Hosts, proxies and logins of this agent; the environment's proxies if None.

    Raises:
        LinkFault: Not allowed, no road, or the far end did not prove its name.
        SettingsFault: From ``context``.
        SecretFault: The proxy wants a login, and the keyring is locked.
        Abandoned: Nobody wants it any more.

    """
    atlas = atlas or Atlas()
    atlas.require(address.host)
    proxies = atlas.proxies_to(address, patience, resolve)
    direct = proxies == (None,)
    sock: socket.socket | None = None
    try:
        sock = _laid(address, proxies, patience, resolve, atlas)
        if not address.secure:
            require_loopback(address.host, str(sock.getpeername()[0]))
            return sock
        proof = patience.share(2)  # whoever accepts and then says nothing does not get all of it
        proof.doing = "proving the far end's name"
        sock = context().wrap_socket(
            sock, server_hostname=address.host, do_handshake_on_connect=False
        )
        shake_hands(sock, proof)
    except BaseException as exc:
        if sock is not None:
            sock.close()
        fault = as_fault(exc, address.host) if isinstance(exc, OSError) else exc
        if direct and isinstance(fault, LinkFault):
            fault = explained(address, fault, patience, atlas, resolve)
        if fault is exc:
            raise
        raise fault from exc
    return sock


def _laid(
    address: Address,
    proxies: tuple[Proxy | None, ...],
    patience: Patience,
    resolve: Resolve,
    atlas: Atlas,
) -> socket.socket:
    """Lay the road through the first proxy that can; a login that is wanted ends the search."""
    last: Unreachable | None = None
    for n, proxy in enumerate(proxies):
        mine = patience.share(len(proxies) - n)
        try:
            if proxy is None:
                return connect(address.host, address.port, mine, resolve)
            atlas.require(proxy.host)
            return lay_through(
                proxy,
                address,
                mine,
                dial=partial(_to_proxy, proxy, mine, resolve),
                login=partial(atlas.login, proxy),
                refused=partial(atlas.refused, proxy),
            )
        except Unreachable as fault:
            last = fault
    assert last is not None, "there is always one way, if only the direct one"
    raise last


def _to_proxy(proxy: Proxy, patience: Patience, resolve: Resolve) -> socket.socket:
    try:
        return connect(proxy.host, proxy.port, patience, resolve)
    except Unreachable as fault:
        raise ProxyFault(
            f"the proxy {proxy.place} is not reached: {fault}",
            advice=f"Check the proxy; it was named by {proxy.source or 'the system'}.",
        ) from fault
