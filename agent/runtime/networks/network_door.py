"""What is asked about networks at the door, and who answers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agent.adapters.roads.proxy_login import Login
from agent.door.network import (
    ForgetProxyLogin,
    Hosts,
    KeepProxyLogin,
    LoginKept,
    NetworkState,
    SendAnyway,
    ShowHosts,
    ShowNetwork,
    Walked,
    WalkNetwork,
)
from agent.runtime.networks.network import Network
from agent.runtime.off_loop import off_loop
from agent.settings.network import check_proxy
from tracking.errors import Fault, RequestFault

if TYPE_CHECKING:
    from agent.runtime.answering import Handlers
    from agent.runtime.core import Core


def handlers(core: Core) -> Handlers:
    """Return who answers what is asked about networks."""
    network = core.network

    async def show_hosts(_: ShowHosts) -> Hosts:
        return network.hosts()

    async def show(_: ShowNetwork) -> NetworkState:
        return await _state(network)

    async def send_anyway(asked: SendAnyway) -> NetworkState:
        network.send_anyway(asked.for_s)
        return await _state(network)

    async def keep_login(asked: KeepProxyLogin) -> LoginKept:
        place = await _place(network, asked.proxy)
        login = Login(asked.user, asked.password)
        kept = await off_loop(partial(network.keys.keep, place, login), name="proxy login")
        network.login_changed()
        return LoginKept(proxy=place, kept_in=kept.where, notice=kept.notice)

    async def forget_login(asked: ForgetProxyLogin) -> LoginKept:
        place = await _place(network, asked.proxy)
        gone = await off_loop(partial(network.keys.forget, place), name="proxy login")
        network.login_changed()
        said = "" if gone else f"there was no login for {place}"
        return LoginKept(proxy=place, kept_in="", notice=said)

    async def walk(asked: WalkNetwork) -> Walked:
        from agent.runtime.networks.hops import walk_all
        from agent.runtime.networks.targets import Target

        now_ms, now_s = core.means.wall_ms(), core.means.mono_s()
        by_http = core.settings.link.http_after > 0
        targets = [
            Target.of(leaving, leaving.status(now_ms, now_s), now_ms, by_http=by_http)
            for leaving in core.departures.ways.values()
            if asked.app_id in ("", leaving.desk.app_id)
        ]
        if asked.app_id and not targets:
            raise RequestFault(
                f"the app {asked.app_id!r} has no far end", field="app_id", status=404
            )
        ca_file = core.settings.link.ca_file
        do = partial(walk_all, targets, network.atlas, Path(ca_file) if ca_file else None)
        return Walked(walks=await off_loop(do, name="network doctor"))

    return {
        ShowHosts: show_hosts,
        ShowNetwork: show,
        SendAnyway: send_anyway,
        KeepProxyLogin: keep_login,
        ForgetProxyLogin: forget_login,
        WalkNetwork: walk,
    }


async def _state(network: Network) -> NetworkState:
    """Return the state; what a keyring has to say is asked beside the loop."""
    places = {
        proxy.place
        for leaving in network.core.departures.ways.values()
        if (proxy := network.first_proxy(leaving.endpoint)) is not None
    }

    def known() -> dict[str, bool]:
        found = {}
        for place in places:
            try:
                found[place] = network.keys.find(place) is not None
            except Fault:
                found[place] = False
        return found

    logins = await off_loop(known, name="proxy login") if places else {}
    return network.state(logins)


async def _place(network: Network, written: str) -> str:
    """Return ``host:port`` of the proxy that is meant.

    Raises:
        RequestFault: Nobody names one, or it is none.

    """
    if written:
        try:
            return check_proxy(f"http://{written.removeprefix('http://')}").removeprefix("http://")
        except Fault as fault:
            raise RequestFault(str(fault), field="proxy") from fault
    found = await off_loop(network.proxies, name="proxies")
    if not found:
        raise RequestFault(
            "no proxy is on the way to any far end",
            field="proxy",
            status=404,
            advice="Name it: homing network proxy-login --proxy host:port",
        )
    return found[0].place
