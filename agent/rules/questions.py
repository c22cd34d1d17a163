"""What the rule for posting is told, and what it answers: the words between core and rule.

``agent.rules.posting`` gives them their meaning. Those that it shares with the link's rule are in
``agent.rules.notices``; a *question* is one POST, and stands where a dial stands there.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.rules.notices import (
    Drained,
    Lease,
    Lost,
    Moved,
    Offered,
    Release,
    Restarted,
    Settle,
    Slept,
    Start,
    Stop,
    Tick,
)


@dataclass(frozen=True, slots=True)
class Lent:
    """Answer to ``Lease``: these items, in order.

    Attributes:
        batch: Its number.
        ids: Wire ids.
        mark: Where a question that was never answered ended: so many items are asked together
            first; 0 if there was none.

    """

    batch: int
    ids: tuple[str, ...]
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """The far end has the items of a question.

    Attributes:
        question: Its number.
        rejected: Index within the question and the far end's words, for those that it has not.
        odd: What was strange about the answer, for a person; empty if nothing.

    """

    question: int
    rejected: tuple[tuple[int, str], ...] = ()
    odd: str = ""


@dataclass(frozen=True, slots=True)
class Unfit:
    """The far end refuses what a question says, not who asks.

    Attributes:
        question: Its number.
        status: Of the answer.
        words: The far end's, fit to show.

    """

    question: int
    status: int
    words: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Post these items of a batch: ``start`` up to and without ``end``."""

    question: int
    batch: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody wants the answer to this question any more, nor the connection it went over."""

    question: int


@dataclass(frozen=True, slots=True)
class Bury:
    """The far end will never take this item; keep it for a person, with its words."""

    batch: int
    id: str
    words: str


Notice = (
    Start
    | Restarted
    | Stop
    | Offered
    | Lent
    | Drained
    | Taken
    | Unfit
    | Lost
    | Slept
    | Moved
    | Tick
)
Order = Lease | Ask | Cancel | Settle | Bury | Release
