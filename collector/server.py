"""One serving collector: sockets, store, writer, drain.

    WebSocket, HTTP ──► Entrance ──► tracking.endpoints ──► Ingest ──► Writer (thread) ──► Store
    Bucket          ──►    „     ──► tracking.bucket_endpoints ──► BucketIngest ──►  „
    Data API v1     ──►    „     ──► DataApi ──► Store (worker threads), Presence (memory)
    admin.sock      ──► export, status, metrics: for the command line of the same user
    metrics port    ──► metrics, health: for whoever watches, on 127.0.0.1

SIGTERM, SIGINT, or the end of the parent (standard input closes): :mod:`collector.draining`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from collector.access.accounts import Accounts
from collector.access.limits import Limiter
from collector.admin import admin_routes
from collector.api import DataApi
from collector.bulk.data_routes import data_routes
from collector.draining import Ending, send_away, settled, spread_s
from collector.engines import EMBEDDED, open_store, sharing_of, tombstone_key
from collector.entrance import Entrance, forwarded_for
from collector.forgetting import Forgetting
from collector.health import Health, metrics_route
from collector.intake.bucket import BucketIngest
from collector.intake.catalogue import Catalogue
from collector.intake.ingest import Ingest
from collector.intake.presence import Presence
from collector.intake.shared_presence import SharedPresence
from collector.intake.stays import StayLog
from collector.intake.tombstones import Tombstones
from collector.intake.writer import Writer
from collector.metrics import Metrics, open_files, resident_bytes, sizes
from collector.places import Folder, ServerLock
from collector.receipts import KEY_FILE, Seal
from collector.settings import Settings
from collector.store.duck import DuckStore
from collector.store.interface import Beat, Store
from collector.upkeep import Upkeep
from tracking.bucket_endpoints import bucket_routes
from tracking.endpoints import error_response, tracking_routes
from tracking.errors import Fault, SettingsFault
from tracking.nucleus import normal_platform
from tracking.serving import Listener

if TYPE_CHECKING:
    from collector.intake.geoip import Countries

log = logging.getLogger("collector.server")

GRACE_S = 1.5  #: What who was told to go has to go.
WANTED_FILES = 65_536
GC_THRESHOLD = (50_000, 50, 1_000)  #: STORE.md: untuned, 10,000 connections cost 400 ms pauses.


async def serve(
    folder: Folder,
    settings: Settings,
    ready: Callable[[int], None],
    *,
    stdin_eof: bool = False,
) -> None:
    """Serve until a signal or the end of the parent.

    Args:
        folder: Prepared.
        settings: How.
        ready: Called with the port when everything answers.
        stdin_eof: End when standard input ends: the parent has died.

    Raises:
        AgentRunning: Another process serves this folder.
        SettingsFault: An address cannot be listened on.
        StorageFault: The store cannot be used.

    """
    lock = ServerLock.take(folder)
    try:
        with contextlib.ExitStack() as ends:
            sock = ends.enter_context(_listen(settings.host, settings.port, "--port"))
            watched = None
            if settings.metrics_port:
                watched = ends.enter_context(
                    _listen("127.0.0.1", settings.metrics_port, "--metrics-port")
                )
            await _run(lock, settings, sock, watched, ready, stdin_eof=stdin_eof)
    finally:
        lock.release()


async def _run(
    lock: ServerLock,
    settings: Settings,
    sock: socket.socket,
    watched: socket.socket | None,
    ready: Callable[[int], None],
    *,
    stdin_eof: bool,
) -> None:
    _raise_file_limit(settings.connections)
    gc.set_threshold(*GC_THRESHOLD)
    folder = lock.folder
    countries = None
    if settings.geoip_file:
        from collector.intake.geoip import Countries  # late: few have a file

        countries = await asyncio.to_thread(Countries, Path(settings.geoip_file))
    ending = Ending()
    ending.listen(stdin_eof=stdin_eof)
    with contextlib.ExitStack() as ends:
        accounts = ends.enter_context(contextlib.closing(Accounts(folder.accounts)))
        store = await asyncio.to_thread(open_store, settings.engine, folder, _now_ms(), os.environ)
        ends.callback(store.close)
        metrics = Metrics()
        writer = Writer(
            store,
            asyncio.get_running_loop(),
            most_waiting=settings.waiting_events,
            commits=metrics.commits,
            tombstones=Tombstones(tombstone_key(settings.engine, folder, os.environ)),
            catalogue=Catalogue(settings.event_names, settings.event_keys),
        )
        ends.callback(writer.close)  # also if serving never began: its thread must end
        await asyncio.to_thread(writer.remember)
        server = _Server(lock, settings, accounts, store, writer, metrics, countries)
        await server.serve(sock, watched, ready, ending)


@dataclass(slots=True)
class _Server:
    """What a serving collector consists of, opened."""

    lock: ServerLock
    settings: Settings
    accounts: Accounts
    store: Store
    writer: Writer
    metrics: Metrics
    countries: Countries | None
    limits: list[Limiter] = field(default_factory=list)  #: That hold for all collectors together.

    async def serve(
        self,
        sock: socket.socket,
        watched: socket.socket | None,
        ready: Callable[[int], None],
        ending: Ending,
    ) -> None:
        """Serve the sockets until it is time to end, then drain them."""
        settings, metrics = self.settings, self.metrics
        port = sock.getsockname()[1]
        stays = StayLog(self.writer, _now_ms, buried=self._buried)
        presence = SharedPresence(_now_ms, normal_platform, stays)
        health = Health(
            probe=lambda: self.store.count(""),
            behind=lambda: self.writer.behind,
            failing=lambda: self.writer.failing,
            draining=ending.stopping.is_set,
        )
        entrance = self._public([*health.routes(), *self._questions(presence)], presence)
        listener = Listener(
            entrance,
            limits=settings.wire(),
            max_connections=settings.connections,
            max_per_peer=settings.per_peer,
            uncounted=lambda peer: forwarded_for(peer, (), entrance.trusted) is not None,
            header_s=settings.header_s,
            body_s=settings.body_s,
            idle_s=settings.idle_s,
            ws_ping_s=settings.ping_s,
        )
        self._gauges(listener, presence, ending)
        admin = Starlette(
            routes=[
                *admin_routes(self.accounts, self.store, lambda: self._status(port)),
                *data_routes(self.lock.folder, self.accounts, self.store, self.writer),
                metrics_route(metrics),
            ]
        )
        doors = {
            Listener(
                admin, limits=settings.wire(), max_connections=16, idle_s=3600.0
            ): self.lock.listen_admin(),
        }
        if watched is not None:
            seen = Starlette(routes=[metrics_route(metrics), *health.routes()])
            doors[Listener(seen, limits=settings.wire(), max_connections=16)] = watched
        sharing = sharing_of(
            self.store,
            self.lock.folder,
            self.accounts,
            presence,
            self.limits,
            lambda: self.writer.run(lambda: None),  # after a task, it reads what it remembers
        )
        if sharing is not None:
            await sharing.turn()  # so that the first to come finds the apps of all
        for door, its_socket in doors.items():
            await door.on_socket(its_socket)
        await listener.on_socket(sock)
        ready(port)
        log.info("serving host=%s port=%d", settings.host, port)
        background = [self._upkeep().run(), self._look_for_countries()]
        if sharing is not None:
            background.append(sharing.run())
        tasks = [asyncio.create_task(one) for one in background]
        try:
            await ending.stopping.wait()
        finally:
            for task in tasks:
                task.cancel()
            entrance.draining = True
            guests = listener.conversations()
            over_s = spread_s(len(guests), settings.drain_s)
            log.info(
                "draining waiting=%d connections=%d spread_s=%g",
                self.writer.waiting,
                len(guests),
                over_s,
            )
            await send_away(guests, over_s, ending.hurry)
            await listener.drain(0.2 if ending.hurry.is_set() else GRACE_S)
            for door in doors:
                await door.drain(0.2)
            # A socket is gone before the task that served it: that one tells of its stay.
            await settled(lambda: presence.attended, GRACE_S)
            await stays.finish()
            await asyncio.to_thread(self.writer.close)
            log.info("stopped events=%d", self.writer.written)

    async def _look_for_countries(self) -> None:
        """Read the GeoIP file anew when it changes; nothing wakes where there is none."""
        while self.countries is not None:
            await asyncio.sleep(self.countries.look_s)
            await asyncio.to_thread(self.countries.refresh)

    def _questions(self, presence: Presence) -> list[BaseRoute]:
        per_minute = self.settings.wrong_tokens_per_min
        failures = self._limiter(per_minute / 60, per_minute)
        stones = self.writer.tombstones
        api = DataApi(
            self.accounts,
            self.store,
            presence,
            failures,
            _now_ms,
            time.monotonic,
            query_s=self.settings.query_s,
            waiting=lambda: self.writer.waiting,
            kept_days=lambda app: self._retention().get(app, 0),
            forgetting=None
            if stones is None
            else Forgetting(self.store, self.writer, stones, _now_ms),
            seal=lambda: Seal(self.lock.folder.path / KEY_FILE),
            set_aside=lambda: len(self.lock.folder.set_aside()),
        )
        return api.routes()

    def _limiter(self, rate_per_s: float, burst: float) -> Limiter:
        self.limits.append(Limiter(rate_per_s, burst))
        return self.limits[-1]

    def _public(self, routes: list[BaseRoute], presence: Presence) -> Entrance:
        """Return the public application: tracking comes last, its routes take bare paths."""
        settings = self.settings
        ingest = Ingest(
            self.accounts,
            self.writer,
            presence,
            per_peer=self._limiter(settings.peer_events_per_s, settings.peer_burst),
            per_app=self._limiter(settings.app_events_per_s, settings.app_burst),
            now_ms=_now_ms,
            now_s=time.monotonic,
            counts=self.metrics.events,
            country_of=self.countries.of if self.countries else lambda _: "",
        )
        bucket = BucketIngest(self.accounts, self.store, self.writer, ingest)
        limits = settings.wire()
        routes = [*routes, *bucket_routes(bucket, limits), *tracking_routes(ingest, limits)]
        return Entrance(
            Starlette(routes=routes, exception_handlers={Fault: _on_fault}),
            routes,
            trusted=settings.trusted_proxies,
            per_peer=settings.per_peer,
            metrics=self.metrics,
            come_back_s=2 * settings.drain_s,
        )

    def _retention(self) -> dict[str, int]:
        """Return how many days each app's events are kept; 0: for ever."""
        days = {app.app_id: app.retention_days for app in self.accounts.apps()}
        default = self.settings.retention_days
        return {app: default if own is None else own for app, own in days.items()}

    def _upkeep(self) -> Upkeep:
        upkeep = Upkeep(
            self.store, self.writer, now_ms=_now_ms, now_s=time.monotonic, retention=self._retention
        )
        if isinstance(store := self.store, DuckStore):
            upkeep.reading = lambda: store.exporting > 0
            upkeep.checkpoint = store.checkpoint
            upkeep.owed_ms = lambda: store.unswept_since_ms
        return upkeep

    def _buried(self, beat: Beat) -> bool:
        stones = self.writer.tombstones
        return stones is not None and not stones.facts([beat], _now_ms())

    def _gauges(self, listener: Listener, presence: Presence, ending: Ending) -> None:
        started_s = time.time()
        folder = self.lock.folder
        files = {"events": folder.events, "wal": folder.events.with_name("events.duckdb.wal")}
        embedded = self.store.dialect == EMBEDDED
        self.metrics.gauges.update(
            {
                "homing_queue_events": lambda: self.writer.waiting,
                "homing_connections": lambda: len(listener.connections),
                "homing_websockets": lambda: len(listener.conversations()),
                "homing_connections_refused_total": lambda: listener.refused,
                "homing_live_devices": presence.everyone,
                "homing_store_bytes": lambda: sizes(files) if embedded else None,
                "homing_ready": lambda: float(
                    not (ending.stopping.is_set() or self.writer.behind or self.writer.failing)
                ),
                "homing_start_time_seconds": lambda: started_s,
                "homing_resident_bytes": resident_bytes,
                "homing_open_files": open_files,
            }
        )

    def _status(self, port: int) -> dict[str, object]:
        return {
            "pid": os.getpid(),
            "port": port,
            "started_ms": int(self.metrics.gauges["homing_start_time_seconds"]() or 0) * 1000,
            "waiting": self.writer.waiting,
            "written": self.writer.written,
            "repeats": self.writer.repeats,
            "counts": dict(self.metrics.events),
            "apps": {app.app_id: self.store.count(app.app_id) for app in self.accounts.apps()},
        }


async def _on_fault(request: Request, exc: Exception) -> Response:
    del request
    assert isinstance(exc, Fault)
    return error_response(exc)


def _listen(host: str, port: int, flag: str) -> socket.socket:
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
            advice=f"Name another {flag}.",
        ) from exc
    sock.setblocking(False)
    return sock


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
