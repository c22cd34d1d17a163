"""Rates and forecasts of the outbox: what the curve and "full in 3 d" are drawn from.

Minutes are kept in memory for an hour; they are a picture, not the ledger. Times come in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from agent.door import Minute

MINUTE_MS = 60_000
KEPT_MINUTES = 60
FORECAST_MINUTES = 5  #: Rates are means of so many minutes, the current one included.
LEAST_RATE_PER_S = 0.02  #: Slower than one event in 50 s is no trend.


@dataclass(slots=True)
class Counts:
    """Accepted and delivered per minute; and how many copies went on and off the queues.

    An event of an app with two upstreams is accepted once, delivered when both have it, and
    stands on two queues meanwhile: it is the copies that fill the outbox.
    """

    _minutes: deque[list[int]] = field(default_factory=lambda: deque(maxlen=KEPT_MINUTES))

    def add(
        self,
        now_ms: int,
        *,
        accepted: int = 0,
        delivered: int = 0,
        queued: int | None = None,
        unqueued: int | None = None,
    ) -> None:
        """Count events into the current minute, and the copies of them: as many if not said."""
        copies = (
            accepted if queued is None else queued,
            delivered if unqueued is None else unqueued,
        )
        at = now_ms - now_ms % MINUTE_MS
        if not self._minutes or self._minutes[-1][0] != at:
            self._minutes.append([at, 0, 0, 0, 0])
        for place, count in enumerate((accepted, delivered, *copies), 1):
            self._minutes[-1][place] += count

    def minutes(self, now_ms: int) -> tuple[Minute, ...]:
        """Return the last hour, oldest first, quiet minutes left out but the current one."""
        at = now_ms - now_ms % MINUTE_MS
        since = at - (KEPT_MINUTES - 1) * MINUTE_MS
        rows = [
            Minute(at_ms=m, accepted=a, delivered=d) for m, a, d, *_ in self._minutes if m >= since
        ]
        if not rows or rows[-1].at_ms != at:
            rows.append(Minute(at_ms=at, accepted=0, delivered=0))
        return tuple(rows)

    def forecast(
        self, now_ms: int, *, events: int, max_events: int
    ) -> tuple[float | None, float | None]:
        """Return in how many seconds the outbox is full, and in how many it is drained.

        ``events`` are copies, as the bounds count them. At the rates of the last five minutes;
        each is None if it does not tend there.
        """
        since = now_ms - FORECAST_MINUTES * MINUTE_MS
        recent = [m for m in self._minutes if m[0] >= since - since % MINUTE_MS]
        if not recent:
            return None, None
        span_s = max(1.0, (now_ms - recent[0][0]) / 1000)
        growth = (sum(m[3] for m in recent) - sum(m[4] for m in recent)) / span_s
        if growth > LEAST_RATE_PER_S and events:
            return max(0.0, max_events - events) / growth, None
        if growth < -LEAST_RATE_PER_S and events:
            return None, events / -growth
        return None, None
