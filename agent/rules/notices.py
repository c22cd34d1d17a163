"""What a link's rule is told, and what it answers: the words between core and rule.

A notice says what happened, an order what is to be done; both are facts that travel, so they are
frozen. ``agent.rules.link`` gives them their meaning.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from agent.rules.endpoints import Form
from agent.rules.fallback import Transport
from tracking.errors import Fault


class State(enum.Enum):
    """Where the connection stands; the tray shows these names."""

    IDLE = "idle"
    DIALING = "dialing"
    LIVE = "live"
    WAITING = "waiting"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class Start:
    """A person or the program wants the link to run. Ends a backoff and a park."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The program was started again while a far end was being waited for: nobody asked.

    Attributes:
        attempt: Failures in a row before.
        wait_s: Of the wait so much is left.
        named: The far end named it.

    """

    attempt: int
    wait_s: float
    named: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """A person or the program wants no connection: a pause."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The handshake of a dial succeeded."""

    dial: int


@dataclass(frozen=True, slots=True)
class Received:
    """A whole text from the far end.

    Attributes:
        dial: On which dial it came.
        ids: The acknowledged ids, as text; empty if it was no acknowledgement.
        raw: The text as it came, for the wire log.
        at_ms: When, Unix milliseconds.
        anon_id: An ``anonId`` that the far end proposes; only the core knows whether we want it.

    """

    dial: int
    ids: tuple[str, ...] = ()
    raw: bytes = b""
    at_ms: int = 0
    anon_id: str | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """A sign of life that is no text: the far end answered our ping."""

    dial: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A dial ended, or never came about."""

    dial: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class Offered:
    """The outbox has something that is not lent."""


@dataclass(frozen=True, slots=True)
class Leased:
    """Answer to ``Lease``: these ids were lent as this batch and handed to the link."""

    batch: int
    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Drained:
    """Answer to ``Lease``: there is nothing left to lend."""


@dataclass(frozen=True, slots=True)
class Slept:
    """The machine slept for about so long (``agent.rules.cadence``)."""

    gap_s: float


@dataclass(frozen=True, slots=True)
class Moved:
    """The network changed: an address or a route came or went, or a proxy's login did."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; wanted at ``LinkRule.deadline``."""


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a connection to the endpoint in this form; over HTTP the form is ``track``."""

    dial: int
    form: Form
    over: Transport = "websocket"


@dataclass(frozen=True, slots=True)
class HangUp:
    """End this dial; nothing more is wanted of it."""

    dial: int


@dataclass(frozen=True, slots=True)
class Lease:
    """Lend the oldest batch that is not lent and send it; answer ``Leased`` or ``Drained``."""

    dial: int


@dataclass(frozen=True, slots=True)
class SendHeartbeat:
    """Send one heartbeat, and a ping beside it: one of the two is always answered."""

    dial: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask for a sign of life without giving one: is this connection still there?"""

    dial: int


@dataclass(frozen=True, slots=True)
class Settle:
    """The far end has these events of the batch.

    Attributes:
        batch: As named by ``Leased``.
        ids: What was acknowledged now.
        whole: With this, nothing of the batch is left.

    """

    batch: int
    ids: frozenset[str]
    whole: bool


@dataclass(frozen=True, slots=True)
class Release:
    """All leases are dead; offer everything again, from the oldest."""


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep what worked for the next start: the endpoint's form, and by which transport."""

    form: Form
    over: Transport = "websocket"


Notice = (
    Start
    | Restarted
    | Stop
    | Opened
    | Received
    | Heard
    | Lost
    | Offered
    | Leased
    | Drained
    | Slept
    | Moved
    | Tick
)
Order = Dial | HangUp | Lease | SendHeartbeat | Probe | Settle | Release | Remember
