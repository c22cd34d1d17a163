"""A lane to the agent: frames out, acknowledgements in, several on the way at once.

The fast way in (docs/local-api.md): one JSON frame per line on the local socket, one answer
per line, in order. What an answer does not name is offered again; when the agent goes away,
everything without an answer is offered to its successor. Both are safe because events carry
their ids.

One asyncio loop and no second task: the stream's transport goes on reading answers while this
coroutine waits for room to write, so neither end can block the other.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from agent.cli.ndjson import Batch
from tracking.errors import AgentGone, Fault, OverQuota, RequestFault, StorageFault
from tracking.nucleus import parse_reply

WINDOW = 8  #: Frames on the way at once: enough to keep a commit and a parse busy side by side.
ANSWER_BYTES = 4 * 1024 * 1024  #: The longest answer; 500 ids of an app's own may be long.
ANSWER_S = 60.0  #: How long an answer may take: a loaded disk commits slowly.
PATIENCE_S = 60.0  #: How long nothing may move before a person is told.
CALM_S = 0.5  #: Wait before the next offer when the agent named no time.


async def deliver(
    connect: Callable[[], socket.socket],
    batches: Iterator[Batch],
    stored: Callable[[int], None],
    *,
    patience_s: float = PATIENCE_S,
) -> None:
    """Report every batch; return when each event has been acknowledged.

    Args:
        connect: Opens a connection to the agent, or raises ``AgentGone``.
        batches: What to report, in order.
        stored: Told how many events were acknowledged, each time.
        patience_s: How long nothing may move, in seconds.

    Raises:
        Fault: The agent is gone, refuses the app, or nothing moved for too long.

    """
    lane = _Lane(batches, stored)
    first = True
    while True:
        try:
            connection = connect()
        except AgentGone as gone:
            if first:
                raise
            lane.trouble = gone
        else:
            first = False
            if await lane.drive(connection):
                return
        if time.monotonic() - lane.moved > patience_s:
            raise lane.trouble
        await asyncio.sleep(CALM_S)


class _Lane:
    """The frames on the way, whatever connection carries them.

    Attributes:
        moved: When an event was last acknowledged, monotonic seconds.
        trouble: Why the last connection was left.

    """

    def __init__(self, batches: Iterator[Batch], stored: Callable[[int], None]) -> None:
        self.moved = time.monotonic()
        self.trouble: Fault = AgentGone("the agent went away")
        self._batches = batches
        self._stored = stored
        self._again: deque[Batch] = deque()
        self._flying: deque[Batch] = deque()
        self._hold_s = 0.0

    async def drive(self, connection: socket.socket) -> bool:
        """Use one connection; return whether everything was acknowledged."""
        connection.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=connection, limit=ANSWER_BYTES)
        try:
            await self._pump(reader, writer)
        except (OSError, TimeoutError, EOFError) as exc:
            self._land()
            self.trouble = AgentGone(
                f"the agent went away ({type(exc).__name__})",
                advice="Start it and import the file again: what is stored is not stored twice.",
            )
            return False
        finally:
            writer.close()
        if self._hold_s:
            await asyncio.sleep(self._hold_s)
            self._hold_s = 0.0
            return False
        return True

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            while not self._hold_s and len(self._flying) < WINDOW:
                batch = self._again.popleft() if self._again else next(self._batches, None)
                if batch is None:
                    break
                self._flying.append(batch)
                writer.write(batch.frame())
                await writer.drain()
            if not self._flying:
                return
            async with asyncio.timeout(ANSWER_S):
                answer = await reader.readline()
            if not answer.endswith(b"\n"):
                raise EOFError
            self._settle(self._flying.popleft(), answer)

    def _settle(self, batch: Batch, answer: bytes) -> None:
        acknowledged = set(parse_reply(answer).ids)
        left = tuple(item for item in batch.items if item.id not in acknowledged)
        if len(left) < len(batch.items):
            self.moved = time.monotonic()
            self._stored(len(batch.items) - len(left))
        if left:
            self.trouble, self._hold_s = _why_not(answer)
            self._again.append(Batch(app_id=batch.app_id, items=left))

    def _land(self) -> None:
        """Put what is on the way back to the front, in order."""
        self._again.extendleft(reversed(self._flying))
        self._flying.clear()


def _why_not(answer: bytes) -> tuple[Fault, float]:
    """Read why events were not acknowledged, and how long to wait, in seconds.

    Raises:
        RequestFault: Waiting would not help.

    """
    try:
        said: Any = msgspec.json.decode(answer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        said = None
    said = said if isinstance(said, dict) else {}
    text = str(said.get("error") or "the agent did not acknowledge everything")
    advice = str(said.get("advice") or "")
    after = said.get("retryAfter")
    hold_s = float(after) if isinstance(after, (int, float)) and 0 < after < 3600 else CALM_S
    code = said.get("code", OverQuota.code)
    if code == OverQuota.code:
        return OverQuota(text, retry_after_s=hold_s, advice=advice), hold_s
    if code == StorageFault.code:
        return StorageFault(text, advice=advice), hold_s
    raise RequestFault(text, field=str(said.get("field") or ""), advice=advice)
