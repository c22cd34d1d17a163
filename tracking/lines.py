"""The line protocol: one JSON frame per line, one reply per line, in order, as fast as it goes.

    {"appId":"acme-notes","data":[{"name":"build.finished","id":"k3f9"}]}     a frame
    {"reportedIds":["k3f9"]}                                                 safe: the golden reply
    {"error":"…","code":"request","field":"data[0].name","reportedIds":[]}   refused, and why

The sender need not wait: whatever arrived together is answered together, by one write. A frame
that was understood in part is answered with the golden reply and ``refused``, as over HTTP.

Invariants:
    1. Replies leave in the order of the lines, whoever is ready first; so a line that waits for
       its delivery holds up the replies behind it, but not what becomes of their events.
    2. While more than ``backlog_bytes`` of lines are unanswered, or the peer does not read,
       nothing more is read.
    3. A peer that ends its side is answered to the last line before ours ends.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from tracking.acknowledging import Arrival, told
from tracking.errors import Fault, RequestFault
from tracking.events import Frame, Limits
from tracking.nucleus import APP_ID, golden_reply, parse_frame
from tracking.sink import LineSink, Origin, Receipt, error_body, explained
from tracking.strict_json import clip

LINGER_S: Final = 2.0  #: How long we hear somebody out whom we have refused.
BACKLOG_BYTES: Final = 1024 * 1024  #: Unanswered lines of one connection.


class _Slot:
    """A line's place in the order of replies."""

    __slots__ = ("frame", "reply", "size")

    def __init__(self, frame: Frame | None, size: int, reply: bytes | None = None) -> None:
        self.frame = frame
        self.size = size
        self.reply = reply


