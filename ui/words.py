"""Words, numbers and times as a person reads them. No Qt, no clock: ``now_ms`` comes in.

The plain text rule (SECURITY.md, "Stored XSS / Qt rich text"): whatever came from an app, a far
end or a file passes :func:`plain` before it is shown, which bounds its length and makes what
would be invisible, or would turn the line round, visible. The widgets add the other half: no
text is ever read as markup (:mod:`ui.pieces`).
"""

from __future__ import annotations

import html
import time
import unicodedata
from typing import Literal

from agent.door import Health
from ui.language import manner, tr, trn

MAX_CHARS = 120  #: Outer text in a label; the rest is behind an ellipsis.
TIP_CHARS = 700  #: A tooltip is no page.
MARKS_IN_A_ROW = 4  #: More combining marks on one letter paint over neighbouring lines.

MINUS = "\N{MINUS SIGN}"
DOT = "\N{MIDDLE DOT}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
FIRST_STRONG_ISOLATE, POP_ISOLATE = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"

MINUTE, HOUR, DAY, YEAR = 60, 3600, 86_400, 365 * 86_400


def plain(text: str | None, limit: int = MAX_CHARS) -> str:
    """Return outer text fit for one line: clipped, nothing invisible, nothing that reorders.

    Control characters become their pictures (``␀``), the other format characters their code
    points (``‹U+202E›``), so that a forged name shows what it is. Tabs and line ends become
    spaces: they are usual, and harmless once they are gone.
    """
    if not text:
        return ""
    cut = text[: limit + 1]  # first, so that a name of a megabyte costs nothing
    shown: list[str] = []
    marks = 0
    for char in cut:
        kind = unicodedata.category(char)
        marks = marks + 1 if kind in {"Mn", "Me"} else 0
        if marks > MARKS_IN_A_ROW:
            continue
        if char in "\t\n\r\x0b\x0c" or kind in {"Zl", "Zp"}:
            shown.append(" ")
        elif ord(char) < 0x20:
            shown.append(chr(0x2400 + ord(char)))
        elif ord(char) == 0x7F:
            shown.append("\N{SYMBOL FOR DELETE}")
        elif kind in {"Cc", "Cf", "Cs", "Cn", "Co"} and char not in "\u200c\u200d":
            # The two joiners stay: Persian and emoji need them, and they move nothing.
            shown.append(f"‹U+{ord(char):04X}›")
        else:
            shown.append(char)
    line = "".join(shown)
    if len(text) > limit or len(line) > limit:
        line = line[: limit - 1].rstrip() + ELLIPSIS
    return isolate(line)


def breakable(text: str, every: int = 10) -> str:
    """Let a line end within very long words, which would otherwise widen the whole window."""
    return " ".join(
        "\N{ZERO WIDTH SPACE}".join(word[i : i + every] for i in range(0, len(word), every))
        if len(word) > 2 * every
        else word
        for word in text.split(" ")
    )


def isolate(text: str) -> str:
    """Keep a name, a path or a quantity whole where the words around it run from right to left.

    Unicode TR 9, isolates: without them ``/run/user`` ends in its first slash there.
    """
    if not text or not manner().mirrored:
        return text
    return f"{FIRST_STRONG_ISOLATE}{text}{POP_ISOLATE}"


def tip(words: str) -> str:
    """Return words as a tooltip, in which Qt would otherwise look for markup."""
    return f"<qt>{html.escape(words[:TIP_CHARS])}</qt>" if words else ""


def menu_text(text: str) -> str:
    """Return outer text for a menu, where ``&`` would underline the next letter."""
    return plain(text).replace("&", "&&")


def unmarked(text: str) -> str:
    """Return text for places that may or may not read markup: its brackets become guillemets."""
    return plain(text, 240).replace("<", "‹").replace(">", "›").replace("&", "＆")


def count(n: int) -> str:
    """Return a number with its thousands apart."""
    return f"{n:,}".replace(",", manner().group).replace("-", MINUS)


