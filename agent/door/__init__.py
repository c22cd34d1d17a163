"""The door: all that a window, a terminal or a script may ask of an agent, and what it answers.

Two doors implement :class:`Door`: :class:`agent.client.LocalDoor` through the local socket, and
the in-process one of :mod:`agent.host`. Everything that passes is one of the frozen structs
below; over the socket they travel as JSON with these very names (docs/local-api.md).
Times are Unix milliseconds (``_ms``), durations seconds (``_s``).

What has its own topic (apps, upstreams, the wire, …) is a :class:`agent.door.asking.Request` in a
module beside this one, carried by :meth:`Door.ask`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol, TypeVar

import msgspec

from agent.door.apps import EveryApp
from agent.door.asking import Request

T = TypeVar("T")

Health = Literal["live", "offline", "paused", "attention"]
LinkState = Literal["idle", "dialing", "live", "waiting", "parked"]
Keeping = Literal["off", "offered", "starting", "running", "failed"]


class Sentence(msgspec.Struct, frozen=True, kw_only=True):
    """How things are, in one line a person understands [R7]: state, reason, since, next step.

    ``text`` is complete on its own ("Offline 12 min: connection refused. 214 events safe. Next
    try in 40 s."); the parts are there for layouts that show them apart.
    """

    state: Health
    text: str
    code: str = ""  #: Stable code of the cause, empty when all is well.
    reason: str = ""
    since_ms: int = 0
    next_step: str = ""


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One app's connection to one far end."""

    app_id: str
    kind: str  #: ``nucleus``, ``homing``, ``bucket`` or ``bucket-bulk``
    endpoint: str  #: As configured, without secrets.
    state: LinkState
    since_ms: int
    reason: str = ""
    code: str = ""
    next_try_ms: int | None = None
    latency_ms: float | None = None  #: Last batch sent → acknowledged.
    last_ack_ms: int | None = None
    sent_bytes: int = 0
    received_bytes: int = 0
    in_flight: int = 0  #: Events lent to the connection.
    dials: int = 0
    upstream: str = ""  #: Name of the way out: the upstream's, or ``NAME.bucket``.
    note: str = ""  #: What a person should know although it works; empty if nothing.
    pending: int = 0  #: Events that wait on its queue.
    confirmed: str = ""  #: What the last comparison found: "The far end confirms 3 of 3 events."


class UpstreamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One app's delivery to one upstream, and its own ledger."""

    name: str  #: Empty for the one place of an app without an upstream.
    kind: str
    accepted: int = 0
    delivered: int = 0
    pending: int = 0
    dead: int = 0
    lost: dict[str, int] = {}
    balanced: bool = True
    pending_bytes: int = 0
    oldest_pending_ms: int | None = None
    declared: bool = True  #: False: the settings no longer name it, but it still holds events.


class AppStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One app and its ledger: accepted = delivered + pending + dead + lost, always.

    Every event counts once, however many upstreams it is for: it is delivered when all of them
    have it, and else what it is at the one where it fares worst. ``upstreams`` has the numbers of
    each.
    """

    app_id: str
    name: str
    consent: Literal["allowed", "pending", "denied", "paused"]
    consent_from: str  #: "you", "settings file", … (``agent.door.apps.AppConsent``)
    consent_reason: str = ""
    consent_since_ms: int | None = None  #: None: since the agent started.
    consent_until_ms: int | None = None  #: None: it does not end by itself.
    asking: bool = False  #: It knocks, and waits for a person's answer.
    accepted: int = 0
    delivered: int = 0
    pending: int = 0
    dead: int = 0
    lost: dict[str, int] = {}
    balanced: bool = True
    pending_bytes: int = 0
    oldest_pending_ms: int | None = None
    knocks: int = 0  #: Requests of an app that is not allowed yet.
    offered: int = 0  #: Events in them; it still has them.
    executable: str = ""  #: The program that knocked last, if the system tells.
    pid: int = 0  #: Its process; 0 if the system does not tell.
    first_knock_ms: int | None = None
    dropped: int = 0  #: Acknowledged and not kept, because somebody said no.
    repeats: int = 0  #: Events recognised as already accepted.
    refused: int = 0  #: Bad events answered with an error.
    over_quota: int = 0  #: Events that had to wait, each time they were offered.
    events_per_s: float = 0.0  #: What it asks to report just now.
    allowed_per_s: float = 0.0  #: What it may report for ever.
    marks: int = 0  #: Of its events' names and properties (docs/lint.md).
    upstreams: tuple[UpstreamStatus, ...] = ()


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Slow truths about the machine, as the init event tells them (seed 000)."""

    platform: str
    os_version: str
    total_ram: int
    language: str
    arch: str
    device_id: str = ""  #: Of the first app; each app has its own.
    key_kept_in: str = ""  #: "keyring", "file (unencrypted)", "memory (until it stops)"


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """The outbox and its forecast. An event for two upstreams is two here, as on the disk."""

    events: int = 0
    bytes: int = 0
    max_events: int = 0
    max_bytes: int = 0
    oldest_ms: int | None = None
    dead: int = 0
    full_in_s: float | None = None  #: At the rate of the last minutes; None if not filling.
    drained_in_s: float | None = None  #: None if not draining.


class Minute(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    at_ms: int
    accepted: int
    delivered: int


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """The last 24 hours against the 24 before, as the Data API's quickglance names them."""

    source: Literal["collector", "this computer"]
    at_ms: int
    app_starts: int
    previous_app_starts: int
    errors: int
    previous_errors: int
    events: int | None = None  #: Only from this computer's own tallies.
    previous_events: int | None = None
    users: int | None = None  #: Only the far end knows users and installs.
    previous_users: int | None = None
    installs: int | None = None
    previous_installs: int | None = None


class LiveUser(msgspec.Struct, frozen=True, kw_only=True):
    device_id: str
    user_id: str | None = None
    platform: str | None = None
    os_version: str | None = None
    country: str | None = None
    last_seen_ms: int = 0


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing is being sent, each pause with its own cause [R9]; what apps report is kept."""

    reason: str
    since_ms: int
    until_ms: int | None = None  #: None: until a person resumes.


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something a person should know, with a stable code; shown until it is no longer true."""

    code: str
    text: str
    severity: Literal["info", "warning", "error"]
    since_ms: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot of the running agent. A new one replaces the old one whole."""

    at_ms: int
    version: str
    pid: int
    started_ms: int
    sentence: Sentence
    links: tuple[LinkStatus, ...] = ()
    apps: tuple[AppStatus, ...] = ()
    depth: Depth = Depth()
    minutes: tuple[Minute, ...] = ()  #: Oldest first, at most 60.
    glance: Glance | None = None
    live_count: int | None = None  #: None: the far end does not tell.
    live_users: tuple[LiveUser, ...] = ()
    facts: Facts | None = None
    pause: Pause | None = None
    every_app: EveryApp | None = None  #: A no to all apps; what they report is dropped.
    notices: tuple[Notice, ...] = ()
    keeping: Keeping = "off"  #: The embedded far end on this computer.
    strangers_go_to: str = ""  #: Where an allowed app goes that no file declares; empty: nowhere.
    default_app: str | None = None  #: Where `homing send` without --app goes.
    address: str = ""  #: The local socket's path, or the loopback address.
    settings_file: str = ""


class Passing(msgspec.Struct, frozen=True, kw_only=True):
    """One event as it passed, for `homing tail` and the window's list."""

    at_ms: int  #: When it was accepted.
    app_id: str
    id: str
    type: str
    name: str | None
    user_id: str | None
    size: int  #: Bytes on the wire.
    payload: str  #: The payload's JSON, clipped to 500 characters.
    marks: tuple[str, ...] = ()  #: What is new, odd or looks personal in it (docs/lint.md).


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a send: the agent's promise, and with ``wait`` the far end's."""

    ids: tuple[str, ...]
    delivered: bool


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One finding of `homing doctor`."""

    code: str
    title: str
    verdict: Literal["ok", "warning", "error"]
    evidence: str
    repair: str = ""  #: What to do, as a sentence or a command line.


class QueuedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event in the outbox or among the dead letters."""

    id: str
    app_id: str
    accepted_ms: int
    body: str  #: The event as it goes on the wire (JSON).
    reason: str = ""  #: Dead letters: why.
    detail: str = ""  #: Dead letters: the far end's words, and its code for them.
    upstream: str = ""  #: Dead letters: the way out on which it was refused; may be empty.


class WireEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One frame, request or answer exactly as sent or received, secrets masked (docs/wire.md)."""

    at_ms: int
    app_id: str
    direction: Literal["sent", "received"]
    size: int  #: On the wire, before anything was masked.
    text: str
    n: int = 0  #: Its number in the record.
    upstream: str = ""  #: The way out's name.
    kind: str = "frame"  #: ``frame``, ``http``, ``handshake``, ``proxy``, ``script``,
    #: ``portal``, ``data-api``, ``verdict``
    head: str = ""  #: Method and path, or the status line.
    peer: str = ""  #: Who was at the other end: the certificate, or why there is none.
    #: "acknowledged 12 of 12", "refused: …", "not answered", "retried", "not sent: …".
    verdict: str = ""
    of: int | None = None  #: Of a verdict that came later: the number of what it is about.


class Door(Protocol):
    """What ui and cli may call. Every method may block and may raise ``tracking.errors.Fault``
    (``AgentGone`` when nobody answers); never call one from the GUI thread."""

    def status(self) -> Status: ...

    def ask(self, request: Request[T]) -> T:
        """Carry a request of ``agent.door.table`` to the agent; return its answer."""
        ...

    def watch(
        self,
        on_status: Callable[[Status], None],
        on_events: Callable[[tuple[Passing, ...]], None] | None = None,
        on_gone: Callable[[str], None] | None = None,
    ) -> Callable[[], None]:
        """Hear of every change, at most four times a second; returns how to stop.

        Callbacks run on a thread of the door's own. After a loss ``on_gone`` is called with a
        sentence, and the door tries again every 3 s until it is stopped.
        """
        ...

    def send(
        self,
        name: str,
        *,
        app_id: str | None = None,
        payload: Mapping[str, object] | None = None,
        type: str = "event",
        wait: Literal["durable", "delivered"] = "durable",
        timeout_s: float = 30.0,
    ) -> Sent: ...

    def pause(self, for_s: float | None, reason: str = "you asked") -> Status: ...

    def resume(self) -> Status: ...

    def retry(self, app_id: str | None = None) -> Status:
        """Dial now: ends a backoff or a park."""
        ...

    def keep_here(self) -> Status:
        """Start (and from now on supervise) an embedded collector on this computer."""
        ...

    def outbox(self, *, app_id: str | None = None, limit: int = 100) -> tuple[QueuedEvent, ...]: ...

    def dead_letters(
        self, *, app_id: str | None = None, limit: int = 100
    ) -> tuple[QueuedEvent, ...]: ...

    def retry_dead(self, ids: tuple[str, ...] | None = None) -> int:
        """Put dead letters (all, or these) back into the outbox; returns how many."""
        ...

    def drop_dead(self, ids: tuple[str, ...] | None = None) -> int:
        """Delete dead letters (all, or these), counted as lost; returns how many."""
        ...

    def wire(self, *, app_id: str | None = None, limit: int = 100) -> tuple[WireEntry, ...]: ...

    def doctor(self) -> tuple[Check, ...]: ...

    def stop(self) -> None: ...
