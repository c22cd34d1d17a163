"""One open WebSocket: what it holds ready to send, and how fast it may be listened to.

Never waits. The link's thread sleeps on :attr:`Wire.sock` and calls :meth:`Wire.read` and
:meth:`Wire.flush` when there is something to do.

Invariants:
    1. A frame or message that has begun must end within ``read_s``; queued bytes must make
       progress within ``send_s``.
    2. A far end that talks too fast is read more slowly, not remembered: at most
       ``FRAMES_PER_S`` and ``BYTES_PER_S``, so that nobody can fill the core's memory.
    3. A far end that makes us answer (ping) and does not listen is left.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable

import websocket

from agent.adapters.links.websocket_guard import GuardedWebSocket
from agent.adapters.roads.patience import Patience, words
from tracking.errors import Unreachable

TEXT, BINARY = websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY
CLOSE, PING, PONG = (
    websocket.ABNF.OPCODE_CLOSE,
    websocket.ABNF.OPCODE_PING,
    websocket.ABNF.OPCODE_PONG,
)
NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

QUEUE_BYTES = 4 * 1024 * 1024  #: Four batches and many pongs; more means nobody reads them.
CHUNK_BYTES = 64 * 1024  #: Handed to the kernel at once, so that progress can be seen.
TURN_FRAMES = 64  #: Read before letters are looked at again.
FRAMES_PER_S = 5000.0
BYTES_PER_S = 16.0 * 1024 * 1024
PAUSE_S = 0.05  #: How long a far end that talks too fast is left unread.

Frames = tuple[tuple[int, bytes], ...]  #: Opcode and payload of each.


class Wire:
    """An upgraded connection.

    Args:
        url: As dialed; gives the request's path and Host.
        sock: Connected, not blocking; owned from now on, also if the upgrade fails.
        patience: For the upgrade.
        read_s: See invariant 1.
        send_s: See invariant 1.

    Attributes:
        sent_bytes: Frames that the kernel took; whoever counts them sets this to 0.
        received_bytes: Payload received, likewise.

    Raises:
        LinkFault: The far end refused the upgrade.
        Abandoned: Nobody wants it any more.

    """

    def __init__(
        self, url: str, sock: socket.socket, patience: Patience, *, read_s: float, send_s: float
    ) -> None:
        self.sock = sock
        self.sent_bytes = 0
        self.received_bytes = 0
        self._read_s, self._send_s = read_s, send_s
        self._queue: deque[memoryview] = deque()
        self._queued = 0
        self._moved = 0.0  # when sending last made progress
        self._in_frame: float | None = None  # since when a frame is incomplete
        self._in_message: float | None = None  # since when a message in fragments is
        self._frames, self._bytes = FRAMES_PER_S, BYTES_PER_S  # may be read before a pause
        self._ws = GuardedWebSocket(self._enqueue)
        try:
            self._ws.open(url, sock, patience)
        except BaseException:
            sock.close()
            raise
        self._counted = time.monotonic()

    @property
    def sending(self) -> bool:
        """Whether something waits for room."""
        return bool(self._queue)

    @property
    def pending(self) -> bool:
        """Whether there is something to read that the socket does not show.

        Bytes that TLS has already decrypted are invisible to ``poll``: of two frames in one
        record the second would lie unread until a third arrived.
        """
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0

    def pause_s(self) -> float:
        """Return how long to leave the far end unread (invariant 2), usually 0."""
        now = time.monotonic()
        passed, self._counted = now - self._counted, now
        self._frames = min(FRAMES_PER_S, self._frames + passed * FRAMES_PER_S)
        self._bytes = min(BYTES_PER_S, self._bytes + passed * BYTES_PER_S)
        return PAUSE_S if self._frames < 0 or self._bytes < 0 else 0.0

    def due_s(self) -> float | None:
        """Return in how many seconds :meth:`check` will have something to say, if ever."""
        begun = (self._in_frame, self._in_message)
        limits = [since + self._read_s for since in begun if since is not None]
        if self._queue:
            limits.append(self._moved + self._send_s)
        return max(0.0, min(limits) - time.monotonic()) if limits else None

    def check(self) -> None:
        """Hold the far end to invariant 1.

        Raises:
            Unreachable: It is too slow.

        """
        now = time.monotonic()
        for since in (self._in_frame, self._in_message):
            if since is not None and now - since >= self._read_s:
                raise Unreachable(f"a message took longer than {self._read_s:g} s")
        if self._queue and now - self._moved >= self._send_s:
            raise Unreachable(f"the far end took nothing for {self._send_s:g} s")

    def read(self, heard: Callable[[int, bytes], None]) -> None:
        """Read the whole messages that are there; tell ``heard`` opcode and payload of each.

        Raises:
            Fault: The far end breaks the rules, or closed.

        """
        frames = texts = 0
        try:
            for _ in range(TURN_FRAMES):
                if self._frames < 0 or self._bytes < 0:
                    break
                opcode, frame = self._ws.recv_data_frame(control_frame=True)
                data = bytes(frame.data)
                self._frames -= 1
                self._bytes -= len(data)
                self.received_bytes += len(data)
                if opcode == CLOSE:
                    self._closed(data)
                frames += 1
                texts += opcode in (TEXT, BINARY)
                heard(opcode, data)
        except NOT_YET:
            pass
        # a ping between fragments ends a frame, but not the message around it
        self._in_frame = _since(self._in_frame, self._ws.in_frame, bool(frames))
        self._in_message = _since(self._in_message, self._ws.in_message, bool(texts))
        self.flush()  # the library may have queued a pong

    def _closed(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.flush()  # the library queued the close frame that answers theirs
        code = int.from_bytes(data[:2], "big")
        said = words(data[2:])
        raise Unreachable(f"closed by the far end, code {code}" + (f": {said}" if said else ""))

    def say(self, frames: Frames) -> None:
        """Send frames of ours in one piece, as far as there is room; the rest follows.

        Raises:
            Fault: The connection ended.

        """
        create = websocket.ABNF.create_frame
        self._enqueue(b"".join(create(payload, opcode).format() for opcode, payload in frames))
        self.flush()

    def _enqueue(self, frames: bytes) -> None:
        if not self._queue:
            self._moved = time.monotonic()
        self._queue.append(memoryview(frames))
        self._queued += len(frames)
        if self._queued > QUEUE_BYTES:
            raise Unreachable("the far end talks but does not listen")

    def flush(self) -> None:
        """Hand the kernel what it takes without waiting."""
        while self._queue:
            head = self._queue[0]
            try:
                # after WantWrite TLS must be offered the same bytes again; it is
                count = self.sock.send(head[:CHUNK_BYTES])
            except NOT_YET:
                return
            self._moved = time.monotonic()
            self.sent_bytes += count
            self._queued -= count
            if count == len(head):
                self._queue.popleft()
            else:
                self._queue[0] = head[count:]

    def close(self) -> None:
        """End the connection, politely if that costs no waiting."""
        if self._ws.connected and not self._queue:
            goodbye = websocket.ABNF.create_frame((1000).to_bytes(2, "big"), CLOSE).format()
            with contextlib.suppress(OSError, ValueError):  # ValueError: TLS already unwrapped
                self.sock.send(goodbye)
        with contextlib.suppress(OSError):
            self.sock.close()
        self._queue.clear()


def _since(before: float | None, begun: bool, ended: bool) -> float | None:
    """Return since when something is incomplete, knowing whether one has ended meanwhile."""
    if not begun:
        return None
    return time.monotonic() if before is None or ended else before
