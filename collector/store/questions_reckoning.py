"""What a sender's own count is compared with: events per hour and device, a digest of their ids.

The hour is that of the event's own date, believed or not, because that is what both ends know of
it; the id is the sender's, as it was sent. docs/reconciliation.md tells the whole of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from collector.store.asking import Asking
from tracking.reckoning import HOUR_MS, digest

RECKONING = f"""
SELECT device, hour, count(*), sum(low), sum(high), sum(unbelieved) FROM (
  SELECT device_id AS device, {{idiv|said_ts|{HOUR_MS}}} AS hour,
    {{word32|event_id|0}} AS low, {{word32|event_id|1}} AS high, flags % 2 AS unbelieved
  FROM {{events}}
  WHERE {{said_range}} AND {{in|device_id|devices}} AND event_id <> ''
) AS them GROUP BY device, hour ORDER BY hour, device
"""  # noqa: S608 - a number of our own
ERASURES = """
SELECT count(DISTINCT digest), coalesce(max(erased_ts), 0) FROM tombstone
WHERE app_id = $app AND erased_ts >= $start
"""


class HourOf(NamedTuple):
    """The events of one device that are dated in one hour.

    Attributes:
        hour_ms: Its beginning.
        digest: As :class:`tracking.reckoning.Sum` has it.
        unbelieved: How many of them have a date that was not believed.

    """

    device: str
    hour_ms: int
    events: int
    digest: str
    unbelieved: int


class ReckoningQuestions(Asking):
    """What can be asked by somebody who counted, too."""

    def reckoning(self, app: str, start: int, end: int, devices: Sequence[str]) -> list[HourOf]:
        """Return the hours that begin in [start, end) and have events of these devices."""
        rows = self._ask(RECKONING, app=app, start=start, end=end, devices=list(devices))
        return [
            HourOf(device, int(hour) * HOUR_MS, int(n), digest(int(low), int(high)), int(odd))
            for device, hour, n, low, high, odd in rows
        ]

    def erasures(self, app: str, since: int) -> tuple[int, int]:
        """Return how many people and devices were erased since then, and when the last was."""
        ((count, last),) = self._ask(ERASURES, app=app, start=since)
        return int(count), int(last)
