"""Sentences about what is wrong with settings, and the small readers that write them.

Every mistake is found before any is reported. A value that might be a secret in the wrong place is
never repeated in a sentence.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tracking.errors import SettingsFault


class Mistakes:
    """Collects sentences while reading goes on; :meth:`raise_any` says them all at once."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, where: str, sentence: str) -> None:
        self.sentences.append(f"{where}: {sentence}")

    def raise_any(self) -> None:
        if self.sentences:
            raise SettingsFault(
                "\n".join(self.sentences),
                advice="Correct this, or see `homing config show` for what may be set.",
            )


def text_of(
    entry: Mapping[str, object],
    key: str,
    default: str,
    here: str,
    wrong: Mistakes,
    *,
    most: int = 2048,
    rule: Callable[[str], str] | None = None,
) -> str | None:
    """Return one text of a table, ``default`` if absent, None if it is wrong (and said)."""
    if key not in entry:
        return default
    value = entry[key]
    if not isinstance(value, str):
        wrong.add(f"{here}.{key}", f"must be text, got {shown(value)}")
        return None
    if len(value) > most or any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
        wrong.add(f"{here}.{key}", f"must be one line of at most {most} characters")
        return None
    if rule is None:
        return value
    try:
        return rule(value)
    except SettingsFault as fault:
        wrong.add(f"{here}.{key}", str(fault))
        return None


def number_of(
    entry: Mapping[str, object],
    key: str,
    default: int,
    bounds: tuple[int, int],
    here: str,
    wrong: Mistakes,
) -> int:
    """Return one whole number of a table, ``default`` if absent or wrong (and said)."""
    value = entry.get(key, default)
    low, high = bounds
    if type(value) is not int or (key in entry and not low <= value <= high):
        wrong.add(
            f"{here}.{key}", f"must be a whole number from {low:,} to {high:,}, got {shown(value)}"
        )
        return default
    return value


def refuse_unknown(
    entry: Mapping[str, object], known: tuple[str, ...], here: str, wrong: Mistakes
) -> None:
    for key in entry:
        if key not in known:
            wrong.add(here, f"nothing is named {clip(key)}{nearest(key, known)}")


def absolute(path: str) -> str | None:
    """Return a path with ``~`` spelled out, or None if it depends on where a program runs."""
    if path.startswith("~/"):
        path = os.path.expanduser(path)  # noqa: PTH111 - pathlib raises where there is no home
    return path if Path(path).is_absolute() else None


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``, did you mean …?`` for a word that is nearly one of ``known``, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]}?" if close else ""


def clip(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")


def shown(value: object) -> str:
    """Show a value as the file would write it, clipped."""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
