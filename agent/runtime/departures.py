"""All ways out: one delivery per app with an upstream, their timers, and the machine's sleep.

Owned by the core thread. Each delivery's rule says when it next wants to be asked; that is the
only timer there is, so an idle agent is woken by heartbeats and by nothing else. That the machine
slept is heard from the clock itself where it can say so (:mod:`agent.adapters.clock_watch`), and
found by each heartbeat's turn everywhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from agent.adapters.clock_watch import ClockWatch, open_timer
from agent.adapters.outbox import Outbox
from agent.adapters.websocket_link import Died, WebSocketLink
from agent.rules.cadence import SleepWatch
from agent.rules.link import LinkRule
from agent.rules.notices import Notice, Slept, Start, Stop, Tick
from agent.rules.poison import Doubts
from agent.runtime.delivery import Delivery
from agent.runtime.desk import Desk
from agent.runtime.means import Means
from agent.runtime.wire import WireLog
from agent.settings.declared import LinkSettings
from tracking.errors import StorageFault

log = logging.getLogger("agent.departures")


class Departures:
    """Opens ways out, passes notices to them, wakes them in time.

    Args:
        outbox: Lends.
        link: Deadlines, heartbeat and trust.
        means: Clocks and chance.
        wire: Keeps the newest frames.
        plan_settle: Writes what is owed, soon.
        settle_now: Writes what is owed, at once.
        changed: Something that the status shows is different.
        on_death: A thread of ours died of a bug.
        storage_failed: Nothing could be lent; called so that it is tried again.

    """

    def __init__(
        self,
        outbox: Outbox,
        link: LinkSettings,
        means: Means,
        wire: WireLog,
        *,
        plan_settle: Callable[[], None],
        settle_now: Callable[[], None],
        changed: Callable[[], None],
        on_death: Callable[[BaseException], None],
        storage_failed: Callable[[StorageFault], None],
    ) -> None:
        self.outbox = outbox
        self.link = link
        self.means = means
        self.wire = wire
        self.plan_settle = plan_settle
        self.settle_now = settle_now
        self.changed = changed
        self.on_death = on_death
        self.storage_failed = storage_failed
        self.halted = False  # a pause is in force: new ways out are not dialled
        self.by_app: dict[str, Delivery] = {}
        self.waiters: dict[str, Callable[[], None]] = {}
        self._loop = asyncio.get_running_loop()
        self._sleep = SleepWatch(means.wall_ms() / 1000, means.mono_s())
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._clock = ClockWatch(self._loop, self.look_for_sleep, open_timer())
        self._closed = False

    def open(self, desk: Desk, endpoint: str) -> None:
        """Open the way out for an app, or move it to another endpoint."""
        app_id = desk.app_id
        known = self.by_app.get(app_id)
        if known is not None:
            if known.endpoint != endpoint:
                known.endpoint = endpoint
                self.tell(app_id, Stop())
            if not self.halted:
                self.tell(app_id, Start())
            return

        def post(notice: Notice | Died) -> None:
            try:
                self._loop.call_soon_threadsafe(self._heard, app_id, notice)
            except RuntimeError:  # the loop has ended; this link is being stopped too
                log.debug("a link spoke after the end app=%s", app_id)

        self.by_app[app_id] = delivery = Delivery(
            desk=desk,
            endpoint=endpoint,
            rule=LinkRule(
                rng=self.means.rng,
                remembered=desk.profile.form,
                heartbeat_s=self.link.heartbeat_s,
                dial_s=self.link.dial_deadline_s,
                ack_s=self.link.ack_timeout_s,
            ),
            link=WebSocketLink(
                app_id,
                post,
                ca_file=Path(self.link.ca_file) if self.link.ca_file else None,
                dial_s=max(0.5, self.link.dial_deadline_s - 1.0),  # its sentence is the better one
            ),
            outbox=self.outbox,
            settle=self.plan_settle,
            settle_now=self.settle_now,
            storage_failed=self.storage_failed,
            wall_ms=self.means.wall_ms,
            wire=self.wire,
            waiters=self.waiters,
            doubts=Doubts(fair_s=self.link.ack_timeout_s / 3),
        )
        delivery.link.start()
        if not self.halted:
            delivery.begin(self.means.mono_s())
            self._set_timer(app_id, delivery)
            self.changed()

    def tell(self, app_id: str, notice: Notice) -> None:
        """Give one delivery a notice, and wake again when its rule wants it."""
        delivery = self.by_app[app_id]
        delivery.feed(notice, self.means.mono_s())
        self._set_timer(app_id, delivery)
        self.changed()

    def offer(self, app_id: str) -> None:
        """Say that an app has something to send."""
        delivery = self.by_app.get(app_id)
        if delivery is not None:
            delivery.offer(self.means.mono_s())
            self._set_timer(app_id, delivery)

    def named(self, app_id: str) -> None:
        """Say that an app has its identity now."""
        delivery = self.by_app.get(app_id)
        if delivery is not None and not self._closed:
            delivery.named()

    def halt(self) -> None:
        """Hang up everywhere and stay away."""
        self.halted = True
        for app_id in self.by_app:
            self.tell(app_id, Stop())

    def go_on(self, app_id: str | None = None) -> None:
        """Dial now: all, or one. Ends a pause, a backoff and a park."""
        if app_id is None:
            self.halted = False
        for known in self.by_app:
            if app_id in (None, known):
                self.tell(known, Start())

    def rest(self) -> None:
        """Feed nothing any more; on the loop's thread, before :meth:`close`."""
        self._closed = True
        self._clock.close()
        for timer in self._timers.values():
            timer.cancel()

    def close(self) -> None:
        """Stop every link; waits for their threads, so not on the loop's."""
        for delivery in self.by_app.values():
            delivery.link.stop()

    def look_for_sleep(self, due_s: float | None = None) -> None:
        """Tell every link if the machine slept since the last look."""
        gap_s = self._sleep.look(self.means.wall_ms() / 1000, self.means.mono_s(), due_s)
        if gap_s:
            log.info("the machine slept gap_s=%.0f", gap_s)
            for app_id in self.by_app:
                self.tell(app_id, Slept(gap_s))

    def _heard(self, app_id: str, notice: Notice | Died) -> None:
        if isinstance(notice, Died):
            self.on_death(notice)
        elif not self._closed:
            self.tell(app_id, notice)

    def _set_timer(self, app_id: str, delivery: Delivery) -> None:
        due_s = delivery.rule.deadline
        known = self._timers.get(app_id)
        if known is not None:
            known.cancel()
        if due_s is None or self._closed:
            self._timers.pop(app_id, None)
            return
        delay_s = max(0.0, due_s - self.means.mono_s())
        self._timers[app_id] = self._loop.call_later(delay_s, self._tick, app_id, due_s)

    def _tick(self, app_id: str, due_s: float) -> None:
        self.look_for_sleep(due_s)
        self.tell(app_id, Tick())