def short_count(n: int) -> str:
    """Return a number in at most five characters, for axes and small tiles."""
    size = abs(n)
    for scale, unit in ((10**18, "E"), (10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M")):
        if size >= scale:
            return _decimal(n / scale, 1 if size < 100 * scale else 0) + unit
    if size >= 10_000:
        return _decimal(n / 1000, 1 if size < 100_000 else 0) + "k"
    return count(n)


def byte_size(n: int) -> str:
    """Return a size in the binary units file managers use."""
    size = float(n)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if size < 1024 or unit == "EiB":
            return isolate(f"{_decimal(size, 0 if unit == 'B' or size >= 100 else 1)} {unit}")
        size /= 1024
    return ""


def latency(ms: float | None) -> str:
    """Return how long an acknowledgement took."""
    if ms is None:
        return "–"
    if ms < 1000:
        return isolate(tr("{n} ms", n=_decimal(ms, 1 if ms < 10 else 0)))
    return isolate(tr("{n} s", n=_decimal(ms / 1000, 1)))


def duration(seconds: float) -> str:
    """Return a length of time in one or two units: ``40 s``, ``12 min``, ``2 h 10 min``."""
    return isolate(_duration(max(0, round(seconds))))


def _duration(s: int) -> str:
    if s < 2 * MINUTE:
        return tr("{n} s", n=s)
    if s < 2 * HOUR:
        return tr("{n} min", n=round(s / MINUTE))
    if s < 2 * DAY:
        hours, minutes = divmod(round(s / MINUTE), 60)
        if minutes and hours < 10:
            return tr("{h} h {m} min", h=hours, m=minutes)
        return tr("{n} h", n=hours)
    days = round(s / DAY)
    return trn("{n} day", "{n} days", days, n=count(days))


def ago(at_ms: int | None, now_ms: int) -> str:
    """Return how long ago something was; a clock that is ahead is not in the future."""
    if not at_ms:
        return tr("never")
    seconds = (now_ms - at_ms) / 1000
    if seconds < 5:
        return tr("just now")
    return tr("{time} ago", time=duration(seconds))


def until(at_ms: int | None, now_ms: int) -> str:
    """Return how far ahead something is, or ``now`` once it is due."""
    if at_ms is None:
        return ""
    seconds = (at_ms - now_ms) / 1000
    return tr("now") if seconds < 1 else tr("in {time}", time=duration(seconds))


def clock(at_ms: int, *, seconds: bool = False) -> str:
    """Return the time of day where this computer stands."""
    return time.strftime("%H:%M:%S" if seconds else "%H:%M", time.localtime(at_ms / 1000))


def moment(at_ms: int, now_ms: int) -> str:
    """Return the time of day, with the date once it is not today's."""
    if time.localtime(at_ms / 1000)[:3] == time.localtime(now_ms / 1000)[:3]:
        return clock(at_ms)
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_ms / 1000))


def signed(n: int) -> str:
    """Return a number with its sign: ``+12``, ``−3``, ``0``."""
    return isolate(f"+{count(n)}" if n > 0 else count(n))


Trend = Literal["up", "down", "same", "none"]


def difference(now: int | None, before: int | None) -> tuple[Trend, str]:
    """Return which way a number went, and the words: ``+12 vs. yesterday``."""
    if now is None or before is None:
        return "none", ""
    change = now - before
    if change == 0:
        return "same", tr("same as yesterday")
    return ("up" if change > 0 else "down"), tr("{change} vs. yesterday", change=signed(change))


def forecast(events: int, full_in_s: float | None, drained_in_s: float | None) -> str:
    """Say where the outbox is going, in one sentence without the word *estimate*."""
    if events == 0:
        return tr("Empty: nothing waits to be delivered.")
    if full_in_s is not None and full_in_s > YEAR:
        return tr("Filling so slowly that it will do for more than a year.")
    if full_in_s is not None:
        return tr("At this rate full in {time}.", time=duration(full_in_s))
    if drained_in_s is not None:
        return tr("Delivered in about {time}.", time=duration(drained_in_s))
    return tr("Kept safe on this disk; neither filling nor draining.")


def health_name(state: Health) -> str:
    """Name one of the four states, as the tray and the window do."""
    match state:
        case "live":
            return tr("Connected")
        case "offline":
            return tr("Offline")
        case "paused":
            return tr("Paused")
        case "attention":
            return tr("Needs attention")


def _decimal(value: float, places: int) -> str:
    digits = f"{value:.{places}f}"
    return digits.removesuffix(".0").replace(".", manner().point).replace("-", MINUS)


PLATFORMS = {"linux": "Linux", "darwin": "macOS", "windows": "Windows", "win32": "Windows"}


def system_name(platform: str | None, version: str | None) -> str:
    """Return an operating system as its makers write it."""
    name = PLATFORMS.get((platform or "").casefold()[:MAX_CHARS], platform)
    return plain(" ".join(part[:MAX_CHARS] for part in (name, version) if part))


def until_tomorrow_s(now_ms: int) -> float:
    """Return how long it is until the next day begins where this computer stands."""
    today = time.localtime(now_ms / 1000)
    # mktime knows days that do not exist and nights in which a clock is put back.
    midnight = time.mktime((today.tm_year, today.tm_mon, today.tm_mday + 1, 0, 0, 0, 0, 0, -1))
    return max(60.0, midnight - now_ms / 1000)
