"""How much one app may report: a steady rate, and bursts on credit.

Over-quota events stay unacknowledged, so their sender keeps them and comes back (SECURITY.md,
decision 8). One greedy app therefore slows itself, not its neighbours (threat row 28).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MEASURED_S: Final = 1.0  #: So long is counted before a rate is told.


@dataclass(slots=True)
class Bucket:
    """A token bucket. Full at first; refilled by time; time is an argument.

    A request is granted whole or not at all. One larger than the bucket is granted when the
    bucket is full, and leaves a debt: official SDKs send their whole queue as one frame, and a
    frame that never fits would be resent for ever. So within any ``t`` seconds at most
    ``burst + rate_per_s * t`` events are granted, and once the largest request on top.

    What turns out to have been accepted before is given back (:meth:`give_back`): an SDK that
    lost its answers sends its whole queue again, and its next new event should not wait for that.

    Attributes:
        rate_per_s: Events per second that may go on for ever.
        burst: Events at once after a pause.
        refused: Events that were asked for in vain, each time they were.

    """

    rate_per_s: float = 1_000.0
    burst: float = 50_000.0
    refused: int = 0
    _tokens: float = field(init=False)
    _at_s: float | None = field(init=False, default=None)
    _since_s: float = field(init=False, default=0.0)
    _asked: int = field(init=False, default=0)
    _asked_per_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._tokens = self.burst

    def take(self, count: int, now_s: float) -> float:
        """Ask for ``count`` events at monotonic time ``now_s``.

        Returns:
            0.0 if they are granted; otherwise the seconds after which to ask again, and nothing
            was taken.

        """
        self._measure(count, now_s)
        if self._at_s is not None:
            passed = max(0.0, now_s - self._at_s)
            self._tokens = min(self.burst, self._tokens + passed * self.rate_per_s)
        self._at_s = now_s
        missing = min(float(count), self.burst) - self._tokens
        if missing > 1e-6:  # the rounding of many refills is not a reason to refuse
            self.refused += count
            return missing / self.rate_per_s
        self._tokens -= count
        return 0.0

    def give_back(self, count: int) -> None:
        """Take back so many granted events that cost nothing after all."""
        self._tokens = min(self.burst, self._tokens + count)

    def asked_per_s(self, now_s: float) -> float:
        """Return how many events per second were asked for lately, granted or not."""
        if now_s - self._since_s >= 2 * MEASURED_S:
            return 0.0  # the last window that was begun is long over
        return max(self._asked_per_s, self._asked / MEASURED_S)

    def _measure(self, count: int, now_s: float) -> None:
        passed = now_s - self._since_s
        if passed >= MEASURED_S:
            self._asked_per_s = self._asked / passed
            self._since_s, self._asked = now_s, 0
        self._asked += count
