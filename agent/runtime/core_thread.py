"""The core's thread: its loop, the listener in it, and the way in for other threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from agent.adapters.local.api import make_app
from agent.adapters.local.asking import peer_uid
from agent.adapters.local.keyed_lines import keyed_line_factory
from agent.adapters.local.steering import local_http
from agent.runtime.control import Controls
from agent.runtime.core import Core
from agent.runtime.counter.bucket_reception import BucketReception
from agent.runtime.counter.crowding import places_of
from agent.runtime.counter.reception import Reception
from agent.runtime.loopback.gateway_door import gateway_of
from tracking.errors import AgentGone, Fault
from tracking.events import Limits
from tracking.lines import line_factory
from tracking.serving import Listener

log = logging.getLogger("agent.core")

MIB = 1024 * 1024
DRAIN_S = 1.0
WATCH_PING_S = 300.0  #: A watcher may hear nothing for hours; the idle limit is ten minutes.
OURS = ("agent", "tracking")
T = TypeVar("T")


class CoreThread:
    """Runs a core until it is told to stop.

    Args:
        make_core: Makes the core, on its loop.
        sock: Listening; closed at the end.
        token: Asked of every request over loopback, empty for a Unix socket.
        uid: Whose connections are let in, None over loopback.
        on_death: A bug ended the thread; the process must not go on.

    """

    def __init__(
        self,
        make_core: Callable[[Callable[[BaseException], None]], Core],
        sock: socket.socket,
        *,
        token: str,
        uid: int | None,
        on_death: Callable[[BaseException], None],
    ) -> None:
        self._make_core = make_core
        self._sock = sock
        self._token = token
        self._uid = uid
        self._on_death = on_death
        self._ready: Future[None] = Future()
        self._calls: set[Future[Any]] = set()  # of other threads that wait for an answer
        self._over = False
        self._thread = threading.Thread(target=self._run, name="core")
        self._loop: asyncio.AbstractEventLoop
        self.core: Core
        self.controls: Controls

    def start(self) -> None:
        """Start, and return when the socket answers.

        Raises:
            Fault: It could not start; nothing is left running.

        """
        self._thread.start()
        self._ready.result()

    def call(self, errand: Coroutine[Any, Any, T], timeout_s: float | None = 60.0) -> T:
        """Run something on the core's loop; return its result.

        Raises:
            AgentGone: The core has stopped.

        """
        if self._thread is threading.current_thread() or not self._thread.is_alive():
            errand.close()
            raise AgentGone("the agent has stopped")
        try:
            future = asyncio.run_coroutine_threadsafe(errand, self._loop)
        except RuntimeError as exc:
            errand.close()
            raise AgentGone("the agent has stopped") from exc
        self._calls.add(future)
        if self._over:  # it ended in between, and nobody else will say so
            future.cancel()
        try:
            return future.result(timeout_s)
        except (TimeoutError, CancelledError, asyncio.CancelledError) as exc:
            future.cancel()
            raise AgentGone("the agent is stopping") from exc
        finally:
            self._calls.discard(future)

    def beside(self, errand: Coroutine[Any, Any, None]) -> Callable[[], None]:
        """Run something on the loop until it ends or the returned function is called.

        A mistake in it is the agent's, as one in the loop's own work.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(errand, self._loop)
        except RuntimeError as exc:
            errand.close()
            raise AgentGone("the agent has stopped") from exc

        def ended(future: Future[None]) -> None:
            if not future.cancelled() and (error := future.exception()) is not None:
                self._on_death(error)

        future.add_done_callback(ended)

        def stop() -> None:
            with contextlib.suppress(RuntimeError):
                future.cancel()

        return stop

    def stop(self, patience_s: float = 10.0) -> bool:
        """Stop, and return whether it did in time."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.core.stopping.set)
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as exc:
            if not self._ready.done():
                self._ready.set_exception(exc)
                return
            self._on_death(exc)
        finally:
            self._over = True
            for future in tuple(self._calls):
                future.cancel()

    def _wrong(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """End the agent for a mistake of ours in a callback; asyncio alone would only log it.

        Two kinds are no reason: what asyncio met itself (no line of ours is in it), and what was
        met while reading from a connection. That one has been closed; if bytes could end the
        agent, whoever sends them could keep it from ever running.
        """
        error = context.get("exception")
        if error is None or "transport" in context or not _ours(error):
            loop.default_exception_handler(context)
        else:
            self._on_death(error)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._wrong)
        self.core = core = self._make_core(self._on_death)
        core.open()
        chosen = core.settings.limits
        limits = Limits(
            frame_bytes=chosen.frame_mib * MIB,
            body_bytes=chosen.body_mib * MIB,
            event_bytes=chosen.event_kib * 1024,
        )
        self.controls = Controls(core, limits)
        reception = Reception(core.intake, core.consents, core.waiters)
        core.gateway = gateway = gateway_of(core, limits)
        calls = BucketReception(core.intake, core.waiters, gateway.app_of_digest)
        listener = Listener(
            make_app(self.controls, reception, calls, limits, token=self._token),
            limits=limits,
            places=places_of(chosen.connections, core, loopback=bool(self._token)),
            allow=self._allow,
            http=local_http(self._token),
            ws_ping_s=WATCH_PING_S,
            lines=(
                keyed_line_factory(reception, limits, self._token)
                if self._token
                else line_factory(reception, limits)
            ),
        )
        try:
            await listener.on_socket(self._sock)
            await gateway.open()
            self._ready.set_result(None)
            log.info("ready address=%s", core.board.address)
            await core.stopping.wait()
        finally:
            core.rest()
            await asyncio.gather(listener.drain(DRAIN_S), gateway.close())
            await core.close()

    def _allow(self, transport: asyncio.BaseTransport) -> bool:
        """Let only our own user in, before a byte is read (SECURITY.md row 2)."""
        self.core.spooling.knocked()
        if self._uid is None:
            return True
        sock = transport.get_extra_info("socket")
        try:
            uid = None if sock is None else peer_uid(sock)
        except (Fault, OSError) as error:
            log.warning("turned away a connection of nobody knows whom error=%s", error)
            return False
        if uid in (None, self._uid):
            return True
        log.warning("turned another user's connection away uid=%d", uid)
        return False


def _ours(error: BaseException) -> bool:
    """Tell whether a line of ours was at work when it went wrong."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__", "").split(".")[0] in OURS for frame in frames)
