"""One serving collector: sockets, store, writer, drain.

    WebSocket, HTTP ──► tracking.endpoints ──► Ingest ──► Writer (thread) ──► Store
    Data API v1     ──► DataApi ──► Store (worker threads), Presence (memory)
    admin.sock      ──► export, status: for the command line of the same user

SIGTERM, SIGINT, or the end of the parent (standard input closes): stop accepting, tell WebSockets
to come back (1012), commit what was taken, close the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from collector.accounts import Accounts
from collector.api import DataApi
from collector.ingest import Ingest
from collector.limits import Limiter
from collector.places import Folder, ServerLock
from collector.presence import Presence
from collector.rows import exported
from collector.store.duck import DuckStore
from collector.writer import Writer
from tracking.endpoints import error_response, tracking_routes
from tracking.errors import Fault, SettingsFault
from tracking.events import Limits
from tracking.nucleus import normal_platform
from tracking.serving import Listener

log = logging.getLogger("collector.server")

PING_S = 30.0
DRAIN_S = 1.5
WANTED_FILES = 65_536
GC_THRESHOLD = (50_000, 50, 1_000)  #: STORE.md: untuned, 10,000 connections cost 400 ms pauses.


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How to serve.

    Attributes:
        host: A loopback address, unless a reverse proxy with TLS stands before it.
        port: 0 for any.
        stdin_eof: End when standard input ends: the parent has died.
        connections: In all.
        per_peer: Connections from one address.
        peer_events_per_s: Events that one address may report, sustained.
        app_events_per_s: The same for one app.

    """

    host: str = "127.0.0.1"
    port: int = 7780
    stdin_eof: bool = False
    connections: int = 20_000
    per_peer: int = 20_000
    peer_events_per_s: float = 200_000.0
    app_events_per_s: float = 200_000.0
    burst: float = 2_000_000.0


async def serve(folder: Folder, serving: Serving, ready: Callable[[int], None]) -> None:
    """Serve until a signal or the end of the parent.

    Args:
        folder: Prepared.
        serving: How.
        ready: Called with the port when everything answers.

    Raises:
        AgentRunning: Another process serves this folder.
        SettingsFault: The address cannot be listened on.
        StorageFault: The store cannot be used.

    """
    lock = ServerLock.take(folder)
    try:
        sock = _listen(serving.host, serving.port)
        with contextlib.closing(sock):
            await _run(lock, serving, sock, ready)
    finally:
        lock.release()


async def _run(
    lock: ServerLock, serving: Serving, sock: socket.socket, ready: Callable[[int], None]
) -> None:
    _raise_file_limit(serving.connections)
    gc.set_threshold(*GC_THRESHOLD)
    loop = asyncio.get_running_loop()
    folder = lock.folder
    stopping = _stop_signals(loop, stdin_eof=serving.stdin_eof)
    with contextlib.ExitStack() as ends:
        accounts = ends.enter_context(contextlib.closing(Accounts(folder.accounts)))
        store = await asyncio.to_thread(DuckStore, folder.events, _now_ms())
        ends.callback(store.close)
        writer = Writer(store, loop)
        ends.callback(writer.close)  # also if serving never began: its thread must end
        await _serve(_Rooms(lock, serving, sock, accounts, store, writer), ready, stopping)


class _Rooms(NamedTuple):
    """What a serving collector consists of, opened."""

    lock: ServerLock
    serving: Serving
    sock: socket.socket
    accounts: Accounts
    store: DuckStore
    writer: Writer


async def _serve(rooms: _Rooms, ready: Callable[[int], None], stopping: asyncio.Event) -> None:
    lock, serving, sock, accounts, store, writer = rooms
    presence = Presence(_now_ms, normal_platform)
    ingest = Ingest(
        accounts,
        writer,
        presence,
        per_peer=Limiter(serving.peer_events_per_s, serving.burst),
        per_app=Limiter(serving.app_events_per_s, serving.burst),
        now_ms=_now_ms,
        now_s=time.monotonic,
    )
    api = DataApi(accounts, store, presence, Limiter(10 / 60, 10), _now_ms, time.monotonic)
    limits = Limits()
    public = Starlette(
        routes=[*api.routes(), *tracking_routes(ingest, limits)],
        exception_handlers={Fault: _on_fault},
    )
    started_ms = _now_ms()

    def status() -> dict[str, object]:
        return {
            "pid": os.getpid(),
            "port": port,
            "started_ms": started_ms,
            "waiting": writer.waiting,
            "written": writer.written,
            "repeats": writer.repeats,
            "counts": dict(ingest.counts),
            "apps": {app.app_id: store.count(app.app_id) for app in accounts.apps()},
        }

    admin = Starlette(
        routes=[
            Route("/status", _answer(status)),
            Route("/export/{app_id}", _export(accounts, store)),
        ]
    )
    listener = Listener(
        public,
        limits=limits,
        max_connections=serving.connections,
        max_per_peer=serving.per_peer,
        ws_ping_s=PING_S,
    )
    back_door = Listener(admin, limits=limits, max_connections=16, idle_s=3600.0)
    port = sock.getsockname()[1]
    await back_door.on_socket(lock.listen_admin())
    await listener.on_socket(sock)
    ready(port)
    log.info("serving host=%s port=%d", serving.host, port)
    try:
        await stopping.wait()
    finally:
        log.info("draining waiting=%d", writer.waiting)
        await listener.drain(DRAIN_S)
        await back_door.drain(0.2)
        await asyncio.to_thread(writer.close)


def _answer(facts: Callable[[], object]) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        del request
        said = await asyncio.to_thread(facts)
        return Response(msgspec.json.encode(said), media_type="application/json")

    return endpoint


def _export(accounts: Accounts, store: DuckStore) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        app_id = str(request.path_params["app_id"])
        if accounts.app(app_id) is None:
            return Response(status_code=404)
        total = await asyncio.to_thread(store.count, app_id)
        slices = store.export(app_id)

        async def lines() -> AsyncIterator[bytes]:
            while (rows := await asyncio.to_thread(next, slices, None)) is not None:
                yield b"".join(exported(row) for row in rows)

        return StreamingResponse(
            lines(), media_type="application/x-ndjson", headers={"X-Total": str(total)}
        )

    return endpoint


async def _on_fault(request: Request, exc: Exception) -> Response:
    del request
    assert isinstance(exc, Fault)
    return error_response(exc)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(1024)
    except OSError as exc:
        sock.close()
        raise SettingsFault(
            f"cannot listen on {host}:{port}: {exc.strerror or exc}",
            advice="Name another --port; 0 takes any that is free.",
        ) from exc
    sock.setblocking(False)
    return sock


def _stop_signals(loop: asyncio.AbstractEventLoop, *, stdin_eof: bool) -> asyncio.Event:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if stdin_eof:

        def until_eof() -> None:
            # Not sys.stdin: its lock, held by a thread, is fatal when the interpreter ends.
            with contextlib.suppress(OSError):
                while os.read(0, 4096):
                    pass
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(stopping.set)

        threading.Thread(target=until_eof, name="parent", daemon=True).start()
    return stopping


def _raise_file_limit(connections: int) -> None:
    """Allow as many open files as connections need, and say if the system does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, min(WANTED_FILES, hard if hard != resource.RLIM_INFINITY else WANTED_FILES))
    if wanted > soft:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < min(connections, 1_024):
        log.warning("few open files are allowed here limit=%d", soft)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
