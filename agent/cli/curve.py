"""Bars of text: a curve that a terminal can draw, and a gauge. Pure."""

from __future__ import annotations

from collections.abc import Sequence

EIGHTHS = " ▁▂▃▄▅▆▇█"
PLAIN = " .:-=+*#@"  #: For terminals whose encoding has no blocks.


def bars(values: Sequence[int], width: int, height: int, *, ascii_only: bool = False) -> list[str]:
    """Return ``height`` rows of bars, one column per value, the newest at the right end.

    A value above zero is always seen, however small it is beside the greatest.

    Args:
        values: Oldest first; only the newest that fit are drawn.
        width: Columns.
        height: Rows.
        ascii_only: Draw without block characters.

    """
    ramp = PLAIN if ascii_only else EIGHTHS
    steps = len(ramp) - 1
    shown = list(values)[-width:] if width > 0 else []
    top = max(shown, default=0)
    filled = [0 if top == 0 else max(v > 0, round(v * height * steps / top)) for v in shown]
    rows = []
    for row in range(height - 1, -1, -1):
        cells = (ramp[min(steps, max(0, level - row * steps))] for level in filled)
        rows.append("".join(cells).rjust(width))
    return rows


def gauge(share: float, width: int, *, ascii_only: bool = False) -> str:
    """Return a bar that is filled to ``share`` of its width; 0 only for nothing at all."""
    full, empty = ("#", ".") if ascii_only else ("█", "░")
    share = min(1.0, max(0.0, share))
    filled = max(int(share > 0), int(share * width))
    return full * filled + empty * (width - filled)
