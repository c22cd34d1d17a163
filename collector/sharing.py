"""Several collectors on one engine: what is true in one of them is true in all.

    accounts      apps, keys, tokens        half a second   :mod:`collector.access.shared_accounts`
    presence      who is live where         half a second   :mod:`collector.intake.shared_presence`
    collectors    who serves                half a second; one that is silent for ten is none
    limits        rate and burst            each takes its share of what is allowed in all
    erasures      tombstones, names         half a second: then the writer reads them again

Everything lies in the engine; what a process remembers is a copy of that. While the engine is away
a collector goes on with what it knew: nothing can be stored then, and nothing is promised.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from collector.access.limits import Limiter
from collector.access.shared_accounts import AccountSync
from collector.intake.presence import GRACE_MS, Device
from collector.intake.shared_presence import SharedPresence, device_of
from collector.store.clickhouse_shared import LiveRow, Shared
from tracking.errors import Fault

log = logging.getLogger("collector.sharing")

TURN_S: Final = 0.5
BEAT_S: Final = 2.0
GRACE_S: Final = GRACE_MS // 1_000
FORGET_S: Final = 3_600  #: What a killed collector left is removed after that long.
WHOLE_S: Final = 60.0  #: How often who is live elsewhere is read as a whole.
LATE_US: Final = 2_000_000  #: How much later than a newer word an older one may arrive.


@dataclass(slots=True)
class _Share:
    """A limit, of which each collector has its part."""

    limiter: Limiter
    rate_per_s: float
    burst: float

    def among(self, collectors: int) -> None:
        self.limiter.rate_per_s = self.rate_per_s / collectors
        self.limiter.burst = self.burst / collectors


class Sharing:
    """Tells and hears, until cancelled.

    Args:
        shared: The engine's side.
        accounts: Keeps the accounts equal.
        presence: Told who is elsewhere.
        limits: Those that hold for all collectors together.
        erased: Awaited when somebody was erased by another collector.

    Attributes:
        id: Of this process, made by chance.
        collectors: How many serve, this one included.

    """

    def __init__(
        self,
        shared: Shared,
        accounts: AccountSync,
        presence: SharedPresence,
        limits: Iterable[Limiter],
        erased: Callable[[], Awaitable[object]],
    ) -> None:
        self.id = secrets.token_hex(8)
        self.collectors = 1
        self._shared = shared
        self._accounts = accounts
        self._presence = presence
        self._shares = [_Share(one, one.rate_per_s, one.burst) for one in limits]
        self._erased = erased
        self._told: dict[tuple[str, str], str] = {}
        self._heard: dict[str, int] = {}  # the latest version by collector
        self._whole_s = self._beat_s = float("-inf")
        self._mark: tuple[int, int] | None = None
        self._version = 0
        self._failing = False

    async def run(self) -> None:
        """Tell and hear until cancelled.

        A collector that ended is missed as one that was killed is: its devices are shown for the
        grace that a device has to reconnect.
        """
        while True:
            await self.turn()
            await asyncio.sleep(TURN_S)

    async def turn(self) -> None:
        """Tell and hear once. A fault is logged when it begins and when it ends."""
        try:
            await asyncio.to_thread(self._accounts.sync)
            rows = self._news()
            whole = time.monotonic() - self._whole_s >= WHOLE_S
            others, live, mark = await asyncio.to_thread(self._exchange, rows, whole)
            for row in rows:
                if row.gone:
                    del self._told[row.app_id, row.device_id]
                else:
                    self._told[row.app_id, row.device_id] = row.facts
            self._hear(others, live, whole=whole)
            if self._mark is not None and mark != self._mark:
                await self._erased()
            self._mark = mark
        except Fault as fault:
            if not self._failing:
                log.warning("other collectors cannot be heard code=%s", fault.code)
            self._failing = True
        else:
            if self._failing:
                log.info("other collectors are heard again collectors=%d", self.collectors)
            self._failing = False

    def _news(self) -> list[LiveRow]:
        """Return what changed here since it was told."""
        ours = self._presence.ours()
        self._version = max(time.time_ns() // 1_000, self._version + 1)
        said = [(key, facts, False) for key, facts in ours.items() if self._told.get(key) != facts]
        gone = [(key, facts, True) for key, facts in self._told.items() if key not in ours]
        return [
            LiveRow(self.id, *key, facts, away, self._version) for key, facts, away in said + gone
        ]

    def _exchange(
        self, rows: Sequence[LiveRow], whole: bool
    ) -> tuple[set[str], list[LiveRow], tuple[int, int]]:
        """Say that we live and who is here; return who else lives, their news, and erasures."""
        if time.monotonic() - self._beat_s >= BEAT_S:
            self._shared.beat(self.id)
            self._beat_s = time.monotonic()
        self._shared.tell_live(rows)
        others = self._shared.alive(GRACE_S) - {self.id}
        since = (
            0 if whole else min((self._heard.get(one, 0) for one in others), default=0) - LATE_US
        )
        live = self._shared.live(others, since) if others else []
        if whole:
            self._shared.forget(self._shared.silent(FORGET_S))
        return others, live, self._shared.erasures_mark()

    def _hear(self, others: set[str], live: Iterable[LiveRow], *, whole: bool) -> None:
        known: dict[tuple[str, str, str], Device] = {}
        if whole:
            self._whole_s = time.monotonic()
        else:
            before = self._presence.elsewhere.items()
            known = {key: device for key, device in before if key[0] in others}
        for row in live:
            key = (row.collector, row.app_id, row.device_id)
            self._heard[row.collector] = max(row.version, self._heard.get(row.collector, 0))
            if row.gone:
                known.pop(key, None)
            else:
                known[key] = device_of(row.device_id, row.facts)
        self._heard = {one: self._heard.get(one, 0) for one in others}
        self._presence.elsewhere = known
        if self.collectors != 1 + len(others):
            self.collectors = 1 + len(others)
            log.info("collectors on this engine collectors=%d", self.collectors)
            for share in self._shares:
                share.among(self.collectors)
