"""The places at the local socket: a share for each program, a few kept for the person's tools.

Without it one app that forgets to close what it opens would lock out every other, and the person
who wants to know why (SECURITY.md row 25).
"""

from __future__ import annotations

from typing import Final, Protocol

from agent.adapters.local.callers import who
from agent.rules.wording import visible
from tracking.places import Places

SHARE: Final = 4  #: One process may have one part in so many.
LEAST_SHARE: Final = 4  #: Or this many, whatever the setting is.
KEPT: Final = 8  #: Beside all others, for who asks something under ``/v1/``.
CODE: Final = "local.crowded"


class Notes(Protocol):
    """What a person is shown."""

    def note(self, code: str, text: str, severity: str) -> None: ...
    def unnote(self, code: str) -> None: ...


def places_of(most: int, notes: Notes, *, loopback: bool) -> Places:
    """Return the places of the local socket.

    Args:
        most: ``limits.connections``.
        notes: What a person is shown.
        loopback: Nobody can tell one process from another, so the share holds for none.

    """
    greedy: dict[str, str] = {}

    def crowded(holder: str, held: int) -> None:
        greedy[holder] = _sentence(holder, held)
        notes.note(CODE, "; ".join(greedy.values()), "warning")

    def calm(holder: str) -> None:
        greedy.pop(holder, None)
        if greedy:
            notes.note(CODE, "; ".join(greedy.values()), "warning")
        else:
            notes.unnote(CODE)

    return Places(
        most,
        share=None if loopback else max(LEAST_SHARE, most // SHARE),
        side=KEPT,
        fair=True,
        crowded=crowded,
        calm=calm,
    )


def _sentence(holder: str, held: int) -> str:
    caller = who(holder)
    program = f" ({visible(caller.executable, 200)})" if caller.executable else ""
    name = f"process {caller.pid}{program}" if caller.pid else "a process"
    return f"{name} holds {held} connections, more than its share: more of its are not let in"
