"""One WebSocket to a far end, owned by one thread.

websocket-client blocks, and its TLS object must not be read and written by two threads at once
(1 of 300 connections died of it on loopback). So the link's thread alone touches it: it sleeps
in :meth:`WebSocketLink._sleep` until the far end has spoken or the core has posted a letter,
and does one thing at a time. ``WebSocketApp`` is not used: its reconnect delay has no jitter,
its ping timer is a second thread on the same socket, and it follows redirects. Of the library
we use the handshake's checks and the frames; ``agent.adapters.websocket_guard`` stands between
it and the far end.

The core thread calls :meth:`dial`, :meth:`send`, :meth:`heartbeat`, :meth:`hang_up` and
:meth:`stop`; none of them waits, but for ``stop``. Everything that happens is posted as a notice
of ``agent.rules.link``, or as :class:`Died`. Two threads are at work only while a name is looked
up: the resolver cannot be interrupted, so it is left behind when nobody wants it any more.

Invariants:
    1. A dial that was ordered ends in exactly one ``Lost``, unless it was hung up first.
    2. ``Opened`` comes before anything else about a dial; nothing about it comes after its end.
    3. Nothing is written to a socket but by its own thread, and never by waiting for room.
    4. A far end that talks too fast is read more slowly, not forgotten about: at most
       ``FRAMES_PER_S`` notices a second, so that nobody can fill the core's memory.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import websocket

from agent.adapters.roads import (
    Abandoned,
    Patience,
    Place,
    Resolve,
    drain,
    look_up,
    open_road,
    ready_of,
    words,
)
from agent.adapters.roads import as_fault as road_fault
from agent.adapters.tls import client_context
from agent.adapters.websocket_guard import GuardedWebSocket
from agent.rules.endpoints import parse_address
from agent.rules.link import Heard, Lost, Notice, Opened, Received
from tracking.errors import Fault, Unreachable
from tracking.nucleus import parse_reply

log = logging.getLogger("agent.link")

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


@dataclass(frozen=True, slots=True)
class Died:
    """The link's thread ended by a mistake of ours; the agent must not go on without it."""

    name: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class _Dial:
    dial: int
    url: str


@dataclass(frozen=True, slots=True)
class _Send:
    dial: int
    frames: tuple[tuple[int, bytes], ...]  # opcode and payload


@dataclass(frozen=True, slots=True)
class _HangUp:
    dial: int


