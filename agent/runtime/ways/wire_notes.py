"""What one way out notes in the record of the wire, and what became of each frame.

A frame with events is open until the far end has answered for all of them. When the connection
ends first, it was not answered (or refused, if that is why); when its events go out again, it was
retried. So every frame that a person finds in the record says how it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.runtime.wire import Direction, WireLog
from tracking.errors import Fault, Refused

MOST_UNANSWERED = 64  #: Remembered, so that their next try is told; a connection has four.


@dataclass(slots=True)
class _Open:
    """A batch that was sent and is not answered yet."""

    frames: list[int]
    events: int
    first: int
    acknowledged: int = 0


@dataclass(slots=True)
class WireNotes:
    """The pen of one way out.

    Attributes:
        wire: The record.
        app_id: Whose.
        upstream: The way's name.
        wall_ms: Unix milliseconds.

    """

    wire: WireLog
    app_id: str
    upstream: str
    wall_ms: Callable[[], int]
    _open: dict[int, _Open] = field(default_factory=dict)
    _unanswered: dict[int, list[int]] = field(default_factory=dict)

    def frame(self, direction: Direction, body: bytes, peer: str) -> int:
        """Note a frame; return what the record calls it."""
        return self.wire.add(
            self.wall_ms(), self.app_id, direction, body, upstream=self.upstream, peer=peer
        )

    def said(self, kind: str, direction: Direction, body: bytes, peer: str) -> None:
        """Note what was said before there were frames; any thread may."""
        head = body.split(b"\r\n", 1)[0].decode("latin-1")[:300]
        self.wire.add(
            self.wall_ms(),
            self.app_id,
            direction,
            body,
            upstream=self.upstream,
            kind=kind,
            head=head,
            peer=peer,
        )

    def batch(self, number: int, first: int, body: bytes, events: int, peer: str) -> None:
        """Note a frame of a batch.

        Args:
            number: The batch's, on this connection's way out.
            first: Number of its first row in the outbox.
            body: The frame.
            events: In this frame.
            peer: Who is at the other end.

        """
        for before in self._unanswered.pop(first, ()):
            self._judge(before, "retried")
        noted = self._open.setdefault(number, _Open([], 0, first))
        noted.frames.append(self.frame("sent", body, peer))
        noted.events += events

    def acknowledged(self, number: int, events: int, *, whole: bool) -> None:
        """Note that the far end has confirmed events of a batch."""
        noted = self._open.get(number)
        if noted is None:
            return
        noted.acknowledged = noted.events if whole else noted.acknowledged + events
        for frame in noted.frames:
            self._judge(frame, f"acknowledged {noted.acknowledged} of {noted.events}")
        if whole:
            del self._open[number]

    def ended(self, reason: Fault | None) -> None:
        """Note that the connection ended, and why: what is open was not answered."""
        word = "refused" if isinstance(reason, Refused) else "not answered"
        for noted in self._open.values():
            if noted.acknowledged == 0:
                for frame in noted.frames:
                    self._judge(frame, word if reason is None else f"{word}: {reason}")
            if len(self._unanswered) < MOST_UNANSWERED:
                self._unanswered[noted.first] = noted.frames
        self._open.clear()

    def _judge(self, frame: int, verdict: str) -> None:
        self.wire.judge(frame, self.wall_ms(), self.app_id, verdict, upstream=self.upstream)
