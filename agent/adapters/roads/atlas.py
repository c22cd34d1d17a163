"""What a road may use: which hosts, through which proxies, with which login.

One object for everything that the agent sends anywhere, made of the settings and handed to
:func:`agent.adapters.roads.road.open_road`. The proxies are found anew with each road, because a
laptop changes its network more often than its settings; what is slow to find (a script's answer,
a desktop's settings, a keyring's login) is kept until :meth:`Atlas.changed`, or some minutes.

Any thread may ask; whoever asks waits at most for his own patience, and for a keyring.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

from agent.adapters.roads.connecting import Resolve, look_up
from agent.adapters.roads.pac import Script
from agent.adapters.roads.patience import Patience
from agent.adapters.roads.proxy_login import Login
from agent.rules.contacts import Contacts
from agent.rules.endpoints import Address, is_loopback
from agent.rules.proxies import (
    Proxy,
    Wanted,
    from_environment,
    from_gnome,
    from_kde,
    from_macos,
    from_pac,
    parse_proxy,
)
from tracking.errors import Fault, LoginWanted

KEEP_S = 300.0  #: What a script or a desktop said is asked again after so long.
FILE_BYTES = 256 * 1024  #: KDE's file has some hundreds.
PROGRAM_S = 2.0  #: For `gsettings` and `scutil`, which answer in 20 ms.
REFUSED_S = 3600.0  #: A login that was refused is not sent again for so long.
ASK_PORTAL_S = 5.0  #: A far end's host is asked for a portal at most so often.


@dataclass(slots=True)
class Atlas:
    """The atlas out of one agent.

    Attributes:
        proxy: ``system``, ``none``, or ``http://host:port``.
        pac: Address or path of a script that is asked instead of the system; empty for none.
        env: Variables of the process.
        contacts: Whom the agent may contact; None: anybody (a person's own command).
        find_login: Who we are to a proxy, by ``host:port``; may wait for a keyring.
        portal_check: Whether a portal may be looked for.
        script: Runs PAC scripts.

    """

    proxy: str = "system"
    pac: str = ""
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    contacts: Contacts | None = None
    find_login: Callable[[str], Login | None] = lambda _: None
    portal_check: bool = False
    script: Script = field(default_factory=Script)
    _kept: dict[object, tuple[float, object]] = field(default_factory=dict)
    _refused: dict[str, tuple[float, Login]] = field(default_factory=dict)
    _portals: dict[str, tuple[float, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def require(self, host: str) -> None:
        """Pass if ``host`` may be contacted; raises :class:`NotListed` before any look-up."""
        if self.contacts is not None:
            self.contacts.require(host)

    def proxies_to(
        self, address: Address, patience: Patience, resolve: Resolve = look_up
    ) -> tuple[Proxy | None, ...]:
        """Return the proxies on the way in turn, None for a direct road; direct to loopback.

        Raises:
            ProxyFault: What is named cannot be used.
            PacFault: The script that should be asked cannot be had, or does not work.
            Abandoned: Nobody wants it any more.

        """
        if not address.secure or is_loopback(address.host):
            return (None,)
        wanted = self.wanted(address)
        if not wanted.pac:
            found: tuple[Proxy | None, ...] = wanted.proxies or (None,)
        else:
            key = ("pac", wanted.pac, address.host, address.port)
            answer = self._recall(key)
            if not isinstance(answer, str):
                answer = self.script.ask(wanted.pac, address, patience, self.require, resolve)
                self._keep(key, answer)
            found = from_pac(answer, wanted.source)
        if self.contacts is not None:
            for proxy in found:
                if proxy is not None:
                    self.contacts.add(proxy.host, proxy.port, f"proxy, named by {proxy.source}")
        return found

    def wanted(self, address: Address) -> Wanted:
        """Return what the settings, else the system, want of a road to ``address``.

        Raises:
            ProxyFault: What is named cannot be used.

        """
        if self.proxy == "none":
            return Wanted(source="network.proxy")
        if self.pac:
            return self._script(self.pac, "network.pac")
        if self.proxy != "system":
            return Wanted((parse_proxy(self.proxy, "network.proxy"),), source="network.proxy")
        said = from_environment(self.env, address.host, address.port)
        if said is not None:
            return said
        if sys.platform in ("win32", "darwin"):  # pragma: no cover - not on the test machine
            said = self._of_platform(address)
        elif "KDE" in self.env.get("XDG_CURRENT_DESKTOP", "").upper().split(":"):
            said = from_kde(self._kioslaverc(), address.host, address.port)
        elif which("gsettings", path=self.env.get("PATH")):
            said = from_gnome(self._listing(GNOME), address.host, address.port)
        if said is None:
            return Wanted(source="nobody")
        return self._script(said.pac, said.source) if said.pac else said

    def login(self, proxy: Proxy) -> Login | None:
        """Return who we are to a proxy, None for nobody.

        Raises:
            SecretFault: The keyring is locked.
            LoginWanted: The proxy refused this very login within the last hour: a password that
                is repeated by machine, with each change of the network, locks accounts.

        """
        found = Login.parse(proxy.credentials) if proxy.credentials else self._login_of(proxy)
        at, refused = self._refused.get(proxy.place, (0.0, None))
        if found is not None and found == refused and time.monotonic() - at < REFUSED_S:
            raise LoginWanted(
                f"the proxy {proxy.host} refused the login",
                advice="Run `homing network proxy-login`.",
            )
        return found

    def refused(self, proxy: Proxy, login: Login) -> None:
        """Remember that a proxy refused a login, and look for another one next time."""
        with self._lock:
            self._refused[proxy.place] = time.monotonic(), login
            self._kept.pop(("login", proxy.place), None)

    def login_changed(self) -> None:
        """A person said who we are: whatever was refused before may be tried."""
        self._refused.clear()
        self.changed()

    def _login_of(self, proxy: Proxy) -> Login | None:
        known = self._recall(("login", proxy.place))
        if isinstance(known, Login):
            return known
        found = self.find_login(proxy.place)
        if found is not None:
            self._keep(("login", proxy.place), found)
        return found

    def changed(self) -> None:
        """Forget what was found: the network changed, and with it perhaps everything."""
        with self._lock:
            self._kept.clear()
            self._portals.clear()
        self.script.forget()

    def portal(self, host: str, ask: Callable[[], str]) -> str:
        """Return what shows that a portal stands before ``host``, asking at most so often."""
        now = time.monotonic()
        with self._lock:
            at, sign = self._portals.get(host, (-ASK_PORTAL_S, ""))
            if now - at < ASK_PORTAL_S:
                return sign
            self._portals[host] = now, sign
        sign = ask()
        with self._lock:
            self._portals[host] = now, sign
        return sign

    def _script(self, place: str, source: str) -> Wanted:
        """Want a script to be asked; its host is one that the settings or the system name."""
        if self.contacts is not None and (found := Script.host_of(place)) is not None:
            self.contacts.add(*found, f"proxy script, named by {source}")
        return Wanted(pac=place, source=source)

    def _of_platform(self, address: Address) -> Wanted | None:  # pragma: no cover
        """Ask what the standard library knows of Windows' and macOS's own settings."""
        import urllib.request

        if sys.platform == "darwin":
            script = from_macos(self._listing(("scutil", "--proxy")))
        else:
            script = _script_of_windows()
        if script:
            return Wanted(pac=script, source="the system")
        named = urllib.request.getproxies()
        url = named.get("https") or named.get("all") or ""
        if not url or urllib.request.proxy_bypass(f"{address.host}:{address.port}"):
            return None
        return Wanted((parse_proxy(url, "the system"),), source="the system")

    def _kioslaverc(self) -> str:
        """Return KDE's own file, nothing if there is none or it is not to be believed."""
        home = self.env.get("HOME", "")
        folder = self.env.get("XDG_CONFIG_HOME") or f"{home}/.config"
        try:
            file = Path(folder, "kioslaverc")
            return file.read_text("utf-8", "replace") if file.stat().st_size < FILE_BYTES else ""
        except (OSError, ValueError):
            return ""

    def _listing(self, command: tuple[str, ...]) -> str:
        """Return what a desktop's own program prints, nothing if it fails; kept for a while."""
        known = self._recall(command)
        if isinstance(known, str):
            return known
        said = ""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                command, env=dict(self.env), capture_output=True, timeout=PROGRAM_S, check=False
            )
            said = done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
        self._keep(command, said)
        return said

    def _recall(self, key: object) -> object | None:
        with self._lock:
            at, value = self._kept.get(key, (0.0, None))
        return value if value is not None and time.monotonic() - at < KEEP_S else None

    def _keep(self, key: object, value: object) -> None:
        with self._lock:
            self._kept[key] = time.monotonic(), value


GNOME = ("gsettings", "list-recursively", "org.gnome.system.proxy")


def _script_of_windows() -> str:  # pragma: no cover - not on the test machine
    """Return the address of the PAC script in Internet Settings, or nothing."""
    if sys.platform == "win32":
        import winreg

        path = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings"
        with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_CURRENT_USER, path) as key:
            return str(winreg.QueryValueEx(key, "AutoConfigURL")[0])
    return ""


def describe(wanted: Wanted | Fault) -> str:
    """Say in a few words what leads out, without a login."""
    if isinstance(wanted, Fault):
        return str(wanted)
    if wanted.pac:
        return f"script {wanted.pac}, named by {wanted.source}"
    if not wanted.proxies:
        return "direct" if wanted.source == "nobody" else f"direct, says {wanted.source}"
    places = ", ".join(proxy.place for proxy in wanted.proxies)
    return f"proxy {places}, named by {wanted.source}"
