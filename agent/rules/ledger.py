"""The ledger: accepted = delivered + pending + dead + lost, for every app, always.

There is no loss without a name. A number that does not fit is a finding, not a rounding error:
it is shown, and at the next start booked as damage.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Loss(enum.Enum):
    """Why an accepted event left without reaching the far end. No member is named *other*."""

    EXPIRED = "expired"  #: Older than ``outbox.max_age_days``.
    EVICTED = "evicted"  #: The outbox was full, and this app held the most of it.
    DROPPED = "dropped"  #: A dead letter that a person deleted.
    OVERFLOWED = "overflowed"  #: The oldest of too many dead letters.
    PURGED = "purged"  #: A person turned the app off or asked for deletion.
    DAMAGED = "damaged"  #: The row could not be read back from disk.


@dataclass(slots=True)
class Account:
    """One stream's numbers."""

    accepted: int = 0
    delivered: int = 0
    pending: int = 0
    dead: int = 0
    lost: dict[Loss, int] = field(default_factory=dict)

    @property
    def difference(self) -> int:
        """How many accepted events are nowhere; 0 is the only good answer."""
        gone = self.delivered + self.pending + self.dead + sum(self.lost.values())
        return self.accepted - gone

    @property
    def balanced(self) -> bool:
        return self.difference == 0

    def copy(self) -> Account:
        return Account(self.accepted, self.delivered, self.pending, self.dead, dict(self.lost))

    def take_over(self, other: Account) -> None:
        """Take what only a ledger knows from another; what waits is for the rows to say."""
        self.accepted, self.delivered, self.lost = other.accepted, other.delivered, {**other.lost}

    def lose(self, reason: Loss, events: int) -> None:
        self.lost[reason] = self.lost.get(reason, 0) + events
