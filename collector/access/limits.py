"""How fast one address, or one app, may report; how often a wrong token may be tried.

Token buckets with generous defaults: an office shares one address. Idle buckets are forgotten,
so that a scan of addresses cannot fill the memory.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MOST_BUCKETS = 100_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


class Limiter:
    """A token bucket per key.

    Args:
        rate_per_s: What comes back, per second.
        burst: What may be taken at once; a request larger than it is granted from a full bucket
            and leaves a debt, because SDKs resend their whole queue as one frame.

    """

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str, count: float, now_s: float) -> float:
        """Ask for ``count``, all or nothing; return 0.0 if granted, else the seconds to wait."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self.burst, now_s)
            if len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
            passed_s = max(0.0, now_s - bucket.at_s)
            bucket.tokens = min(self.burst, bucket.tokens + passed_s * self.rate_per_s)
            bucket.at_s = now_s
        missing = min(count, self.burst) - bucket.tokens
        if missing > 1e-6:
            return missing / self.rate_per_s
        bucket.tokens -= count
        return 0.0

    def give_back(self, key: str, count: float) -> None:
        """Undo a :meth:`take` whose purpose came to nothing."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.tokens = min(self.burst, bucket.tokens + count)
