"""What may be asked for beside the path: every parameter, how it is read, and what is refused.

A parameter comes in the query, or in the JSON object or form of a POST. Each is read once, here,
and is a value of a sure type afterwards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from collector.store.local_time import DAY_MS, Wall
from tracking.dates import parse_ms
from tracking.errors import RequestFault
from tracking.strict_json import clip

LONGEST_MS: Final = 400 * DAY_MS
LAST_MS: Final = 253_339_228_800_000  #: 1 January 9998: what comes after has no whole calendar.
MOST_MINUTES: Final = 840
MOST_ROWS: Final = 10_000
MOST_SKIPPED: Final = 100_000_000
MOST_STEPS: Final = 8
MOST_DEVICES: Final = 64
MOST_TEXT: Final = 1_024
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,12}")
_zones = lru_cache(maxsize=1)(available_timezones)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as the OpenAPI document tells it."""

    name: str
    doc: str
    schema: Mapping[str, Any]
    required: bool = False
    example: Any = None


_MOMENT: Final = {"type": "string", "minLength": 4, "maxLength": 40}
START = Parameter(
    "start",
    "Beginning of the interval, included: seconds, milliseconds or ISO 8601.",
    _MOMENT,
    True,
    "1618010248",
)
END = Parameter(
    "end",
    "End of the interval, excluded; at most 400 days after the start.",
    _MOMENT,
    True,
    "1618211950",
)
OPTIONAL_START = Parameter("start", f"{START.doc} Left out: 90 days before the end.", _MOMENT)
OPTIONAL_END = Parameter("end", f"{END.doc} Left out: now.", _MOMENT)
UTC_OFFSET = Parameter(
    "utcOffset",
    "Minutes *west* of UTC, the sign of JavaScript's getTimezoneOffset: 480 is UTC-8.",
    {"type": "integer", "minimum": -MOST_MINUTES, "maximum": MOST_MINUTES},
    False,
    480,
)
TZ = Parameter(
    "tz",
    "Instead of utcOffset: a time zone by name. Days with a clock change have 23 or 25 hours.",
    {"type": "string", "maxLength": 64},
    False,
    "Europe/Paris",
)
LIMIT = Parameter(
    "limit",
    "How many at most.",
    {"type": "integer", "minimum": 1, "maximum": MOST_ROWS},
)
SKIP = Parameter(
    "skip",
    "How many of the first to leave out.",
    {"type": "integer", "minimum": 0, "maximum": MOST_SKIPPED},
)
DEVICE = Parameter("device", "Which device; needed where two had the session.", {"type": "string"})
RECEIPT = Parameter(
    "receipt",
    "1: answer 200 with a signed receipt instead of 204; so does `Prefer: return=representation`.",
    {"type": "string", "enum": ["0", "1"]},
)
DEVICES = Parameter(
    "devices",
    "1 to 64 device ids: a list, or JSON text of one, or ids between commas.",
    {"type": "string"},
    True,
    "b7e3c1a09d",
)
STEPS = Parameter(
    "steps",
    "2 to 8 row names, in order: a list, or JSON text of one, or names between commas.",
    {"type": "string"},
    True,
    "init,PLAYED_TRACK",
)
WINDOW = Parameter(
    "window",
    "Seconds within which all steps lie after the first; 7 days if left out.",
    {"type": "integer", "minimum": 1, "maximum": LONGEST_MS // 1000},
)
INTERVAL = (START, END)
LOCAL = (START, END, UTC_OFFSET, TZ)
LATELY = (OPTIONAL_START, OPTIONAL_END)
PART = (LIMIT, SKIP)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says, read on demand.

    Attributes:
        path: The variables of the path, percent-decoded.
        said: Query and body together; the query wins.
        now_ms: When it was asked.

    """

    path: Mapping[str, str]
    said: Mapping[str, object]
    now_ms: int
    prefer: str = ""

    def interval(self, *, optional: bool = False) -> tuple[int, int]:
        """Return start and end, Unix milliseconds."""
        if optional:
            end = self._moment("end", self.now_ms + 1)
            start = self._moment("start", max(0, end - 90 * DAY_MS))
        else:
            start, end = self._moment("start"), self._moment("end")
        if start > end:
            raise RequestFault("start is later than end", field="start")
        if end - start > LONGEST_MS:
            raise RequestFault("the interval is longer than 400 days", field="end")
        return start, end

    def wall(self) -> Wall:
        """Return whose days are meant."""
        zone, offset = self._text("tz"), self._whole("utcOffset", -MOST_MINUTES, MOST_MINUTES)
        if zone is None:
            return Wall(offset or 0)
        if offset is not None:
            raise RequestFault("utcOffset and tz say the same; name one of them", field="tz")
        if zone not in _zones():
            raise RequestFault(f"tz is the name of a time zone, got {clip(zone)}", field="tz")
        return Wall(0, ZoneInfo(zone))

    def part(self, most: int = MOST_ROWS) -> tuple[int, int]:
        """Return how many to skip, and how many to show at most."""
        return self._whole("skip", 0, MOST_SKIPPED) or 0, self.limit() or most

    def limit(self) -> int | None:
        return self._whole("limit", 1, MOST_ROWS)

    def device(self) -> str | None:
        return self._text("device")

    def wants_receipt(self) -> bool:
        """Whether a deletion is to be answered with a receipt."""
        said = self._text("receipt")
        if said not in (None, "", "0", "1", "true", "false"):
            raise RequestFault("receipt is 0 or 1", field="receipt")
        return said in ("1", "true") or "return=representation" in self.prefer.replace(" ", "")

    def steps(self) -> list[str]:
        """Return the row names of a funnel."""
        listed = self._listed("steps")
        if not isinstance(listed, list) or not 2 <= len(listed) <= MOST_STEPS:
            raise RequestFault(f"steps are 2 to {MOST_STEPS} row names", field="steps")
        for before, step in zip([None, *listed], listed, strict=False):
            if not isinstance(step, str) or not 0 < len(step) <= MOST_TEXT:
                raise RequestFault("a step is the name of a row", field="steps")
            if step == before:
                raise RequestFault("a step repeats the one before it", field="steps")
        return listed

    def devices(self) -> list[str]:
        """Return the devices whose events are counted."""
        listed = self._listed("devices")
        if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_DEVICES:
            raise RequestFault(f"devices are 1 to {MOST_DEVICES} ids", field="devices")
        for device in listed:
            if not isinstance(device, str) or not 0 < len(device) <= MOST_TEXT:
                raise RequestFault("a device is named by its id", field="devices")
        return sorted(set(listed))

    def window_ms(self) -> int:
        return 1000 * (self._whole("window", 1, LONGEST_MS // 1000) or 7 * DAY_MS // 1000)

    # --- readers -------------------------------------------------------------------------------

    def _listed(self, name: str) -> object:
        """Return a list, from wherever it came; anything else as it is."""
        said = self.said.get(name)
        if not isinstance(said, str):
            return said
        try:
            return json.loads(said) if said.lstrip().startswith("[") else said.split(",")
        except (ValueError, RecursionError):
            raise RequestFault(f"{name} is not a list", field=name) from None

    def _moment(self, name: str, default: int | None = None) -> int:
        said = self.said.get(name)
        if said is None or said == "":
            if default is None:
                raise RequestFault(f"{name} is missing", field=name)
            return default
        at = None
        if isinstance(said, str):
            # A "+" of a zone becomes a blank in a query that nobody encoded.
            at = parse_ms(said) if len(said) <= 40 else None
            if at is None and " " in said:
                at = parse_ms(said.replace(" ", "+"))
        elif isinstance(said, (int, float)) and not isinstance(said, bool):
            at = parse_ms(said)
        if at is None or at > LAST_MS:
            raise RequestFault(
                f"{name} is no moment: seconds, milliseconds or ISO 8601, got {clip(str(said))}",
                field=name,
            )
        return at

    def _whole(self, name: str, low: int, high: int) -> int | None:
        said = self.said.get(name)
        if said is None or said == "":
            return None
        number: int | None = None
        if isinstance(said, str) and _WHOLE.fullmatch(said.strip()):
            number = int(said)
        elif isinstance(said, int) and not isinstance(said, bool):
            number = said
        if number is None or not low <= number <= high:
            raise RequestFault(
                f"{name} is a whole number from {low} to {high}, got {clip(str(said))}", field=name
            )
        return number

    def _text(self, name: str) -> str | None:
        said = self.said.get(name)
        if said is None or said == "":
            return None
        if isinstance(said, bool) and name == "receipt":
            return "1" if said else "0"
        if isinstance(said, int) and not isinstance(said, bool):
            return str(said)
        if not isinstance(said, str) or len(said) > MOST_TEXT:
            raise RequestFault(f"{name} is no text of a sensible length", field=name)
        return said
