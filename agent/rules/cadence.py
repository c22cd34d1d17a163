"""Did the machine sleep? Two clocks tell.

On Linux and macOS the monotonic clock stands still while the machine sleeps, so the wall clock
runs ahead of it. On Windows both run on, and a deadline that should have woken us is simply
long past. Either is told once, and nobody is alarmed by it: a dial, one heartbeat, no more.

A wall clock that is set forward by hand looks like a sleep and costs one new connection; one
that is set back is nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass

SLEPT_S = 30.0  #: A smaller gap is a busy machine or a clock being slewed.


@dataclass(slots=True)
class SleepWatch:
    """Compares the clocks at every turn of the core.

    Attributes:
        wall_s: The wall clock at the last look, Unix seconds.
        mono_s: The monotonic clock at the same moment.

    """

    wall_s: float
    mono_s: float

    def look(self, wall_s: float, mono_s: float, due_s: float | None = None) -> float:
        """Return for how many seconds the machine slept since the last look, 0 if it did not.

        Args:
            wall_s: The wall clock now.
            mono_s: The monotonic clock now.
            due_s: The monotonic time at which we had asked to be woken, ``None`` if never.

        """
        ahead_s = (wall_s - self.wall_s) - (mono_s - self.mono_s)
        late_s = 0.0 if due_s is None else mono_s - due_s
        self.wall_s, self.mono_s = wall_s, mono_s
        gap_s = max(ahead_s, late_s)
        return gap_s if gap_s >= SLEPT_S else 0.0
