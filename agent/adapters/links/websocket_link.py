"""One WebSocket to a far end, owned by one thread.

websocket-client blocks, and its TLS object must not be read and written by two threads at once
(1 of 300 connections died of it on loopback). So the link's thread alone touches it: it sleeps
in :meth:`WebSocketLink._sleep` until the far end has spoken or the core has posted a letter,
and does one thing at a time. ``WebSocketApp`` is not used: its reconnect delay has no jitter,
its ping timer is a second thread on the same socket, and it follows redirects. Of the library
we use the handshake's checks and the frames; ``agent.adapters.links.websocket_guard`` stands
between it and the far end.

The core thread calls :meth:`dial`, :meth:`send`, :meth:`heartbeat`, :meth:`hang_up` and
:meth:`stop`; none of them waits, but for ``stop``. Everything that happens is posted as a notice
of ``agent.rules.link``, or as :class:`Died`. Two threads are at work only while a name is looked
up: the resolver cannot be interrupted, so it is left behind when nobody wants it any more.

Invariants:
    1. A dial that was ordered ends in exactly one ``Lost``, unless it was hung up first.
    2. ``Opened`` comes before anything else about a dial; nothing about it comes after its end.
    3. Only the link's thread touches the connection, and it waits in one place.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import websocket

from agent.adapters.links.http_wire import peer_of
from agent.adapters.links.websocket_wire import BINARY, PING, PONG, TEXT, Frames, Wire
from agent.adapters.roads.atlas import Atlas
from agent.adapters.roads.names import beside
from agent.adapters.roads.patience import Abandoned, Patience, drain, ready_of, words
from agent.adapters.roads.patience import as_fault as road_fault
from agent.adapters.roads.road import Resolve, look_up, open_road
from agent.adapters.roads.tls import client_context
from agent.rules.endpoints import parse_address
from agent.rules.notices import Heard, Lost, Notice, Opened, Received
from tracking.errors import Fault, Unreachable
from tracking.nucleus import parse_reply

#: Hears what is said before there are frames: kind, direction, the bytes, and who is there.
Note = Callable[[str, Literal["sent", "received"], bytes, str], None]


def unheard(kind: str, direction: str, said: bytes, peer: str) -> None:
    """Tell nobody."""
    del kind, direction, said, peer


class Died(Exception):
    """A link's thread ended by a mistake of ours, the cause of this; posted, never raised.

    The agent must not go on without the thread.
    """


@dataclass(frozen=True, slots=True)
class _Dial:
    dial: int
    url: str


@dataclass(frozen=True, slots=True)
class _Send:
    dial: int
    frames: Frames


@dataclass(frozen=True, slots=True)
class _HangUp:
    dial: int


class WebSocketLink:
    """The thread, its inbox, and at most one connection.

    Args:
        name: Of the upstream, for the thread's name.
        post: Takes notices; called from the link's thread, must not wait.
        ca_file: PEM certificates trusted beside the computer's own.
        dial_s: Name, connection, proxy, TLS and handshake together.
        read_s: A frame or message that has begun must end within this.
        send_s: Without any progress for so long, sending has failed.
        resolve: Name to places; replaced in tests.
        atlas: Hosts, proxies and logins of this agent.
        note: Hears what is said before there are frames; called from the link's thread.

    Attributes:
        peer: Who is at the other end of the newest connection, as far as it has proved it.
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
        dial_s: float = 15.0,
        read_s: float = 30.0,
        send_s: float = 30.0,
        resolve: Resolve = look_up,
        atlas: Atlas | None = None,
        note: Note = unheard,
    ) -> None:
        self.name = name
        self.peer = ""
        self._note = note
        self.sent_bytes = 0
        self.received_bytes = 0
        self._post = post
        self._ca_file = ca_file
        self._dial_s, self._read_s, self._send_s = dial_s, read_s, send_s
        self._resolve = resolve
        self._atlas = atlas
        self._context: ssl.SSLContext | None = None
        self._inbox: deque[_Dial | _Send | _HangUp] = deque()
        self._unwanted = 0  # dials up to this one were hung up
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)

        # the link thread's own
        self._dial = 0
        self._wire: Wire | None = None

    # --- the core's side ------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, unless it runs. A dial does so by itself."""
        if self._thread is None and not self._stopping.is_set():
            self._thread = threading.Thread(target=self._run, name=f"link {self.name}", daemon=True)
            self._thread.start()

    def dial(self, dial: int, url: str) -> None:
        """Open a connection; answered by ``Opened`` or ``Lost``."""
        self.start()
        self._tell(_Dial(dial, url))

    def send(self, dial: int, frame: bytes) -> None:
        """Send one text frame, if ``dial`` is still open."""
        self._tell(_Send(dial, ((TEXT, frame),)))

    def heartbeat(self, dial: int, frame: bytes) -> None:
        """Send a heartbeat and a ping in one go; the far end answers at least one of them."""
        self._tell(_Send(dial, ((TEXT, frame), (PING, b""))))

    def ping(self, dial: int) -> None:
        """Ask for a sign of life without giving one."""
        self._tell(_Send(dial, ((PING, b""),)))

    def hang_up(self, dial: int) -> None:
        """End a dial, also while it is connecting. What it had already posted still arrives."""
        self._unwanted = max(self._unwanted, dial)
        self._tell(_HangUp(dial))

    def stop(self, within_s: float = 2.0) -> bool:
        """End the thread; tell whether it did end within ``within_s``."""
        self._stopping.set()
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
        with contextlib.suppress(OSError):  # full: it will wake; closed: the thread has ended
            self._wake_in.send(b"!")

    # --- the thread's side ----------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                if self._inbox:
                    self._carry_out(self._inbox.popleft())
                elif self._wire is None:
                    ready_of([self._wake_out], [], None)
                    drain(self._wake_out)
                else:
                    self._guarded(partial(self._turn, self._wire))
        except Exception as exc:
            died = Died(f"the thread of link {self.name} died")
            died.__cause__ = exc
            self._post(died)
        finally:
            self._close()
            self._wake_in.close()
            self._wake_out.close()

    def _carry_out(self, letter: _Dial | _Send | _HangUp) -> None:
        wire = self._wire
        match letter:
            case _Dial(dial=dial, url=url):
                self._close()
                if dial > self._unwanted:
                    self._dial = dial
                    self._guarded(partial(self._connect, url))
            case _Send(dial=dial, frames=frames) if dial == self._dial and wire is not None:
                self._guarded(partial(wire.say, frames))
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
            dial, self._dial = self._dial, 0
            self._close()
            if not self._given_up(dial):
                self._post(Lost(dial, fault))
        if self._wire is not None:
            self._count(self._wire)

    def _count(self, wire: Wire) -> None:
        """Add what passed since the last count."""
        self.sent_bytes += wire.sent_bytes
        self.received_bytes += wire.received_bytes
        wire.sent_bytes = wire.received_bytes = 0

    def _given_up(self, dial: int) -> bool:
        return self._stopping.is_set() or self._unwanted >= dial

    def _connect(self, url: str) -> None:
        dial = self._dial
        self.peer = ""

        def note(kind: str, direction: Literal["sent", "received"], said: bytes) -> None:
            self._note(kind, direction, said, self.peer)

        patience = Patience(self._dial_s, self._wake_out, lambda: self._given_up(dial), note)
        address = parse_address(url)
        sock = open_road(
            address,
            patience,
            context=self._tls,
            resolve=beside(self._resolve, self._wake, self.name),
            atlas=self._atlas,
        )
        self.peer = peer_of(sock)
        self._wire = Wire(url, sock, patience, read_s=self._read_s, send_s=self._send_s)
        self._post(Opened(dial))
        self._read(self._wire)  # frames may have come along with the handshake's answer

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = client_context(self._ca_file)
        return self._context

    def _turn(self, wire: Wire) -> None:
        """Sleep until something happens, then read and write what can be."""
        if self._sleep(wire):
            wire.flush()
            self._read(wire)
        wire.check()

    def _sleep(self, wire: Wire) -> bool:
        """Sleep until there is something to do; tell whether it has to do with the far end."""
        pause_s, pending = wire.pause_s(), wire.pending
        limits = [limit for limit in (wire.due_s(), pause_s or None) if limit is not None]
        if pending and not pause_s:
            limits.append(0.0)
        reads = [self._wake_out] if pause_s else [self._wake_out, wire.sock]
        writes = [wire.sock] if wire.sending else []
        ready = ready_of(reads, writes, min(limits) if limits else None)
        if self._wake_out in ready:
            drain(self._wake_out)
        return pending or wire.sock in ready

    def _read(self, wire: Wire) -> None:
        """Post what the far end has said; a pong only if that was all, to spare a wake-up."""
        texts = pongs = 0

        def heard(opcode: int, data: bytes) -> None:
            nonlocal texts, pongs
            self._count(wire)  # whoever hears of a frame finds it counted
            if opcode in (TEXT, BINARY):
                texts += 1
                reply, at_ms = parse_reply(data), int(time.time() * 1000)
                self._post(Received(self._dial, reply.ids, data, at_ms, reply.anon_id))
            pongs += opcode == PONG

        wire.read(heard)
        if pongs and not texts:
            self._post(Heard(self._dial))

    def _close(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            self._count(wire)
            wire.close()


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
