"""HTTP/1.1 and WebSocket: uvicorn's protocol classes, held to our limits.

The parsing is uvicorn's and is not touched. What is added: a bounded header, bounded fragments,
refusals in JSON, back-pressure on a WebSocket that asks and does not read, and silence in the log
about what peers do. Both report to a :class:`Connection`, which keeps time.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Protocol, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from tracking.errors import Fault, RequestFault
from tracking.sink import error_body, status_of

HEADER_BYTES: Final = 64 * 1024
FRAGMENTS: Final = 4096  #: Of one WebSocket message. No official client sends more than one.
_log = logging.getLogger("tracking.serving.uvicorn")
_log.setLevel(logging.WARNING)  # below that it writes the path of every WebSocket


class Inner(Protocol):
    """What a :class:`_Connection` asks of the protocol that it stands before.

    Attributes:
        receiving: Something has begun to arrive, is not complete, and we are reading.
        held: Bytes kept for it.
        in_header: A request's header has begun to arrive and is not complete.
        busy: We have yet to answer something.
        completed: How many messages arrived whole.

    """

    @property
    def receiving(self) -> bool: ...
    @property
    def in_header(self) -> bool: ...
    @property
    def held(self) -> int: ...
    @property
    def busy(self) -> bool: ...

    completed: int

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def shutdown(self) -> None:
        """Finish what is being done, then close."""

    def refuse(self, fault: Fault | None) -> None:
        """Say why, None being a long silence, if the protocol has a way to, and close."""


class Connection(Protocol):
    """What stands before the protocols of this module (:mod:`tracking.serving`)."""

    config: Config
    state: ServerState
    loop: asyncio.AbstractEventLoop
    inner: Inner | None
    number: int
    peer: str
    last: float  #: When something last passed, in the loop's time.

    def request_began(self) -> None:
        """Another request has begun to arrive on this connection."""

    def settle(self) -> None:
        """Look at what the protocol holds now."""

    @property
    def waits(self) -> bool:
        """Whether it has yet to show what it wants (:mod:`tracking.places`)."""

    def steers(self) -> None:
        """Stay where only tools of the person may be."""

    def admit(self, holder: str) -> bool:
        """Take a place as somebody's; False if there is none, and it has to go."""


class Http(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with a bounded header and refusals in JSON."""

    def __init__(self, connection: Connection) -> None:
        scope_state = {"connection": connection.number}
        super().__init__(connection.config, connection.state, scope_state, connection.loop)
        self.logger = _log
        self.connection = connection
        self.completed = 0
        self.in_header = False
        self.in_body = False
        self.header_bytes = 0
        self.body_bytes = 0
        self.too_large = False

    @property
    def receiving(self) -> bool:
        return self.in_header or (self.in_body and not self.flow.read_paused)

    @property
    def held(self) -> int:
        return self.header_bytes + self.body_bytes

    @property
    def busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self.client = (self.connection.peer, self.client[1] if self.client else 0)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self.in_header:
            # A header line of any length is one callback; so what comes in is counted too.
            self._count(len(data))
        try:
            if not self.too_large:
                self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Any other upgrade (h2c) is an offer that nobody took; the request was answered.
            if self._should_upgrade() and not self.too_large:
                self.handle_websocket_upgrade()
        except httptools.HttpParserError:
            self.refuse(RequestFault("the request is not HTTP"))
        if self.too_large:
            fault = RequestFault(f"the header is larger than {HEADER_BYTES} bytes", status=431)
            self.refuse(fault)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.in_header, self.header_bytes, self.body_bytes = True, 0, 0
        if self.cycle is not None:  # for the first request the timer runs from the connection
            self.connection.request_began()

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._count(len(self.url))
        self.in_header, self.header_bytes = False, 0
        if self.too_large:
            raise RequestFault("the header is too large")  # ends the parser; answered above
        self.in_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.busy:  # else it is being dropped
            self.body_bytes += len(body)

    def on_message_complete(self) -> None:
        self.in_body = False
        self.completed += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.body_bytes = 0
        super().on_response_complete()
        if not self.transport.is_closing():
            self.connection.settle()

    def handle_websocket_upgrade(self) -> None:
        """Hand over to the WebSocket protocol, inside the same connection."""
        lines = [self.scope["method"].encode(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.scope["headers"]:
            lines += [name, b": ", value, b"\r\n"]
        lines.append(b"\r\n")
        self.connections.discard(self)
        websocket = WebSocket(self.connection, self.scope["state"])
        self.connection.inner = websocket
        websocket.connection_made(self.transport)
        websocket.data_received(b"".join(lines))
        if not websocket.handshake_initiated:
            # websockets takes 128 lines of 8 KiB, and says nothing about more.
            self.refuse(RequestFault("the header is more than a handshake needs", status=431))

    def refuse(self, fault: Fault | None) -> None:
        """Answer in place of the application, if it has not begun to, and close."""
        if self.transport.is_closing():
            return
        if fault is not None and not (self.busy and self.cycle.response_started):
            body = error_body(fault, reportedIds=())
            head = (
                b"content-type: application/json\r\n"
                b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            )
            self.transport.write(STATUS_LINE[status_of(fault)] + head + body)
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _count(self, size: int) -> None:
        self.header_bytes += size
        self.too_large = self.too_large or self.header_bytes > HEADER_BYTES


class WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, with bounded fragments, and quiet about what peers do."""

    def __init__(self, connection: Connection, scope_state: dict[str, Any]) -> None:
        super().__init__(connection.config, connection.state, scope_state, connection.loop)
        self.logger = _log
        self.connection = connection
        self.completed = 0

    @property
    def receiving(self) -> bool:
        return not self.read_paused and bool(self.conn.reader.buffer or self.frames)

    @property
    def held(self) -> int:
        return len(self.conn.reader.buffer) + sum(map(len, self.frames))

    @property
    def in_header(self) -> bool:
        return False

    @property
    def busy(self) -> bool:
        return not self.handshake_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.client = (self.connection.peer, self.client[1] if self.client else 0)

    def handle_cont(self, event: Any) -> None:
        if len(self.frames) >= FRAGMENTS:  # each costs more than the byte it may carry
            self.close(1008)
        elif not self.close_sent:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        self.completed += 1
        if self.curr_msg_data_type == "text":
            whole = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
            try:
                whole.decode()
            except UnicodeDecodeError:
                self.frames = []
                self.close(1007)
                return
            self.frames = [whole]
        super().send_receive_event_to_app()

    def shutdown(self) -> None:
        if self.transport.is_closing() or self.conn.close_sent is not None:
            return  # it has been told
        if self.handshake_initiated:
            super().shutdown()
        else:
            self.transport.close()

    def handle_parser_exception(self) -> None:
        if self.conn.close_sent is None:  # not even a handshake
            self.transport.close()
        else:
            super().handle_parser_exception()

    async def send(self, message: Any) -> None:
        await super().send(message)
        self.connection.last = self.loop.time()  # who is being told things is not idle
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # refused is answered; uvicorn logs it as forgotten

    def pause_writing(self) -> None:
        # It asks (pings, frames) and does not read the answers: then it is not read either.
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    def refuse(self, fault: Fault | None) -> None:
        """Close with the code that says the same: going away, try again later, or misuse."""
        if fault is None:
            self.close(1001)
        else:
            self.close(1013 if status_of(fault) == 503 else 1008)

    def close(self, code: int) -> None:
        """Close with this code, if there is a conversation to close."""
        if self.handshake_complete and not self.close_sent and not self.transport.is_closing():
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code})
            self.conn.send_close(code)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.transport.close()
