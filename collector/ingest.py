"""From a frame to stored rows: the collector's :class:`tracking.endpoints.Sink`.

Acknowledged only after the store has it. An event is stored once, whoever sends it how often: its
key covers app, device, session, id, raw date, type, name and payload, and never userId, anonId or
anything else that a client rewrites at each send (NUCLEUS.md A3; SECURITY.md "Event-id
collision"). The same id with other content is another event, so nobody can suppress one.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable

import msgspec

from collector.accounts import Accounts
from collector.limits import Limiter
from collector.presence import Presence
from collector.store.interface import Stored
from collector.writer import Writer
from tracking.dates import event_ms, newest
from tracking.endpoints import Origin, Receipt
from tracking.errors import Fault, OverQuota, RequestFault
from tracking.events import Event, Frame
from tracking.nucleus import device_of, normal_language, normal_platform

log = logging.getLogger("collector.ingest")

DATE_CLAMPED = 1  #: Flag of a row whose own date was not believed.


def content_key(app_id: str, device: str, event: Event) -> tuple[int, int]:
    """Return the key by which a repeat is recognised: two signed 64-bit numbers."""
    said = (
        app_id,
        device,
        event.session_id,
        event.id,
        event.date,
        event.type,
        event.name,
        _canonical(event.payload),
    )
    digest = hashlib.blake2b(msgspec.json.encode(said), digest_size=16).digest()
    return (
        int.from_bytes(digest[:8], "big", signed=True),
        int.from_bytes(digest[8:], "big", signed=True),
    )


def _canonical(payload: bytes | None) -> str:
    """Return a payload so that order of keys and spaces make no difference."""
    if payload is None:
        return ""
    return msgspec.json.encode(msgspec.json.decode(payload), order="sorted").decode()


class Ingest:
    """Takes frames for the apps of this collector.

    Args:
        accounts: Which apps exist.
        writer: Stores.
        presence: Who is live.
        per_peer: Events per address.
        per_app: Events per app.
        now_ms: Unix milliseconds.
        now_s: Monotonic seconds.

    Attributes:
        counts: What happened, by name, for status and metrics.

    """

    def __init__(
        self,
        accounts: Accounts,
        writer: Writer,
        presence: Presence,
        *,
        per_peer: Limiter,
        per_app: Limiter,
        now_ms: Callable[[], int],
        now_s: Callable[[], float],
    ) -> None:
        self.accounts = accounts
        self.writer = writer
        self.presence = presence
        self.per_peer = per_peer
        self.per_app = per_app
        self.now_ms = now_ms
        self.now_s = now_s
        self.counts: Counter[str] = Counter()

    async def admit(self, app_id: str, transport: str) -> None:
        """Let a known app in.

        Raises:
            RequestFault: 404; its sender keeps the events and comes back (A20).

        """
        del transport
        if self.accounts.app(app_id) is None:
            self.counts["unknown_app"] += 1
            raise RequestFault(f"there is no app {app_id[:64]!r} here", field="appId", status=404)

    async def accept(self, app_id: str, frame: Frame, origin: Origin) -> Receipt:
        """Store a frame's events; return when they are durable."""
        self._beat(app_id, frame, origin)
        if not frame.events:
            return Receipt()
        wait_s = self.per_peer.take(origin.peer, len(frame.events), self.now_s())
        wait_s = wait_s or self.per_app.take(app_id, len(frame.events), self.now_s())
        if wait_s > 0:
            self.counts["over_quota"] += len(frame.events)
            fault: Fault = OverQuota("too many events at once", retry_after_s=wait_s)
            return Receipt(tuple(range(len(frame.events))), fault)
        rows = self.rows(app_id, frame, origin.received_ms)
        if rows:
            try:
                await self.writer.write(rows)
            except Fault as fault:
                return Receipt(tuple(range(len(frame.events))), fault)
        return Receipt()

    def rows(self, app_id: str, frame: Frame, received_ms: int) -> list[Stored]:
        """Return what is to be stored of a frame; the rest is counted and acknowledged."""
        rows = []
        newest_ms = newest(frame.events)
        for event in frame.events:
            if event.app_id is not None and event.app_id != app_id:
                self.counts["foreign"] += 1  # A15: another app's queue, never this app's numbers
                continue
            device = device_of(event)
            if device is None:
                self.counts["nobody"] += 1  # A19
                continue
            rows.append(_row(app_id, device, event, received_ms, newest_ms))
        return rows

    def joined(self, app_id: str, connection: int) -> None:
        del app_id
        self.presence.joined(connection)

    def left(self, app_id: str, connection: int) -> None:
        del app_id
        self.presence.left(connection)

    def refused(self, app_id: str, frame: Frame) -> None:
        del app_id
        self.counts["refused"] += len(frame.refused)

    def _beat(self, app_id: str, frame: Frame, origin: Origin) -> None:
        """Note who is live (A5): heartbeats may name no device, then it is the connection's."""
        if origin.transport != "ws":
            return  # "with the HTTP method the Live view won't work" (seed 000)
        for event in (*frame.heartbeats, *frame.events):
            if event.app_id is not None and event.app_id != app_id:
                continue
            device = device_of(event) or self.presence.device_on(origin.connection)
            if device:
                self.presence.seen(app_id, origin.connection, device, (event,))


def _row(app_id: str, device: str, event: Event, received_ms: int, newest_ms: int | None) -> Stored:
    key_a, key_b = content_key(app_id, device, event)
    at_ms = event_ms(event, received_ms, newest_ms)
    clamped = event.date_ms is not None and at_ms == received_ms != event.date_ms
    return Stored(
        app_id=app_id,
        key_a=key_a,
        key_b=key_b,
        ts=at_ms,
        recv_ts=received_ms,
        kind=event.kind.value,
        type=event.type,
        name=event.name or "",
        event_id="" if event.id is None else msgspec.json.encode(event.id).decode(),
        user_id=event.user_id or "",
        anon_id=event.anon_id or "",
        device_id=device,
        session_id=event.session_id or "",
        platform=normal_platform(event.platform) or "",
        os_version=event.os_version or "",
        avail_ram=event.total_ram or 0,
        version=event.version or "",
        locale=normal_language(event.language) or "",
        client=event.client or "",
        module_version=event.module_version or "",
        arch=event.arch or "",
        process=event.process or "",
        flags=DATE_CLAMPED if clamped else 0,
        payload="" if event.payload is None else event.payload.decode(),
    )
