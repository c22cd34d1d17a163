"""How the agent goes out: proxies, what it asks of a network, and when it waits.

``proxy`` is a word or an address, so its bounds are said here and checked by :func:`check_proxy`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from agent.rules.endpoints import parse_address
from agent.rules.proxies import parse_proxy
from tracking.errors import ProxyFault, SettingsFault

Bulk = Literal["send", "defer"]
Switch = Literal["on", "off"]


def check_proxy(value: str) -> str:
    """Return ``network.proxy`` as it is used.

    Raises:
        SettingsFault: Not one of its words, not an address, or one with a password in it.

    """
    if value in ("system", "none"):
        return value
    if not value.startswith("http://"):
        raise SettingsFault('must be "system", "none", or "http://host:port"')
    if "@" in value:
        raise SettingsFault(
            "holds no name or password; they belong in the keyring: homing network proxy-login"
        )
    try:
        return f"http://{parse_proxy(value, 'network.proxy').place}"
    except ProxyFault as fault:
        raise SettingsFault(str(fault)) from fault


def check_pac(value: str) -> str:
    """Return ``network.pac`` as it is used.

    Raises:
        SettingsFault: Neither an address nor an absolute path.

    """
    if not value or value.startswith("/"):
        return value
    if value.startswith("http://"):  # plain, as networks publish it; it only chooses a proxy
        return f"http{str(parse_address('https' + value[4:], ('https',)))[5:]}"
    return str(parse_address(value, ("https",)))


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """The networks on the way to a far end."""

    proxy: str = field(
        default="system",
        metadata={
            "doc": "The proxy on the way out: the system's (variables, desktop settings), none, or"
            " this one. Never used for this machine itself.",
            "rule": check_proxy,
            "bounds": "system, none, or http://host:port",
            "examples": ("http://proxy.example:3128",),
        },
    )
    pac: str = field(
        default="",
        metadata={
            "doc": "Script that names the proxy (PAC), instead of the system's.",
            "rule": check_pac,
            "bounds": "an address, an absolute path, or empty",
            "examples": ("http://wpad.example/proxy.pac",),
        },
    )
    proxy_login_file: str = field(
        default="",
        metadata={
            "doc": "File (mode 0600) with user:password for the proxy, where there is no keyring.",
            "path": True,
        },
    )
    portal_check: Switch = field(
        default="on",
        metadata={
            "doc": "Whether a failed connection may ask http:// of the far end's own host if the"
            " network wants a sign-in.",
            "words": ("on", "off"),
        },
    )
    on_metered: Bulk = field(
        default="defer",
        metadata={
            "doc": "Whether a large backlog is sent over a metered connection, or waits at most a"
            " day for another.",
            "words": ("send", "defer"),
        },
    )
    on_battery: Bulk = field(
        default="defer",
        metadata={
            "doc": "Whether a large backlog is sent below 20 % of battery, or waits at most a day"
            " for the mains.",
            "words": ("send", "defer"),
        },
    )
