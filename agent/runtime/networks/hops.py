"""`homing doctor network`: the way to a far end walked hop by hop, until one of them fails.

    settings → route → dns → proxy → connect → tcp → tls → websocket → http → acknowledgement

Each hop is what a delivery does there, done once more with the same code, so that what is found
is what the agent meets; nothing that counts as an event is sent. The first hop that fails is
named with evidence and a repair; what lies behind it is skipped, not guessed. All ways are walked
at the same time, each within :data:`WALK_S`.

Runs without a running agent as well: whoever asks brings the targets and the atlas.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from agent.adapters.links.http_wire import peer_of
from agent.adapters.machine.route_watch import has_default, routes
from agent.adapters.roads.atlas import Atlas, describe
from agent.adapters.roads.connecting import Place, connect, places_of, require_loopback
from agent.adapters.roads.pac import shake_hands
from agent.adapters.roads.patience import Patience, as_fault
from agent.adapters.roads.portal import explained
from agent.adapters.roads.proxy_login import Login, lay_through
from agent.adapters.roads.tls import client_context
from agent.door.network import Hop, Walk
from agent.rules.endpoints import Address, is_loopback, parse_address
from agent.rules.proxies import Proxy
from agent.runtime.networks.names import look_up_aside
from agent.runtime.networks.speaking import Speaking
from agent.runtime.networks.steps import Steps, Stopped
from agent.runtime.networks.targets import Target
from tracking.errors import Fault, LinkFault, Unreachable

WALK_S = 18.0  #: For one way.
CONNECT_S = 6.0
NAMES = ("settings", "route", "dns", "proxy", "connect", "tcp", "tls", "websocket", "http")
SCHEMES = ("wss", "ws", "https", "http")


def walk_all(targets: Sequence[Target], atlas: Atlas, ca_file: Path | None) -> tuple[Walk, ...]:
    """Walk all ways at the same time; blocks for at most :data:`WALK_S` and a little."""
    walks: dict[int, Walk] = {}

    def work(number: int, target: Target) -> None:
        walks[number] = walk(target, atlas, ca_file)

    threads = [
        threading.Thread(target=work, args=one, name="hops", daemon=True)
        for one in enumerate(targets)
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + WALK_S + 1.0
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return tuple(walks.get(n) or _unfinished(target) for n, target in enumerate(targets))


def walk(target: Target, atlas: Atlas, ca_file: Path | None) -> Walk:
    """Walk one way; whatever the world does becomes a hop."""
    steps = Steps()
    with contextlib.suppress(Stopped), steps.stack:
        _walk(target, atlas, ca_file, steps)
    failed = next((hop.name for hop in steps.hops if hop.verdict == "error"), "")
    seen = {hop.name for hop in steps.hops}
    behind = f"behind the failed {failed}" if failed else "not on this way"
    rest = [name for name in (*NAMES, "acknowledgement") if name not in seen]
    if failed:
        steps.hops += [Hop(name=name, verdict="skipped", evidence=behind) for name in rest]
    return Walk(
        app_id=target.app_id,
        upstream=target.upstream,
        endpoint=target.endpoint,
        hops=tuple(steps.hops),
        failed=failed,
    )


def _walk(target: Target, atlas: Atlas, ca_file: Path | None, steps: Steps) -> None:
    patience = Patience(WALK_S)
    address, context = steps.take("settings", lambda: _settings(target, atlas, ca_file))
    _route(address, steps)
    direct = not address.secure or is_loopback(address.host)
    named = describe(atlas.wanted(address)) if not direct else "none for this computer"
    proxied = not direct and not named.startswith("direct")
    if proxied:
        steps.say("dns", "skipped", "the proxy looks the far end up")
    else:
        steps.take("dns", lambda: _names(address, patience))
    proxies = steps.take(
        "proxy",
        lambda: (found := atlas.proxies_to(address, patience, look_up_aside), _named(named, found)),
        "Check network.proxy and network.pac, or the system's proxy settings.",
    )
    sock = _laid(address, proxies, atlas, steps, patience)
    sock = _proven(address, sock, context, atlas, steps, patience, direct=proxies == (None,))
    Speaking(target, address, atlas, context, patience).hops(sock, steps)
    _acknowledged(target, steps)


def _settings(
    target: Target, atlas: Atlas, ca_file: Path | None
) -> tuple[tuple[Address, ssl.SSLContext], str]:
    if not target.endpoint:
        raise Unreachable(
            "no far end is named", advice="Name one in homing.toml, or run `homing keep-here`."
        )
    address = parse_address(target.endpoint, SCHEMES)
    atlas.require(address.host)
    extra = f", trusting {ca_file} as well" if ca_file else ""
    return (address, client_context(ca_file)), f"{target.endpoint} is named by homing.toml{extra}"


def _route(address: Address, steps: Steps) -> None:
    if is_loopback(address.host):
        steps.say("route", "ok", "this computer itself")
        return
    known = routes()
    off = [one for one in known if one[3] != "lo" and one[4] != "lo"]
    if known and not off:
        steps.say(
            "route",
            "error",
            "no interface has an address that leads off this computer",
            code="link.unreachable",
            repair="Connect a cable or a wireless network.",
        )
        raise Stopped
    if known and not has_default(known):
        steps.say(
            "route",
            "warning",
            "there is no default route: only this computer's own networks are reached",
            repair="Connect to a network with a gateway, if the far end is elsewhere.",
        )
        return
    cards = sorted({one[1] if one[0] == "route" else one[4] for one in off})
    steps.say("route", "ok", f"a default route, by {', '.join(cards)}" if known else "not asked")


def _names(address: Address, patience: Patience) -> tuple[list[Place], str]:
    found = places_of(address.host, address.port, patience, look_up_aside)
    told = ", ".join(at[0] for _, at in found)
    return found, f"{address.host} is {told}" if told != address.host else "an address, no name"


def _named(said: str, found: tuple[Proxy | None, ...]) -> str:
    if not said.startswith("script"):
        return said
    answer = "; ".join("direct" if proxy is None else proxy.place for proxy in found)
    return f"{said}, which answers {answer}"


def _laid(
    address: Address,
    proxies: tuple[Proxy | None, ...],
    atlas: Atlas,
    steps: Steps,
    patience: Patience,
) -> socket.socket:
    """Lay the road, each way in turn; the first that leads there is walked on."""
    tried: list[Unreachable] = []
    for proxy in proxies:
        if proxy is None:
            return _direct(address, atlas, steps, patience, tried)
        try:
            return _through(proxy, address, atlas, steps, patience)
        except Unreachable as fault:
            tried.append(fault)
    last = tried[-1]
    steps.take("connect", lambda: _raise(last))
    raise Stopped


def _direct(
    address: Address, atlas: Atlas, steps: Steps, patience: Patience, tried: list[Unreachable]
) -> socket.socket:
    failed = f"; before that, {tried[-1]}" if tried else ""
    steps.say("connect", "skipped", f"no proxy is asked{failed}")

    def step() -> tuple[socket.socket, str]:
        mine = Patience(min(CONNECT_S, patience.until - time.monotonic()))
        try:
            sock = connect(address.host, address.port, mine, look_up_aside)
        except LinkFault as fault:
            raise explained(address, fault, patience, atlas, look_up_aside) from fault
        steps.stack.callback(sock.close)
        if not address.secure:
            require_loopback(address.host, str(sock.getpeername()[0]))
        return sock, f"{sock.getpeername()[0]} port {address.port} answers"

    repair = f"Ask whoever runs the network to let port {address.port} through, or for a proxy."
    if is_loopback(address.host):
        repair = f"Start what should listen at port {address.port} of this computer, or correct the"
        repair += " endpoint."
    return steps.take("tcp", step, repair)


def _through(
    proxy: Proxy, address: Address, atlas: Atlas, steps: Steps, patience: Patience
) -> socket.socket:
    mine = Patience(min(CONNECT_S, patience.until - time.monotonic()))
    began = time.monotonic()
    asked: list[bool] = []

    def login() -> Login | None:
        asked.append(True)
        return atlas.login(proxy)

    try:
        sock = lay_through(
            proxy,
            address,
            mine,
            dial=lambda: connect(proxy.host, proxy.port, mine, look_up_aside),
            login=login,
            refused=lambda login: atlas.refused(proxy, login),
        )
    except Unreachable:
        raise
    except Fault as fault:
        wrong = fault
        steps.take("connect", lambda: _raise(wrong))
        raise Stopped from fault
    steps.stack.callback(sock.close)
    took_ms = (time.monotonic() - began) * 1000
    how = "with a login" if asked else "without a login"
    evidence = f"the proxy {proxy.place} lays the road, {how}"
    steps.hops.append(Hop(name="connect", verdict="ok", evidence=evidence, took_ms=took_ms))
    steps.say("tcp", "skipped", "the proxy's business")
    return sock


def _raise(fault: Fault) -> tuple[None, str]:
    raise fault


def _proven(
    address: Address,
    sock: socket.socket,
    context: ssl.SSLContext,
    atlas: Atlas,
    steps: Steps,
    patience: Patience,
    *,
    direct: bool,
) -> socket.socket:
    if not address.secure:
        steps.say("tls", "skipped", "plain text, for this computer only")
        return sock

    def step() -> tuple[ssl.SSLSocket, str]:
        try:
            secured: ssl.SSLSocket = context.wrap_socket(
                sock, server_hostname=address.host, do_handshake_on_connect=False
            )
            steps.stack.callback(secured.close)
            mine = Patience(min(CONNECT_S, patience.until - time.monotonic()))
            mine.doing = "the TLS handshake"
            shake_hands(secured, mine)
        except (OSError, LinkFault) as exc:
            fault = exc if isinstance(exc, LinkFault) else as_fault(exc, address.host)
            if direct and isinstance(fault, LinkFault):
                fault = explained(address, fault, patience, atlas, look_up_aside)
            raise fault from exc
        return secured, f"{address.host} proved its name: {peer_of(secured)}"

    return steps.take("tls", step)


def _acknowledged(target: Target, steps: Steps) -> None:
    if target.silent:
        steps.say(
            "acknowledgement",
            "error",
            "events were sent and none was acknowledged yet",
            code="link",
            repair="Look at `homing wire --limit 5`: does the far end answer?",
        )
    elif target.acknowledged:
        steps.say("acknowledgement", "ok", target.acknowledged)
    else:
        since = "none since the agent started" if target.running else "not asked"
        steps.say("acknowledgement", "skipped", f"{since}: an event sent to see would count")


def _unfinished(target: Target) -> Walk:
    hop = Hop(
        name="settings", verdict="error", evidence="the walk did not end in time", code="link"
    )
    return Walk(
        app_id=target.app_id,
        upstream=target.upstream,
        endpoint=target.endpoint,
        hops=(hop,),
        failed="settings",
    )
