"""Which events are certainly new, without a look at the file.

The keys of what arrived in the last days are kept in memory as 64-bit numbers, in buckets by
day. An event's bucket is the later of the day on which it arrived and the day that it says
itself, so that of an event which says a remembered day every earlier copy is in memory: it came
later than it says, or it came when its clock was ahead and is filed under what it said.

    says a remembered day, key not in memory   new
    key in memory                              look: 64 bits may agree by chance
    older, undated, or ahead of now            look: a copy may have come at any time

A clock that is more than ``AHEAD_MS`` ahead is filed under that, which bounds the memory that it
can take.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from collector.store.interface import Stored

DAY_MS = 86_400_000
REMEMBERED_DAYS = 3
AHEAD_MS = 60 * DAY_MS
NOW_MS = 10 * 60_000  #: A date that far ahead of its receipt is still of now.


class Window:
    """The keys of the last days.

    Args:
        now_ms: Unix milliseconds.

    Attributes:
        since_ms: The beginning of the first day that is remembered.

    """

    def __init__(self, now_ms: int) -> None:
        self.since_ms = (now_ms // DAY_MS - REMEMBERED_DAYS) * DAY_MS
        self._keys: defaultdict[int, set[int]] = defaultdict(set)

    def doubtful(self, rows: Iterable[Stored]) -> list[Stored]:
        """Return the rows that have to be looked up."""
        rows = list(rows)
        heads = {row.key_a for row in rows}
        hits: set[int] = set()
        for day in self._keys.values():
            hits |= heads & day
        since = self.since_ms
        return [
            row
            for row in rows
            if not since <= row.said_ts <= row.recv_ts + NOW_MS or row.key_a in hits
        ]

    def remember(self, stored: Sequence[tuple[int, int, int]]) -> None:
        """File keys, each with when it was received and what date it said."""
        keys, since = self._keys, self.since_ms
        for received, said, key in stored:
            at = received if said <= received else min(said, received + AHEAD_MS)
            if at >= since:
                keys[at // DAY_MS].add(key)

    def move_on(self, now_ms: int) -> None:
        """Forget the days that are no longer among the last."""
        self.since_ms = max(self.since_ms, (now_ms // DAY_MS - REMEMBERED_DAYS) * DAY_MS)
        oldest = self.since_ms // DAY_MS
        for day in [day for day in self._keys if day < oldest]:
            del self._keys[day]

    def __len__(self) -> int:
        return sum(map(len, self._keys.values()))
