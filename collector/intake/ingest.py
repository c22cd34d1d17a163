"""From a frame to stored rows: the collector's :class:`tracking.endpoints.Sink`.

Acknowledged only after the store has it. An event is stored once, whoever sends it how often: its
key covers app, device, session, id, raw date, type, name and payload, and never userId, anonId or
anything else that a client rewrites at each send (NUCLEUS.md A3; SECURITY.md "Event-id
collision"). The same id with other content is another event, so nobody can suppress one.

An event with neither id nor date has its receipt for a date (seed 000), so two clicks that look
alike are two; unless its sender is one that repeats whole frames until a token is echoed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence

from collector.access.accounts import Accounts
from collector.access.limits import Limiter
from collector.intake.presence import Presence
from collector.intake.rows import content_key, stored
from collector.intake.writer import Writer
from collector.metrics import Tally
from collector.store.interface import Stored
from tracking.dates import event_ms, newest
from tracking.endpoints import Origin, Receipt
from tracking.errors import Fault, OverQuota, RequestFault
from tracking.events import Event, Frame
from tracking.nucleus import device_of
from tracking.peers import peer_key

__all__ = ["Ingest", "content_key"]

log = logging.getLogger("collector.intake.ingest")

SLICE = 1_000  #: Rows built between two looks at other people's frames.


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
        counts: Where to count.
        country_of: The country of an address, empty if unknown.

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
        counts: Tally | None = None,
        country_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        self.accounts = accounts
        self.writer = writer
        self.presence = presence
        self.per_peer = per_peer
        self.per_app = per_app
        self.now_ms = now_ms
        self.now_s = now_s
        self.counts = counts if counts is not None else Tally()
        self.country_of = country_of

    async def admit(self, app_id: str, origin: Origin, *, frame_follows: bool = False) -> None:
        """Let a known app in.

        Raises:
            RequestFault: 404; its sender keeps the events and comes back (A20).

        """
        del origin, frame_follows
        if self.accounts.app(app_id) is None:
            self.counts["unknown_app"] += 1
            raise RequestFault(f"there is no app {app_id[:64]!r} here", field="appId", status=404)

    async def accept(self, app_id: str, frame: Frame, origin: Origin) -> Receipt:
        """Store a frame's events; return when they are durable."""
        self._beat(app_id, frame, origin)
        if not frame.events:
            return Receipt()
        count = len(frame.events)
        self.counts["accepted"] += count
        try:
            self.writer.reserve(count)
        except OverQuota as fault:  # before anything is built: a queue is cheaper at its sender
            self.counts["behind"] += count
            return Receipt(fault=fault)
        try:
            await self.admit(app_id, origin)  # it may have been removed meanwhile
            self.within_quota(app_id, count, peer_key(origin.peer))
            rows = await self._rows(app_id, frame, origin)
            if rows:
                done = await self.writer.put(rows)
                self.counts["stored"] += done.new
                self.counts["erased"] += done.erased
                self.counts["repeats"] += len(rows) - done.new - done.erased
        except Fault as fault:
            return Receipt(fault=fault)
        finally:
            self.writer.release(count)
        return Receipt()

    def within_quota(self, app_id: str, count: int, peer: str) -> None:
        """Take so many events from what an address and an app may report.

        Raises:
            OverQuota: All or nothing was asked for, and there is not as much.

        """
        now_s = self.now_s()
        wait_s = self.per_peer.take(peer, count, now_s)
        if wait_s == 0:
            wait_s = self.per_app.take(app_id, count, now_s)
            if wait_s > 0:
                self.per_peer.give_back(peer, count)
        if wait_s > 0:
            self.counts["over_quota"] += count
            raise OverQuota("too many events at once", retry_after_s=wait_s)

    async def _rows(self, app_id: str, frame: Frame, origin: Origin) -> list[Stored]:
        """Return what is to be stored; a large frame lets others be served in between."""
        events = frame.events
        build = functools.partial(
            self.rows,
            app_id,
            received_ms=origin.received_ms,
            newest_ms=newest(events),
            repeats=frame.has_confirmation,
            country=self.country_of(origin.peer),
        )
        if len(events) <= SLICE:
            return build(events)
        rows: list[Stored] = []
        for at in range(0, len(events), SLICE):
            rows += build(events[at : at + SLICE])
            await asyncio.sleep(0)
        return rows

    def rows(
        self,
        app_id: str,
        events: Sequence[Event],
        received_ms: int,
        newest_ms: int | None,
        *,
        repeats: bool = False,
        country: str = "",
    ) -> list[Stored]:
        """Return what is to be stored of events; the rest is counted and acknowledged.

        Args:
            app_id: Whose they are.
            events: Of one frame.
            received_ms: When it arrived.
            newest_ms: The newest date of the whole frame.
            repeats: Its sender repeats frames, so what has neither id nor date may be a repeat.
            country: Of the sender's address, empty if unknown.

        """
        rows = []
        for event in events:
            if event.app_id is not None and event.app_id != app_id:
                self.counts["foreign"] += 1  # A15: another app's queue, never this app's numbers
                continue
            device = device_of(event)
            if device is None:
                self.counts["nobody"] += 1  # A19
                continue
            at_ms = event_ms(event, received_ms, newest_ms)
            rows.append(stored(app_id, device, event, received_ms, at_ms, country, repeats=repeats))
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
        beats = frame.heartbeats
        if beats:
            try:
                self.within_quota(app_id, len(beats), peer_key(origin.peer))
            except OverQuota:  # a state: the next one says the same
                beats = ()
        if origin.transport != "ws":  # "with the HTTP method the Live view won't work" (seed 000)
            for event in beats:
                device = device_of(event)
                if device is not None and event.app_id in (None, app_id):
                    self.presence.heard(app_id, device, event)
            return
        devices: dict[str, list[Event]] = {}
        last = ""
        for event in frame.events:
            device = device_of(event)
            if device is not None and event.app_id in (None, app_id):
                devices.setdefault(device, []).append(event)
                last = device
        last = last or self.presence.device_on(origin.connection)
        for event in beats:
            device = event.device_id or last or device_of(event)
            if device and event.app_id in (None, app_id):
                devices.setdefault(device, []).append(event)
        for device, events in devices.items():
            self.presence.seen(app_id, origin.connection, device, events)
