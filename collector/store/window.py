"""Which events are certainly new, without a look at the file.

The keys of what arrived in the last days are in memory, in buckets by day. A bucket is a blocked
Bloom filter of 64-bit words: one look at one word says *surely new* or *perhaps seen*, and at
one key to a word errs a few times in 10,000, to the side that costs a query and nothing else. That
is 8 to 32 bytes a key; a set of Python's numbers takes ninety.

An event's bucket is the later of the day on which it arrived and the day that it says itself, so
that of an event which says a remembered day every earlier copy is in memory: it came later than
it says, or it came when its clock was ahead and is filed under what it said.

    says a remembered day, key not in memory   new
    key perhaps in memory                      look
    older, undated, or ahead of now            look: a copy may have come at any time

A clock that is more than ``AHEAD_MS`` ahead is filed under that, which bounds the memory that it
can take.
"""

from __future__ import annotations

import random
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from collector.store.interface import Stored

DAY_MS = 86_400_000
REMEMBERED_DAYS = 3
AHEAD_MS = 60 * DAY_MS
NOW_MS = 10 * 60_000  #: A date that far ahead of its receipt is still of now.

_FIRST_WORDS: Final = 1 << 14
_MOST_WORDS: Final = 1 << 22
_WAYS: Final = 1 << 14


def _masks() -> array[int]:
    """Return ways to set up to eight bits of 64: well mixed, not secret."""
    dice = random.Random(8)  # noqa: S311
    return array("Q", (_bits(dice.getrandbits(48)) for _ in range(_WAYS)))


def _bits(places: int) -> int:
    mask = 0
    for at in range(0, 48, 6):
        mask |= 1 << (places >> at & 63)
    return mask


class Filter:
    """Keys that were perhaps seen. When its last part is full it gets one four times as large."""

    __slots__ = ("_masks", "_parts", "_room", "count")

    def __init__(self, masks: array[int]) -> None:
        self.count = 0
        self._masks = masks
        self._parts: list[array[int]] = []
        self._room = 0

    def add(self, key: int) -> None:
        """Remember a signed 64-bit key."""
        if not self._room:
            size = min(_MOST_WORDS, 4 * len(self._parts[-1])) if self._parts else _FIRST_WORDS
            self._parts.append(array("Q", bytes(8 * size)))
            self._room = size
        self._room -= 1
        self.count += 1
        words = self._parts[-1]
        words[(key >> 16) & (len(words) - 1)] |= self._masks[key & 0x3FFF]

    def perhaps(self, keys: Iterable[int]) -> set[int]:
        """Return those that were perhaps added; of the others it is certain that they were not."""
        masks = self._masks
        found = set()
        for words in self._parts:
            last = len(words) - 1
            for key in keys:
                mask = masks[key & 0x3FFF]
                if words[(key >> 16) & last] & mask == mask:
                    found.add(key)
        return found

    @property
    def size_bytes(self) -> int:
        return sum(8 * len(words) for words in self._parts)


class Window:
    """The keys of the last days.

    Args:
        now_ms: Unix milliseconds.

    Attributes:
        since_ms: The beginning of the first day that is remembered.

    """

    def __init__(self, now_ms: int) -> None:
        self.since_ms = (now_ms // DAY_MS - REMEMBERED_DAYS) * DAY_MS
        masks = _masks()
        self._days: defaultdict[int, Filter] = defaultdict(lambda: Filter(masks))

    def doubtful(self, rows: Iterable[Stored]) -> list[Stored]:
        """Return the rows that have to be looked up."""
        rows = list(rows)
        heads = {row.key_a for row in rows}
        hits: set[int] = set()
        for day in self._days.values():
            hits |= day.perhaps(heads)
        since = self.since_ms
        return [
            row
            for row in rows
            if not since <= row.said_ts <= row.recv_ts + NOW_MS or row.key_a in hits
        ]

    def remember(self, stored: Sequence[tuple[int, int, int]]) -> None:
        """File keys, each with when it was received and what date it said."""
        days, since = self._days, self.since_ms
        for received, said, key in stored:
            at = received if said <= received else min(said, received + AHEAD_MS)
            if at >= since:
                days[at // DAY_MS].add(key)

    @property
    def now_ms(self) -> int:
        """The latest moment it was told."""
        return self.since_ms + REMEMBERED_DAYS * DAY_MS

    def move_on(self, now_ms: int) -> None:
        """Forget the days that are no longer among the last."""
        self.since_ms = max(self.since_ms, (now_ms // DAY_MS - REMEMBERED_DAYS) * DAY_MS)
        oldest = self.since_ms // DAY_MS
        for day in [day for day in self._days if day < oldest]:
            del self._days[day]

    def __len__(self) -> int:
        return sum(day.count for day in self._days.values())
