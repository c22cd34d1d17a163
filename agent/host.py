"""One agent in this process: composed, started, supervised, stopped; and its door.

    places ─► lock ─► settings ─► socket ─► core thread ─► HostDoor
                │ held by another
                └─► AgentRunning: attach through the local socket instead

Whoever hosts an agent (the tray, `homing agent`) calls :meth:`Agent.start` and later
:meth:`Agent.stop`; everything between goes through the door.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import Any, Literal, NoReturn, TypeVar

from agent.adapters.local.api import SendBody
from agent.adapters.local.listener import listen_loopback, listen_unix
from agent.adapters.machine import logs
from agent.adapters.machine.lock import Lock
from agent.adapters.machine.memory import use_one_arena
from agent.adapters.machine.places import Places
from agent.adapters.machine.systemd import Supervisor
from agent.client import LOOPBACK_FILE
from agent.door import (
    Check,
    Passing,
    QueuedEvent,
    Sent,
    Status,
    WireEntry,
)
from agent.door.asking import Request
from agent.runtime.control import Controls
from agent.runtime.core import Core
from agent.runtime.core_thread import CoreThread
from agent.runtime.means import Means
from agent.settings import Settings, load
from agent.settings.writing import write_default
from tracking.errors import AgentGone, Fault

log = logging.getLogger("agent.host")

BUG = 70
T = TypeVar("T")


def own_version() -> str:
    """Return the installed version of Homing."""
    try:
        return installed_version("homing")
    except PackageNotFoundError:
        return "0.0.0"


class Agent:
    """An agent in this process.

    Args:
        env: The environment; ``HOMING_HOME`` and ``HOMING_*`` are read from here.
        flags: Settings given on the command line, by dotted key.

    """

    def __init__(self, env: Mapping[str, str], flags: Mapping[str, object] | None = None) -> None:
        self.env = env
        self.flags = dict(flags or {})
        self.places = Places.find(env)
        self.settings: Settings
        self._lock: Lock | None = None
        self._thread: CoreThread | None = None

    def start(self, *, on_stderr: bool = False) -> HostDoor:
        """Start, and return the door when the local socket answers.

        Args:
            on_stderr: Also write log lines to standard error.

        Raises:
            AgentRunning: Another agent of this user runs; use its socket.
            SettingsFault: Something in the settings is impossible; all of it is named.
            StorageFault: The outbox cannot be used at all.

        """
        use_one_arena()
        places = self.places.prepare()
        means = Means.real(self.env)
        unix = places.socket
        self._lock = Lock.take(places.lock, now_ms=means.wall_ms(), address=str(unix))
        try:
            write_default(places.settings_file)
            self.settings = settings = load(places.settings_file, self.env, self.flags)
            logs.begin(places.logs, settings.log.level, on_stderr=on_stderr)
            loopback_file = places.state / LOOPBACK_FILE
            loopback_file.unlink(missing_ok=True)
            if settings.ipc.transport == "loopback":
                self._lock.clear_stale_socket(unix)
                sock, loopback = listen_loopback(settings.ipc.port, loopback_file)
                address, token, uid = f"127.0.0.1:{loopback.port}", loopback.token, None
            else:
                sock = listen_unix(places.check_socket(), self._lock)
                address, token, uid = str(unix), "", os.getuid()

            def make_core(on_death: Callable[[BaseException], None]) -> Core:
                return Core(
                    settings,
                    places,
                    means,
                    version=own_version(),
                    address=address,
                    on_death=on_death,
                )

            self._thread = CoreThread(make_core, sock, token=token, uid=uid, on_death=self._died)
            try:
                self._thread.start()
            except BaseException:
                sock.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        return HostDoor(self._thread)

    def stop(self) -> None:
        """Stop, write what is owed, remove the socket, let go of the lock; twice is harmless."""
        if self._thread is not None and not self._thread.stop():
            log.error("the core did not stop in time")
            os._exit(BUG)
        with contextlib.suppress(OSError):
            (self.places.state / LOOPBACK_FILE).unlink(missing_ok=True)
        if self._lock is not None:
            with contextlib.suppress(Fault):
                self._lock.clear_stale_socket(self.places.socket)
            self._lock.release()
            self._lock = None

    def wait(self) -> None:
        """Return when the agent was stopped from outside (`homing stop`)."""
        if self._thread is not None:
            self._thread.join()

    def on_raise(self, show: Callable[[], None]) -> None:
        """Call ``show``, from the core's thread, when a second start wants the window."""
        if self._thread is not None:
            self._thread.core.on_raise = show

    def _died(self, error: BaseException) -> NoReturn:
        """A thread of ours ended by a mistake: say so, and end. The outbox makes that safe."""
        report = self.places.logs / "crash.txt"
        text = "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with os.fdopen(os.open(report, flags, 0o600), "w") as stream:
                stream.write(text)
        log.critical("stopped by a mistake of ours, report saved file=%s", report)
        sys.stderr.write(f"homing: stopped by a mistake of ours; report saved in {report}\n{text}")
        sys.stderr.flush()
        os._exit(BUG)


