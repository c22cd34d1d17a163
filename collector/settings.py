"""What an operator may change: every setting with its default, its sentence and its bounds.

The class is the single source: the reader (:mod:`collector.settings_reading`), the flags of
``serve``, ``homing collector config`` and the table of docs/operating.md are made from, or compared
with, what stands here. Units are in the names.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

from collector.store.clickhouse_address import address
from tracking.events import Limits

PREFIX = "HOMING_COLLECTOR_"
MIB, KIB = 1024 * 1024, 1024

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def number(default: Any, doc: str, *, low: float, high: float) -> Any:
    """Declare a number: its default, its sentence, and its bounds, both included."""
    return field(default=default, metadata={"doc": doc, "low": low, "high": high})


def word(default: str, doc: str, *allowed: str) -> Any:
    """Declare one of a few words."""
    return field(default=default, metadata={"doc": doc, "words": allowed})


def text(default: str, doc: str, must: str, check: Callable[[str], object]) -> Any:
    """Declare a text; ``check`` raises ValueError for what is none, ``must`` says what is one."""
    return field(default=default, metadata={"doc": doc, "must": must, "check": check})


def texts(doc: str, must: str, check: Callable[[str], object]) -> Any:
    """Declare a list of texts; in variables and flags they stand between commas."""
    return field(default=(), metadata={"doc": doc, "must": must, "check": check})


def network(said: str) -> Network:
    """Return an address, or a network such as ``10.0.0.0/8``.

    Raises:
        ValueError: It is neither.

    """
    return ipaddress.ip_network(said)


def _host(said: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9:._-]{1,253}", said):
        raise ValueError


def _path(said: str) -> None:
    if said and not Path(said).expanduser().is_absolute():
        raise ValueError


def _engine(said: str) -> None:
    if said != "duckdb":
        address(said, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting. Immutable; made by :func:`collector.settings_reading.load`."""

    host: str = text(
        "127.0.0.1",
        "Address to listen on: loopback, unless a reverse proxy with TLS stands before it.",
        "an address or a name",
        _host,
    )
    port: int = number(7780, "Port to listen on; 0 takes any that is free.", low=0, high=65_535)
    metrics_port: int = number(
        0, "Port on 127.0.0.1 that serves only the metrics; 0 opens none.", low=0, high=65_535
    )
    trusted_proxies: tuple[str, ...] = texts(
        "Addresses or networks of reverse proxies whose X-Forwarded-For is believed.",
        "addresses or networks such as 10.0.0.0/8",
        network,
    )
    engine: str = text(
        "duckdb",
        "The engine that stores: duckdb, or clickhouse://USER@HOST:PORT/DATABASE for several"
        " collectors on one ClickHouse; its password is in HOMING_CLICKHOUSE_PASSWORD.",
        "duckdb or clickhouse://USER@HOST:PORT/DATABASE",
        _engine,
    )
    log: Literal["text", "json"] = word("text", "How log lines are written.", "text", "json")
    log_level: Literal["debug", "info", "warning", "error"] = word(
        "info", "The least important line that is logged.", "debug", "info", "warning", "error"
    )
    drain_s: float = number(
        8.0,
        "Seconds over which open WebSockets are sent away at most when the server is to end.",
        low=0,
        high=600,
    )
    connections: int = number(20_000, "Connections in all.", low=1, high=1_000_000)
    per_peer: int = number(20_000, "Connections from one address.", low=1, high=1_000_000)
    header_s: float = number(5.0, "Seconds that a request's header may take.", low=0.1, high=300)
    body_s: float = number(
        10.0, "Seconds that a body or a frame may stand still.", low=0.1, high=600
    )
    idle_s: float = number(600.0, "Seconds that a connection may be silent.", low=1, high=86_400)
    ping_s: float = number(
        30.0, "Seconds between two looks whether a WebSocket still lives.", low=1, high=3_600
    )
    peer_events_per_s: float = number(
        200_000.0, "Events that one address may report, for ever.", low=0.01, high=1e9
    )
    peer_burst: float = number(
        2_000_000.0, "Events that one address may report at once.", low=1, high=1e9
    )
    app_events_per_s: float = number(
        200_000.0, "Events that one app may report, for ever.", low=0.01, high=1e9
    )
    app_burst: float = number(
        2_000_000.0, "Events that one app may report at once.", low=1, high=1e9
    )
    wrong_tokens_per_min: float = number(
        10.0, "Wrong tokens that one address may try in a minute.", low=1, high=10_000
    )
    waiting_events: int = number(
        50_000, "Events that may wait for the disk; more are refused.", low=1, high=10_000_000
    )
    frame_mib: int = number(32, "Size of one WebSocket frame at most, in MiB.", low=1, high=128)
    body_mib: int = number(8, "Size of one HTTP body at most, in MiB.", low=1, high=64)
    event_kib: int = number(32, "Size of one event at most, in KiB.", low=1, high=256)
    event_names: int = number(
        500, "Different names that the events of one app may have.", low=1, high=1_000_000
    )
    event_keys: int = number(
        200, "Different attributes that the events of one name may have.", low=1, high=100_000
    )
    query_s: float = number(10.0, "Seconds that a question may take.", low=0.1, high=600)
    retention_days: int = number(
        0,
        "Days that events are kept where an app says nothing else; 0 for ever.",
        low=0,
        high=36_500,
    )
    geoip_file: str = text(
        "",
        "A MaxMind database (.mmdb) that knows the country of an address; empty: no countries.",
        "an absolute path, or empty",
        _path,
    )

    def wire(self) -> Limits:
        """Return the sizes as the language reads them, in bytes."""
        return Limits(
            frame_bytes=self.frame_mib * MIB,
            body_bytes=self.body_mib * MIB,
            event_bytes=self.event_kib * KIB,
        )


class Spec(NamedTuple):
    """One setting as it is declared."""

    key: str
    default: object
    doc: str
    meta: Mapping[str, Any]

    @property
    def variable(self) -> str:
        """Its environment variable: ``HOMING_COLLECTOR_PORT``."""
        return PREFIX + self.key.upper()

    @property
    def flag(self) -> str:
        """Its flag: ``--metrics-port``."""
        return "--" + self.key.replace("_", "-")

    @property
    def bounds(self) -> str:
        """What it may be, in words."""
        if allowed := self.meta.get("words"):
            return ", ".join(allowed)
        if must := self.meta.get("must"):
            return str(must)
        kind = "a whole number" if type(self.default) is int else "a number"
        return f"{kind} from {self.meta['low']:,.12g} to {self.meta['high']:,.12g}"


class Row(NamedTuple):
    """One line of ``homing collector config``."""

    key: str
    value: object
    origin: str
    doc: str
    bounds: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each value came from."""

    settings: Settings
    origins: Mapping[str, str]

    def rows(self) -> list[Row]:
        """Return one row per setting, in the order in which a person reads them."""
        return [
            Row(s.key, getattr(self.settings, s.key), self.origins[s.key], s.doc, s.bounds)
            for s in specs()
        ]


def specs() -> Iterator[Spec]:
    """Yield every setting."""
    for one in fields(Settings):
        yield Spec(one.name, one.default, one.metadata["doc"], one.metadata)
