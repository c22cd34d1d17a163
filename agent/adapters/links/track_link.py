"""Nucleus over HTTP: the same dials, frames and notices as over a WebSocket, by POST.

Used where no WebSocket gets through (``agent.rules.fallback``). A *dial* is a conversation here:
it opens when the far end has answered an empty frame, then each frame is one
``POST …/app/{appId}/track`` after the other, on a connection that is kept; an answer that is none
ends it. It has the surface of :class:`agent.adapters.links.websocket_link.WebSocketLink`, so the
rule and the delivery above need not know the difference (NUCLEUS.md §4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from agent.adapters.links.http_link import Answered, HttpLink
from agent.adapters.links.http_wire import Answer, Question
from agent.adapters.links.websocket_link import Died
from agent.adapters.roads.patience import words
from agent.adapters.roads.refusals import TAG, refusal
from agent.rules.endpoints import Address, parse_address
from agent.rules.notices import Lost, Notice, Opened, Received
from tracking.errors import LinkFault, Unreachable
from tracking.nucleus import parse_reply, wrap

EMPTY = wrap(
    ()
)  #: Says nothing, and is answered: a far end that answers it is a tracking endpoint.


class _Reply(msgspec.Struct, rename="camel"):
    reported_ids: list[msgspec.Raw]


_REPLY = msgspec.json.Decoder(_Reply)


class TrackLink:
    """Frames to one far end, and what it answers.

    Args:
        name: Of the way, for the thread's name.
        post: Takes notices; called from the link's thread, must not wait.
        limits: As :class:`agent.adapters.links.http_link.HttpLink` takes them. What ``passed``
            hears has the very frame as its question's body.

    """

    def __init__(self, name: str, post: Callable[[Notice | Died], None], **limits: Any) -> None:
        self._post = post
        self._http = HttpLink(name, self._heard, **limits)
        self._address: Address | None = None
        self._opened = 0  # the thread's own: the newest dial that opened
        self.peer = ""  #: Who answered last.

    def dial(self, dial: int, url: str) -> None:
        """Begin a conversation; answered by ``Opened`` or ``Lost``."""
        self._address = parse_address(url, ("https", "http"))
        self.send(dial, EMPTY)

    def send(self, dial: int, frame: bytes) -> None:
        """Post one frame; the answer is ``Received``, or ends the dial."""
        assert self._address is not None
        question = Question("", frame)
        self._http.ask(dial, self._address, lambda _: question)

    def heartbeat(self, dial: int, frame: bytes) -> None:
        """Post a heartbeat."""
        self.send(dial, frame)

    def ping(self, dial: int) -> None:
        """Ask for a sign of life without giving one."""
        self.send(dial, EMPTY)

    def hang_up(self, dial: int) -> None:
        """End a dial, also while it waits for an answer."""
        self._http.cancel(dial)

    def stop(self, within_s: float = 2.0) -> bool:
        """End the thread; tell whether it did end within ``within_s``."""
        return self._http.stop(within_s)

    def _heard(self, heard: Answered | Lost | Died) -> None:
        """Tell what an answer means; on the link's thread."""
        if not isinstance(heard, Answered):
            self._post(heard)
            return
        self.peer = heard.peer
        dial, fault = heard.number, fault_of(heard.answer)
        if fault is not None:
            self._http.cancel(dial)
            self._post(Lost(dial, fault))
        elif dial > self._opened:
            self._opened = dial
            self._post(Opened(dial))
        else:
            reply = parse_reply(heard.answer.body)
            self._post(Received(dial, reply.ids, heard.answer.body, heard.at_ms, reply.anon_id))


def fault_of(answer: Answer) -> LinkFault | None:
    """Return why an answer is none of a tracking endpoint, None if it is one.

    A refusal that names ids counts: it says of those events that they need not come again.
    """
    try:
        ids = _REPLY.decode(answer.body).reported_ids if answer.whole else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        ids = None
    if ids or (ids is not None and 200 <= answer.status < 300):
        return None
    if not 200 <= answer.status < 300:
        return refusal(answer.status, answer.retry_after, answer.body[:2048])
    shown = words(TAG.sub(b" ", answer.body[:2048]))[:80]
    return Unreachable(
        f"something answered {answer.status} that is no tracking endpoint: {shown or 'nothing'}",
        advice="A proxy or a login page may stand in between; `homing doctor network` looks.",
    )
