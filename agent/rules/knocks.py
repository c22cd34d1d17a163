"""Who knocks without being allowed: a short list that nobody can flood.

For a person who is to answer: which app, by which program, since when, how often, how much it
offered. Kept in memory only; of the events themselves nothing but their number.

Invariants:
    1. At most ``MOST_KNOCKERS`` apps are listed. One more pushes out the quietest of those that the
       program with most entries made: who invents ids pushes its own.
    2. What came from outside is bounded in length here; it is made visible where it is shown.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MOST_KNOCKERS = 100
MOST_PATH_CHARS = 400


@dataclass(slots=True)
class Knocker:
    """One app that waits for an answer.

    Attributes:
        app_id: As it calls itself.
        executable: Path of the program that spoke last, empty if the system does not tell.
        pid: Its process, 0 if the system does not tell.
        first_ms: When it knocked first, Unix milliseconds.
        last_ms: When it knocked last.
        times: How often.
        offered: Events that it offered and still has.
        by: The ways it came: ``http``, ``ws``, ``line``, ``spool``, ``send``.

    """

    app_id: str
    first_ms: int
    last_ms: int
    executable: str = ""
    pid: int = 0
    times: int = 0
    offered: int = 0
    by: set[str] = field(default_factory=set)


class Knocks:
    """The list."""

    def __init__(self, most: int = MOST_KNOCKERS) -> None:
        self.most = most
        self.by_app: dict[str, Knocker] = {}

    def note(
        self,
        app_id: str,
        *,
        by: str,
        events: int,
        now_ms: int,
        pid: int = 0,
        executable: str = "",
    ) -> bool:
        """Count a knock; return whether this app is new to the list."""
        knocker = self.by_app.get(app_id)
        new = knocker is None
        if knocker is None:
            if len(self.by_app) >= self.most:
                del self.by_app[self._quietest()]
            knocker = self.by_app[app_id] = Knocker(app_id, now_ms, now_ms)
        knocker.last_ms = max(knocker.last_ms, now_ms)
        knocker.times += 1
        knocker.offered += events
        knocker.by.add(by)
        if pid or executable:
            knocker.pid, knocker.executable = pid, executable[:MOST_PATH_CHARS]
        return new

    def forget(self, app_id: str) -> Knocker | None:
        """Take an app off the list; it was answered."""
        return self.by_app.pop(app_id, None)

    def _quietest(self) -> str:
        """Return whom one more pushes out (invariant 1)."""
        crowd = Counter(knocker.executable for knocker in self.by_app.values())
        most = max(crowd.values())
        loud = [one for one in self.by_app.values() if crowd[one.executable] == most]
        return min(loud, key=lambda one: one.last_ms).app_id
