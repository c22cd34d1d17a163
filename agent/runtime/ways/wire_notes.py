"""What one way out notes in the record of the wire, and what became of each frame.

A frame with events is open until the far end has answered for all of them. When the connection
ends first, it was not answered (or refused, if that is why); when its events go out again, it was
retried. So every frame that a person finds in the record says how it ended.

Over HTTP a question is noted by the link's thread, when it was written to a road; what became of it
is known to the core, which may give it up at the same moment. :class:`Posted` is where they meet.
A question that never left is told in one short entry, not with each try.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.adapters.links.http_wire import Passed
from agent.runtime.wire import Direction, WireLog
from tracking.errors import Fault, Refused

MOST_UNANSWERED = 64  #: Remembered, so that their next try is told; a connection has four.
MOST_GIVEN_UP = 4  #: Questions over HTTP that the link may be writing just now, all the same.


@dataclass(slots=True, eq=False)
class Posted:
    """A question over HTTP that is about to leave, or has left.

    Attributes:
        body: The very object that the link is given: so it is recognised when it leaves.
        left: Whether it has left, at least a part of it.
        n: What the record calls it; 0 if it is not there.
        verdict: What became of it, if that was known before it left.

    """

    body: bytes
    left: bool = False
    n: int = 0
    verdict: str = ""


@dataclass(slots=True)
class _Open:
    """A batch that was sent and is not answered yet."""

    frames: list[int | Posted]
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
    _unanswered: dict[int, list[int | Posted]] = field(default_factory=dict)
    _http_dial: int = 0  # the newest dial that goes by HTTP
    _posts: bool = False  # the newest dial is that one
    _lock: threading.Lock = field(default_factory=threading.Lock)  # of what follows
    _posted: deque[Posted] = field(default_factory=deque)
    _unsent: set[str] = field(default_factory=set)  # codes that were told since something left

    def dialled(self, dial: int, *, http: bool) -> None:
        """Hear by which way the frames of a dial go."""
        self._posts = http
        if http:
            self._http_dial = dial
            with self._lock:
                self._posted.clear()  # of earlier dials, given up

    def received(self, dial: int, body: bytes, peer: str) -> None:
        """Note a frame that came, unless the link has noted it as the answer that it was."""
        if dial != self._http_dial:
            self.wire.add(
                self.wall_ms(), self.app_id, "received", body, upstream=self.upstream, peer=peer
            )

    def frame(self, body: bytes, peer: str) -> int | Posted:
        """Note a frame that is sent; return what :meth:`_judge` calls it."""
        if self._posts:
            return self.post(body)
        return self.wire.add(
            self.wall_ms(), self.app_id, "sent", body, upstream=self.upstream, peer=peer
        )

    def post(self, body: bytes) -> Posted:
        """Expect a question to leave by HTTP; the link must be given the same object."""
        posted = Posted(body)
        with self._lock:
            self._posted.append(posted)
            while len(self._posted) > MOST_GIVEN_UP and self._posted[0].verdict:
                self._posted.popleft()
        return posted

    def passed(self, passed: Passed) -> None:
        """Note what was written or answered over HTTP; the link's thread calls this."""
        with self._lock:
            posted = self._left(passed) if passed.direction == "sent" else None
            n = self.wire.add(
                self.wall_ms(),
                self.app_id,
                passed.direction,
                passed.text,
                upstream=self.upstream,
                kind="http",
                head=passed.head,
                peer=passed.peer,
                verdict="" if posted is None else posted.verdict,
                size=passed.size,
            )
            if posted is not None:
                if posted.left:  # the far end had closed the connection: it leaves once more
                    self._said(posted.n, "retried")
                posted.left, posted.n = True, n

    def _left(self, passed: Passed) -> Posted | None:
        """Return the question that has left, None for one that nobody judges; locked."""
        self._unsent.clear()
        body = passed.question.body
        if not any(one.body is body for one in self._posted):
            return None
        while self._posted[0].body is not body:
            self._posted.popleft()  # dropped by the link, for an earlier one was lost
        return self._posted[0]

    def became(self, posted: Posted, verdict: str) -> None:
        """Note what became of a question; of one that has not left, when it does after all."""
        with self._lock:
            posted.verdict = verdict
            if posted.left:
                self._said(posted.n, verdict)

    def lost(self, posted: Posted, head: str, fault: Fault) -> None:
        """Note that a question is not answered, or that it could not leave.

        Args:
            posted: Which.
            head: Method and path, without a key.
            fault: Why. With each kind of reason once, until something leaves again.

        """
        if posted.left:
            self.became(posted, f"not answered: {fault}")
            return
        with self._lock:
            if posted in self._posted:
                self._posted.remove(posted)
            told = fault.code in self._unsent
            self._unsent.add(fault.code)
        if not told:
            self.wire.add(
                self.wall_ms(),
                self.app_id,
                "sent",
                b"",
                upstream=self.upstream,
                kind="http",
                head=head,
                verdict=f"not sent: {fault}",
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
        noted.frames.append(self.frame(body, peer))
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

    def _judge(self, frame: int | Posted, verdict: str) -> None:
        if isinstance(frame, int):
            self._said(frame, verdict)
        else:
            self.became(frame, verdict)

    def _said(self, frame: int, verdict: str) -> None:
        self.wire.judge(frame, self.wall_ms(), self.app_id, verdict, upstream=self.upstream)
