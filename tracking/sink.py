"""Where frames go: what a room must offer in order to have the tracking API served over it.

The agent's core and the collector's store are sinks. The endpoints reply when the sink says that
the events are durable, never before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from tracking.acknowledging import Arrival
from tracking.errors import Fault, OverQuota, RequestFault
from tracking.events import Frame


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a frame came from.

    Attributes:
        transport: The way in.
        connection: Unique among the connections of this process.
        peer: The address of a TCP peer, ``pid:1234`` of one on this machine; may be empty.
        received_ms: When its last byte arrived.
        wait_s: How long its sender wants to wait for delivery (``tracking.acknowledging``); None:
            it does not ask for that.

    """

    transport: Literal["ws", "http", "line", "spool"]
    connection: int
    peer: str
    received_ms: int
    wait_s: float | None = None


class Receipt(msgspec.Struct, frozen=True):
    """What the sink did with a frame.

    Attributes:
        unacknowledged: Indexes into ``frame.events`` of those that are not safe.
        fault: Why not. A fault without indexes means that no event is safe.
        arrival: The rest of its way, if the frame's origin asked to wait for that and it has one;
            None where durable is delivered.

    """

    unacknowledged: tuple[int, ...] = ()
    fault: Fault | None = None
    arrival: Arrival | None = None

    def unsafe(self, frame: Frame) -> tuple[int, ...]:
        """Return the indexes of the events that must not be acknowledged."""
        if self.fault is not None and not self.unacknowledged:
            return tuple(range(len(frame.events)))
        return self.unacknowledged


class Sink(Protocol):
    """Where frames go: the agent's core, or the collector's store."""

    async def admit(self, app_id: str, origin: Origin, *, frame_follows: bool) -> None:
        """Let an app in, before its upgrade or its body.

        Args:
            app_id: Which.
            origin: Where it comes from.
            frame_follows: The request's one frame will be handed to :meth:`accept`, which may
                refuse it just as well.

        Raises:
            RequestFault: It is unknown (404) or may not (403).

        """

    async def accept(self, app_id: str, frame: Frame, origin: Origin) -> Receipt:
        """Keep the frame's events; return when they are durable, or why they are not."""
        ...

    def joined(self, app_id: str, connection: int) -> None:
        """A WebSocket was opened."""

    def left(self, app_id: str, connection: int) -> None:
        """It was closed."""

    def refused(self, app_id: str, frame: Frame) -> None:
        """Count the bad events of a frame."""


class LineSink(Protocol):
    """Where the frames of the line protocol go (:mod:`tracking.lines`), without a coroutine each.

    ``take`` may keep the frame and call ``reply`` later, in the loop's thread, once.
    """

    def take(
        self, app_id: str, frame: Frame, origin: Origin, reply: Callable[[Receipt], None]
    ) -> None:
        """Keep the frame's events and reply when they are durable."""

    def refused(self, app_id: str, frame: Frame) -> None:
        """Count the bad events of a frame."""


def status_of(fault: Fault) -> int:
    """Return the HTTP status that says the same as the fault."""
    return fault.status if isinstance(fault, RequestFault) else 503


def error_body(fault: Fault, **more: object) -> bytes:
    """Return the JSON object by which every room says what was wrong."""
    body: dict[str, object] = {
        "error": str(fault),
        "code": fault.code,
        "field": getattr(fault, "field", ""),
    }
    if fault.advice:
        body["advice"] = fault.advice
    if isinstance(fault, OverQuota):
        body["retryAfter"] = max(1, math.ceil(fault.retry_after_s))
    return msgspec.json.encode(body | more)


def explained(frame: Frame, receipt: Receipt, reply: bytes) -> tuple[Fault | None, bytes]:
    """Add to the golden reply what it cannot say, for senders that read further than SDKs do.

    Args:
        frame: As parsed.
        receipt: What the sink did with it.
        reply: The golden reply to it.

    Returns:
        The fault that the whole frame has, if it has one, and the JSON object to send.

    """
    if receipt.fault is None and not frame.refused:
        return None, reply
    said: dict[str, object] = dict(msgspec.json.decode(reply, type=dict[str, msgspec.Raw]))
    if frame.refused:
        said["refused"] = [
            {"index": r.index, "field": r.fault.field, "error": str(r.fault)}
            for r in frame.refused
            if r.index >= 0
        ]
    fault = receipt.fault
    if fault is None and not frame.events and not frame.heartbeats:
        fault = frame.refused[0].fault
    return fault, msgspec.json.encode(said) if fault is None else error_body(fault, **said)
