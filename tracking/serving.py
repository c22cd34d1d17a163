"""One listening socket for all ways in, under deadlines and caps.

The parsing of HTTP and of WebSocket frames is uvicorn's; its server is not used, because that
wakes ten times a second (measured: `uvicorn.Server.main_loop`), never closes a client that sends
half a header, and takes headers of any length. Here every accepted connection belongs to a
:class:`_Connection`, which stands before the real protocol for as long as it lives:

    accept ─► full? stranger? ─► first byte ─┬─ `{`, blank ─► the line protocol
                 │                           └─ else ───────► HTTP ─► WebSocket
                 └─► closed, nothing read

Invariants:
    1. Who may not come in is closed before its first byte is read.
    2. A connection that is in the middle of something (header, body, frame, line, an answer
       that it does not read) has a deadline by which it must have got on; one that is between
       things has ``idle_s``.
    3. The bytes of unfinished requests and frames are bounded, in all.
    4. While nothing is connected, nothing wakes: there is a timer only where a connection is.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import socket
from collections.abc import Callable
from typing import Any, Final, cast

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from tracking.errors import RequestFault
from tracking.events import Limits
from tracking.http_protocols import Connection, Http, Inner, WebSocket
from tracking.peers import peer_key, peer_of
from tracking.places import Places
from tracking.unread import unread_bytes

UNFINISHED_BYTES: Final = 128 * 1024 * 1024  #: Of all connections together (invariant 3).
SMALL_BYTES: Final = 64 * 1024  #: A connection that holds less is never the one to go.
PROGRESS_BYTES: Final = 1024  #: Less than this between two looks is a drip, not progress.
CALM_S: Final = 1.0  #: Who was silent so long, and owes nothing, may lose its place to another.
GOODBYE_S: Final = 0.5  #: How long who lost its place may take to go.
_IN_A_LINE: Final = b"{ \t\r\n"
TOO_MANY: Final = RequestFault("too many connections are open, come again", status=503)
_numbers = itertools.count(1)  #: Of connections, unique in the process: it may have two listeners.
_log = logging.getLogger("tracking.serving")


class Listener:
    """Serves an ASGI application, and lines, on sockets that were bound elsewhere.

    Args:
        app: The application; its ``scope["state"]["connection"]`` numbers the connection.
        limits: Sizes of frames and bodies.
        max_connections: In all; one more is closed when it comes.
        max_per_peer: From one address (one /64 of IPv6), or one process on this machine.
        uncounted: Says of whom ``max_per_peer`` does not hold: a proxy speaks for many.
        header_s: How long a request's header may take, and a new connection's first byte.
        body_s: How long a body, a frame, a line or an unread answer may stand still.
        idle_s: How long a connection may be silent.
        allow: Says whether the peer may come in, by looking at its transport.
        lines: Builds the line protocol for a connection and its peer; None closes this way in.
        http: Builds the protocol of everything else.
        ws_ping_s: How often a WebSocket is asked whether it still lives; None asks never.
        unfinished_bytes: See invariant 3.
        places: Who may come in, instead of ``max_connections`` and ``max_per_peer``.

    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        max_connections: int = 64,
        max_per_peer: int | None = None,
        uncounted: Callable[[str], bool] = lambda _: False,
        header_s: float = 5.0,
        body_s: float = 10.0,
        idle_s: float = 600.0,
        allow: Callable[[asyncio.BaseTransport], bool] | None = None,
        lines: Callable[[int, str], Inner] | None = None,
        http: Callable[[Connection], Inner] = Http,
        ws_ping_s: float | None = None,
        unfinished_bytes: int = UNFINISHED_BYTES,
        places: Places | None = None,
    ) -> None:
        self.places = places or Places(max_connections, share=max_per_peer)
        self.uncounted = uncounted
        self.header_s = header_s
        self.body_s = body_s
        self.idle_s = idle_s
        self.allow = allow
        self.lines = lines
        self.http = http
        self.unfinished_bytes = unfinished_bytes
        self.unfinished = 0
        self.refused = 0  #: Connections closed unread, for the curious.
        self.connections: set[_Connection] = set()
        self.state = ServerState()
        self.config = Config(
            app=cast(Any, app),
            http=Http,
            ws=WebSocket,
            ws_max_size=limits.frame_bytes,
            ws_per_message_deflate=False,
            ws_ping_interval=ws_ping_s,
            ws_ping_timeout=ws_ping_s,
            lifespan="off",
            loop="none",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self.config.load()
        self.config.timeout_keep_alive = idle_s  # type: ignore[assignment]
        self._servers: list[asyncio.Server] = []
        self._empty = asyncio.Event()
        self._empty.set()

    async def on_socket(self, sock: socket.socket) -> None:
        """Serve a bound socket, TCP or Unix. It is closed when the listener drains."""
        loop = asyncio.get_running_loop()
        build = functools.partial(_Connection, self)
        unix = sock.family == getattr(socket, "AF_UNIX", None)
        start = loop.create_unix_server if unix else loop.create_server
        self._servers.append(await start(build, sock=sock, backlog=512))

    def conversations(self) -> list[_Connection]:
        """Return the connections that are WebSockets."""
        return [one for one in self.connections if isinstance(one.inner, WebSocket)]

    async def drain(self, seconds: float) -> None:
        """Accept nobody more, let requests finish, send WebSockets away (1012), and wait.

        Who is still there after ``seconds`` is cut off.
        """
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in tuple(self.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            for connection in tuple(self.connections):
                connection.transport.abort()
            await self._empty.wait()

    # --- what connections report ---------------------------------------------------------------

    def enter(self, connection: _Connection) -> bool:
        """Register a connection; False if it may not come in."""
        if self.allow is not None and not self.allow(connection.transport):
            self.refused += 1
            _log.info("refused a connection, its peer may not come in")
            return False
        counted = not self.uncounted(connection.peer)
        if not self.places.arrive(connection, peer_key(connection.peer), counted=counted):
            self.refused += 1
            count = len(self.connections)
            _log.info("refused a connection, there are too many connections=%d", count)
            return False
        self.connections.add(connection)
        self._empty.clear()
        return True

    def leave(self, connection: _Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        self.places.leave(connection)
        if not self.connections:
            self._empty.set()


class _Connection(asyncio.Protocol):
    """Stands before the protocol that understands the bytes; keeps time and count."""

    transport: asyncio.Transport

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.config = listener.config
        self.state = listener.state
        self.loop = asyncio.get_running_loop()
        self.inner: Inner | None = None
        self.peer = ""
        self.entered = False
        self.number = 0
        self.held = 0
        self.last = 0.0  #: When something last passed.
        self.since: float | None = None  #: When what is arriving began to.
        self.received = 0  #: Bytes since the last look.
        self.completed = 0  #: Messages at the last look.
        self.unsent: int | None = None  #: Bytes that it had yet to read at the last look.
        self.due = 0.0
        self.timer: asyncio.TimerHandle | None = None

    # --- the transport's calls -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        try:
            self.peer = peer_of(transport)
            _send_at_once(transport)
            self.entered = self.listener.enter(self)
        except OSError:  # who it is cannot be found out: it has gone, or it may as well
            _log.info("closed a connection, who it is cannot be found out")
        finally:
            if not self.entered:
                self.transport.abort()
        if not self.entered:
            return
        self.number = next(_numbers)
        self.last = self.loop.time()
        self.look_in(self.listener.header_s)

    def data_received(self, data: bytes) -> None:
        if not self.entered:
            return
        if self.inner is None:
            self.inner = self._choose(data)
            self.inner.connection_made(self.transport)
            if self.waits and data[0] in _IN_A_LINE:  # who speaks in lines reports
                self.refuse(TOO_MANY)
                return
        self.last = self.loop.time()
        self.received += len(data)
        self.inner.data_received(data)
        self.settle()

    def eof_received(self) -> bool | None:
        return None if self.inner is None else self.inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.inner is not None:
            self.inner.connection_lost(exc)
        self.listener.unfinished -= self.held
        self.held = 0
        if self.entered:
            self.listener.leave(self)

    def pause_writing(self) -> None:
        self.unsent = unread_bytes(self.transport)
        self.look_in(self.listener.body_s)  # from now on: an earlier look would find no progress
        if self.inner is not None:
            self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.unsent = None
        if self.since is not None:  # it was not read meanwhile, so it could not get on
            self.since, self.received = self.loop.time(), 0
        if self.inner is not None:
            self.inner.resume_writing()

    # --- time and count ------------------------------------------------------------------------

    def settle(self) -> None:
        """Count what the inner protocol holds, and mind the deadline that goes with it."""
        inner, listener = self.inner, self.listener
        assert inner is not None
        if self.transport.is_closing():
            self.look_in(listener.header_s)  # whether it went
            return
        held = inner.held
        listener.unfinished += held - self.held
        self.held = held
        if held > SMALL_BYTES and listener.unfinished > listener.unfinished_bytes:
            _log.warning("closed a connection, too much was unfinished bytes=%d", held)
            self.refuse(RequestFault("too much at once, come again", status=503))
            return
        if not inner.receiving:
            self.since = None
            return
        now = self.loop.time()
        if self.since is None:
            self.since, self.received, self.completed = now, 0, inner.completed
        if self.due > now + listener.body_s:
            self.look_in(listener.body_s)

    def look_in(self, seconds: float) -> None:
        """Look at the connection again after this long."""
        if self.timer is not None:
            self.timer.cancel()
        self.due = self.loop.time() + seconds
        self.timer = self.loop.call_at(self.due, self._look)

    def _look(self) -> None:
        """Close a connection that did not get on; else look again."""
        self.timer = None
        listener, inner, now = self.listener, self.inner, self.loop.time()
        if self.transport.is_closing():
            self.transport.abort()  # it does not even read why
        elif inner is None:
            self.transport.close()
        elif self.waits:  # blank lines are no header, and would do for ten minutes
            self.refuse(RequestFault("the header took too long", status=408))
        elif self.unsent is not None:
            left = unread_bytes(self.transport)
            if left > self.unsent - PROGRESS_BYTES:
                _log.info("closed a connection, it does not read its answers bytes=%d", left)
                self.transport.abort()
            else:
                self.unsent = left
                self.look_in(listener.body_s)
        elif inner.in_header:
            self.refuse(RequestFault("the header took too long", status=408))
        elif inner.receiving and self.since is not None:
            if now < self.since + listener.body_s:
                self.look_in(self.since + listener.body_s - now)
            elif self.received < PROGRESS_BYTES and self.completed == inner.completed:
                self.refuse(RequestFault("the rest did not come", status=408))
            else:
                self.since, self.received, self.completed = now, 0, inner.completed
                self.look_in(listener.body_s)
        elif inner.busy or now < self.last + listener.idle_s:
            self.look_in(max(self.last + listener.idle_s - now, listener.body_s))
        else:
            self.refuse(None)

    def refuse(self, fault: RequestFault | None) -> None:
        """Say why, where the protocol has a way to, and close."""
        if self.inner is None:
            self.transport.close()
        else:
            self.inner.refuse(fault)
        self.look_in(self.listener.header_s)  # whether it went

    # --- its place -----------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether it has yet to show what it wants, and may stay only then."""
        return self.listener.places.waits(self)

    @property
    def idle(self) -> bool:
        inner = self.inner
        between = inner is None or not (inner.busy or inner.receiving)
        return between and self.loop.time() >= self.last + CALM_S

    def dismiss(self) -> None:
        _log.info("closed an idle connection for another one")
        if self.inner is None or self.inner.in_header:
            self.transport.abort()
        else:
            self.refuse(None)
            self.loop.call_later(GOODBYE_S, self.transport.abort)

    def steers(self) -> None:
        """Stay where only tools of the person may be."""
        self.listener.places.steers(self)

    def admit(self, holder: str) -> bool:
        """Take a place as somebody's; False if there is none, and it has to go."""
        return self.listener.places.admit(self, holder)

    def request_began(self) -> None:
        """Give the header of another request its time."""
        self.look_in(self.listener.header_s)

    def shutdown(self) -> None:
        """Finish what is being done, then close."""
        if self.inner is None:
            self.transport.close()
        else:
            self.inner.shutdown()

    def _choose(self, data: bytes) -> Inner:
        if self.listener.lines is not None and data[0] in _IN_A_LINE:
            return self.listener.lines(self.number, self.peer)
        return self.listener.http(self)


def _send_at_once(transport: asyncio.BaseTransport) -> None:
    """Turn Nagle's algorithm off.

    asyncio does so only for sockets that were made with the protocol's number, which nobody's are.
    Without it, an HTTP answer's body waits for the far side to acknowledge its header: 40 ms.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
