"""Where a far end may be, decided from its address alone.

TLS always, but for a far end on this very machine: ``ws://`` and ``http://`` need a host that
is a literal loopback address or ``localhost`` (SECURITY.md, decision 6). A name that merely
resolves to loopback is not enough, because whoever answers for the name decides where it leads;
so is no shorthand such as ``127.1``, which libraries read differently. Whether the peer that
answered is really loopback is asked again after connecting, by ``agent.adapters.roads.road``.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlsplit

from tracking.errors import SettingsFault

Form = Literal[
    "seed", "track"
]  #: ``/{appId}/`` as the seed says; ``/app/{appId}/track`` as SDKs do.

OTHER: dict[Form, Form] = {"seed": "track", "track": "seed"}

NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\Z")
PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*\Z")
SECRET = re.compile(r"//[^/@]*@")  #: Cut out of every sentence that shows an address.
DEFAULT_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """One far end's address, taken apart.

    Attributes:
        scheme: ``wss``, ``ws``, ``https`` or ``http``.
        host: Lower case; an IPv6 address without its brackets.
        port: Given or the scheme's own.
        path: Without a slash at the end; empty for the root.

    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def secure(self) -> bool:
        return self.scheme in ("wss", "https")

    @property
    def authority(self) -> str:
        """``host`` or ``host:port``, as in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is ``localhost`` or a literal loopback address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_address(url: str, schemes: tuple[str, ...] = ("wss", "ws")) -> Address:
    """Take an address apart, refusing whatever two readers could understand differently.

    Raises:
        SettingsFault: Not an address, a scheme not in ``schemes``, something secret in it, or
            plain text to anywhere but this machine.

    """
    best = schemes[0]
    shown = repr(SECRET.sub("//…@", url)[:200])
    if not url.isascii() or any(c <= " " or c in "\\\x7f" for c in url):
        raise SettingsFault(
            f"an endpoint is plain ASCII without spaces, got {shown}",
            advice="Write an international name in its xn-- form.",
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise SettingsFault(f"not an address: {shown} ({exc})") from exc
    if "@" in parts.netloc:
        raise SettingsFault(
            "an endpoint holds no name or password", advice="Secrets belong in the keyring."
        )
    if parts.scheme not in schemes:
        raise SettingsFault(
            f"an endpoint begins with {best}://, got {shown}",
            advice=f"Write {best}://host, or {schemes[-1]}://127.0.0.1:port for this machine.",
        )
    if "?" in url or "#" in url:
        raise SettingsFault(f"an endpoint has no query and no fragment, got {shown}")
    host = parts.hostname or ""
    if port is None:
        port = DEFAULT_PORTS[parts.scheme]
    if port == 0:
        raise SettingsFault(f"port 0 is no port, in {shown}")
    literal = _literal(host)
    if not literal and (host.replace(".", "").isdigit() or not NAME.match(host)):
        raise SettingsFault(f"not a host name or an address: {host!r} in {shown}")
    if not PATH.match(parts.path):
        raise SettingsFault(f"not a path: {parts.path!r} in {shown}")
    address = Address(parts.scheme, host, port, parts.path.rstrip("/"))
    if not address.secure and not is_loopback(host):
        raise SettingsFault(
            f"{address.scheme}:// would send events in plain text to {host!r}",
            advice=f"Use {best}://. Plain text is only for 127.0.0.1, [::1] or localhost.",
        )
    return address


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def check_endpoint(url: str) -> str:
    """Return a tracking endpoint in its normal form (``wss://host[:port][/prefix]``).

    Raises:
        SettingsFault: As :func:`parse_address`.

    """
    return str(parse_address(url))


def check_origin(url: str) -> str:
    """Return a Data API origin in its normal form (``https://host[:port][/prefix]``).

    Raises:
        SettingsFault: As :func:`parse_address`.

    """
    return str(parse_address(url, ("https", "http")))


def endpoint_url(endpoint: str, app_id: str, form: Form) -> str:
    """Return the address to dial for an app: the endpoint and the form's path."""
    app = quote(app_id, safe="")
    tail = f"/{app}/" if form == "seed" else f"/app/{app}/track"
    return endpoint.rstrip("/") + tail
