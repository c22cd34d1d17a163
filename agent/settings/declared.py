"""What a person may change: every setting with its default, its sentence and its bounds.

The classes are the single source: the loader, ``homing config show``, the commented file of the
first start and docs/settings.md are all made from, or compared with, what stands here. Units are
in the names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from agent.rules.redaction import Rule
from agent.settings.consent import ConsentSettings
from agent.settings.gateway import GatewaySettings
from agent.settings.lint import LintSettings
from agent.settings.network import NetworkSettings
from agent.settings.redaction import RULES, RedactionSettings
from agent.settings.upstreams import APP_DOCS, UPSTREAM_DOCS, App
from tracking.events import Limits

KIB, MIB = 1024, 1024 * 1024

Transport = Literal["unix", "loopback"]
Answer = Literal["ask", "yes", "no"]
DeviceId = Literal["mac", "session"]
Level = Literal["debug", "info", "warning", "error"]


def number(default: Any, doc: str, *, low: float, high: float) -> Any:
    """Declare a number: its default, its sentence, and its bounds, both included."""
    return field(default=default, metadata={"doc": doc, "low": low, "high": high})


def words(doc: str, *allowed: str) -> dict[str, Any]:
    """Return the metadata of a setting that is one of a few words."""
    return {"doc": doc, "words": allowed}


def file(doc: str) -> Any:
    """Declare the path of a file; empty means none."""
    return field(default="", metadata={"doc": doc, "path": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSettings:
    """The queue on disk."""

    max_events: int = number(1_000_000, "Events the outbox may hold.", low=1_000, high=100_000_000)
    max_mib: int = number(256, "Disk the outbox may use, in MiB.", low=4, high=65_536)
    max_age_days: int = number(
        30, "Days after which an event that could not be delivered expires.", low=1, high=365
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IpcSettings:
    """How local apps reach the agent."""

    transport: Transport = field(
        default="unix",
        metadata=words(
            "How local apps reach the agent: a Unix socket, or loopback TCP with a token.",
            "unix",
            "loopback",
        ),
    )
    port: int = number(
        0, "Port of the loopback transport; 0 lets the system choose one.", low=0, high=65_535
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """The connection to a far end."""

    heartbeat_s: float = number(60.0, "Seconds between signs of life.", low=1, high=3_600)
    ack_timeout_s: float = number(
        30.0, "Seconds to wait for an acknowledgement before dialing again.", low=1, high=600
    )
    dial_deadline_s: float = number(
        15.0, "Seconds that connecting may take, handshakes included.", low=1, high=300
    )
    http_after: int = number(
        3,
        "Dials in a row on which no WebSocket gets through before Nucleus is spoken over HTTP;"
        " 0: never.",
        low=0,
        high=100,
    )
    websocket_retry_s: float = number(
        300.0,
        "Seconds on HTTP before a WebSocket is tried again; doubled each time in vain, to an hour.",
        low=1,
        high=3_600,
    )
    ca_file: str = file(
        "Certificates (PEM) to trust besides the system's, for a far end of your own."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """What one app, or all of them, may ask of the agent at once."""

    events_per_s: int = number(
        1_000, "Events per second that one app may report for ever.", low=1, high=1_000_000
    )
    burst: int = number(
        50_000, "Events that one app may report at once after a pause.", low=1, high=10_000_000
    )
    event_kib: int = number(32, "Size of one event at most, in KiB.", low=1, high=256)
    body_mib: int = number(8, "Size of one HTTP request at most, in MiB.", low=1, high=64)
    frame_mib: int = number(32, "Size of one WebSocket frame at most, in MiB.", low=1, high=128)
    connections: int = number(64, "Connections of local apps at the same time.", low=1, high=4_096)

    def wire(self) -> Limits:
        """Return them as the language reads them, in bytes."""
        return Limits(
            frame_bytes=self.frame_mib * MIB,
            body_bytes=self.body_mib * MIB,
            event_bytes=self.event_kib * KIB,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings:
    """Who this machine is to a far end. The keys themselves are never settings."""

    device_id: DeviceId = field(
        default="mac",
        metadata=words(
            "What deviceId is made of: the network card's address, hashed with a secret key, or"
            " nothing at all, new with each session.",
            "mac",
            "session",
        ),
    )
    key_file: str = file(
        "Where to keep the device key if there is no keyring, instead of the state folder."
    )
    organisation_key: str = file(
        "File with an organisation's key (64 hexadecimal digits), used instead of a key of this"
        " computer, so that a device keeps its id when it is reinstalled."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FarEndSettings:
    """The collector on this computer, for those who have no other far end."""

    keep_here: Answer = field(
        default="ask",
        metadata=words(
            "Whether to keep events on this computer when no app names a far end.",
            "ask",
            "yes",
            "no",
        ),
    )
    port: int = number(
        0, "Port of that collector on 127.0.0.1; 0 lets the system choose one.", low=0, high=65_535
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Log lines."""

    level: Level = field(
        default="info",
        metadata=words(
            "The least important line that is logged.", "debug", "info", "warning", "error"
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WireSettings:
    """The record of what left this machine."""

    max_mib: int = number(
        16, "Disk the record of the wire may use, in MiB; 0 keeps none.", low=0, high=4_096
    )
    max_days: int = number(14, "Days it is kept; 0 keeps none.", low=0, high=365)
    max_entries: int = number(
        100_000, "Frames and requests it may hold; 0 keeps none.", low=0, high=10_000_000
    )


class Row(NamedTuple):
    """One line of ``homing config show``."""

    key: str
    value: object
    origin: str
    doc: str
    bounds: str


class Spec(NamedTuple):
    """One scalar setting as it is declared."""

    key: str  #: Dotted: ``outbox.max_events``.
    default: object
    doc: str
    meta: Mapping[str, Any]

    @property
    def variable(self) -> str:
        """Its environment variable: ``HOMING_OUTBOX_MAX_EVENTS``."""
        return "HOMING_" + self.key.replace(".", "_").upper()

    @property
    def bounds(self) -> str:
        """What it may be, in words."""
        if allowed := self.meta.get("words"):
            return ", ".join(allowed)
        if said := self.meta.get("bounds"):
            return str(said)
        if self.meta.get("path"):
            return "an absolute path, or empty"
        kind = "a whole number" if type(self.default) is int else "a number"
        return f"{kind} from {self.meta['low']:,} to {self.meta['high']:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, and where each came from. Immutable; made by :func:`agent.settings.load`."""

    outbox: OutboxSettings = field(default_factory=OutboxSettings)
    ipc: IpcSettings = field(default_factory=IpcSettings)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    link: LinkSettings = field(default_factory=LinkSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    consent: ConsentSettings = field(default_factory=ConsentSettings)
    redaction: RedactionSettings = field(default_factory=RedactionSettings)
    lint: LintSettings = field(default_factory=LintSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    far_end: FarEndSettings = field(default_factory=FarEndSettings)
    log: LogSettings = field(default_factory=LogSettings)
    wire: WireSettings = field(default_factory=WireSettings)
    apps: tuple[App, ...] = ()
    rules: tuple[Rule, ...] = ()  #: Of redaction, in order.
    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    file: Path | None = None  #: The settings file that was read, whether it exists or not.

    def origin(self, key: str) -> str:
        """Return where a value came from: ``default``, a file, a variable, ``command line``."""
        return self.origins.get(key, "default")

    def app(self, app_id: str) -> App | None:
        """Return a declared app, or None."""
        return next((app for app in self.apps if app.id == app_id), None)

    def describe(self) -> list[Row]:
        """Return one row per setting, then the apps'."""
        rows = []
        for spec in specs():
            table, name = spec.key.split(".")
            value = getattr(getattr(self, table), name)
            rows.append(Row(spec.key, value, self.origin(spec.key), spec.doc, spec.bounds))
        for app in self.apps:
            origin = self.origin("apps")
            for name, doc in APP_DOCS.items():
                value = _in_words(getattr(app, name))
                rows.append(Row(f"apps.{app.id}.{name}", value, origin, doc, ""))
            for upstream in app.upstreams:
                for name, doc in UPSTREAM_DOCS.items():
                    value = _in_words(getattr(upstream, name))
                    key = f"apps.{app.id}.upstreams.{upstream.name}.{name}"
                    rows.append(Row(key, value, origin, doc, ""))
        for number, rule in enumerate(self.rules, 1):
            doc = f"{rule.action} what {rule.path or 'anything'} holds"
            doc += f", where it matches {rule.pattern}" if rule.pattern else ""
            rows.append(Row(f"{RULES}.{number}", rule.name, self.origin(RULES), doc, ""))
        return rows


#: Tables of the file and their classes, in the order in which a person reads them.
TABLES: Mapping[str, type[Any]] = MappingProxyType(
    {
        "outbox": OutboxSettings,
        "ipc": IpcSettings,
        "gateway": GatewaySettings,
        "link": LinkSettings,
        "network": NetworkSettings,
        "limits": LimitSettings,
        "consent": ConsentSettings,
        "redaction": RedactionSettings,
        "lint": LintSettings,
        "identity": IdentitySettings,
        "far_end": FarEndSettings,
        "log": LogSettings,
        "wire": WireSettings,
    }
)


def _in_words(value: object) -> object:
    """Show a list as people write one; anything else as it is."""
    return ", ".join(value) if isinstance(value, tuple) else value


def specs() -> Iterator[Spec]:
    """Yield every scalar setting, in the order of the file."""
    for table, cls in TABLES.items():
        for one in fields(cls):
            yield Spec(f"{table}.{one.name}", one.default, one.metadata["doc"], one.metadata)
