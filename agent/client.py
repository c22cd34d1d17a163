"""The door through the local socket: typed client of the local API (docs/local-api.md).

Used by the command line, by a tray that found an agent already running, and by any Python
program. Needs neither Qt nor an event loop; each call is one short connection.

    >>> door = find_door(os.environ)
    >>> door.send("build.finished", payload={"seconds": 12})
    Sent(ids=('…',), delivered=False)
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlencode

import msgspec

from agent.adapters.local.asking import LocalAddress, ask, listen, read_loopback
from agent.adapters.machine.places import Places
from agent.door import (
    Check,
    Passing,
    QueuedEvent,
    Sent,
    Status,
    WireEntry,
)
from agent.door.asking import Request, answer_of
from agent.door.table import BY_REQUEST
from tracking.errors import AgentGone, Fault

log = logging.getLogger("agent.client")

RETRY_S = 3.0  #: A watcher that lost its agent tries again so often, for ever (Tailscale's manner).
LOOPBACK_FILE = "loopback.json"

T = TypeVar("T")


class News(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of ``/v1/watch``: a status, events as they pass, or a wish for the window."""

    status: Status | None = None
    events: tuple[Passing, ...] = ()
    raise_window: bool = False


class _Queued(msgspec.Struct, frozen=True):
    events: tuple[QueuedEvent, ...]


class _Wire(msgspec.Struct, frozen=True):
    entries: tuple[WireEntry, ...]


class _Checks(msgspec.Struct, frozen=True):
    checks: tuple[Check, ...]


class _Raised(msgspec.Struct, frozen=True):
    raised: bool


class _Count(msgspec.Struct, frozen=True):
    count: int


def find_door(env: Mapping[str, str]) -> LocalDoor:
    """Return the door of this user's agent, which may not be running."""
    places = Places.find(env)
    loopback = read_loopback(places.state / LOOPBACK_FILE)
    if loopback is not None and not places.socket.exists():
        return LocalDoor(LocalAddress(loopback=loopback, lock=str(places.lock)))
    return LocalDoor(places.socket)


