"""Days, hours and weeks as a clock on some wall shows them, in Python and in the shared SQL.

Neither engine is asked what a time zone is: within an interval a zone has a handful of offsets, so
local time is ``ts`` plus one of a few bound numbers. A day with a clock change has 23 or 25 hours;
an hour that comes twice counts as that hour both times (docs/numbers.md, "Words").
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
WEEK_MS = 7 * DAY_MS
STEP_MS = 6 * HOUR_MS  #: No zone has changed its clocks twice within so short a time.

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_EPOCH_DAY = _EPOCH.date().toordinal()
_PLACE = re.compile(r"<(hour|day|week):([a-z_]+)>")
# 1 January 1970 was a Thursday: three days later than the Monday of its week.
_UNITS = {"hour": (HOUR_MS, 0), "day": (DAY_MS, 0), "week": (WEEK_MS, 3 * DAY_MS)}


@dataclass(frozen=True, slots=True)
class Wall:
    """The clock of whoever asks.

    Attributes:
        utc_offset: Minutes *west* of UTC, as JavaScript's ``getTimezoneOffset`` has them: what the
            sample of the seeds demands (NUCLEUS.md Q1).
        zone: Used instead of the offset if there is one.

    """

    utc_offset: int = 0
    zone: ZoneInfo | None = field(default=None, compare=True)

    def shift_ms(self, ms: int) -> int:
        """Return what has to be added to a moment, so that UTC's clock shows this one's time."""
        if self.zone is None:
            return -self.utc_offset * MINUTE_MS
        there = (_EPOCH + datetime.timedelta(milliseconds=ms)).astimezone(self.zone)
        offset = there.utcoffset() or datetime.timedelta()
        return round(offset.total_seconds() * 1000)

    def day_number(self, ms: int) -> int:
        """Return the local day of a moment, counted from 1 January 1970."""
        return (ms + self.shift_ms(ms)) // DAY_MS

    def days(self, start: int, end: int) -> list[str]:
        """Return every local day that an interval touches."""
        return [day_name(n) for n in range(self.day_number(start), self.day_number(end - 1) + 1)]

    def over(self, start: int, end: int) -> Pieces:
        """Return this clock as SQL can say it, right for moments of an interval and its days.

        Moments further out than two days are an hour off at worst, so none of them falls into a
        day of the interval.
        """
        start, end = start - 2 * DAY_MS, end + 2 * DAY_MS
        shift = self.shift_ms(max(0, start))
        turns, shifts = [], [shift]
        if self.zone is not None:
            for at in range(max(0, start), end + STEP_MS, STEP_MS):
                if self.shift_ms(at) != shifts[-1]:
                    turns.append(self._turn(at - STEP_MS, at))
                    shifts.append(self.shift_ms(at))
        return Pieces(tuple(turns), tuple(shifts))

    def _turn(self, before: int, after: int) -> int:
        """Return the first moment with the later offset."""
        shift = self.shift_ms(after)
        while after - before > 1:
            middle = (before + after) // 2
            if self.shift_ms(middle) == shift:
                after = middle
            else:
                before = middle
        return after


@dataclass(frozen=True, slots=True)
class Pieces:
    """A wall clock over an interval: its offsets, and when they change."""

    turns: tuple[int, ...]
    shifts: tuple[int, ...]

    def fill(self, template: str) -> str:
        """Return a question in which ``<day:ts>`` is the number of the local day of column ``ts``.

        ``<hour:…>`` and ``<week:…>`` (from Mondays) alike. The numbers are bound: :attr:`values`.
        """

        def said(found: re.Match[str]) -> str:
            unit_ms, more = _UNITS[found[1]]
            column = found[2]
            local = "".join(
                f" WHEN {column} < $turn_{n} THEN $shift_{n}" for n in range(len(self.turns))
            )
            last = f"$shift_{len(self.turns)}"
            shift = f"CASE{local} ELSE {last} END" if local else last
            return f"CAST(floor(({column} + {shift} + {more}) / {unit_ms}) AS BIGINT)"

        return _PLACE.sub(said, template)

    @property
    def values(self) -> dict[str, int]:
        """What :meth:`fill` binds."""
        return {f"turn_{n}": at for n, at in enumerate(self.turns)} | {
            f"shift_{n}": shift for n, shift in enumerate(self.shifts)
        }


def day_name(number: int) -> str:
    """Return a day counted from 1 January 1970 as ``YYYY-MM-DD``."""
    return datetime.date.fromordinal(_EPOCH_DAY + number).isoformat()


def week_name(number: int) -> str:
    """Return the Monday of a week counted from the one of 1 January 1970."""
    return day_name(7 * number - 3)
