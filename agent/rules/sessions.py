"""When an app's conversation begins and ends, and who says so on the wire.

Seed 000: the far end counts sessions by their ``init``, and a session is over when its app was
silent for 30 minutes. Apps on the local socket need not know that: the agent keeps one session
per app and puts an ``init`` before its first event. Apps that do know (the official SDKs) keep
their word: their own ``init`` is the only one, and their own ``sessionId`` passes unchanged.

Pure: the time, what the app said, and fresh numbers come in.

Invariants:
    1. An id of ours is used on the wire only after an ``init`` with that id.
    2. No session of ours gets an ``init`` from both the app and us.
    3. Silence is measured by the wall clock, so a sleeping machine is silent; a clock that is set
       back ends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

SILENCE_MS = 30 * 60 * 1000  #: Seed 000: "more than 30 minutes passed since the last request".
LOWEST, HIGHEST = 1000, 9999  #: Seed 000: a "4-digits number".
REMEMBERED = 500  #: A new id is none of so many before it: four digits come round again.


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation of one app.

    Attributes:
        session_id: Four digits; for events that name no session of their own.
        started_ms: When its first event came, Unix milliseconds.
        last_ms: When its latest event came.
        opened: An ``init`` with this id has been accepted.

    """

    session_id: int
    started_ms: int
    last_ms: int
    opened: bool = True


def decide(
    session: Session | None,
    now_ms: int,
    *,
    own_init: bool,
    own_session: bool,
    fresh: Callable[[], int],
) -> tuple[Session, bool]:
    """Take note of an app's events at ``now_ms``; return its session, and if an init is due.

    An ``init`` of the app's own without a ``sessionId`` says "I have just started": it begins a
    session, even within the half hour. Events that all name their own session leave ours unopened
    until it is needed.

    Args:
        session: The app's session so far, None if it never had one.
        now_ms: Wall clock, Unix milliseconds.
        own_init: One of the events is an ``init`` that names no session.
        own_session: Every one of the events names a session.
        fresh: Returns an id for a new session; called at most once.

    Returns:
        The session as it is now, and whether the agent must put an ``init`` before the events.

    """
    if session is None or _ended(session, now_ms) or (own_init and not own_session):
        session = Session(session_id=fresh(), started_ms=now_ms, last_ms=now_ms, opened=False)
    due = not session.opened and not own_session and not own_init
    opened = session.opened or not own_session
    return msgspec.structs.replace(session, last_ms=now_ms, opened=opened), due


def _ended(session: Session, now_ms: int) -> bool:
    return now_ms - session.last_ms > SILENCE_MS


def fresh_id(recent: Iterable[int], below: Callable[[int], int]) -> int:
    """Return a session id of four digits, uniform among those not used lately.

    Args:
        recent: Ids used before, newest last; the last 500 are avoided.
        below: ``below(n)`` is a random integer in [0, n), as :func:`secrets.randbelow`.

    """
    taken = sorted({i for i in list(recent)[-REMEMBERED:] if LOWEST <= i <= HIGHEST})
    chosen = LOWEST + below(HIGHEST - LOWEST + 1 - len(taken))
    for used in taken:  # count past the used ones: no second throw, and still uniform
        if used > chosen:
            break
        chosen += 1
    return chosen
