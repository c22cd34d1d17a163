"""A far end in miniature: a durable sink in memory, served on a real socket by a real loop."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket
from starlette.applications import Starlette

from tracking.endpoints import tracking_routes
from tracking.errors import Fault, RequestFault
from tracking.events import Event, Frame, Limits
from tracking.lines import line_factory
from tracking.serving import Listener
from tracking.sink import Origin, Receipt

sys.path.insert(0, str(Path(__file__).resolve().parent))  # frames_by_hand, on_the_wire: equipment
pytest.register_assert_rewrite("frames_by_hand")  # it asserts on behalf of tests


class MemorySink:
    """Keeps what it is given; ``turn_s`` is how long its disk takes."""

    def __init__(self) -> None:
        self.known = {"A", "acme"}
        self.stored: list[tuple[str, Event]] = []
        self.heartbeats: list[tuple[str, Event]] = []
        self.bad = 0
        self.origins: list[Origin] = []
        self.live: dict[int, str] = {}
        self.turn_s = 0.0
        self.fault: Fault | None = None
        self.unacknowledged: tuple[int, ...] = ()
        self.waiting = 0
        self.most_waiting = 0

    async def admit(self, app_id: str, origin: Origin, *, frame_follows: bool = False) -> None:
        if app_id not in self.known:
            raise RequestFault(f"no app has the id {app_id}", field="appId", status=404)

    async def accept(self, app_id: str, frame: Frame, origin: Origin) -> Receipt:
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        if self.turn_s:
            await asyncio.sleep(self.turn_s)
        self.waiting -= 1
        return self._keep(app_id, frame, origin)

    def take(
        self, app_id: str, frame: Frame, origin: Origin, reply: Callable[[Receipt], None]
    ) -> None:
        if app_id not in self.known:
            raise RequestFault(f"no app has the id {app_id}", field="appId", status=404)
        loop = asyncio.get_running_loop()
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)

        def commit() -> None:
            self.waiting -= 1
            reply(self._keep(app_id, frame, origin))

        if self.turn_s:
            loop.call_later(self.turn_s, commit)
        else:
            loop.call_soon(commit)

    def _keep(self, app_id: str, frame: Frame, origin: Origin) -> Receipt:
        self.origins.append(origin)
        receipt = Receipt(unacknowledged=self.unacknowledged, fault=self.fault)
        unsafe = receipt.unsafe(frame)
        self.stored += [(app_id, e) for n, e in enumerate(frame.events) if n not in unsafe]
        self.heartbeats += [(app_id, e) for e in frame.heartbeats]
        return receipt

    def joined(self, app_id: str, connection: int) -> None:
        self.live[connection] = app_id

    def left(self, app_id: str, connection: int) -> None:
        del self.live[connection]

    def refused(self, app_id: str, frame: Frame) -> None:
        self.bad += len(frame.refused)

    @property
    def names(self) -> list[str | None]:
        return [event.name for _, event in self.stored]


class FarEnd:
    """A listener in a thread of its own, and clients to talk to it."""

    def __init__(self, folder: Path, sink: MemorySink, **options: Any) -> None:
        self.sink = sink
        self.clients: list[socket.socket] = []
        self.path = str(folder / "s.sock")
        self.limits: Limits = options.pop("limits", Limits())
        routes = {
            key: options.pop(key)
            for key in ("require_ids", "in_flight_bytes", "cors", "side_calls")
            if key in options
        }
        before = options.pop("before", [])  # routes that are mounted before Nucleus's
        options.setdefault("max_connections", 512)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.tcp.getsockname()[1]
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(self.path)

        async def start() -> Listener:
            app = Starlette(routes=[*before, *tracking_routes(sink, self.limits, **routes)])
            listener = Listener(
                app, limits=self.limits, lines=line_factory(sink, self.limits), **options
            )
            await listener.on_socket(self.tcp)
            await listener.on_socket(self.unix)
            return listener

        self.listener = self.run(start())

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.run(self.listener.drain(1.0))

        async def rest() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(rest())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    # --- clients -------------------------------------------------------------------------------

    def connect(self, *, unix: bool = False) -> socket.socket:
        """Return a client's socket; it is closed with the far end, if not before."""
        if unix:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(10)
            sock.connect(self.path)
        else:
            sock = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        self.clients.append(sock)
        return sock

    def websocket(
        self, path: str = "/app/A/track", *, unix: bool = False, **options: Any
    ) -> websocket.WebSocket:
        return websocket.create_connection(
            f"ws://127.0.0.1:{self.port}{path}",
            timeout=10,
            socket=self.connect(unix=unix),
            **options,
        )

    def request(
        self,
        method: str,
        path: str = "/app/A/track",
        body: bytes | str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return (
                response.status,
                response.read(),
                {k.lower(): v for k, v in response.getheaders()},
            )


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def serve(tmp_path: Path, sink: MemorySink) -> Iterator[Callable[..., FarEnd]]:
    """Start far ends with options of the listener's; they are stopped after the test."""
    started: list[FarEnd] = []

    def start(**options: Any) -> FarEnd:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(FarEnd(folder, sink, **options))
        return started[-1]

    yield start
    for far_end in started:
        far_end.stop()


@pytest.fixture
def far_end(serve: Callable[..., FarEnd]) -> FarEnd:
    return serve()


def read_lines(sock: socket.socket, count: int) -> list[bytes]:
    """Read so many lines, or to the end."""
    data = b""
    while data.count(b"\n") < count and (more := sock.recv(1 << 20)):
        data += more
    return data.splitlines()


@pytest.fixture
def lines() -> Callable[[socket.socket, int], list[bytes]]:
    return read_lines


def eventually(true: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until it is true; fail if it does not become so."""
    gate, deadline = threading.Event(), seconds
    while not true():
        assert deadline > 0, "it never became true"
        gate.wait(0.01)
        deadline -= 0.01


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., None]:
    return eventually
