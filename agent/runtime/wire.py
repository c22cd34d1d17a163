"""The newest frames exactly as they were sent and received, within a budget of memory.

For "what left this machine": bytes, not a retelling. Kept in memory; the ring on disk comes with
the page that shows it.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from agent.door import WireEntry

Direction = Literal["sent", "received"]


class WireLog:
    """Keeps the newest frames until their number or their bytes are over the bounds.

    Args:
        max_entries: Frames at most.
        max_bytes: Bytes at most, over all frames; the newest frame is kept whatever its size.

    """

    def __init__(self, max_entries: int, max_bytes: int = 1024 * 1024) -> None:
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self._rows: deque[tuple[int, str, Direction, bytes]] = deque()
        self._bytes = 0

    def add(self, at_ms: int, app_id: str, direction: Direction, frame: bytes) -> None:
        """Note one frame."""
        self._rows.append((at_ms, app_id, direction, frame))
        self._bytes += len(frame)
        while len(self._rows) > self.max_entries or (
            self._bytes > self.max_bytes and len(self._rows) > 1
        ):
            self._bytes -= len(self._rows.popleft()[3])

    def entries(self, app_id: str | None, limit: int) -> tuple[WireEntry, ...]:
        """Return the newest frames, newest first."""
        found = []
        for at_ms, app, direction, frame in reversed(self._rows):
            if app_id is not None and app != app_id:
                continue
            found.append(
                WireEntry(
                    at_ms=at_ms,
                    app_id=app,
                    direction=direction,
                    size=len(frame),
                    text=frame.decode("utf-8", "replace"),
                )
            )
            if len(found) >= limit:
                break
        return tuple(found)
