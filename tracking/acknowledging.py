"""What a sender may ask an acknowledgement to mean, and how it asks: for each request by itself.

``durable``, which nobody has to ask for: the events are on this disk. ``delivered``: every far end
of the app has confirmed them. Who asks for that is answered when they have, or when its time is
over, and then with what is true: durable, not yet delivered.

    Homing-Ack: delivered; timeout=30          HTTP, a parameter after the word as in RFC 7240
    POST …/track?ack=delivered&timeout=30      HTTP, for those who cannot set headers
    {"data":[…],"ack":"delivered","timeout":30}    a frame, on every way in

    {"data":[…],"ack":"durable","import":true}     a tool that imports a file for a person

    {"reportedIds":[…],"delivered":true}       200; everybody has it
    {"reportedIds":[…],"delivered":false}      202; safe here, and it will be sent

An official SDK asks for nothing and reads nothing of this: its replies are the golden ones, and
must be, because Swift's ends the app it lives in when a reply has a member more. Who writes ``ack``
into a frame reads further, so its reply may say on a WebSocket too why something is not safe. Where
frames are stored for good by who takes them in, as in the collector, durable *is* delivered.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from tracking import strict_json
from tracking.errors import RequestFault
from tracking.events import Asked

DELIVERED: Final = "delivered"
DURABLE: Final = "durable"
DEFAULT_WAIT_S: Final = 30.0
LEAST_WAIT_S: Final = 0.1
MOST_WAIT_S: Final = 3600.0
_HEADER: Final = re.compile(
    r"\s*(durable|delivered)\s*(?:;\s*timeout\s*=\s*\"?([0-9]{1,6}(?:\.[0-9]{1,3})?)\"?\s*)?"
)
_SECONDS: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,3})?")


class Arrival(Protocol):
    """What became durable, on its way to everyone who is to have it."""

    def tell(self, told: Callable[[], None]) -> Callable[[], None]:
        """Call ``told`` once, in the loop's thread, when all have it, perhaps before returning.

        Returns:
            How to wait no longer.

        """
        ...


def wait_of_request(headers: Mapping[bytes, bytes], query: bytes) -> float | None:
    """Return how long an HTTP request wants to wait for delivery, None if it does not.

    Raises:
        RequestFault: It asks for something that does not exist.

    """
    said = headers.get(b"homing-ack")
    if said is not None:
        found = _HEADER.fullmatch(said.decode("latin-1"))
        if found is None:
            raise _unknown("Homing-Ack", said.decode("latin-1"))
        return _wait(found[1], found[2])
    if b"ack=" not in query:
        return None
    asked = urllib.parse.parse_qs(query.decode("latin-1"), keep_blank_values=True)
    if "ack" not in asked:
        return None
    word, seconds = asked["ack"][-1], asked.get("timeout", [None])[-1]
    if word not in (DURABLE, DELIVERED) or (seconds and not _SECONDS.fullmatch(seconds)):
        raise _unknown("ack", f"{word} {seconds or ''}")
    return _wait(word, seconds)


def asked_of_frame(members: Mapping[str, str]) -> Asked | None:
    """Return what a frame asks of its reply, None if nothing.

    A word that nobody knows asks for nothing: the reply then says nothing of a delivery.

    Args:
        members: Of the frame's top level, as JSON.

    """
    if "ack" not in members:
        return None
    _, word = strict_json.scalar(members, "ack")
    if word == DURABLE:
        return Asked(imports=members.get("import") == "true")
    if word != DELIVERED:
        return None
    _, seconds = strict_json.scalar(members, "timeout")
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        return Asked(DEFAULT_WAIT_S)
    return Asked(_bounded(float(seconds)))


def told(reply: bytes, delivered: bool) -> bytes:
    """Return a reply that also says whether everybody has the events."""
    word = b"true" if delivered else b"false"
    comma = b"" if reply == b"{}" else b","
    return reply[:-1] + comma + b'"delivered":' + word + b"}"


def _wait(word: str, seconds: str | None) -> float | None:
    if word == DURABLE:
        return None
    return DEFAULT_WAIT_S if not seconds else _bounded(float(seconds))


def _bounded(seconds: float) -> float:
    return min(max(seconds, LEAST_WAIT_S), MOST_WAIT_S)


def _unknown(field: str, said: str) -> RequestFault:
    return RequestFault(
        f"{field} is durable or delivered, with a timeout in seconds, got {strict_json.clip(said)}",
        field=field,
        advice="As in Homing-Ack: delivered; timeout=30.",
    )
