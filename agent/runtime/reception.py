"""Where the tracking endpoints hand over: the agent's :class:`tracking.endpoints.Sink`.

The three ways in (HTTP, WebSocket, lines) meet here and go to one :class:`Intake`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.rules.consent import Consent
from agent.runtime.intake import Intake
from tracking.endpoints import Origin, Receipt
from tracking.events import Frame


class Reception:
    """Sink for HTTP and WebSocket, and line sink for the fast path.

    Args:
        intake: Takes the frames.

    """

    def __init__(self, intake: Intake) -> None:
        self.intake = intake

    async def admit(self, app_id: str, transport: str) -> None:
        """Let an app in before anything of it is read.

        Raises:
            RequestFault: Nobody allowed it; the knock is counted and shown.

        """
        del transport
        desk = self.intake.desks.get(app_id)
        if desk is None or desk.consent is Consent.PENDING:
            raise self.intake.stranger(app_id)

    async def accept(self, app_id: str, frame: Frame, origin: Origin) -> Receipt:
        answered: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()

        def answer(receipt: Receipt) -> None:
            if not answered.done():  # the caller may have gone; the events are kept all the same
                answered.set_result(receipt)

        self.intake.take(app_id, frame, origin, answer)
        return await answered

    def take(
        self, app_id: str, frame: Frame, origin: Origin, reply: Callable[[Receipt], None]
    ) -> None:
        self.intake.take(app_id, frame, origin, reply)

    def joined(self, app_id: str, connection: int) -> None:
        """A WebSocket of a local app opened; the agent's own heartbeat speaks for the machine."""

    def left(self, app_id: str, connection: int) -> None:
        """A WebSocket of a local app closed."""

    def refused(self, app_id: str, frame: Frame) -> None:
        """Count the bad events of a frame; their sender was told."""
        desk = self.intake.desks.get(app_id)
        if desk is not None:
            desk.refused += len(frame.refused)