class HostDoor:
    """:class:`agent.door.Door` into the agent of this very process."""

    def __init__(self, thread: CoreThread) -> None:
        self._thread = thread

    @property
    def _controls(self) -> Controls:
        return self._thread.controls

    def _call(self, errand: Coroutine[Any, Any, T], timeout_s: float | None = 60.0) -> T:
        return self._thread.call(errand, timeout_s)

    def status(self) -> Status:
        async def now() -> Status:
            return self._controls.status()

        return self._call(now())

    def ask(self, request: Request[T]) -> T:
        return self._call(self._controls.ask(request), max(60.0, request.timeout_s))

    def watch(
        self,
        on_status: Callable[[Status], None],
        on_events: Callable[[tuple[Passing, ...]], None] | None = None,
        on_gone: Callable[[str], None] | None = None,
    ) -> Callable[[], None]:
        """As the door says; callbacks run on the core's thread and must not block it."""

        async def listen() -> None:
            wanted = self._controls.watch(events=on_events is not None)
            async with contextlib.aclosing(wanted) as stream:
                async for news in stream:
                    try:
                        if news.status is not None:
                            on_status(news.status)
                        if news.events and on_events is not None:
                            on_events(news.events)
                    except Exception:  # the window's mistake, or it is gone: not the agent's end
                        log.exception("a watcher of this process failed, it is told no more")
                        return
            if on_gone is not None:
                on_gone("the agent stopped")

        return self._thread.beside(listen())

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
        body = SendBody(
            name=name,
            app_id=app_id,
            payload=None if payload is None else dict(payload),
            type=type,
            wait=wait,
            timeout_s=timeout_s,
        )
        return self._call(self._controls.send(body), timeout_s + 15.0)

    def pause(self, for_s: float | None, reason: str = "you asked") -> Status:
        return self._call(self._controls.pause(for_s, reason))

    def resume(self) -> Status:
        return self._call(self._controls.resume())

    def retry(self, app_id: str | None = None) -> Status:
        return self._call(self._controls.retry(app_id))

    def keep_here(self) -> Status:
        return self._call(self._controls.keep_here())

    def outbox(self, *, app_id: str | None = None, limit: int = 100) -> tuple[QueuedEvent, ...]:
        return self._call(self._controls.outbox(app_id, limit))

    def dead_letters(
        self, *, app_id: str | None = None, limit: int = 100
    ) -> tuple[QueuedEvent, ...]:
        return self._call(self._controls.dead_letters(app_id, limit))

    def retry_dead(self, ids: tuple[str, ...] | None = None) -> int:
        return self._call(self._controls.retry_dead(ids))

    def drop_dead(self, ids: tuple[str, ...] | None = None) -> int:
        return self._call(self._controls.drop_dead(ids))

    def wire(self, *, app_id: str | None = None, limit: int = 100) -> tuple[WireEntry, ...]:
        return self._call(self._controls.wire(app_id, limit))

    def doctor(self) -> tuple[Check, ...]:
        return self._call(self._controls.doctor())

    def stop(self) -> None:
        self._call(self._controls.stop())


def run_headless(
    env: Mapping[str, str],
    *,
    supervisor: Supervisor | None = None,
    flags: Mapping[str, object] | None = None,
) -> int:
    """Run an agent in the foreground until a signal or `homing stop`; return the exit code.

    Raises:
        Fault: It could not start.

    """
    stopped = threading.Event()
    agent = Agent(env, flags)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stopped.set())
    door = agent.start(on_stderr=True)

    def until_stopped() -> None:
        agent.wait()
        stopped.set()

    threading.Thread(target=until_stopped, name="stopped", daemon=True).start()
    beat_s = None if supervisor is None else supervisor.alive_every_s
    if supervisor is not None:
        supervisor.ready(door.status().sentence.text)
    while not stopped.wait(beat_s):
        if supervisor is not None:
            with contextlib.suppress(AgentGone):
                supervisor.alive(door.status().sentence.text)  # asks the core: it must turn
    if supervisor is not None:
        supervisor.stopping()
    agent.stop()
    return 0
