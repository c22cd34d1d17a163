"""Moments: every form in which a date arrives (NUCLEUS.md A6), and what to believe of it (A7).

All moments are Unix milliseconds, UTC. Nothing here reads a clock: the time of receipt is an
argument.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterable

from tracking.events import Event

LAST_MS = 253_402_300_799_999  #: The end of the year 9999, the last moment ISO 8601 can write.
SECONDS_BELOW = 1e11  #: A number below this counts seconds: as milliseconds it would be 1973.
STEP_MS = 15 * 60_000  #: Clock offsets are whole quarters of an hour, as time zones are.
WIDEST_OFFSET_MS = 14 * 3_600_000  #: No time zone is further from UTC.
FUTURE_MS = 10 * 60_000  #: Later than this after receipt is a wrong clock.
PAST_MS = 60 * 86_400_000  #: Agents come back after weeks, not after months (SECURITY.md).

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_from_iso = datetime.datetime.fromisoformat
_LONGEST = 64  #: Characters; a longer text is no date.
_NUMBER = re.compile(r"-?[0-9]{1,17}(?:\.[0-9]{1,17})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_ZONED = re.compile(r"(?:Z|z|[+-][0-9]{2}:?[0-9]{2}(?::?[0-9]{2})?|[+-][0-9]{2})\Z", re.ASCII)
_DAY_ONLY = 10  #: Characters of ``YYYY-MM-DD``.


def iso(ms: int) -> str:
    """Return the moment as ISO 8601 with milliseconds and ``Z``, the strict form of A6."""
    seconds, rest = divmod(ms, 1000)
    minutes, second = divmod(seconds, 60)
    return f"{_minute_text(minutes)}:{second:02}.{rest:03}Z"


def parse_ms(value: object) -> int | None:
    """Return a date in any of A6's forms as Unix milliseconds, None if there is no sense in it.

    Taken are ISO 8601 with a zone, without one (as if UTC; :func:`event_ms` knows better) or a
    day alone, numbers of milliseconds or seconds, and such numbers as text. A date before 1970
    or after the year 9999 is a mistake, not a moment.
    """
    if isinstance(value, str):
        if value[4:5] != "-":
            return _from_odd_text(value)
        try:
            moment = _from_iso(value)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        since = moment - _EPOCH  # products are cheaper than a division of timedeltas
        ms = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
        return ms if 0 <= ms <= LAST_MS else None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _from_number(value)
    return None


def event_ms(event: Event, received_ms: int, newest_ms: int | None) -> int:
    """Return when the event happened, as far as its sender can be believed (A7).

    Two old clients write local wall time as if it were UTC: electron-nucleus before 2 labels it
    ``Z``, nucleus-python gives no zone. How far they are off shows in the newest date of their
    frame, which was written just before it was sent.

    Args:
        event: As parsed; its ``date_ms`` may be None.
        received_ms: When its frame arrived, by our clock.
        newest_ms: The newest ``date_ms`` of its frame (:func:`newest`), None if it had none.

    """
    at = event.date_ms
    if at is None:
        return received_ms
    if newest_ms is not None and _writes_wall_time(event):
        offset = round((newest_ms - received_ms) / STEP_MS) * STEP_MS
        if STEP_MS <= abs(offset) <= WIDEST_OFFSET_MS:
            at -= offset
    if at > received_ms + FUTURE_MS or at < received_ms - PAST_MS:
        return received_ms
    return at


def newest(events: Iterable[Event]) -> int | None:
    """Return the newest readable date of a frame's events, for :func:`event_ms`."""
    return max((e.date_ms for e in events if e.date_ms is not None), default=None)


def _writes_wall_time(event: Event) -> bool:
    if event.client == "electron":
        return (event.module_version or "0").split(".", 1)[0] in ("0", "1")
    # Only nucleus-python leaves the zone out, and it names itself on `init` alone. A day
    # without an hour (the clients of 2017) says nothing about a clock.
    date = event.date
    return (
        isinstance(date, str)
        and len(date) > _DAY_ONLY
        and date[_DAY_ONLY] in "T "
        and date[-1] != "Z"  # of nearly all of them, and cheaper than the search
        and _ZONED.search(date, _DAY_ONLY) is None
    )


def _from_number(value: float) -> int | None:
    if not 0 <= value <= LAST_MS:  # also refuses NaN
        return None
    return round(value * 1000) if value < SECONDS_BELOW else round(value)


def _from_odd_text(text: str) -> int | None:
    """Read text that does not begin with a year: a number, or blanks round a date."""
    text = text[: _LONGEST + 1].strip()
    if _NUMBER.fullmatch(text):
        return _from_number(float(text))
    return parse_ms(text) if text[4:5] == "-" else None


@functools.lru_cache(maxsize=4096)
def _minute_text(minutes: int) -> str:
    moment = _EPOCH + datetime.timedelta(minutes=minutes)
    return moment.strftime("%Y-%m-%dT%H:%M")
