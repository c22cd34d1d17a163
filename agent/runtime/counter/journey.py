"""The way of one frame's events from our disk to every far end (``tracking.acknowledging``)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from agent.runtime.counter.intake import Intake
from agent.runtime.counter.waiting import Streams, Waiters

LOOK_S: Final = 0.2  #: How often the ledger is asked, while somebody waits for old events.


class Journey:
    """Implements :class:`tracking.acknowledging.Arrival` for what an app handed in.

    What was accepted before, in an earlier frame, has no id that anybody could wait for. It is
    known to have arrived when the ledger says so: all that was ever accepted on any of the app's
    queues has been delivered.

    Args:
        intake: Where they became durable.
        waiters: Hears what far ends confirm.
        app_id: Whose.
        events: How many were handed in.

    """

    def __init__(self, intake: Intake, waiters: Waiters, app_id: str, events: int) -> None:
        self.intake = intake
        self.waiters = waiters
        self.app_id = app_id
        self.events = events
        self._streams: Streams = {}

    def begins(self, streams: Streams) -> None:
        """Hear which queues the new events are on."""
        self._streams = streams

    def tell(self, told: Callable[[], None]) -> Callable[[], None]:
        """Call ``told`` when every far end has them all; return how to wait no longer."""
        if len(self._streams) < self.events:
            return self._ask_the_ledger(told)
        self.waiters.expect(self._streams, told)
        return lambda: self.waiters.give_up(self._streams)

    def _ask_the_ledger(self, told: Callable[[], None]) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal timer
            if self._all_delivered():
                told()
            else:
                timer = loop.call_later(LOOK_S, look)

        look()
        return lambda: None if timer is None else timer.cancel()

    def _all_delivered(self) -> bool:
        desk = self.intake.desks.get(self.app_id)
        lanes = () if desk is None else desk.lanes
        accounts = [self.intake.outbox.account(lane.stream) for lane in lanes]
        return bool(accounts) and all(one.delivered == one.accepted for one in accounts)
