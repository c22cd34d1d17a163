"""When the outbox is written: once a turn for what arrived, soon for what was acknowledged.

Invariants:
    1. Everything that arrived in one turn of the loop is one commit (:meth:`Commits.flush`).
    2. What is owed stays owed until a commit holds it: a full disk delays a deletion, it does
       not forget it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from agent.adapters.outbox.outbox import Outbox
from agent.runtime.counter.desk import Desk
from agent.runtime.counter.intake import Intake
from agent.runtime.counter.profile import PROFILE, Today
from agent.runtime.counter.totals import totals
from agent.runtime.counts import Counts
from agent.runtime.report import Board
from agent.runtime.upkeep import Upkeep
from agent.runtime.watching import Watchers
from agent.runtime.ways.departures import Departures
from agent.runtime.ways.leaving import REFUSED, Leaving
from tracking.errors import StorageFault

log = logging.getLogger("agent.core")

SLOW_COMMIT_S = 0.0015  #: From here on a commit is worth waiting for company.
COMPANY_SHARE, MOST_COMPANY_S = 0.1, 0.002  #: Of the last commit's time, and at most.
SETTLE_AFTER_S = 0.005  #: Acknowledgements gather so long before they are written.
STORAGE_RETRY_S = 5.0  #: A full disk is tried again so often.
SAY_AGAIN_S = 60.0  #: The log says so often that it is still full, however many are refused.


@dataclass(slots=True)
class Settled:
    """What one commit took off the queues.

    Attributes:
        before: Events that every far end of their app had before it.
        events: Taken off, once for each queue.
        buried: App and reason → dead letters.

    """

    before: int = 0
    events: int = 0
    buried: Counter[tuple[str, str]] = field(default_factory=Counter)


class Commits:
    """Writes the outbox for the core.

    Args:
        outbox: What is written.
        upkeep: Trims and tidies it.
        desks: Whose profiles change.
        counts: The curve.
        board: Deliveries of the day, notices.
        watchers: Hear of changes and passing events.
        wall_ms: Unix milliseconds.
        note: Shows a notice: code, text, severity.

    Attributes:
        intake: What arrived; set once both exist.
        departures: What is owed; likewise.

    """

    intake: Intake
    departures: Departures

    def __init__(
        self,
        outbox: Outbox,
        upkeep: Upkeep,
        desks: Mapping[str, Desk],
        counts: Counts,
        board: Board,
        watchers: Watchers,
        *,
        wall_ms: Callable[[], int],
        note: Callable[[str, str, str], None],
    ) -> None:
        self.outbox = outbox
        self.upkeep = upkeep
        self.desks = desks
        self.counts = counts
        self.board = board
        self.watchers = watchers
        self.wall_ms = wall_ms
        self.note = note
        self._loop = asyncio.get_running_loop()
        self._flush_planned = False
        self._last_commit_s = 0.0
        self._closed = False
        self._settle_timer: asyncio.TimerHandle | None = None
        self._retry_timer: asyncio.TimerHandle | None = None
        self._logged: dict[str, float] = {}  # fault's code → when the log said so

    def plan_flush(self) -> None:
        """Commit at the end of this turn of the loop, or on a slow disk a moment later.

        Those who were answered by the last commit speak again at nearly the same time. If the
        first of them had a slow fsync for itself, the others would wait it out and need one more:
        a tenth of a commit's time, waited, nearly doubles what a disk of 5 ms takes (P5).
        """
        if not self._flush_planned:
            self._flush_planned = True
            if self._last_commit_s < SLOW_COMMIT_S:
                self._loop.call_soon(self.flush_quietly)
            else:
                company_s = min(self._last_commit_s * COMPANY_SHARE, MOST_COMPANY_S)
                self._loop.call_later(company_s, self.flush_quietly)

    def plan_settle(self) -> None:
        """Write acknowledgements soon; more of them will come in a moment."""
        if self._settle_timer is None and not self._closed:
            self._settle_timer = self._loop.call_later(SETTLE_AFTER_S, self.flush_quietly)

    def close(self) -> None:
        """Write what is owed, for the last time; nothing is planned any more."""
        self._closed = True
        if self._retry_timer is not None:
            self._retry_timer.cancel()
        try:
            self.flush()
        except StorageFault as fault:
            log.warning("could not write the last acknowledgements code=%s", fault.code)

    def flush_quietly(self) -> None:
        """Commit; a storage fault becomes a notice, for those who waited have heard of it."""
        if self._closed:
            return  # the last commit was made; what is still planned comes too late
        try:
            self.flush()
        except StorageFault as fault:
            self.failed(fault)

    def failed(self, fault: StorageFault) -> None:
        """Say what is wrong with the outbox, and try again in a while."""
        now_s = self._loop.time()
        if now_s - self._logged.get(fault.code, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            self._logged[fault.code] = now_s
            log.warning("the outbox could not be used code=%s", fault.code)
        self.note("storage", str(fault), "error")
        if self._retry_timer is None and not self._closed:
            self._retry_timer = self._loop.call_later(STORAGE_RETRY_S, self._retry)

    def _retry(self) -> None:
        self._retry_timer = None
        self.flush_quietly()
        if self._retry_timer is None:  # it went well
            if self.outbox.accepts():
                self.board.unnote("storage")
                self.watchers.changed()
            else:
                self._retry_timer = self._loop.call_later(STORAGE_RETRY_S, self._retry)
        self.departures.offer_all()

    def flush(self) -> None:
        """Commit what arrived, what was acknowledged and what is buried, in one transaction.

        Raises:
            StorageFault: What arrived was not stored, and its senders were told.

        """
        self._flush_planned = False
        if self._settle_timer is not None:
            self._settle_timer.cancel()
            self._settle_timer = None
        owing = [way for way in self.departures.ways.values() if way.owes]
        self._begin_day(owing)
        dirty = [desk for desk in self.desks.values() if desk.dirty and desk.is_open]
        settled = Settled(before=self._delivered(owing))

        def settle() -> None:
            settled.events = 0  # of a transaction that was undone
            settled.buried.clear()
            now_ms = self.wall_ms()
            for way in owing:
                settled.events += sum(self.outbox.settle(one.batch, one.ids) for one in way.owed)
                for one in way.condemned:
                    if self.outbox.bury(one.batch, one.id, one.reason, one.detail, now_ms):
                        settled.buried[way.desk.app_id, one.reason] += 1
            for desk in dirty:
                self.outbox.keep_profile(desk.app_id, PROFILE.encode(desk.profile))

        began_s = self._loop.time()
        try:
            written = self.intake.flush(settle if owing or dirty else None)
        except StorageFault:
            if owing:  # deleting may work where adding does not: a full disk and the reserve file
                self.intake.flush(settle)
                self._settled(owing, settled)
            raise
        self._last_commit_s = self._loop.time() - began_s
        for desk in dirty:
            desk.dirty = False
        self._settled(owing, settled)
        if written.accepted:
            self.counts.add(written.at_ms, accepted=written.accepted, queued=written.queued)
            self.watchers.passed(self.intake.passing, written.accepted)
            for desk, _ in written.desks:
                self.departures.offer(desk.app_id)
            if self.outbox.over_bounds:
                self.upkeep.trim()
        if written.accepted or owing:
            self.board.unnote("storage")
            self.watchers.changed()

    def _begin_day(self, owing: Iterable[Leaving]) -> None:
        """Keep what these apps had delivered before today's first delivery."""
        day = self.board.day(self.wall_ms()) if owing else ""
        for desk in {way.desk.app_id: way.desk for way in owing}.values():
            if desk.profile.today.day != day:
                desk.change(today=Today(day=day, before=totals(self.outbox, desk).delivered))

    def _delivered(self, owing: Iterable[Leaving]) -> int:
        """Return how many events every far end of their app has, of the apps of these ways."""
        desks = {way.desk.app_id: way.desk for way in owing}
        return sum(totals(self.outbox, desk).delivered for desk in desks.values())

    def _settled(self, owing: list[Leaving], settled: Settled) -> None:
        for way in owing:
            way.owed.clear()
            way.condemned.clear()
        for (app_id, reason), events in settled.buried.items():
            what = "refused" if reason == REFUSED else "never acknowledged"
            log.warning("buried events that the far end %s app=%s count=%d", what, app_id, events)
        if settled.events:
            now_ms = self.wall_ms()
            delivered = max(0, self._delivered(owing) - settled.before)
            self.counts.add(now_ms, delivered=delivered, unqueued=settled.events)
            self.board.delivered(delivered, now_ms)
            self.upkeep.settled()
