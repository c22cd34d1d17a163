"""All ways out of all apps: their timers, and the machine's sleep.

Owned by the core thread. Each way's rule says when it next wants to be asked; that is the only
timer there is, so an idle agent is woken by heartbeats and by nothing else. That the machine
slept is heard from the clock itself where it can say so
(:mod:`agent.adapters.machine.clock_watch`), and found by each heartbeat's turn everywhere.

Ways share the outbox and the loop, and nothing else: one that is down for a week has its own
backoff, its own queue and its own thread, and holds none of the others up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from agent.adapters.links.websocket_link import Died
from agent.adapters.machine.clock_watch import ClockWatch, open_timer
from agent.rules.cadence import SleepWatch
from agent.rules.notices import Slept, Start, Stop, Tick
from agent.rules.ways import Language
from agent.runtime.counter.desk import Desk, Lane
from agent.runtime.ways.delivery import make_delivery
from agent.runtime.ways.leaving import Dock, Leaving, Make
from agent.runtime.ways.posting import make_posting

log = logging.getLogger("agent.departures")

MAKERS: dict[Language, Make] = {"nucleus": make_delivery, "bucket": make_posting}

Key = tuple[str, str]  #: App id and way's name.


class Departures:
    """Opens ways out, passes notices to them, wakes them in time.

    Args:
        dock: What they share.
        changed: Something that the status shows is different.
        on_death: A thread of ours died of a bug.
        makers: Who carries which language.

    """

    def __init__(
        self,
        dock: Dock,
        *,
        changed: Callable[[], None],
        on_death: Callable[[BaseException], None],
        makers: dict[Language, Make] = MAKERS,
    ) -> None:
        self.dock = dock
        self.means = dock.means
        self.changed = changed
        self.on_death = on_death
        self.makers = makers
        self.halted = False  # a pause is in force: new ways out are not dialled
        self.ways: dict[Key, Leaving] = {}
        self._numbers: dict[Key, int] = {}  # of the openings, so that a late letter finds nobody
        self._opened = 0
        self._loop = asyncio.get_running_loop()
        self._sleep = SleepWatch(self.means.wall_ms() / 1000, self.means.mono_s())
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._clock = ClockWatch(self._loop, self.look_for_sleep, open_timer())
        self._closed = False

    def of(self, app_id: str) -> list[Leaving]:
        """Return the ways out of one app, the first upstream's first."""
        return [leaving for (app, _), leaving in self.ways.items() if app == app_id]

    def open(self, desk: Desk, lane: Lane, endpoint: str = "") -> None:
        """Open a way out, or move it to another endpoint.

        Args:
            desk: Whose.
            lane: Which.
            endpoint: Where to, if the way itself does not say.

        """
        key = (desk.app_id, lane.way.name)
        endpoint = lane.way.endpoint or endpoint
        leaving = self.ways.get(key)
        if leaving is not None:
            leaving.aim(endpoint, self.means.mono_s())
            self._set_timer(key)
            if not self.halted:
                self.tell(key, Start())
            return

        number = self._opened = self._opened + 1

        def post(letter: Any) -> None:
            try:
                self._loop.call_soon_threadsafe(self._heard, key, number, letter)
            except RuntimeError:  # the loop has ended; this thread is being stopped too
                log.debug("a way out spoke after the end app=%s way=%s", *key)

        leaving = self.makers[lane.way.language](desk, lane.way, lane.stream, self.dock, post)
        self.ways[key] = leaving
        self._numbers[key] = number
        leaving.aim(endpoint, self.means.mono_s())
        leaving.start()
        if not self.halted:
            leaving.begin(self.means.mono_s())
            self._set_timer(key)
            self.changed()

    def leave(self, app_id: str) -> list[Leaving]:
        """Hang up all ways of an app and forget them; who calls stops their threads."""
        gone = self.of(app_id)
        for key in [key for key in self.ways if key[0] == app_id]:
            self.tell(key, Stop())
            del self.ways[key], self._numbers[key]
            timer = self._timers.pop(key, None)
            if timer is not None:
                timer.cancel()
        return gone

    def tell(self, key: Key, notice: Any) -> None:
        """Give one way out a notice, and wake again when its rule wants it."""
        self.ways[key].feed(notice, self.means.mono_s())
        self._set_timer(key)
        self.changed()

    def offer(self, app_id: str) -> None:
        """Say that an app has something to send."""
        for key, leaving in self._of(app_id):
            leaving.offer(self.means.mono_s())
            self._set_timer(key)

    def offer_all(self) -> None:
        """Say that there may be something to send, anywhere."""
        for app_id in dict.fromkeys(app_id for app_id, _ in self.ways):
            self.offer(app_id)

    def named(self, app_id: str) -> None:
        """Say that an app has its identity now."""
        for _, leaving in self._of(app_id):
            if not self._closed:
                leaving.named()

    def halt(self) -> None:
        """Hang up everywhere and stay away."""
        self.halted = True
        for key in tuple(self.ways):
            self.tell(key, Stop())

    def go_on(self, app_id: str | None = None) -> None:
        """Dial now: all, or one app's. Ends a pause, a backoff and a park."""
        if app_id is None:
            self.halted = False
        for key in tuple(self.ways):
            if app_id in (None, key[0]):
                self.tell(key, Start())

    def rest(self) -> None:
        """Feed nothing any more; on the loop's thread, before :meth:`close`."""
        self._closed = True
        self._clock.close()
        for timer in self._timers.values():
            timer.cancel()

    def close(self) -> None:
        """Stop every way out; waits for their threads, so not on the loop's."""
        for leaving in self.ways.values():
            leaving.stop()

    def look_for_sleep(self, due_s: float | None = None) -> None:
        """Tell every way out if the machine slept since the last look."""
        gap_s = self._sleep.look(self.means.wall_ms() / 1000, self.means.mono_s(), due_s)
        if gap_s:
            log.info("the machine slept gap_s=%.0f", gap_s)
            for key in tuple(self.ways):
                self.tell(key, Slept(gap_s))

    def _of(self, app_id: str) -> Iterable[tuple[Key, Leaving]]:
        return [(key, leaving) for key, leaving in self.ways.items() if key[0] == app_id]

    def _heard(self, key: Key, number: int, letter: Any) -> None:
        if isinstance(letter, Died):
            self.on_death(letter)
        elif not self._closed and self._numbers.get(key) == number:  # not one that was left
            self.tell(key, letter)

    def _set_timer(self, key: Key) -> None:
        due_s = self.ways[key].deadline
        known = self._timers.pop(key, None)
        if known is not None:
            known.cancel()
        if due_s is None or self._closed:
            return
        delay_s = max(0.0, due_s - self.means.mono_s())
        self._timers[key] = self._loop.call_later(delay_s, self._tick, key, due_s)

    def _tick(self, key: Key, due_s: float) -> None:
        self.look_for_sleep(due_s)
        self.tell(key, Tick())
