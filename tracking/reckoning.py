"""How two ends find out whether they hold the same events, without telling each other which.

Both sum up, per hour and device, how many events there are and a digest of their ids. The digest
is two sums, modulo 2³², of the two first words of each id's MD5: the order makes no difference, an
event that is lost or put in another's place changes it, and both engines of a collector work it out
in SQL. Ids are 144 random bits of the sender's own (``agent.rules.stamp``), so nobody can choose
one; MD5 is used as a hash that every database has, not as a seal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

HOUR_MS = 3_600_000
WORD = 1 << 32


@dataclass(slots=True)
class Sum:
    """What is known of the events of one hour and device.

    Attributes:
        events: How many.
        low: Sum of the first words, modulo 2³².
        high: Sum of the second words, likewise.

    """

    events: int = 0
    low: int = 0
    high: int = 0

    def add(self, ids: Iterable[str]) -> None:
        """Count events in.

        Args:
            ids: As JSON strings hold them between the quotes: URL-safe characters only.

        """
        low, high, events = self.low, self.high, self.events
        for id_ in ids:
            words = hashlib.md5(b'"%b"' % id_.encode(), usedforsecurity=False).digest()
            low += int.from_bytes(words[:4], "big")
            high += int.from_bytes(words[4:8], "big")
            events += 1
        self.low, self.high, self.events = low % WORD, high % WORD, events

    @property
    def digest(self) -> str:
        """Both sums as 16 hexadecimal digits."""
        return f"{self.low:08x}{self.high:08x}"


def digest(low: int, high: int) -> str:
    """Return sums that were not reduced yet as 16 hexadecimal digits."""
    return f"{low % WORD:08x}{high % WORD:08x}"
