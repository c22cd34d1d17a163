"""Tables of plain text: aligned columns, nothing that a terminal could obey."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from agent.rules.wording import JOINERS, visible

MOST_CHARS = 300  #: Of one cell: a path may be long, a forged name may be endless.


def rows(head: Sequence[str], body: Iterable[Sequence[str]], *, right: str = "") -> Iterator[str]:
    """Yield the lines of a table.

    Args:
        head: Titles of the columns.
        body: The cells; they are made safe here.
        right: One character per column, ``>`` for those aligned to the right.

    """
    table = [list(head), *([visible(cell, MOST_CHARS) for cell in row] for row in body)]
    widths = [max(columns(row[i]) for row in table) for i in range(len(head))]
    sides = right.ljust(len(head))
    for row in table:
        cells = (
            _padded(cell, width, side) for cell, width, side in zip(row, widths, sides, strict=True)
        )
        yield "  ".join(cells).rstrip()


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes; East Asian wide characters take two."""
    return len(text) if text.isascii() else sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or character in JOINERS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def clock(at_ms: int) -> str:
    """Return a moment as the wall clock here shows it, to the second."""
    return f"{datetime.fromtimestamp(at_ms / 1000).astimezone():%Y-%m-%d %H:%M:%S}"


def _padded(cell: str, width: int, side: str) -> str:
    gap = " " * (width - columns(cell))
    return gap + cell if side == ">" else cell + gap
