"""What each queue of an app was given and got rid of, day by day: the figures of a dual run.

Counted only for apps with several upstreams, in the very transaction that changes the rows, so
the figures are as durable as what they count. A day is the person's own: its name is given.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.rules.ledger import Account

KEPT_DAYS = 400  #: So that a year can be looked back on.


@dataclass(frozen=True, slots=True)
class Day:
    """One queue's day: changes, so ``dead`` falls when letters are revived.

    Attributes:
        day: ``2026-11-21``, by the person's own clock.

    """

    day: str
    stream: int
    accepted: int = 0
    delivered: int = 0
    dead: int = 0
    lost: int = 0


@dataclass(slots=True)
class Counting:
    """Whose days are counted, and what day it is.

    Attributes:
        streams: Numbers of the queues.
        today: Names the day.

    """

    streams: set[int] = field(default_factory=set)
    today: Callable[[], str] = field(default=lambda: "")


class Daily:
    """The table ``daily``; every change needs an open turn.

    Args:
        db: The outbox's database.

    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, day: str, stream: int, before: Account, now: Account) -> None:
        """Count what a turn changed."""
        changes = (
            now.accepted - before.accepted,
            now.delivered - before.delivered,
            now.dead - before.dead,
            sum(now.lost.values()) - sum(before.lost.values()),
        )
        if any(changes):
            self._db.execute(
                "INSERT INTO daily VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " accepted = accepted + excluded.accepted,"
                " delivered = delivered + excluded.delivered,"
                " dead = dead + excluded.dead, lost = lost + excluded.lost",
                (day, stream, *changes),
            )

    def of(self, stream: int) -> list[Day]:
        """Return a queue's days, oldest first."""
        rows = self._db.execute("SELECT * FROM daily WHERE stream = ? ORDER BY day", (stream,))
        return [Day(*row) for row in rows]

    def prune(self) -> None:
        """Forget days beyond those that are kept."""
        self._db.execute(
            "DELETE FROM daily WHERE day < (SELECT min(day) FROM"
            " (SELECT DISTINCT day FROM daily ORDER BY day DESC LIMIT ?))",
            (KEPT_DAYS,),
        )
