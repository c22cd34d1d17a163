"""How long to wait before trying again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """The retry curve. Retrying never ends by itself; only a person gives up.

    Attributes:
        base_s: Ceiling of the first wait, in seconds.
        cap_s: Ceiling of every wait, in seconds.

    """

    base_s: float = 1.0
    cap_s: float = 300.0

    def wait_s(self, attempt: int, rng: Callable[[], float], *, floor_s: float = 0.0) -> float:
        """Return how long to wait before the next attempt, in seconds.

        The wait is uniform between zero and an exponentially growing ceiling, so a
        thousand machines cut off together do not come back together. The first
        attempt is spread as well, as RFC 6455 §7.2.3 asks of reconnecting clients.

        Args:
            attempt: Failed attempts so far, from 0.
            rng: Source of uniform numbers in [0, 1); injected so tests choose.
            floor_s: Delay named by the far end (``retry_after``), 0 if none. It is
                added to, never shortened: a throttled fleet must spread too.

        Source:
            "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: the
            variant named *full jitter*.

        """
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(attempt, 32))
        return floor_s + rng() * ceiling
