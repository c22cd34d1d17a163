"""What websocket-client is allowed to see of a far end.

The library trusts its peer: it took a frame of 400 MiB (SECURITY.md, "Network"), glues endless
fragments, reads an error's body as long as it says it is, keeps cookies in a jar shared by the
whole process, and waits anew after each byte. So it gets its bytes through here. Its own
checks (the key of the upgrade, the frame format, close codes) stay in force.

Invariants:
    1. No frame over ``FRAME_BYTES`` is read beyond its length; no message over
       ``MESSAGE_BYTES`` or ``FRAGMENTS`` is put together.
    2. The library never touches the socket for writing: what it wants to say is queued.
    3. No byte of a handshake is waited for beyond the dial's patience.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from typing import Any

import websocket
from websocket._abnf import continuous_frame, frame_buffer

from agent.adapters.roads.patience import (
    Patience,
    as_fault,
    read_head,
    receive,
    send_all,
    status_of,
)
from agent.adapters.roads.refusals import refusal
from tracking.errors import Blocked, Unreachable

FRAME_BYTES = 64 * 1024
MESSAGE_BYTES = 256 * 1024
FRAGMENTS = 1024  #: Empty ones cost nothing and never end; tiny ones are glued in O(n²).
#: Refusals that no far end of ours gives: a proxy's that speaks TLS in its place, or an old one's.
NO_WEBSOCKETS = (407, 501)
BODY_BYTES = 2048  #: Of a refusal's words.

COOKIE = re.compile(rb"(?im)^set-cookie:[^\n]*\n")
RETRY_AFTER = re.compile(rb"(?im)^retry-after:[ \t]*([^\r\n]*)")
LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d{1,9})[ \t]*\r?$")


class CappedFrames(frame_buffer):
    """Refuses a frame by its length, before its payload is read."""

    def recv_length(self) -> None:
        super().recv_length()
        if self.length is None or self.length > FRAME_BYTES:
            raise Unreachable(f"the far end sent a frame of {self.length} bytes")


class CappedMessages(continuous_frame):
    """Refuses a message by the sum of its fragments."""

    def __init__(self, fire_cont_frame: bool, skip_utf8_validation: bool) -> None:
        super().__init__(fire_cont_frame, skip_utf8_validation)
        self.fragments = 0

    def add(self, frame: Any) -> None:
        self.fragments = self.fragments + 1 if self.cont_data else 1
        so_far = len(self.cont_data[1]) if self.cont_data else 0
        if so_far + len(frame.data) > MESSAGE_BYTES or self.fragments > FRAGMENTS:
            raise Unreachable("the far end sent a message without end")
        super().add(frame)


class GuardedWebSocket(websocket.WebSocket):
    """A WebSocket that cannot block: reads what is there, queues what it has to say.

    Args:
        queue: Takes the bytes of frames that the library itself answers with (pong, close).

    """

    def __init__(self, queue: Callable[[bytes], None]) -> None:
        super().__init__(enable_multithread=False, skip_utf8_validation=True)
        self.frame_buffer = CappedFrames(self._recv, True)
        self.cont_frame = CappedMessages(False, True)
        self._queue = queue

    def _send(self, data: bytes | str) -> int:
        raw = data.encode() if isinstance(data, str) else data
        self._queue(raw)
        return len(raw)

    def open(self, url: str, sock: socket.socket, patience: Patience) -> None:
        """Upgrade a connected socket.

        Raises:
            Blocked: The upgrade did not come through, or nothing that answers it.
            LinkFault: The far end would not, in its own words.

        """
        patience.doing = "the WebSocket handshake"
        stand_in = _StandIn(sock, patience)
        try:
            self.connect(  # type: ignore[no-untyped-call]
                url, socket=stand_in, redirect_limit=0, suppress_origin=True
            )
        except websocket.WebSocketException as exc:
            if stand_in.status in NO_WEBSOCKETS:
                raise Blocked(f"the upgrade was answered with {stand_in.status}") from exc
            if stand_in.status not in (0, 101):
                after = RETRY_AFTER.search(stand_in.head)
                named = after[1].decode("latin-1") if after else None
                raise refusal(stand_in.status, named, stand_in.body) from exc
            raise Blocked("the far end's answer is no WebSocket handshake") from exc
        except (OSError, Unreachable) as exc:
            raise Blocked(str(as_fault(exc, "the far end"))) from exc
        self.sock = sock
        self.frame_buffer.recv_buffer = [stand_in.rest] if stand_in.rest else []

    @property
    def in_frame(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self.frame_buffer.header or any(self.frame_buffer.recv_buffer))

    @property
    def in_message(self) -> bool:
        """Whether a message in fragments has begun and not ended."""
        return bool(self.cont_frame.cont_data)


class _StandIn:
    """A socket as far as the library's handshake needs one.

    The answer's head is read whole and under one deadline, then handed over without what
    would make the library keep a cookie. After the head comes the end, however long a body was
    promised.
    """

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock = sock
        self._patience = patience
        self._unread: bytes | None = None
        self.status = 0
        self.head = self.rest = self.body = b""

    def gettimeout(self) -> float:
        return 0  # the library then reads once and does not wait; the waiting is done here

    def send(self, data: bytes) -> int:
        self._patience.note("handshake", "sent", data)
        send_all(self._sock, data, self._patience)
        return len(data)

    def recv(self, size: int) -> bytes:
        if self._unread is None:
            self.head, self.rest = read_head(self._sock, self._patience)
            self.status = status_of(self.head)
            if self.status not in (0, 101):
                self._read_words()
            self._patience.note("handshake", "received", self.head + self.body)
            self._unread = COOKIE.sub(b"", self.head)
        taken, self._unread = self._unread[:size], self._unread[size:]
        return taken

    def _read_words(self) -> None:
        """Read the beginning of a refusal's body, if it comes at once."""
        length = LENGTH.search(self.head)
        wanted = min(int(length[1]) if length else 0, BODY_BYTES)
        self.body = self.rest[:wanted]
        soon = Patience(
            min(1.0, self._patience.until - time.monotonic()),
            self._patience.wake,
            self._patience.given_up,
        )
        try:
            while len(self.body) < wanted:
                more = receive(self._sock, wanted - len(self.body), soon)
                if not more:
                    return
                self.body += more
        except (OSError, Unreachable):
            return  # the status alone says enough

    def close(self) -> None:
        self._sock.close()
