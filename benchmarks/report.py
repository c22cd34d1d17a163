"""What a measurement says: a table for people, JSON for machines.

One row is one figure against its target. Where a target is a ratio, both sides were measured in
the same run, one after the other, again and again (A B A B), and the ratio is that of the medians.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure.

    Attributes:
        target_id: As in docs/benchmarks.md: ``P1``. Empty for a figure without a target.
        what: What was measured.
        unit: Of ``ours`` and ``reference``.
        ours: One value per run.
        reference: The other side's values in the same runs; empty if the target is absolute.
        least: The figure (the ratio, if there is a reference) must be at least this.
        most: It must be at most this.
        note: What else belongs to the figure: CPU per event, latencies.

    """

    target_id: str
    what: str
    unit: str
    ours: Sequence[float]
    reference: Sequence[float] = ()
    least: float | None = None
    most: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.ours)

    @property
    def ratio(self) -> float | None:
        if not self.reference:
            return None
        below = statistics.median(self.reference)
        return self.median / below if below else None

    @property
    def spread(self) -> float:
        """Half the distance between the smallest and the largest run, as a share of the median."""
        return (max(self.ours) - min(self.ours)) / 2 / self.median if self.median else 0.0

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or nothing where there is no target."""
        figure = self.median if self.ratio is None else self.ratio
        if self.least is None and self.most is None:
            return ""
        low = self.least is None or figure >= self.least
        high = self.most is None or figure <= self.most
        return "met" if low and high else "missed"

    @property
    def target(self) -> str:
        sign = "× " if self.reference else ""
        if self.least is not None:
            return f"≥ {sign}{_number(self.least)}"
        return f"≤ {sign}{_number(self.most)}" if self.most is not None else ""

    def as_json(self) -> dict[str, object]:
        return {
            "target_id": self.target_id,
            "what": self.what,
            "unit": self.unit,
            "ours": list(self.ours),
            "reference": list(self.reference),
            "median": self.median,
            "ratio": self.ratio,
            "target": self.target,
            "verdict": self.verdict,
            "note": self.note,
        }


def table(rows: Iterable[Row]) -> str:
    """Return the rows as aligned text."""
    head = ("", "what", "Homing", "spread", "limit", "ratio", "target", "verdict", "")
    cells = [head] + [
        (
            row.target_id,
            row.what,
            f"{_number(row.median)} {row.unit}",
            f"±{row.spread:.0%}" if len(row.ours) > 1 else "",
            _number(statistics.median(row.reference)) if row.reference else "",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            row.target,
            row.verdict,
            row.note,
        )
        for row in rows
    ]
    widths = [max(len(line[n]) for line in cells) for n in range(len(head))]
    right = {2, 3, 4, 5}
    lines = [
        "  ".join(
            cell.rjust(width) if n in right else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def machine() -> dict[str, object]:
    """Return what a reader must know of the machine to judge the figures."""
    return {
        "system": platform.system(),
        "release": platform.freedesktop_os_release().get("PRETTY_NAME", platform.release()),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
    }


def write_json(path: Path, rows: Iterable[Row]) -> None:
    """Write every value of every run."""
    said = {"machine": machine(), "rows": [row.as_json() for row in rows]}
    path.write_text(json.dumps(said, indent=1) + "\n")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
