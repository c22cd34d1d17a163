"""How hard a far end was tried survives the agent, so that starting anew is no way round waiting.

A supervisor that starts the agent again and again would otherwise dial each time at once,
whatever the waits had grown to (SECURITY row 42). So per app the number of failures and the wall
time of the next try are kept, and they go when a link has proved itself.

The first dial after a start counts as a failure until a link has lived: an agent that connects
and dies of it, once a second, never sees a dial fail. The first starts cost nothing; from
``KEPT_FROM`` failures on each has its wait, of 8 s at most if the far end acknowledged anything.
A person who asks is dialled for at once, as ever.

The wall clock may have been set meanwhile: a wait is never longer than the rule would have made
it, and one for another endpoint is nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from agent.rules.backoff import Backoff

KEPT_FROM = 3  #: Failures in a row from which on the wait is kept; fewer wait 4 s at most.
DAY_MS = 86_400_000


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an app's failures.

    Attributes:
        endpoint: Where it was tried.
        attempt: Failures in a row.
        until_ms: Not before this wall time, Unix milliseconds.
        named: The far end named the delay, so not even a person may cut it short.

    """

    endpoint: str
    attempt: int
    until_ms: int = 0
    named: bool = False


def left_s(hold: Hold | None, endpoint: str, now_ms: int, backoff: Backoff) -> float:
    """Return how long a starting agent must still wait, in seconds."""
    if hold is None or hold.endpoint != endpoint:
        return 0.0
    longest_ms = DAY_MS if hold.named else round(backoff.cap_s * 1000)
    return max(0, min(hold.until_ms - now_ms, longest_ms)) / 1000


def dialled(
    hold: Hold | None, endpoint: str, now_ms: int, backoff: Backoff, rng: Callable[[], float]
) -> Hold:
    """Return what to keep at the first dial after a start: if it proves nothing, it failed."""
    attempt = 1 if hold is None or hold.endpoint != endpoint else hold.attempt + 1
    wait_s = backoff.wait_s(attempt, rng) if attempt >= KEPT_FROM else 0.0
    return Hold(endpoint=endpoint, attempt=attempt, until_ms=now_ms + round(wait_s * 1000))


def acknowledged(hold: Hold, now_ms: int, backoff: Backoff, rng: Callable[[], float]) -> Hold:
    """Return what to keep when a far end acknowledged: short waits, as for the link's rule.

    A link that works until something kills the agent is no reason to keep events for minutes.
    """
    if hold.attempt <= KEPT_FROM:
        return hold
    until_ms = min(hold.until_ms, now_ms + round(backoff.wait_s(KEPT_FROM, rng) * 1000))
    return Hold(endpoint=hold.endpoint, attempt=KEPT_FROM, until_ms=until_ms)


def waiting(endpoint: str, attempt: int, wait_s: float, now_ms: int, *, named: bool) -> Hold | None:
    """Return what to keep of a wait that begins, None if it is not worth a write."""
    if attempt < KEPT_FROM and not named:
        return None
    until_ms = now_ms + round(wait_s * 1000)
    return Hold(endpoint=endpoint, attempt=attempt, until_ms=until_ms, named=named)
