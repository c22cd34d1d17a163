"""What a serving collector does when nobody asks for it.

    erased rows to sweep    compaction, once nothing was written for a minute; at the latest an hour
                            after the erasure, whoever writes
    retention               once a day per app: what came before its days is removed
    write-ahead log         put into the file, once nothing was written for a minute
    names, tombstones       read again every minute where another collector may have changed them

One thing after the other, off the loop; a failed one is logged, and tried again a minute later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from collector.intake.writer import Writer
from collector.store.interface import Store
from tracking.errors import Fault

log = logging.getLogger("collector.upkeep")

TURN_S: Final = 5.0  #: How often it looks.
IDLE_S: Final = 60.0  #: So long nothing was written.
LATEST_S: Final = 3_600.0  #: So long erased bytes lie in a file at most.
AGAIN_S: Final = 60.0  #: So long it waits after something failed.
DAY_MS: Final = 86_400_000


@dataclass(slots=True)
class Upkeep:
    """Keeps a store tidy.

    Args:
        store: The engine.
        writer: Its one thread that writes.
        now_ms: Unix milliseconds.
        now_s: Monotonic seconds.
        retention: Days by app, asked at every turn; 0 keeps all.
        reading: Whether somebody reads what a compaction would end (an export).
        checkpoint: Puts the engine's log into its file; None if the engine does that itself.
        owed_ms: Since when erased rows lie in a file, also before this start; Unix milliseconds.

    """

    store: Store
    writer: Writer
    now_ms: Callable[[], int]
    now_s: Callable[[], float]
    retention: Callable[[], Mapping[str, int]] = dict
    reading: Callable[[], bool] = lambda: False
    checkpoint: Callable[[], None] | None = None
    owed_ms: Callable[[], int] = lambda: 2**63
    _written: int = 0
    _idle_since_s: float = 0.0
    _owed_since_s: float | None = None
    _logged: int = 0
    _not_before_s: float = 0.0
    _read_s: float = 0.0
    _purged: dict[str, int] = field(default_factory=dict)

    async def run(self) -> None:
        """Look after the store until cancelled."""
        self._idle_since_s = self._read_s = self.now_s()
        while True:
            await asyncio.sleep(TURN_S)
            await self.turn()

    async def turn(self) -> None:
        """Do what is due."""
        now_s = self.now_s()
        written = self.writer.written + self.writer.repeats
        if written != self._written or self.writer.waiting:
            self._written, self._idle_since_s = written, now_s
        if now_s < self._not_before_s:
            return
        try:
            await self._due(now_s, idle=now_s - self._idle_since_s >= IDLE_S)
        except Fault as fault:
            self._not_before_s = now_s + AGAIN_S
            log.error("upkeep failed, it is tried again code=%s", fault.code)  # noqa: TRY400 - a fault is expected
        except Exception:  # a bug; the store must not lie untidy for it for ever
            self._not_before_s = now_s + AGAIN_S
            log.exception("upkeep failed, for a reason nobody thought of")

    async def _due(self, now_s: float, *, idle: bool) -> None:
        if self.store.dialect != "duckdb" and now_s - self._read_s >= AGAIN_S:
            self._read_s = now_s
            await self.writer.run(lambda: None)  # after a task, the writer reads what it remembers
        for app_id, days in self.retention().items():
            today = self.now_ms() // DAY_MS
            if days and self._purged.get(app_id) != today:
                before_ms = self.now_ms() - days * DAY_MS
                rows = await self.writer.run(_purge(self.store, app_id, before_ms))
                self._purged[app_id] = today
                log.info("removed what is too old days=%d rows=%d", days, rows)
        if await self._compacted(now_s, idle=idle):
            return
        if self.checkpoint is not None and idle and self._logged != self._written:
            self._logged = self._written
            await asyncio.to_thread(self.checkpoint)

    async def _compacted(self, now_s: float, *, idle: bool) -> bool:
        """Compact if it is time for it; return whether that was done."""
        owed = await asyncio.to_thread(lambda: self.store.unswept)
        if not owed:
            self._owed_since_s = None
            return False
        if self._owed_since_s is None:
            self._owed_since_s = now_s
        overdue = (
            now_s - self._owed_since_s >= LATEST_S
            or self.now_ms() - self.owed_ms() >= 1_000 * LATEST_S
        )
        if not overdue and (not idle or self.reading() or now_s - self._owed_since_s < IDLE_S):
            return False
        began_s = self.now_s()
        await asyncio.to_thread(self.store.compact)
        self._owed_since_s = None
        log.info("swept erased rows=%d seconds=%g", owed, round(self.now_s() - began_s, 1))
        return True


def _purge(store: Store, app_id: str, before_ms: int) -> Callable[[], int]:
    return lambda: store.purge(app_id, before_ms)
