"""The ledger: accepted = delivered + pending + dead + lost, for every queue and every app, always.

Each queue of an app, one per way out, has an account of its own that changes with its rows. An
upstream's numbers are the sum of its ways', which share no event (:func:`summed`). An app's
numbers count every event once, as it fares where it fares worst (:func:`at_worst`).

There is no loss without a name. A number that does not fit is a finding, not a rounding error:
it is shown, and at the next start booked as damage.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
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


def summed(accounts: Iterable[Account]) -> Account:
    """Return the numbers of queues that share no event, as one."""
    total = Account()
    for one in accounts:
        total.accepted += one.accepted
        total.delivered += one.delivered
        total.pending += one.pending
        total.dead += one.dead
        for reason, events in one.lost.items():
            total.lose(reason, events)
    return total


def at_worst(accounts: Sequence[Account]) -> Account:
    """Return the numbers of events that are each on several queues, every event counted once.

    An event is what it is at the far end where it fares worst: lost, else dead, else pending;
    delivered is what all of them have. Where two queues lack different events, the larger lack is
    told, for queues empty in the same order and the one that is behind lacks what the other does.
    """
    if len(accounts) == 1:
        return accounts[0]
    worst = Account(accepted=max((one.accepted for one in accounts), default=0))
    left = worst.accepted
    for reason in Loss:
        events = min(left, max((one.lost.get(reason, 0) for one in accounts), default=0))
        if events:
            worst.lost[reason] = events
            left -= events
    worst.dead = min(left, max((one.dead for one in accounts), default=0))
    left -= worst.dead
    worst.pending = min(left, max((one.pending for one in accounts), default=0))
    worst.delivered = left - worst.pending
    return worst