class LocalDoor:
    """:class:`agent.door.Door` over the local socket.

    Args:
        address: The Unix socket's path, or a :class:`LocalAddress`.

    Attributes:
        on_raise: A window that shows through this door sets it: called, from the watch's thread,
            when a second start wants that window in front.

    """

    def __init__(self, address: Path | str | LocalAddress) -> None:
        self.address = (
            address if isinstance(address, LocalAddress) else LocalAddress(path=str(address))
        )
        self.on_raise: Callable[[], None] | None = None

    def status(self) -> Status:
        return self._ask(Status, "GET", "/v1/status")

    def ask(self, request: Request[T]) -> T:
        line = BY_REQUEST[type(request)]
        path, said = f"/v1/{line.name}", msgspec.to_builtins(request)
        body = None if line.reads else said
        return self._ask(
            answer_of(type(request)),
            "GET" if line.reads else "POST",
            _path(path, **said) if line.reads else path,
            body,
            timeout_s=request.timeout_s,
        )

    def watch(
        self,
        on_status: Callable[[Status], None],
        on_events: Callable[[tuple[Passing, ...]], None] | None = None,
        on_gone: Callable[[str], None] | None = None,
    ) -> Callable[[], None]:
        watcher = _Watcher(self.address, on_status, on_events, on_gone, self.on_raise)
        watcher.start()
        return watcher.stop

    def send(
        self,
        name: str,
        *,
        app_id: str | None = None,
        payload: Mapping[str, object] | None = None,
        type: str = "event",
        wait: Literal["durable", "delivered"] = "durable",
        timeout_s: float = 30.0,
    ) -> Sent:
        body: dict[str, object] = {
            "name": name,
            "app_id": app_id,
            "payload": payload,
            "type": type,
            "wait": wait,
            "timeout_s": timeout_s,
        }
        return self._ask(Sent, "POST", "/v1/send", body, timeout_s=timeout_s + 15.0)

    def pause(self, for_s: float | None, reason: str = "you asked") -> Status:
        return self._ask(Status, "POST", "/v1/pause", {"for_s": for_s, "reason": reason})

    def resume(self) -> Status:
        return self._ask(Status, "POST", "/v1/resume", {})

    def retry(self, app_id: str | None = None) -> Status:
        return self._ask(Status, "POST", "/v1/retry", {"app_id": app_id})

    def keep_here(self) -> Status:
        return self._ask(Status, "POST", "/v1/keep-here", {}, timeout_s=60.0)

    def outbox(self, *, app_id: str | None = None, limit: int = 100) -> tuple[QueuedEvent, ...]:
        return self._ask(_Queued, "GET", _path("/v1/outbox", app=app_id, limit=limit)).events

    def dead_letters(
        self, *, app_id: str | None = None, limit: int = 100
    ) -> tuple[QueuedEvent, ...]:
        return self._ask(_Queued, "GET", _path("/v1/dead-letters", app=app_id, limit=limit)).events

    def retry_dead(self, ids: tuple[str, ...] | None = None) -> int:
        return self._ask(_Count, "POST", "/v1/dead-letters/retry", {"ids": ids}).count

    def drop_dead(self, ids: tuple[str, ...] | None = None) -> int:
        return self._ask(_Count, "POST", "/v1/dead-letters/drop", {"ids": ids}).count

    def wire(self, *, app_id: str | None = None, limit: int = 100) -> tuple[WireEntry, ...]:
        return self._ask(_Wire, "GET", _path("/v1/wire", app=app_id, limit=limit)).entries

    def doctor(self) -> tuple[Check, ...]:
        return self._ask(_Checks, "GET", "/v1/doctor", timeout_s=60.0).checks

    def stop(self) -> None:
        ask(self.address, "POST", "/v1/stop", {})

    def raise_window(self) -> bool:
        """Ask a tray that is already running to show its window; tell whether there is one."""
        return self._ask(_Raised, "POST", "/v1/raise", {}).raised

    def _ask(
        self,
        shape: type[T],
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout_s: float = 15.0,
    ) -> T:
        raw = ask(self.address, method, path, body, timeout_s=timeout_s)
        try:
            return msgspec.json.decode(raw, type=shape)
        except msgspec.MsgspecError as exc:
            raise Fault(
                f"the agent's answer does not fit this version ({exc})",
                advice="Restart the agent after an upgrade: `homing stop`, then `homing`.",
            ) from exc


class _Watcher:
    """One thread that listens, and comes back after a loss until it is stopped."""

    def __init__(
        self,
        address: LocalAddress,
        on_status: Callable[[Status], None],
        on_events: Callable[[tuple[Passing, ...]], None] | None,
        on_gone: Callable[[str], None] | None,
        on_raise: Callable[[], None] | None,
    ) -> None:
        self._on_raise = on_raise
        self._address = address
        self._on_status = on_status
        self._on_events = on_events
        self._on_gone = on_gone
        self._stopped = threading.Event()
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    def _run(self) -> None:
        wanted = {
            "events": "1" if self._on_events else None,
            "face": "1" if self._on_raise else None,
        }
        path = _path("/v1/watch", **wanted)
        decoder = msgspec.json.Decoder(News)
        while not self._stopped.is_set():
            try:
                for raw in listen(self._address, path, self._sockets):
                    if self._stopped.is_set():
                        return
                    news = decoder.decode(raw)
                    if news.status is not None:
                        self._on_status(news.status)
                    if news.events and self._on_events is not None:
                        self._on_events(news.events)
                    if news.raise_window and self._on_raise is not None:
                        self._on_raise()
                reason = "the agent stopped"
            except (AgentGone, Fault) as fault:
                reason = str(fault)
            except msgspec.MsgspecError as exc:
                reason = f"the agent speaks another version ({exc})"
            if self._stopped.is_set():
                return
            if self._on_gone is not None:
                self._on_gone(reason)
            self._stopped.wait(RETRY_S)


def _path(base: str, **query: object) -> str:
    said = {key: value for key, value in query.items() if value is not None}
    return f"{base}?{urlencode(said)}" if said else base
