"""When events go over HTTP because WebSockets cannot get through, and when back again.

    WebSocket ──blocked `after` times in a row, or plainly──► HTTP
        ▲                                                     │
        └── a WebSocket dial is heard ◄── tried again after ──┘
                                          5 min, 10, 20 … 60

*Blocked* means that the road is there and the upgrade is what fails: it is cut, never answered,
answered in another language, or opened and then silent. A name, a route, a certificate or a key
that fails says nothing of WebSockets and is waited for as ever. *Plainly* means an answer that
speaks of the upgrade itself (``NO_UPGRADE``), under both forms of the endpoint: somebody on the
way takes the upgrade out of the request, and one such answer is enough.

While on HTTP, the WebSocket is tried again between two batches, never beside them: there is one
connection at a time, so nothing is lent twice. If HTTP does not work either, nothing was learnt,
and the next dial is a WebSocket again.

Pure; owned by ``agent.rules.link``. NUCLEUS.md §4 and §8 C10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from tracking.errors import Fault, Refused

Transport = Literal["websocket", "http"]

#: Answers to an upgrade that speak of the upgrade, not of the path or of who asks. 200 is a page
#: or an API that saw a plain GET.
NO_UPGRADE: Final = frozenset((200, 400, 405, 426))

LEAST_S: Final = 30.0  #: On HTTP, however often the network changes.


@dataclass(slots=True)
class Fallback:
    """Decides by which transport the next dial goes.

    Attributes:
        after: Blocked dials in a row before HTTP is used; 0: it never is.
        retry_s: So long on HTTP before a WebSocket is tried again; doubled each time in vain.
        cap_s: At most.
        suspected: When the program ran before, only HTTP got through: one blocked dial is enough.
        reason: Why WebSockets are held to be blocked; None: they are not.
        again_at: When a WebSocket is tried again, monotonic seconds.

    """

    after: int = 0
    retry_s: float = 300.0
    cap_s: float = 3600.0
    suspected: bool = False
    reason: Fault | None = None
    again_at: float = 0.0
    _blocked: int = 0  # WebSocket dials in a row
    _wait_s: float = 0.0  # until the next try, when this one is in vain
    _proven: bool = False  # HTTP has worked since it was chosen
    _plainly: bool = False  # one of the endpoint's forms answered that there is no upgrade

    def __post_init__(self) -> None:
        if self.suspected:
            self._blocked = max(0, self.after - 1)

    @property
    def note(self) -> str:
        """What a person should know of it, empty if there is nothing."""
        return "" if self.reason is None else f"over HTTP (WebSocket blocked: {self.reason})"

    def choose(self, now: float) -> Transport:
        """Return how to dial now."""
        return "http" if self.reason is not None and now < self.again_at else "websocket"

    def due(self, now: float) -> bool:
        """Tell whether it is time to try a WebSocket, being on HTTP."""
        return self.reason is not None and now >= self.again_at

    def refused(self, fault: Refused) -> None:
        """Hear that one form of the endpoint refused the upgrade."""
        self._plainly |= fault.status in NO_UPGRADE

    def refused_by_all(self, fault: Refused, now: float) -> bool:
        """Hear that every form did; tell whether to dial by HTTP at once."""
        plainly, self._plainly = self._plainly, False
        return plainly and self._give_up(fault, now, at_once=True)

    def blocked(self, fault: Fault, now: float) -> bool:
        """Hear that a WebSocket could not get through; tell whether to dial by HTTP at once."""
        return self._give_up(fault, now, at_once=False)

    def _give_up(self, fault: Fault, now: float, *, at_once: bool) -> bool:
        self._blocked += 1
        on_http = self.reason is not None
        if not self.after or not (at_once or on_http or self._blocked >= self.after):
            return False
        wait_s = self._wait_s if on_http else self.retry_s
        self.reason, self.again_at = fault, now + wait_s
        self._wait_s = min(self.cap_s, 2 * wait_s)
        return True

    def missed(self, now: float) -> None:
        """Hear that a WebSocket dial failed for a cause that says nothing of WebSockets."""
        if self.reason is not None:
            self.again_at = max(self.again_at, now + self.retry_s)

    def http_opened(self, now: float) -> None:
        """Hear that HTTP works; it is given time to carry something."""
        self._proven = True
        self.again_at = max(self.again_at, now + min(self.retry_s, LEAST_S))

    def http_failed(self) -> None:
        """Hear that a dial by HTTP did not open."""
        if not self._proven:
            self.reason, self._blocked = None, self.after - 1

    def hurry(self, now: float) -> None:
        """The network may be another one: the next dial is a WebSocket."""
        self.again_at = min(self.again_at, now)

    def works(self) -> None:
        """Hear a WebSocket: all is forgotten."""
        self.reason, self._blocked, self._wait_s = None, 0, 0.0
        self._proven = self._plainly = False
