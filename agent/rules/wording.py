"""Numbers, spans and foreign strings as a person reads them. Pure; used where sentences are made.

What came from outside (a far end's words, an event's name) goes through :func:`visible` before
it is shown: a control character could move the cursor of a terminal, and a bidi override could
make one name look like another (SECURITY.md, decision 7).
"""

from __future__ import annotations

import unicodedata
from datetime import datetime, tzinfo

ELLIPSIS = "…"
MARKS_IN_A_ROW = 4  #: More combining marks on one letter paint over the lines around it.
JOINERS = "\u200c\u200d"  #: Persian and emoji need them, and they move nothing.
_CONTROL_PICTURES = 0x2400  #: U+2400 SYMBOL FOR NULL; the next 31 follow the C0 controls.
#: Cc controls, Cf formats (bidi overrides among them), Cs lone surrogates, Co private use,
#: Zl and Zp line separators: none has a shape of its own, some have a power of their own.
_UNSHOWABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def visible(text: str, limit: int = 200) -> str:
    """Return ``text`` on one line with every control and bidi character made visible, clipped.

    Args:
        text: Anything that came from outside.
        limit: Characters at most; a clipped text ends with an ellipsis.

    """
    clipped = text if len(text) <= limit else text[: max(0, limit - 1)] + ELLIPSIS
    if clipped.isascii() and clipped.isprintable():
        return clipped  # nearly always
    shown, marks = [], 0
    for character in clipped:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= MARKS_IN_A_ROW:
            shown.append(_shown(character))
    return "".join(shown)


def _shown(character: str) -> str:
    code = ord(character)
    if character in JOINERS:
        return character
    if code < 0x20:
        return chr(_CONTROL_PICTURES + code)
    if code == 0x7F:
        return "\u2421"  # SYMBOL FOR DELETE
    if unicodedata.category(character) in _UNSHOWABLE:
        return f"<U+{code:04X}>"
    return character


def count(number: int) -> str:
    """Return 1204 as ``1,204``."""
    return f"{number:,}"


def events(number: int) -> str:
    """Return ``1 event`` or ``1,204 events``."""
    return "1 event" if number == 1 else f"{number:,} events"


def some(number: int, one: str) -> str:
    """Return ``1 line`` or ``1,204 lines``; of a word whose plural ends with an s."""
    return f"1 {one}" if number == 1 else f"{number:,} {one}s"


def span(seconds: float) -> str:
    """Return a length of time in at most two units: ``40 s``, ``12 min``, ``3 d 4 h``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def size(number: int) -> str:
    """Return bytes in binary units: ``812 B``, ``1.2 MiB``."""
    if number < 1024:
        return f"{number} B"
    scaled = number / 1024
    for unit in ("KiB", "MiB", "GiB"):
        if scaled < 1024:
            return f"{scaled:.1f} {unit}"
        scaled /= 1024
    return f"{scaled:.1f} TiB"


def moment(at_ms: int, now_ms: int, zone: tzinfo) -> str:
    """Return when something is, seen from now: ``15:00`` today, ``Tue 08:00``, ``24 Dec 08:00``.

    Args:
        at_ms: The moment, Unix milliseconds.
        now_ms: Now, Unix milliseconds; decides whether the day must be named.
        zone: The person's time zone.

    """
    at = datetime.fromtimestamp(at_ms / 1000, zone)
    today = datetime.fromtimestamp(now_ms / 1000, zone).date()
    clock = f"{at:%H:%M}"
    days = (at.date() - today).days
    if days == 0:
        return clock
    if 0 < days < 7:
        return f"{at:%a} {clock}"
    return f"{at.day} {at:%b} {clock}"


def sentence_end(text: str) -> str:
    """Return ``text`` with exactly one full stop, unless it already ends as a sentence."""
    stripped = text.rstrip()
    return stripped if not stripped or stripped[-1] in ".!?…" else f"{stripped}."
