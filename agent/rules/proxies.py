"""Which proxy stands on the way to a far end: what people and systems write, read strictly.

Sources, as their owners document them: the ``*_proxy`` variables (libcurl, "ENVIRONMENT"), GNOME's
``org.gnome.system.proxy``, KDE's ``kioslaverc``, macOS's ``scutil --proxy``, and the answer of a
PAC script (Navigator Proxy Auto-Config, 1996: ``PROXY a:1; DIRECT``). Only HTTP proxies are spoken
to, by CONNECT; ``socks5://`` and ``https://`` are named and refused, never spoken to as HTTP.
"""

from __future__ import annotations

import ast
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from agent.rules.endpoints import is_loopback
from tracking.errors import PacFault, ProxyFault

MOST_PROXIES = 8  #: Of one PAC answer; more are not tried.
HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}\Z")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that is asked to CONNECT.

    Attributes:
        host: Lower case; an IPv6 address without its brackets.
        port: Where it listens.
        credentials: ``user:password`` as it was written in the proxy's address, never shown.
        source: Who named it, for diagnostics: a variable, ``GNOME``, ``network.pac`` …

    """

    host: str
    port: int
    credentials: str = field(default="", repr=False)
    source: str = ""

    @property
    def place(self) -> str:
        """``host:port``, by which its login is kept."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings or the system want of a road.

    Attributes:
        proxies: To be tried in turn; none is a direct road.
        pac: Address or path of a script that is to be asked instead.
        source: Who said so.

    """

    proxies: tuple[Proxy, ...] = ()
    pac: str = ""
    source: str = ""


def parse_proxy(written: str, source: str) -> Proxy:
    """Read ``http://user:password@host:port`` or ``host:port``.

    Raises:
        ProxyFault: Not an address, or of a proxy that is not spoken to here.

    """
    advice = f"Set {source} to http://host:port, or name the far end in no_proxy."
    try:
        parts = urlsplit(written if "://" in written else f"http://{written}")
        host, port = (parts.hostname or "").lower(), parts.port or 80
    except ValueError as exc:
        raise ProxyFault(f"{source} is not an address", advice=advice) from exc
    if parts.scheme != "http":
        scheme = "".join(c for c in parts.scheme if c.isalnum())[:20]
        raise ProxyFault(f"a {scheme} proxy is not spoken here ({source})", advice=advice)
    if not HOST.match(host) or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ProxyFault(f"{source} is not the address of a proxy", advice=advice)
    name, password = parts.username, parts.password
    return Proxy(host, port, f"{unquote(name)}:{unquote(password or '')}" if name else "", source)


def from_environment(env: Mapping[str, str], host: str, port: int) -> Wanted | None:
    """Return what the variables say of a far end; None if they say nothing of proxies.

    Lower case wins over upper case, ``https_proxy`` over ``all_proxy``: the far end is always
    spoken to by TLS.

    Raises:
        ProxyFault: They name something that cannot be used.

    """
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        if not (written := env.get(name, "").strip()):
            continue
        past = (env.get("no_proxy") or env.get("NO_PROXY") or "").split(",")
        if bypassed(host, port, past):
            return Wanted(source="no_proxy")
        return Wanted((parse_proxy(written, name),), source=name)
    return None


def bypassed(host: str, port: int, patterns: Sequence[str]) -> bool:
    """Tell whether a far end is to be reached past the proxy.

    Args:
        host: As dialed.
        port: Likewise.
        patterns: ``*``, ``host``, ``.domain``, ``*.domain``, ``host:port``, an address, a network
            such as ``10.0.0.0/8``, or ``<local>``: a name without a dot.

    """
    if is_loopback(host):
        return True
    host = host.lower().rstrip(".")
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        literal = None
    for written in patterns:
        pattern = written.strip().lower()
        if not pattern:
            continue
        if pattern == "*" or (pattern == "<local>" and literal is None and "." not in host):
            return True
        bare, colon, number = pattern.rpartition(":")
        if colon and number.isdigit() and (":" not in bare or bare.endswith("]")):
            if int(number) != port:
                continue
            pattern = bare
        pattern = pattern.strip("[]")
        if literal is not None:
            try:
                if literal in ipaddress.ip_network(pattern, strict=False):
                    return True
            except (ValueError, TypeError):
                pass
            continue
        name = pattern.removeprefix("*").lstrip(".").rstrip(".")
        if name and (host == name or host.endswith(f".{name}")):
            return True
    return False


def from_gnome(listing: str, host: str, port: int) -> Wanted | None:
    """Read ``gsettings list-recursively org.gnome.system.proxy``; None if nothing is set.

    Raises:
        ProxyFault: It names a proxy that cannot be used.

    """
    values: dict[str, object] = {}
    for line in listing.splitlines():
        schema, _, rest = line.strip().partition(" ")
        key, _, text = rest.partition(" ")
        try:
            values[f"{schema.removeprefix('org.gnome.system.proxy').lstrip('.')}.{key}"] = (
                ast.literal_eval(text.removeprefix("@as "))
            )
        except (ValueError, SyntaxError):
            continue
    match values.get(".mode"):
        case "auto":
            url = values.get(".autoconfig-url")
            return Wanted(pac=url, source="GNOME") if isinstance(url, str) and url else None
        case "manual":
            ignored = values.get(".ignore-hosts")
            past = [str(one) for one in ignored] if isinstance(ignored, list) else []
            if bypassed(host, port, past):
                return Wanted(source="GNOME")
            there, number = values.get("https.host"), values.get("https.port")
            if isinstance(there, str) and there and isinstance(number, int) and number:
                return Wanted((parse_proxy(f"{_bracketed(there)}:{number}", "GNOME"),), "", "GNOME")
            if isinstance(values.get("socks.host"), str) and values["socks.host"]:
                raise ProxyFault(
                    "GNOME names a SOCKS proxy only, which is not spoken here",
                    advice="Name an HTTPS proxy in GNOME's settings, or set network.proxy.",
                )
    return None


def from_kde(settings: str, host: str, port: int) -> Wanted | None:
    """Read KDE's ``kioslaverc``; None if it names neither a proxy nor a script.

    Raises:
        ProxyFault: It names a proxy that cannot be used.

    """
    values: dict[str, str] = {}
    inside = False
    for line in settings.splitlines():
        if line.startswith("["):
            inside = line.strip() == "[Proxy Settings]"
        elif inside:
            key, _, value = line.partition("=")
            values[key.partition("[$")[0].strip()] = value.strip()
    match values.get("ProxyType"):
        case "2" if script := values.get("Proxy Config Script"):
            return Wanted(pac=script, source="KDE")
        case "1" if written := values.get("httpsProxy"):
            past = values.get("NoProxyFor", "").replace(" ", ",").split(",")
            reverse = values.get("ReversedException", "").lower() == "true"
            if bypassed(host, port, past) is not reverse:
                return Wanted(source="KDE")
            return Wanted((parse_proxy(":".join(written.rsplit(" ", 1)), "KDE"),), source="KDE")
    return None


def from_macos(listing: str) -> str:
    """Return the address of the PAC script that ``scutil --proxy`` names, or nothing."""
    if not re.search(r"^\s*ProxyAutoConfigEnable : 1$", listing, re.MULTILINE):
        return ""
    found = re.search(r"^\s*ProxyAutoConfigURLString : (\S+)$", listing, re.MULTILINE)
    return found[1] if found else ""


def from_pac(answer: str, source: str) -> tuple[Proxy | None, ...]:
    """Read what a PAC script answered: proxies in turn, None for a direct road.

    An answer that is empty means a direct road, as browsers have it. What is not spoken here
    (``SOCKS``, ``HTTPS``) is passed over while something else is left.

    Raises:
        PacFault: Nothing in it can be used.

    """
    found: list[Proxy | None] = []
    passed_over = []
    for part in answer.split(";")[:MOST_PROXIES]:
        kind, _, place = part.strip().partition(" ")
        match kind.upper():
            case "":
                continue
            case "DIRECT":
                found.append(None)
            case "PROXY" | "HTTP":
                try:
                    found.append(parse_proxy(place.strip(), source))
                except ProxyFault:
                    passed_over.append(part.strip()[:60])
            case _:
                passed_over.append(part.strip()[:60])
    if not found and passed_over:
        raise PacFault(
            f"the PAC script offers only {', '.join(passed_over)!r}, which is not spoken here",
            advice="Ask whoever runs the network for an HTTP proxy.",
        )
    return tuple(dict.fromkeys(found)) or (None,)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
