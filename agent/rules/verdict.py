"""What the end of a dial means for the next one: the type of the fault is the policy.

``link`` knows the states, this module knows the faults:

    a path where no tracking endpoint is   the other form at once, then a slow park
    a refusal (401, 403, ...)              parked for a person, asked again once an hour
    our own settings or keyring            parked for a person alone: asking again is pointless
    a delay that the far end named         waited for in full, a day at most
    a certificate that proves nothing      a long wait
    a network that wants a sign-in         a short wait, always the same: nobody far away is asked
    a proxy that wants a login             parked until the login or the network changes, because
                                           a password repeated by machine locks accounts
    a host that no setting names           parked for a person
    anything else                          the backoff's wait

A refusal is asked again although a person must act, because the person may be at the other end:
one wrong deploy there refuses a whole fleet, and nobody goes round pressing Retry on each desk.
Once an hour and a jitter on top is no load, and finds the way back by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.rules.backoff import Backoff
from tracking.errors import (
    Fault,
    LoginWanted,
    NotListed,
    Refused,
    SecretFault,
    SettingsFault,
    SignIn,
    Throttled,
    Unproven,
)

DAY_S = 86_400.0
UNPROVEN_S = 300.0  #: A certificate is looked at again no sooner.
UNKNOWN_S = 900.0  #: An unknown app is asked for again no sooner.
REFUSED_S = 3600.0  #: Nor is one that was refused.
SIGN_IN_S, STEADY_S = 5.0, 3.0  #: While a portal stands in the way: so long, and so much jitter.

#: Answers that mean "no tracking endpoint at this path". 404 is the plain one; a website may as
#: well show a page (200), send us elsewhere (never followed), or want another method or protocol.
ELSEWHERE = frozenset((200, 301, 302, 303, 307, 308, 400, 404, 405, 410, 426))


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """There is no tracking endpoint in this form; if in none, park for so long and more."""

    floor_s: float


@dataclass(frozen=True, slots=True)
class Park:
    """A person must act; asked again after so long and more, never if None."""

    floor_s: float | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Back off, for so long and more.

    Attributes:
        floor_s: At least, in seconds.
        named: The far end said so: not to be cut short.
        steady: The wait does not grow with each failure.

    """

    floor_s: float = 0.0
    named: bool = False
    steady: bool = False

    def next_s(self, backoff: Backoff, attempt: int, rng: Callable[[], float]) -> float:
        """Return how long to wait after so many failures in a row, in seconds."""
        if self.steady:
            return self.floor_s + rng() * STEADY_S
        return backoff.wait_s(attempt, rng, floor_s=self.floor_s)


def verdict(fault: Fault, *, dialing: bool) -> Elsewhere | Park | Wait:
    """Say what follows from a fault.

    Args:
        fault: Why the dial ended.
        dialing: It had not opened yet: only then a 404 is about the path.

    """
    match fault:
        case Refused(status=status) if status in ELSEWHERE and dialing:
            return Elsewhere(UNKNOWN_S)
        case Refused():
            return Park(REFUSED_S)
        case SettingsFault() | SecretFault() | LoginWanted() | NotListed():
            return Park(None)
        case SignIn():
            return Wait(SIGN_IN_S, steady=True)
        case Throttled(retry_after_s=named_s):
            return Wait(min(max(named_s, 0.0), DAY_S), named=True)
        case Unproven():
            return Wait(UNPROVEN_S)
        case _:
            return Wait()
