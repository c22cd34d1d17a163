"""Where the tracking endpoints hand over: the agent's :class:`tracking.endpoints.Sink`.

The three ways in (HTTP, WebSocket, lines) meet here and go to one :class:`Intake`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from agent.rules.quota import Bucket
from agent.runtime.counter.intake import Intake
from agent.runtime.counter.journey import Journey
from agent.runtime.counter.waiting import Waiters
from agent.runtime.people.consents import Consents
from tracking.endpoints import Origin, Receipt
from tracking.events import Frame

UNLIMITED: Final = 1e9  #: Events per second.


class Reception:
    """Sink for HTTP and WebSocket, and line sink for the fast path.

    Args:
        intake: Takes the frames.
        consents: Says who may come in.
        waiters: Hears what far ends confirm.
        takes_imports: A person's tools come in here; pages and SDKs at the gateway are none.

    Attributes:
        imports: Counts what a person imports: without a limit, because it is no noise of an app's.
            Every connection has its turn in each round of the loop, so apps wait for a few frames
            of an import at most.

    """

    def __init__(
        self,
        intake: Intake,
        consents: Consents,
        waiters: Waiters,
        *,
        takes_imports: bool = True,
    ) -> None:
        self.takes_imports = takes_imports
        self.intake = intake
        self.consents = consents
        self.waiters = waiters
        self.imports = Bucket(rate_per_s=UNLIMITED, burst=UNLIMITED)

    async def admit(self, app_id: str, origin: Origin, *, frame_follows: bool) -> None:
        """Let an app in before anything of it is read.

        One that nobody allowed is let as far as its frame, if one follows: how many events it
        offers helps a person to answer. They go no further than :meth:`Consents.gate`.

        Raises:
            RequestFault: Nobody allowed it; the knock is counted and shown.

        """
        self.consents.admit(app_id, origin, frame_follows=frame_follows)

    async def accept(self, app_id: str, frame: Frame, origin: Origin) -> Receipt:
        answered: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()

        def answer(receipt: Receipt) -> None:
            if not answered.done():  # the caller may have gone; the events are kept all the same
                answered.set_result(receipt)

        self.take(app_id, frame, origin, answer)
        return await answered

    def take(
        self, app_id: str, frame: Frame, origin: Origin, reply: Callable[[Receipt], None]
    ) -> None:
        imports = self.takes_imports and frame.asked is not None and frame.asked.imports
        bucket = self.imports if imports else None
        if origin.wait_s is None:
            self.intake.take(app_id, frame, origin, reply, bucket=bucket)
            return
        journey = Journey(self.intake, self.waiters, app_id, len(frame.events))

        def answer(receipt: Receipt) -> None:
            if receipt.fault is None:
                receipt = msgspec.structs.replace(receipt, arrival=journey)
            reply(receipt)

        self.intake.take(app_id, frame, origin, answer, ids=journey.begins, bucket=bucket)

    def joined(self, app_id: str, connection: int) -> None:
        """A WebSocket of a local app opened; the agent's own heartbeat speaks for the machine."""

    def left(self, app_id: str, connection: int) -> None:
        """A WebSocket of a local app closed."""

    def refused(self, app_id: str, frame: Frame) -> None:
        """Count the bad events of a frame; their sender was told."""
        self.intake.count_refused(app_id, len(frame.refused))