class WebSocketLink:
    """The thread, its inbox, and at most one connection.

    Args:
        name: Of the upstream, for the thread and the log.
        post: Takes notices; called from the link's thread, must not wait.
        ca_file: PEM certificates trusted beside the computer's own.
        dial_s: Name, connection, proxy, TLS and handshake together.
        read_s: A frame or message that has begun must end within this.
        send_s: Without any progress for so long, sending has failed.
        resolve: Name to places; replaced in tests.

    Attributes:
        sent_bytes: Frames sent since the start, as on the wire but for TLS. Written by the
            link's thread alone; any thread may read it.
        received_bytes: Payload received since the start, likewise.

    """

    def __init__(
        self,
        name: str,
        post: Callable[[Notice | Died], None],
        *,
        ca_file: Path | None = None,
        dial_s: float = 14.0,  # the rule's own limit is 15 s; ours has the better sentence
        read_s: float = 30.0,
        send_s: float = 30.0,
        resolve: Resolve = look_up,
    ) -> None:
        self.name = name
        self.sent_bytes = 0
        self.received_bytes = 0
        self._post = post
        self._ca_file = ca_file
        self._dial_s, self._read_s, self._send_s = dial_s, read_s, send_s
        self._resolve = resolve
        self._context: ssl.SSLContext | None = None
        self._inbox: deque[_Dial | _Send | _HangUp] = deque()
        self._unwanted = 0  # dials up to this one were hung up
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)

        # the link thread's own
        self._dial = 0
        self._ws: GuardedWebSocket | None = None
        self._queue: deque[memoryview] = deque()
        self._queued = 0
        self._moved = 0.0  # when sending last made progress
        self._partial: float | None = None  # since when a message is incomplete
        self._frames, self._bytes, self._counted = FRAMES_PER_S, BYTES_PER_S, 0.0
        self._heard = False

    # --- the core's side ------------------------------------------------------------------

    def dial(self, dial: int, url: str) -> None:
        """Open a connection; answered by ``Opened`` or ``Lost``."""
        if self._thread is None:  # a link that is paused from the start costs no thread
            self._thread = threading.Thread(target=self._run, name=f"link {self.name}", daemon=True)
            self._thread.start()
        self._tell(_Dial(dial, url))

    def send(self, dial: int, frame: bytes) -> None:
        """Send one text frame, if ``dial`` is still open."""
        self._tell(_Send(dial, ((TEXT, frame),)))

    def heartbeat(self, dial: int, frame: bytes) -> None:
        """Send a heartbeat and a ping in one go; the far end answers at least one of them."""
        self._tell(_Send(dial, ((TEXT, frame), (PING, b""))))

    def hang_up(self, dial: int) -> None:
        """End a dial, also while it is connecting. What it had already posted still arrives."""
        self._unwanted = max(self._unwanted, dial)
        self._tell(_HangUp(dial))

    def stop(self, within_s: float = 2.0) -> bool:
        """End the thread; tell whether it did end within ``within_s``."""
        self._stopping = True
        thread = self._thread
        if thread is None:
            self._wake_in.close()
            self._wake_out.close()
            return True
        self._wake()
        thread.join(within_s)
        return not thread.is_alive()

    def _tell(self, letter: _Dial | _Send | _HangUp) -> None:
        self._inbox.append(letter)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):  # full: it will wake; closed: it ended
            self._wake_in.send(b"!")

    # --- the thread's side ----------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                while self._inbox and not self._stopping:
                    self._carry_out(self._inbox.popleft())
                if self._ws is None:
                    ready_of([self._wake_out], [], None)
                    drain(self._wake_out)
                else:
                    self._guarded(self._turn)
        except Exception as exc:
            log.exception("link thread died name=%s", self.name)
            self._post(Died(self.name, exc))
        finally:
            self._close()
            self._wake_in.close()
            self._wake_out.close()

    def _carry_out(self, letter: _Dial | _Send | _HangUp) -> None:
        match letter:
            case _Dial(dial=dial, url=url):
                self._close()
                if dial > self._unwanted:
                    self._dial = dial
                    self._guarded(lambda: self._connect(url))
            case _Send(dial=dial, frames=frames) if dial == self._dial and self._ws is not None:
                self._guarded(lambda: self._say(frames))
            case _HangUp(dial=dial) if dial == self._dial:
                self._close()
            case _:
                pass  # about a dial that has ended

    def _guarded(self, step: Callable[[], None]) -> None:
        """Do one step of the dial's life; what the world does to it ends the dial."""
        try:
            step()
        except Abandoned:
            self._close()
        except Exception as exc:
            fault = as_fault(exc)
            dial = self._dial
            self._close()
            if not self._given_up(dial):
                self._post(Lost(dial, fault))

    def _given_up(self, dial: int) -> bool:
        return self._stopping or self._unwanted >= dial

    def _connect(self, url: str) -> None:
        dial = self._dial
        patience = Patience(self._dial_s, self._wake_out, lambda: self._given_up(dial))
        sock = open_road(
            parse_address(url.rstrip("/")),
            patience,
            context=self._tls,
            resolve=self._look_up,
        )
        ws = GuardedWebSocket(self._enqueue)
        try:
            ws.open(url, sock, patience)
        except BaseException:
            sock.close()
            raise
        self._ws = ws
        self._counted = time.monotonic()
        self._frames, self._bytes = FRAMES_PER_S, BYTES_PER_S
        self._post(Opened(dial))
        self._read()  # frames may have come along with the handshake's answer

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = client_context(self._ca_file)
        return self._context

    def _look_up(self, host: str, port: int, patience: Patience) -> list[Place]:
        """Ask the resolver on a thread of its own, because it cannot be interrupted."""
        answers: list[list[Place] | Exception] = []

        def ask() -> None:
            try:
                answers.append(self._resolve(host, port, patience))
            except Exception as exc:
                answers.append(exc)
            self._wake()

        threading.Thread(target=ask, name=f"names {self.name}", daemon=True).start()
        while not answers:
            patience.wait(None)
        answer = answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _turn(self) -> None:
        """Sleep until something happens, then read and write what can be."""
        if self._sleep():
            self._flush()
            self._read()
        now = time.monotonic()
        if self._partial is not None and now - self._partial >= self._read_s:
            raise Unreachable(f"a message took longer than {self._read_s:g} s")
        if self._queue and now - self._moved >= self._send_s:
            raise Unreachable(f"the far end took nothing for {self._send_s:g} s")

    def _sleep(self) -> bool:
        """Sleep until there is something to do; tell whether the far end has to do with it.

        Bytes that TLS has already decrypted are invisible to ``poll``: of two frames in one
        record the second would lie unread until a third arrived. So TLS is asked first.
        """
        sock = self._ws.sock if self._ws is not None else None
        if sock is None:
            raise Unreachable("the connection was closed here")
        now = time.monotonic()
        pause_s = self._pause_s(now)
        pending = not pause_s and isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        limits = [pause_s] if pause_s else [0.0] if pending else []
        if self._partial is not None:
            limits.append(self._partial + self._read_s - now)
        if self._queue:
            limits.append(self._moved + self._send_s - now)
        reads = [self._wake_out] if pause_s else [self._wake_out, sock]
        timeout_s = max(0.0, min(limits)) if limits else None
        ready = ready_of(reads, [sock] if self._queue else [], timeout_s)
        if self._wake_out in ready:
            drain(self._wake_out)
        return pending or sock in ready

    def _pause_s(self, now: float) -> float:
        """Return how long to leave the far end unread (invariant 4), usually 0."""
        passed, self._counted = now - self._counted, now
        self._frames = min(FRAMES_PER_S, self._frames + passed * FRAMES_PER_S)
        self._bytes = min(BYTES_PER_S, self._bytes + passed * BYTES_PER_S)
        return 0.05 if self._frames < 0 or self._bytes < 0 else 0.0

    # --- reading --------------------------------------------------------------------------

    def _read(self) -> None:
        """Read every whole message that is there."""
        ws = self._ws
        self._heard = False
        texts = 0
        try:
            for _ in range(TURN_FRAMES):
                if ws is None or self._frames < 0 or self._bytes < 0:
                    break
                opcode, frame = ws.recv_data_frame(control_frame=True)
                self._note(opcode, bytes(frame.data))
                texts += opcode in (TEXT, BINARY)
        except NOT_YET:
            pass
        finally:
            if self._heard and not texts and self._ws is not None:
                self._post(Heard(self._dial))  # one wake-up of the core at most
        if ws is None or not ws.midway:
            self._partial = None
        elif self._partial is None or texts:
            self._partial = time.monotonic()
        self._flush()  # the library may have queued a pong

    def _note(self, opcode: int, data: bytes) -> None:
        self._frames -= 1
        self._bytes -= len(data)
        self.received_bytes += len(data)
        if opcode in (TEXT, BINARY):
            reply = parse_reply(data)
            at_ms = int(time.time() * 1000)
            self._post(Received(self._dial, reply.ids, data, at_ms, reply.anon_id))
        elif opcode == PONG:
            self._heard = True
        elif opcode == CLOSE:
            with contextlib.suppress(*NOT_YET, OSError):
                self._flush()  # the close frame that answers theirs
            code = int.from_bytes(data[:2], "big") if len(data) >= 2 else 0
            said = words(data[2:])
            raise Unreachable(
                f"closed by the far end, code {code or 'missing'}" + (f": {said}" if said else "")
            )

    # --- writing --------------------------------------------------------------------------

    def _say(self, frames: tuple[tuple[int, bytes], ...]) -> None:
        """Send frames of ours, in one piece."""
        create = websocket.ABNF.create_frame
        self._enqueue(b"".join(create(payload, opcode).format() for opcode, payload in frames))
        self._flush()

    def _enqueue(self, frames: bytes) -> None:
        if not self._queue:
            self._moved = time.monotonic()
        self._queue.append(memoryview(frames))
        self._queued += len(frames)
        if self._queued > QUEUE_BYTES:
            raise Unreachable("the far end talks but does not listen")

    def _flush(self) -> None:
        """Hand the kernel what it takes without waiting."""
        ws = self._ws
        if ws is None or ws.sock is None:
            return
        while self._queue:
            head = self._queue[0]
            try:
                # after WantWrite TLS must be offered the same bytes again; it is
                count = ws.sock.send(head[:CHUNK_BYTES])
            except NOT_YET:
                return
            self._moved = time.monotonic()
            self.sent_bytes += count
            self._queued -= count
            if count == len(head):
                self._queue.popleft()
            else:
                self._queue[0] = head[count:]

    def _close(self) -> None:
        """End the connection, politely if that costs no waiting."""
        ws, self._ws = self._ws, None
        if ws is not None and ws.sock is not None:
            sock = ws.sock
            if ws.connected and not self._queue:
                close = websocket.ABNF.create_frame((1000).to_bytes(2, "big"), CLOSE).format()
                with contextlib.suppress(OSError):
                    sock.send(close)
            with contextlib.suppress(OSError):
                sock.close()
            ws.sock, ws.connected = None, False
        self._queue.clear()
        self._queued = 0
        self._partial = None


def as_fault(exc: Exception) -> Fault:
    """Translate the library's exceptions, once, at the border."""
    match exc:
        case Fault():
            return exc
        case websocket.WebSocketConnectionClosedException():
            return Unreachable("the far end hung up without a word")
        case websocket.WebSocketException():
            return Unreachable(f"the far end breaks the WebSocket protocol: {words(str(exc))}")
    return road_fault(exc, "the far end")
