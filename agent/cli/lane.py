"""A lane to the agent: frames out, acknowledgements in, several on the way at once.

One JSON frame after the other, one answer each, in order (:mod:`agent.cli.entrance`). What an
answer does not name is offered again; when the agent goes away,
everything without an answer is offered to its successor. Both are safe because events carry
their ids.

One asyncio loop and no second task: the stream's transport goes on reading answers while this
coroutine waits for room to write, so neither end can block the other.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from agent.cli.entrance import Entrance, Lines
from agent.cli.ndjson import Batch, Item
from tracking.errors import AgentGone, Fault, OverQuota, RequestFault, StorageFault
from tracking.nucleus import parse_reply

WINDOW = 8  #: Frames on the way at once: enough to keep a commit and a parse busy side by side.
ANSWER_S = 60.0  #: How long an answer may take: a loaded disk commits slowly.
PATIENCE_S = 60.0  #: How long nothing may move before a person is told.
CALM_S = 0.5  #: Wait before the next offer; an answer names no time.


class _Refusal(msgspec.Struct):
    index: int = -1
    error: str = ""


class _Answer(msgspec.Struct):
    """What an answer says beside the ids: why something is not safe (docs/local-api.md)."""

    error: str = "the agent did not acknowledge everything"
    code: str = OverQuota.code
    field: str = ""
    advice: str = ""
    refused: list[_Refusal] = []

    def why_not(self) -> Fault:
        """Return why events were not acknowledged and are to be offered again.

        Raises:
            RequestFault: Waiting would not help.

        """
        if self.code == OverQuota.code:
            return OverQuota(self.error, retry_after_s=CALM_S, advice=self.advice)
        if self.code.partition(".")[0] == StorageFault.code:  # "storage.full" among them
            return StorageFault(self.error, advice=self.advice)
        raise RequestFault(self.error, field=self.field, advice=self.advice)


_ANSWER = msgspec.json.Decoder(_Answer)


def _read(raw: bytes) -> _Answer:
    try:
        return _ANSWER.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _Answer()


async def deliver(
    connect: Callable[[], Entrance],
    batches: Iterator[Batch],
    stored: Callable[[int], None],
    refused: Callable[[Item, str], None],
    *,
    patience_s: float = PATIENCE_S,
) -> None:
    """Report every batch; return when each event has been acknowledged.

    Args:
        connect: Opens a connection to the agent, or raises ``AgentGone``.
        batches: What to report, in order.
        stored: Told how many events were made durable, each time.
        refused: Told of each event that the agent will not have, and why.
        patience_s: How long nothing may move, in seconds.

    Raises:
        Fault: The agent is gone, refuses the app, or nothing moved for too long.

    """
    lane = _Lane(batches, stored, refused, patience_s)
    first = True
    while True:
        try:
            entrance = connect()
        except AgentGone as gone:
            if first:
                raise
            lane.trouble = gone
        else:
            first = False
            if await lane.drive(entrance):
                return
        await lane.calm()


class _Lane:
    """The frames on the way, whatever connection carries them.

    Attributes:
        moved: When an event was last acknowledged, monotonic seconds.
        trouble: Why the last connection was left.

    """

    def __init__(
        self,
        batches: Iterator[Batch],
        stored: Callable[[int], None],
        refused: Callable[[Item, str], None],
        patience_s: float,
    ) -> None:
        self.moved = time.monotonic()
        self.trouble: Fault = AgentGone("the agent went away")
        self._batches = batches
        self._stored = stored
        self._refused = refused
        self._patience_s = patience_s
        self._again: deque[Batch] = deque()
        self._flying: deque[Batch] = deque()
        self._held = False

    async def drive(self, entrance: Entrance) -> bool:
        """Use one connection; return whether everything was acknowledged."""
        way = await Lines.of(entrance)
        try:
            await self._pump(way)
        except (OSError, TimeoutError, EOFError):
            self._land()
            self.trouble = AgentGone(
                "the agent closed the connection",
                advice="Start it and import the file again: what is stored is not stored twice.",
            )
            return False
        finally:
            way.close()
        return True

    async def calm(self) -> None:
        """Wait a little before the next try; give up when nothing has moved for too long."""
        if time.monotonic() - self.moved > self._patience_s:
            raise self.trouble
        await asyncio.sleep(CALM_S)

    async def _pump(self, way: Lines) -> None:
        while True:
            while not self._held and len(self._flying) < WINDOW:
                batch = self._again.popleft() if self._again else next(self._batches, None)
                if batch is None:
                    break
                self._flying.append(batch)
                await way.offer(batch)
            if self._flying:
                async with asyncio.timeout(ANSWER_S):
                    answer = await way.answer()
                self._settle(self._flying.popleft(), answer)
            elif self._held:
                await self.calm()
                self._held = False
            else:
                return

    def _settle(self, batch: Batch, raw: bytes) -> None:
        answer = _read(raw)
        acknowledged = set(parse_reply(raw).ids)
        left = [item for item in batch.items if item.id not in acknowledged]
        never = {refusal.index: refusal.error for refusal in answer.refused}
        for place, item in enumerate(batch.items):
            if place in never and item.id in acknowledged:
                self._refused(item, never[place])
        if len(left) < len(batch.items):
            self.moved = time.monotonic()
            self._stored(len(batch.items) - len(left) - len(never))
        if left:
            self.trouble, self._held = answer.why_not(), True
            self._again.append(Batch(app_id=batch.app_id, items=tuple(left)))

    def _land(self) -> None:
        """Put what is on the way back to the front, in order."""
        self._again.extendleft(reversed(self._flying))
        self._flying.clear()
