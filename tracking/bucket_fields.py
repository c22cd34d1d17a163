"""The fields of one call of the Bucket tracking API, read by the lenient rules of BUCKET.md §6.

Two ways to read: what decides whether a call is kept adds a sentence to ``errors`` when it is
wrong (:meth:`Fields.id`, :meth:`Fields.attributes`, …); what only describes is glimpsed, and
counts as absent when it makes no sense (:meth:`Fields.glimpse`).
"""

from __future__ import annotations

import decimal
import re
from typing import Final

from tracking import strict_json
from tracking.dates import parse_ms
from tracking.errors import RequestFault
from tracking.events import Limits

_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_MAX_DATE_CHARS: Final = 64
_MAX_DIGITS: Final = 40  #: Of a whole number in attributes; it is kept as text, not computed with.
_LOWEST, _HIGHEST = 1, 5  #: Scores (seed 004).


def number_id(digits: str) -> str | None:
    """Return the one text of a number, from its digits; None if it is not finite or no number.

    Exact whatever the size: ``9007199254740993``, ``9.007199254740993e15`` and the string of
    the same digits are one id, and a float would have made it ...992.
    """
    if not _NUMBER.fullmatch(digits) or float(digits) in (float("inf"), float("-inf")):
        return None
    text = format(decimal.Decimal(digits), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


class Fields:
    """The members of one JSON object, known to be JSON.

    Args:
        text: The object.
        limits: What is too much.

    Raises:
        RequestFault: It is no object, or names a key twice.

    """

    def __init__(self, text: str, limits: Limits) -> None:
        if not text.startswith("{"):
            raise RequestFault(f"body: Expected an object, got {strict_json.clip(text)}")
        self.limits = limits
        self.errors: list[str] = []
        self.members: dict[str, str] = {}
        for key, start, end in strict_json.members(text, 0, "body"):
            if key in self.members:
                raise RequestFault(f"{strict_json.clip(key, quoted=False)}: Named twice")
            self.members[key] = text[start:end]

    def _absent(self, key: str) -> bool:
        return self.members.get(key, "null") == "null"

    def _wrong(self, key: str, expected: str) -> None:
        text = self.members.get(key, "null")
        shown = "" if text == "null" else f", got {strict_json.clip(text)}"
        self.errors.append(f"{key}: {expected}{shown}")

    def _string(self, key: str) -> str | None:
        """Return a member that is a string, None if it is none or not one for every reader."""
        text = self.members.get(key, "")
        if not text.startswith('"'):
            return None
        try:
            value = strict_json.decode(text, key, keys=0)
            strict_json.check_value(value, key)
        except RequestFault:
            return None
        return str(value)

    # --- what decides --------------------------------------------------------------------------

    def id(self, key: str, *, required: bool = False, empty: bool = False) -> str | None:
        """Return an id as its one text (§2.1): a string that is not empty, or a finite number.

        Args:
            key: The field.
            required: Absent and null are errors.
            empty: The empty string counts as absent instead of being an error.

        """
        if self._absent(key) or (empty and self.members[key] == '""'):
            if required:
                self.errors.append(f"{key}: Required")
            return None
        found = self.glimpse(key)
        if found is None:
            self._wrong(
                key,
                f"Expected a number or a string of 1 to {self.limits.name_chars} characters",
            )
        return found

    def name(self, key: str) -> str | None:
        """Return a required text that is not empty."""
        if self._absent(key):
            self.errors.append(f"{key}: Required")
            return None
        found = self._string(key)
        if not found or len(found) > self.limits.name_chars:
            self._wrong(key, f"Expected a string of 1 to {self.limits.name_chars} characters")
            return None
        return found

    def text(self, key: str) -> str | None:
        """Return an optional text; null and the empty one are absent."""
        if self._absent(key):
            return None
        found = self._string(key)
        if found is None:
            self._wrong(key, "Expected a string")
        return found or None

    def attributes(self) -> bytes | None:
        """Return the attributes as sent; any JSON object will do (§2.1)."""
        key = "attributes"
        if self._absent(key):
            return None
        text = self.members[key]
        sent = text.encode()
        if b"\\u0000" not in sent and strict_json.proof(self.limits).holds([sent]):
            return sent
        if not text.startswith("{"):
            self._wrong(key, "Expected an object")
            return None
        try:
            if strict_json.depth(text) > self.limits.depth:
                raise RequestFault(f"{key} is nested deeper than {self.limits.depth}")
            _check(strict_json.decode(text, key, keys=self.limits.keys), key)
        except RequestFault as fault:
            self.errors.append(f"{key}: {fault}")
            return None
        return sent

    def active(self) -> bool | None:
        """Return ``context.active`` (§2.2)."""
        if self._absent("context"):
            return None
        try:
            context = Fields(self.members["context"], self.limits)
        except RequestFault:
            self._wrong("context", "Expected an object")
            return None
        match context.members.get("active", "null"):
            case "null":
                return None
            case "true":
                return True
            case "false":
                return False
            case text:
                shown = strict_json.clip(text)
                self.errors.append(f"context.active: Expected a boolean, got {shown}")
                return None

    def timestamp_ms(self) -> int | None:
        """Return when it happened as Unix milliseconds: ISO 8601 or a number (§6, 5)."""
        if self._absent("timestamp"):
            return None
        found = self.glimpse_ms("timestamp")
        if found is None:
            self._wrong("timestamp", "Expected ISO 8601 or milliseconds since 1970")
        return found

    def score(self) -> float | None:
        """Return a score from 1 to 5; null and 0 are absent (§6, 7)."""
        if self._absent("score"):
            return None
        text = self.members["score"]
        value = float(text) if _NUMBER.fullmatch(text) else -1.0
        if value == 0:
            return None
        if not _LOWEST <= value <= _HIGHEST:
            self._wrong("score", f"Expected a number from {_LOWEST} to {_HIGHEST}")
            return None
        return value

    # --- what only describes -------------------------------------------------------------------

    def glimpse(self, key: str, *path: str) -> str | None:
        """Return an id if there is a readable one, in an object within if so said."""
        text = self.members.get(key, "")
        if path:
            try:
                return Fields(text, self.limits).glimpse(*path)
            except RequestFault:
                return None
        found = self._string(key) if text.startswith('"') else number_id(text)
        return found if found and len(found) <= self.limits.name_chars else None

    def glimpse_text(self, key: str) -> str | None:
        """Return a text if there is a readable one that is not empty."""
        return self._string(key) or None

    def glimpse_ms(self, key: str) -> int | None:
        """Return a moment as Unix milliseconds if there is a readable one."""
        text = self.members.get(key, "")
        if text.startswith('"'):
            said = self._string(key) or ""
            return parse_ms(said) if len(said) <= _MAX_DATE_CHARS else None
        return parse_ms(float(text)) if _NUMBER.fullmatch(text) else None


def _check(value: object, field: str) -> None:
    """Refuse what readers take differently; whole numbers beyond 2^53 are kept as they are.

    Raises:
        RequestFault: Names the place.

    """
    match value:
        case strict_json.Unfit() if (
            value.text.lstrip("-").isdecimal() and len(value.text) <= _MAX_DIGITS
        ):
            pass
        case dict():
            for key, inner in value.items():
                strict_json.check_value(key, field)
                _check(inner, f"{field}.{strict_json.clip(key, quoted=False)}")
        case list():
            for n, inner in enumerate(value):
                _check(inner, f"{field}[{n}]")
        case _:
            strict_json.check_value(value, field)
