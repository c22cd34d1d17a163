"""Who may have one of a listener's places, and who gives its place up to whom.

    newcomer ─► of a holder that has its share? ──────────────► closed, unheard
        │ no
        ├─ a place is free, or a greedier holder's idle one is ─► seated
        └─ none ─► the side room ─┬─ it steers (a person's tool) ─► stays there
                                  ├─ it has shown who it is ──────► seated, if a place is free
                                  └─ else ────────────────────────► closed

Invariants:
    1. A holder (process, address, app) never has more than its share, the side room included.
    2. Somebody is closed for a newcomer only while idle, and only if its holder has at least two
       more than the newcomer's: so nobody loses its last place, and two never push each other out
       in turns.
    3. In the side room who has not yet shown what it wants goes first, the greediest holder's
       oldest before the others; who is seated is never closed for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol


class Guest(Protocol):
    """A connection, as far as it is looked at here."""

    @property
    def idle(self) -> bool:
        """Whether it is between things, and has been for a moment."""

    @property
    def last(self) -> float:
        """When something last passed, in the loop's time."""

    def dismiss(self) -> None:
        """Go: somebody else has the place by now."""


def _nobody(holder: str, held: int) -> None:
    """Stands in where nobody wants to know."""


class Places:
    """The places of one listener.

    Args:
        most: For all together, the side room not counted.
        share: Of one holder; None bounds nobody.
        side: Places of the side room; 0 has none.
        fair: Idle ones of the greediest holder yield to who has fewer (invariant 2).
        all_wait: Everybody begins in the side room and has to show who it is.
        crowded: Hears of a holder that was refused at its share, or had to yield: its name, and
            how many places it has.
        calm: Hears of such a holder when it has less than half of what it had then.

    """

    def __init__(
        self,
        most: int,
        *,
        share: int | None = None,
        side: int = 0,
        fair: bool = False,
        all_wait: bool = False,
        crowded: Callable[[str, int], None] = _nobody,
        calm: Callable[[str], None] | None = None,
    ) -> None:
        self.most = most
        self.share = share
        self.side = side
        self.fair = fair
        self.all_wait = all_wait
        self.crowded = crowded
        self.calm = calm
        self.held: Counter[str] = Counter()
        self.seated: dict[Guest, str] = {}
        self.aside: dict[Guest, str] = {}
        self.silent: dict[Guest, None] = {}  #: Of those aside: who has yet to show what it wants.
        self._greedy: dict[str, int] = {}  #: Told of, and with how many.

    def arrive(self, guest: Guest, holder: str, *, counted: bool = True) -> bool:
        """Give a newcomer a place; False if it has to go, unheard.

        Args:
            guest: The newcomer.
            holder: Who it belongs to; empty where nobody can tell.
            counted: The share holds for this holder.

        """
        if counted and holder and self.share is not None and self.held[holder] >= self.share:
            self._is_greedy(holder)
            return False
        if not self.all_wait and self._has_room(holder):
            self.seated[guest] = holder
        elif self._has_room_aside(holder):
            self.aside[guest] = holder
            self.silent[guest] = None
        else:
            return False
        self.held[holder] += 1
        return True

    def waits(self, guest: Guest) -> bool:
        """Tell whether a guest has yet to show what it wants."""
        return guest in self.silent

    def steers(self, guest: Guest) -> None:
        """Let a guest of the side room stay there: it asks what the room is for."""
        self.silent.pop(guest, None)

    def admit(self, guest: Guest, holder: str) -> bool:
        """Seat a guest that has shown whose it is; False if no place is free, and it has to go."""
        if guest not in self.silent:
            return True
        if not self._has_room(holder):
            return False
        self.leave(guest)
        self.seated[guest] = holder
        self.held[holder] += 1
        return True

    def leave(self, guest: Guest) -> None:
        """Take a place back; twice is harmless."""
        holder = self.seated.pop(guest, None)
        if holder is None:
            holder = self.aside.pop(guest, None)
            self.silent.pop(guest, None)
        if holder is None:
            return
        self.held[holder] -= 1
        left = self.held[holder]
        if left <= 0:
            del self.held[holder]
        if self._greedy.get(holder, 0) > 2 * left:
            del self._greedy[holder]
            if self.calm is not None:
                self.calm(holder)

    # --- making room ---------------------------------------------------------------------------

    def _has_room(self, holder: str) -> bool:
        if len(self.seated) < self.most:
            return True
        return self.fair and self._yields(self.seated.items(), holder)

    def _has_room_aside(self, holder: str) -> bool:
        if len(self.aside) < self.side:
            return True
        if self.silent:  # the order of a dict is that of arrival: the first of equals is the oldest
            self._dismiss(max(self.silent, key=lambda guest: self.held[self.aside[guest]]))
            return True
        return self.fair and self._yields(self.aside.items(), holder)

    def _yields(self, guests: Iterable[tuple[Guest, str]], holder: str) -> bool:
        """Dismiss the longest idle guest of the greediest holder, if invariant 2 allows it."""
        enough = self.held[holder] + 2
        able = [one for one, whose in guests if self.held[whose] >= enough and one.idle]
        if not able:
            return False
        whose = self.seated | self.aside
        first = max(able, key=lambda one: (self.held[whose[one]], -one.last))
        self._is_greedy(whose[first])
        self._dismiss(first)
        return True

    def _dismiss(self, guest: Guest) -> None:
        self.leave(guest)
        guest.dismiss()

    def _is_greedy(self, holder: str) -> None:
        """Tell of a holder once, until it has given half of it back."""
        if holder not in self._greedy:
            self._greedy[holder] = self.held[holder]
            self.crowded(holder, self.held[holder])
