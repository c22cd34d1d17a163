"""The networks of one agent: what leads out, when a large backlog waits, what may be contacted.

Owned by the core's thread. It is woken by the kernel when a route changes, and asks after
battery and meter only while something is being sent, or waits because of them: an idle agent is
not woken for their sake.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agent.adapters.machine.battery import battery
from agent.adapters.machine.metered import metered
from agent.adapters.machine.places import Places
from agent.adapters.machine.route_watch import RouteWatch, open_netlink
from agent.adapters.roads.atlas import Atlas, describe
from agent.adapters.roads.patience import Patience
from agent.adapters.roads.proxy_keys import ProxyKeys
from agent.door.network import Host, Hosts, NetworkState, WayOut
from agent.rules.contacts import Contacts
from agent.rules.endpoints import parse_address
from agent.rules.notices import Moved, Start
from agent.rules.proxies import Proxy
from agent.rules.thrift import WORDS, Cause, Power, causes, holds_back
from agent.rules.wording import events
from agent.runtime.off_loop import off_loop
from agent.settings import Settings
from tracking.errors import Fault, LoginWanted, StorageFault

if TYPE_CHECKING:
    from agent.runtime.core import Core
    from agent.runtime.ways.leaving import Leaving

log = logging.getLogger("agent.network")

LOOK_S = 60.0  #: Battery and meter are asked after at most so often.
SCHEMES = ("wss", "ws", "https", "http")


def atlas_of(settings: Settings, places: Places, env: Mapping[str, str]) -> tuple[Atlas, ProxyKeys]:
    """Return what the roads of an agent with these settings may use, and who knows its logins."""
    chosen = settings.network
    keys = ProxyKeys(
        service=places.keyring_service,
        file=Path(chosen.proxy_login_file) if chosen.proxy_login_file else None,
        env=env,
    )
    contacts = Contacts()
    for app in settings.apps:
        for upstream in app.upstreams:
            allow(contacts, upstream.endpoint, f"events of {app.id}")
            if upstream.data_api:
                allow(contacts, upstream.data_api, f"live view of {app.id}")
    atlas = Atlas(
        proxy=chosen.proxy,
        pac=chosen.pac,
        env=env,
        contacts=contacts,
        find_login=keys.find,
        portal_check=chosen.portal_check == "on",
    )
    return atlas, keys


def allow(contacts: Contacts, url: str, purpose: str) -> None:
    """Put the host of an address that the settings name on the list."""
    address = parse_address(url, SCHEMES)
    contacts.add(address.host, address.port, purpose)


class Network:
    """What the core knows of the networks on the way out.

    Args:
        core: Whose.
        look: Returns what the machine says of its connection and battery; blocks.

    Attributes:
        atlas: What every road of this agent may use.
        power: What the machine said last.
        causes: Why a large backlog waits.

    """

    def __init__(self, core: Core, look: Callable[[], Power] | None = None) -> None:
        self.core = core
        self.atlas, self.keys = atlas_of(core.settings, core.places, core.means.environment)
        self.power = Power()
        self.override_until_ms = 0
        self.causes: tuple[Cause, ...] = ()
        self.ask_machine = look or (lambda: Power(metered(), *battery()))
        self._held: dict[int, int] = {}  # stream: events that wait
        self._looked_s = float("-inf")
        self._looking = False
        self._timer: asyncio.TimerHandle | None = None
        self._watch: RouteWatch | None = None
        self._closed = False

    # --- life ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Watch the routes, from now on."""
        loop = asyncio.get_running_loop()
        self._watch = RouteWatch(loop, self.moved, open_netlink())
        chosen = self.core.settings.network
        if "defer" in (chosen.on_metered, chosen.on_battery):
            self._look_soon()

    def close(self) -> None:
        """Watch no longer."""
        self._closed = True
        if self._watch is not None:
            self._watch.close()
        if self._timer is not None:
            self._timer.cancel()

    def moved(self) -> None:
        """The network changed: forget what was found, and try again."""
        log.info("the network changed")
        self.atlas.changed()
        self._looked_s = float("-inf")
        self._look_soon()
        departures = self.core.departures
        for key in tuple(departures.ways):
            departures.tell(key, Moved())

    def login_changed(self) -> None:
        """A person said who we are to a proxy: those who waited for that try at once."""
        self.atlas.login_changed()
        departures, now_s = self.core.departures, self.core.means.mono_s()
        now_ms = self.core.means.wall_ms()
        for key, leaving in tuple(departures.ways.items()):
            if leaving.status(now_ms, now_s).code == LoginWanted.code and not departures.halted:
                departures.tell(key, Start())

    # --- thrift -------------------------------------------------------------------------------

    def holds_back(self, stream: int) -> bool:
        """Tell whether a stream's backlog waits for a better moment; asked before each lease."""
        if self.core.means.mono_s() - self._looked_s >= LOOK_S:
            self._look_soon()
        outbox, now_ms = self.core.outbox, self.core.means.wall_ms()
        if not self.causes or now_ms < self.override_until_ms:  # most of the time: no question
            return False
        try:
            waiting = outbox.pending(stream)
        except StorageFault:
            return False
        held = holds_back(
            self.causes,
            events=waiting.events,
            size_bytes=waiting.bytes,
            oldest_ms=waiting.oldest_ms,
            now_ms=now_ms,
            override_until_ms=self.override_until_ms,
        )
        if held:
            self._held[stream] = waiting.events
        else:
            self._held.pop(stream, None)
        self._tell()
        return held

    def send_anyway(self, for_s: float) -> None:
        """Send everything for a while, whatever it costs."""
        self.override_until_ms = self.core.means.wall_ms() + round(for_s * 1000)
        self._release()

    def _look_soon(self) -> None:
        """Ask the machine beside the loop; one question at a time."""
        if self._looking or self._closed:
            return
        self._looking = True
        self._looked_s = self.core.means.mono_s()
        self.core.run(self._look())

    async def _look(self) -> None:
        try:
            self.power = await off_loop(self.ask_machine, name="power")
        finally:
            self._looking = False
        chosen = self.core.settings.network
        found = causes(self.power, on_metered=chosen.on_metered, on_battery=chosen.on_battery)
        if found != self.causes:
            self.causes = found
            self._release()

    def _release(self) -> None:
        """Causes changed, or a person decided: what waited may go, or has to wait."""
        self._held.clear()
        self._tell()
        if not self._closed:
            self.core.departures.offer_all()

    def _tell(self) -> None:
        """Show each cause by itself [R9], while something waits for it; look again meanwhile."""
        count = sum(self._held.values())
        for cause, (code, said) in WORDS.items():
            if count and cause in self.causes:
                wait = "waits" if count == 1 else "wait"
                text = f"{said}: {events(count)} {wait}, at most a day"
                known = self.core.board.notices.get(code)
                if known is None or known.text != text:
                    self.core.note(code, text, "warning")
            elif code in self.core.board.notices:
                self.core.unnote(code)
        if count and self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._again)

    def _again(self) -> None:
        """Something waits: has the cause gone, or the day passed?"""
        self._timer = None
        self._look_soon()
        self.core.departures.offer_all()

    # --- what people see ----------------------------------------------------------------------

    def hosts(self) -> Hosts:
        """Return whom the agent may contact."""
        rows = self.atlas.contacts.rows() if self.atlas.contacts is not None else ()
        return Hosts(
            hosts=tuple(Host(host=one.host, port=one.port, purpose=one.purpose) for one in rows)
        )

    def state(self, logins: Mapping[str, bool]) -> NetworkState:
        """Return how the networks are; ``logins`` tells for which proxies there is one."""
        ways = [self._way(leaving, logins) for leaving in self.core.departures.ways.values()]
        now_ms = self.core.means.wall_ms()
        return NetworkState(
            ways=tuple(ways),
            metered=self.power.metered,
            plugged=self.power.plugged,
            percent=self.power.percent,
            causes=self.causes,
            override_until_ms=self.override_until_ms if self.override_until_ms > now_ms else 0,
            watching=self._watch is not None and self._watch.watching,
        )

    def _way(self, leaving: Leaving, logins: Mapping[str, bool]) -> WayOut:
        proxy = self.first_proxy(leaving.endpoint)
        return WayOut(
            app_id=leaving.desk.app_id,
            upstream=leaving.way.name,
            endpoint=leaving.endpoint,
            by=by_words(self.atlas, leaving.endpoint),
            login=None if proxy is None else bool(proxy.credentials or logins.get(proxy.place)),
            held=self._held.get(leaving.stream, 0),
        )

    def first_proxy(self, endpoint: str) -> Proxy | None:
        """Return the proxy that is named for a far end, without asking a script."""
        if not endpoint:
            return None
        try:
            address = parse_address(endpoint, SCHEMES)
            if not address.secure:
                return None
            return next(iter(self.atlas.wanted(address).proxies), None)
        except Fault:
            return None

    def proxies(self) -> tuple[Proxy, ...]:
        """Return every proxy on a way out; blocks for as long as a script takes."""
        found: dict[Proxy, None] = {}
        for leaving in tuple(self.core.departures.ways.values()):
            if not leaving.endpoint:
                continue
            try:
                address = parse_address(leaving.endpoint, SCHEMES)
                named = self.atlas.proxies_to(address, Patience(10.0))
            except Fault:
                continue
            found.update((proxy, None) for proxy in named if proxy is not None)
        return tuple(found)


def first_place(settings: Settings, atlas: Atlas) -> str:
    """Return ``host:port`` of the first proxy on a way that the settings declare, or nothing.

    Raises:
        Fault: A script that should name it cannot be asked.

    """
    for app in settings.apps:
        for upstream in app.upstreams:
            address = parse_address(upstream.endpoint, SCHEMES)
            for proxy in atlas.proxies_to(address, Patience(10.0)):
                if proxy is not None:
                    return proxy.place
    return ""


def by_words(atlas: Atlas, endpoint: str) -> str:
    """Say what leads to a far end, in a few words and without a login."""
    if not endpoint:
        return "nowhere yet"
    try:
        address = parse_address(endpoint, SCHEMES)
        if not address.secure:
            return "direct, this computer"
        return describe(atlas.wanted(address))
    except Fault as fault:
        return str(fault)
