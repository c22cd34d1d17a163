"""What may be asked about the networks on the way out (docs/networks.md)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from agent.door.asking import Request

Verdict = Literal["ok", "warning", "error", "skipped"]
LONGEST_OVERRIDE_S = 7 * 86_400.0


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One host that the agent may contact, and what for."""

    host: str
    port: int
    purpose: str


class Hosts(msgspec.Struct, frozen=True, kw_only=True):
    """Every host that the agent may contact; nothing else is even looked up."""

    hosts: tuple[Host, ...]


class WayOut(msgspec.Struct, frozen=True, kw_only=True):
    """What leads to one far end.

    Attributes:
        app_id: Whose events.
        upstream: The way's name.
        endpoint: The far end.
        by: "direct", or which proxy or script, named by whom.
        login: Whether there is a login for that proxy; None if none is used.
        held: Events that wait for a better moment; 0 if none do.

    """

    app_id: str
    upstream: str
    endpoint: str
    by: str
    login: bool | None = None
    held: int = 0


class NetworkState(msgspec.Struct, frozen=True, kw_only=True):
    """How the networks on the way out are.

    Attributes:
        ways: One for each way out.
        metered: Whether the connection is metered; None if nobody says.
        plugged: Whether the mains is plugged in; None likewise.
        percent: Of the battery; None likewise.
        causes: Why a large backlog waits, one each: "metered", "battery".
        override_until_ms: Everything is sent anyway until then, Unix milliseconds; 0: no.
        watching: Whether a change of the network is noticed at once.

    """

    ways: tuple[WayOut, ...] = ()
    metered: bool | None = None
    plugged: bool | None = None
    percent: float | None = None
    causes: tuple[Literal["metered", "battery"], ...] = ()
    override_until_ms: int = 0
    watching: bool = False


class LoginKept(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a proxy's login.

    Attributes:
        proxy: ``host:port``.
        kept_in: Where it is now; empty: there is none.
        notice: What a person should know, as a sentence; may be empty.

    """

    proxy: str
    kept_in: str
    notice: str = ""


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One step on the way to a far end.

    Attributes:
        name: ``settings``, ``route``, ``dns``, ``proxy``, ``connect``, ``tcp``, ``tls``,
            ``websocket``, ``http`` or ``acknowledgement``.
        verdict: ``skipped``: not on this way, or behind a hop that failed.
        evidence: What was seen.
        code: Of the fault, if it failed.
        repair: What to do, as a sentence or a command line.
        took_ms: How long it took.

    """

    name: str
    verdict: Verdict
    evidence: str
    code: str = ""
    repair: str = ""
    took_ms: float = 0.0


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """The way to one far end, hop by hop.

    Attributes:
        app_id: Whose events go there.
        upstream: The way's name.
        endpoint: The far end.
        hops: In order.
        failed: The first hop that failed; empty if none did.

    """

    app_id: str
    upstream: str
    endpoint: str
    hops: tuple[Hop, ...]
    failed: str = ""


class Walked(msgspec.Struct, frozen=True, kw_only=True):
    """All ways out, each walked."""

    walks: tuple[Walk, ...]


class ShowHosts(Request[Hosts], frozen=True):
    """Every host that the agent may contact."""


class ShowNetwork(Request[NetworkState], frozen=True):
    """Proxies, power, and what waits for a better moment."""


class SendAnyway(Request[NetworkState], frozen=True):
    """Send everything for a while, whatever it costs; 0 ends that."""

    for_s: Annotated[float, Meta(ge=0, le=LONGEST_OVERRIDE_S)]


class KeepProxyLogin(Request[LoginKept], frozen=True):
    """Keep who we are to a proxy, and try again at once.

    Attributes:
        user: Without a colon.
        password: Not shown again anywhere.
        proxy: ``host:port``; empty: the one on the way to the first far end behind one.

    """

    timeout_s: ClassVar[float] = 30.0

    user: str
    password: str
    proxy: str = ""

    def __repr__(self) -> str:
        return f"KeepProxyLogin(user={self.user!r}, proxy={self.proxy!r})"


class ForgetProxyLogin(Request[LoginKept], frozen=True):
    """Delete who we are to a proxy."""

    timeout_s: ClassVar[float] = 30.0

    proxy: str = ""


class WalkNetwork(Request[Walked], frozen=True):
    """Walk the way to every far end and say which hop fails; at most 20 s."""

    timeout_s: ClassVar[float] = 30.0

    app_id: str = ""