class LineProtocol(asyncio.Protocol):
    """One connection.

    Args:
        sink: Where frames go.
        limits: What is too much; a line may be as long as a WebSocket frame.
        connection: Its number in this process.
        peer: Who it is, for :class:`Origin`.
        require_ids: Refuse events that name neither a device nor a person (A19).
        backlog_bytes: See invariant 2.
        loop: Where it runs; the running one.

    """

    def __init__(
        self,
        sink: LineSink,
        limits: Limits,
        *,
        connection: int = 0,
        peer: str = "",
        require_ids: bool = False,
        backlog_bytes: int = BACKLOG_BYTES,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.sink = sink
        self.limits = limits
        self.connection = connection
        self.peer = peer
        self.require_ids = require_ids
        self.backlog_bytes = backlog_bytes
        self.loop = loop or asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.completed = 0  #: Lines that arrived whole.
        self.partial = bytearray()
        self.slots: deque[_Slot] = deque()
        self.unanswered_bytes = 0
        self.ready: list[bytes] = []
        self.waiting: dict[_Slot, Callable[[bool], None]] = {}  #: For a delivery.
        self.write_paused = False
        self.read_paused = False
        self.ending = False  #: Nothing more is taken; it ends when all is answered.
        self.lingering = False  #: It ends by being told, while the rest arrives unread.

    @property
    def held(self) -> int:
        """Bytes of the line that is still arriving."""
        return len(self.partial)

    @property
    def in_header(self) -> bool:
        """A line has no header."""
        return False

    @property
    def busy(self) -> bool:
        """Whether a line waits for its reply."""
        return bool(self.slots)

    @property
    def receiving(self) -> bool:
        """Whether a line has begun and not ended, and we are reading."""
        return len(self.partial) > 0 and not self.read_paused

    # --- the transport's calls -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.ending:
            return
        received_ms = _now_ms()
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            if self.partial:
                self.partial += data[start:end]
                line = bytes(self.partial)
                self.partial.clear()
            else:
                line = data[start:end]
            start = end + 1
            if len(line) > self.limits.frame_bytes:
                self._refuse_length()
                return
            self._take(line, received_ms)
        if start < len(data):
            self.partial += data[start:]
            if len(self.partial) > self.limits.frame_bytes:
                self._refuse_length()
                return
        self._balance()

    def eof_received(self) -> bool:
        if self.partial and not self.ending:  # `printf '{…}' | nc -U` ends without a newline
            line = bytes(self.partial)
            self.partial.clear()
            self._take(line, _now_ms())
        self.lingering = False
        self._end()
        return True  # our side stays open until the last reply is out

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.ending = True
        for settle in tuple(self.waiting.values()):
            settle(False)
        self.slots.clear()
        self.ready.clear()

    def pause_writing(self) -> None:
        self.write_paused = True
        self._balance()

    def resume_writing(self) -> None:
        self.write_paused = False
        self._balance()

    def shutdown(self) -> None:
        """Read nothing more, answer what was read, then close."""
        if self.transport is not None and not self.ending:
            self.transport.pause_reading()
        self._end()

    # --- lines in, replies out -----------------------------------------------------------------

    def _take(self, line: bytes, received_ms: int) -> None:
        self.completed += 1
        size = len(line)
        if line.isspace() or not line:
            return
        frame = parse_frame(line, limits=self.limits, require_ids=self.require_ids)
        app_id = frame.app_id or ""
        slot = _Slot(frame, size)
        self.slots.append(slot)
        self.unanswered_bytes += size
        if frame.refused and frame.refused[0].index < 0:  # no frame at all
            self._fill(slot, error_body(frame.refused[0].fault, reportedIds=()))
            self.sink.refused(app_id, frame)
            return
        if not APP_ID.fullmatch(app_id):
            fault = RequestFault(
                f"appId must be 1 to 64 of A-Z a-z 0-9 _ -, got {clip(app_id)}", field="appId"
            )
            self._fill(slot, error_body(fault, reportedIds=()))
            return
        if frame.refused:
            self.sink.refused(app_id, frame)
        if not frame.events and not frame.heartbeats:
            self._reply(slot, Receipt())
            return
        origin = Origin(
            transport="line",
            connection=self.connection,
            peer=self.peer,
            received_ms=received_ms,
            wait_s=None if frame.asked is None else frame.asked.wait_s,
        )
        try:
            self.sink.take(app_id, frame, origin, lambda receipt: self._reply(slot, receipt))
        except Fault as fault:
            self._reply(slot, Receipt(fault=fault))

    def _reply(self, slot: _Slot, receipt: Receipt) -> None:
        """Turn a receipt into the slot's reply."""
        frame = slot.frame
        if frame is None or self.transport is None:
            return
        reply = golden_reply(frame, unacknowledged=receipt.unsafe(frame))
        fault = receipt.fault
        if fault is not None or frame.refused:
            fault, reply = explained(frame, receipt, reply)
        if frame.asked is None or frame.asked.wait_s is None or fault is not None:
            self._fill(slot, reply)
        elif receipt.arrival is None:
            self._fill(slot, told(reply, True))
        else:
            self._await(slot, reply, receipt.arrival, frame.asked.wait_s)

    def _await(self, slot: _Slot, reply: bytes, arrival: Arrival, wait_s: float) -> None:
        """Reply when everybody has the line's events, or when its time is over."""
        slot.frame = None

        def settle(delivered: bool) -> None:
            timer.cancel()
            give_up()
            self.waiting.pop(slot, None)
            if self.transport is not None and slot.reply is None:
                self._fill(slot, told(reply, delivered))

        give_up: Callable[[], None] = _nothing
        timer = self.loop.call_later(wait_s, lambda: settle(False))
        self.waiting[slot] = settle
        give_up = arrival.tell(lambda: settle(True))

    def _fill(self, slot: _Slot, reply: bytes) -> None:
        slot.reply, slot.frame = reply, None
        slots = self.slots
        if not slots or slots[0] is not slot:
            return  # invariant 1: an earlier line is still on its way
        if not self.ready:
            self.loop.call_soon(self._flush)
        while slots and slots[0].reply is not None:
            first = slots.popleft()
            assert first.reply is not None
            self.ready.append(first.reply)
            self.unanswered_bytes -= first.size

    def _flush(self) -> None:
        if self.transport is None or not self.ready:
            return
        self.ready.append(b"")
        self.transport.write(b"\n".join(self.ready))
        self.ready.clear()
        if self.ending:
            self._close_when_answered()
        else:
            self._balance()

    def _balance(self) -> None:
        """Read or do not read, as invariant 2 says."""
        if self.transport is None or self.ending:
            return
        full = self.write_paused or self.unanswered_bytes > self.backlog_bytes
        if full and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()
        elif (
            self.read_paused
            and not self.write_paused
            and self.unanswered_bytes <= self.backlog_bytes // 2
        ):
            self.read_paused = False
            self.transport.resume_reading()

    def refuse(self, fault: Fault | None) -> None:
        """Answer what was read, then with the fault, then close."""
        self.partial.clear()
        if fault is None or self.ending:
            self.shutdown()
            return
        slot = _Slot(None, 0)
        self.slots.append(slot)
        # Closing on bytes that nobody read makes the kernel reset the connection, and the
        # sentence is lost with it; so the rest is read for a while and dropped.
        self.lingering = self.ending = True
        self._fill(slot, error_body(fault, reportedIds=()))

    def _refuse_length(self) -> None:
        limit = self.limits.frame_bytes
        self.refuse(RequestFault(f"a line is longer than {limit} bytes", status=413))

    def _end(self) -> None:
        self.ending = True
        self._close_when_answered()

    def _close_when_answered(self) -> None:
        if self.transport is None or self.slots or self.ready:
            return
        if self.lingering and self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER_S, self.transport.abort)
        else:
            self.transport.close()


def _nothing() -> None:
    """Stands in for what is not known yet."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def line_factory(
    sink: LineSink, limits: Limits, *, require_ids: bool = False
) -> Callable[[int, str], LineProtocol]:
    """Return what :class:`tracking.serving.Listener` calls with a connection and its peer."""

    def build(connection: int, peer: str) -> LineProtocol:
        return LineProtocol(sink, limits, connection=connection, peer=peer, require_ids=require_ids)

    return build
