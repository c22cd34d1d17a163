"""What one request of an app handed in, on its way through the counter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.runtime.counter.waiting import Streams
from tracking.bucket import Call
from tracking.endpoints import Receipt
from tracking.errors import Fault
from tracking.events import Event

Reply = Callable[[Receipt], None]


@dataclass(slots=True)
class Letter:
    """What one request handed in, and how to answer it.

    Attributes:
        app_id: Whose.
        events: Of Nucleus.
        calls: Of Bucket.
        reply: Hears what became of it.
        ids: Hears, just before the reply, which wire ids it was given and which streams of the
            outbox each is on.
        repeat: By what the request would be known again; empty if by nothing.
        handed_in: How many events or calls its sender knows of; rules may take some away.

    """

    app_id: str
    events: tuple[Event, ...]
    calls: tuple[Call, ...]
    reply: Reply
    ids: Callable[[Streams], None] | None = None
    repeat: str = ""
    handed_in: int = field(init=False)

    def __post_init__(self) -> None:
        self.handed_in = self.count

    @property
    def count(self) -> int:
        return len(self.events) + len(self.calls)

    def refuse(self, fault: Fault) -> None:
        """Say that nothing of it was kept."""
        self.reply(Receipt(fault=fault, unacknowledged=tuple(range(self.handed_in))))
