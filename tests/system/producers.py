"""Local apps that report over the Unix socket and remember every acknowledgement they saw.

A producer writes frames, a few of them ahead of their answers. When the connection breaks it
dials again and repeats, in order, exactly the frames whose answer it never saw: each event has an
id of its own, so a repeat of what the agent had already stored is recognised there.
"""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

WINDOW = 3  #: Frames in flight.
PAUSE_S = 0.015  #: Between two frames of a producer that is not in a hurry, on average.


class Producer(threading.Thread):
    """One local app.

    Args:
        number: Which producer this is; part of every payload.
        path: The agent's socket.
        events: How many events it reports in all.
        chance: Decides the sizes of frames and payloads.
        batch: Events in a frame at most.
        allowed: How many events it may have begun by now; it then also pauses after each
            frame. None: as fast as it can.

    Attributes:
        acknowledged: Payloads the agent has answered for, in order.
        repeated: Frames sent again because a connection broke.

    """

    def __init__(
        self,
        number: int,
        path: Path,
        events: int,
        chance: random.Random,
        *,
        batch: int = 20,
        allowed: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(name=f"producer-{number}", daemon=True)
        self.number = number
        self.path = path
        self.events = events
        self.chance = chance
        self.batch = batch
        self.allowed = allowed
        self.acknowledged: list[dict[str, object]] = []
        self.repeated = 0
        self.error: BaseException | None = None
        self._waiting: deque[tuple[bytes, list[dict[str, object]]]] = deque()
        self._made = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        try:
            while not self._done() and not self._stopped.is_set():
                try:
                    with socket.socket(socket.AF_UNIX) as sock:
                        sock.settimeout(20)
                        sock.connect(str(self.path))
                        self._talk(sock)
                except (ConnectionError, FileNotFoundError):
                    time.sleep(0.02)  # the agent is being killed or started; ask again soon
        except BaseException as exc:
            self.error = exc
            raise

    def stop(self) -> None:
        """Give up after the frame at hand."""
        self._stopped.set()

    def _done(self) -> bool:
        return self._made == self.events and not self._waiting

    def _talk(self, sock: socket.socket) -> None:
        answers = sock.makefile("rb")
        for frame, _ in self._waiting:
            sock.sendall(frame)
            self.repeated += 1
        while not self._done() and not self._stopped.is_set():
            most = self.events if self.allowed is None else min(self.events, self.allowed())
            while self._made < most and len(self._waiting) < WINDOW:
                self._waiting.append(self._frame())
                sock.sendall(self._waiting[-1][0])
            if self._waiting:
                self._hear(answers.readline())
            if self.allowed is not None:
                self._stopped.wait(self.chance.uniform(0, 2 * PAUSE_S))

    def _hear(self, line: bytes) -> None:
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the agent hung up")
        answer = json.loads(line)
        frame, payloads = self._waiting[0]
        if "error" in answer:
            raise AssertionError(f"refused: {answer} for {frame[:200]!r}")
        assert len(answer["reportedIds"]) == len(payloads), answer
        self._waiting.popleft()
        self.acknowledged += payloads

    def _frame(self) -> tuple[bytes, list[dict[str, object]]]:
        size = min(self.chance.randint(1, self.batch), self.events - self._made)
        payloads: list[dict[str, object]] = [
            {
                "producer": self.number,
                "number": self._made + n,
                "text": 'ü"\\\n' * self.chance.randint(0, 8),
                "part": self.chance.random(),
            }
            for n in range(size)
        ]
        self._made += size
        data = [
            {"id": f"p{self.number}-{said['number']}", "name": "step", "payload": said}
            for said in payloads
        ]
        return json.dumps({"appId": "bench", "data": data}).encode() + b"\n", payloads
