"""What the data commands ask a running server over ``admin.sock``: only this user can open it.

    POST /data/write     rows and facts, stored by the one thread that writes
    POST /data/ask       a question of collector.bulk.holdings, by its name
    GET  /data/rows/APP  every event of an app, packed
    POST /data/snapshot  copies of the store and the accounts, into a folder below DIR
    POST /data/compact   rewrites the store
    POST /data/purge     removes what an app sent before a moment
    POST /data/drop      removes an app and all that is stored of it

What takes long answers line by line: ``{"done": 3, "of": 9}`` while it runs, and at the end
``{"result": …}``, or ``{"fault": …}`` with code, sentence and advice. A second one is refused while
one runs (75). Who asked and went away ends a snapshot; a
rewriting goes on to its end.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from collector.access.accounts import Accounts
from collector.bulk import holdings
from collector.bulk.backup import SNAPSHOT, copy_accounts
from collector.bulk.dropping import drop
from collector.engines import embedded
from collector.intake.writer import Writer
from collector.places import Folder
from collector.store.interface import Store
from tracking.errors import AgentRunning, Fault, OverQuota, RequestFault

Progress = Callable[[int, int], None]
Job = Callable[[Progress], object]

_PACKED: Final = "application/msgpack"
_GONE: Final = "who asked for it went away"


def data_routes(folder: Folder, accounts: Accounts, store: Store, writer: Writer) -> list[Route]:
    """Return the routes of the data commands, for the admin socket.

    Args:
        folder: Whose snapshots go into it.
        accounts: Which apps exist.
        store: The engine.
        writer: Its one thread that writes.

    """
    rooms = _Rooms(folder, accounts, store, writer)
    return [
        Route("/data/write", rooms.write, methods=["POST"]),
        Route("/data/ask", rooms.ask, methods=["POST"]),
        Route("/data/rows/{app_id}", rooms.rows),
        Route("/data/snapshot", rooms.snapshot, methods=["POST"]),
        Route("/data/compact", rooms.compact, methods=["POST"]),
        Route("/data/purge", rooms.purge, methods=["POST"]),
        Route("/data/drop", rooms.drop, methods=["POST"]),
    ]


class _Rooms:
    def __init__(self, folder: Folder, accounts: Accounts, store: Store, writer: Writer) -> None:
        self.folder = folder
        self.accounts = accounts
        self.store = store
        self.writer = writer
        self._busy = threading.Lock()

    async def write(self, request: Request) -> Response:
        try:
            rows, facts = holdings.unpacked(await _body(request))
            while True:
                try:
                    self.writer.reserve(len(rows))
                    break
                except OverQuota as fault:  # the operator's import waits behind the agents
                    await asyncio.sleep(fault.retry_after_s / 10)
            try:
                new = await self.writer.write(rows, facts)
            finally:
                self.writer.release(len(rows))
        except Fault as fault:
            return _lines([{"fault": told(fault)}])
        return _lines([{"result": new}])

    async def ask(self, request: Request) -> Response:
        try:
            name, values = msgspec.msgpack.decode(await _body(request))
            found = await asyncio.to_thread(holdings.ask, self.store, name, values)
        except Fault as fault:
            return _lines([{"fault": told(fault)}])
        return Response(msgspec.msgpack.encode(found), media_type=_PACKED)

    async def rows(self, request: Request) -> Response:
        slices = self.store.export(str(request.path_params["app_id"]))

        async def parts() -> AsyncIterator[bytes]:
            while (rows := await asyncio.to_thread(next, slices, None)) is not None:
                packed = msgspec.msgpack.encode(rows)
                yield len(packed).to_bytes(4, "big") + packed
            yield bytes(4)  # the end, said: an answer that broke off has none

        return StreamingResponse(parts(), media_type=_PACKED)

    async def snapshot(self, request: Request) -> Response:
        name = str((await _said(request))["into"])
        into = self.folder.path / name
        if not SNAPSHOT.fullmatch(name) or not into.is_dir():
            return _lines([{"fault": told(RequestFault("no such folder for a snapshot"))}])

        def make(progress: Progress) -> object:
            embedded(self.store).backup(into / self.folder.events.name, progress)
            copy_accounts(self.folder.accounts, into / self.folder.accounts.name)
            return {}

        return self._job("a backup", make, lambda: shutil.rmtree(into, ignore_errors=True))

    async def compact(self, request: Request) -> Response:
        del request

        def make(progress: Progress) -> object:
            before = self.store.size_bytes()
            self.store.compact(progress)
            return {"before": before, "after": self.store.size_bytes()}

        return self._job("compacting", make)

    async def purge(self, request: Request) -> Response:
        said = await _said(request)
        app_id, before_ms = str(said["app"]), int(said["before"])
        return self._job(
            "a purge", self._between_commits(lambda: self.store.purge(app_id, before_ms))
        )

    async def drop(self, request: Request) -> Response:
        app_id = str((await _said(request))["app"])
        return self._job(
            "removing an app",
            self._between_commits(lambda: drop(self.accounts, self.store, app_id)),
        )

    def _between_commits(self, do: Callable[[], object]) -> Job:
        """Have the writer's thread do it, so that nothing taken before is written after."""
        loop = asyncio.get_running_loop()

        def make(progress: Progress) -> object:
            del progress
            return asyncio.run_coroutine_threadsafe(self.writer.run(do), loop).result()

        return make

    def _job(self, what: str, make: Job, undo: Callable[[], None] = lambda: None) -> Response:
        if not self._busy.acquire(blocking=False):
            undo()
            running = AgentRunning(f"{what} has to wait: another data command runs here")
            return _lines([{"fault": told(running)}])
        return StreamingResponse(_Running(self._busy, make, undo).lines())


class _Running:
    """One long job in a thread of its own, and what it says on the way."""

    def __init__(self, busy: threading.Lock, make: Job, undo: Callable[[], None]) -> None:
        self._busy = busy
        self._make = make
        self._undo = undo
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._latest: tuple[int, int] | None = None
        self._last: dict[str, Any] | None = None
        self._left = False

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield the newest progress, at most ten times a second, then how it ended."""
        threading.Thread(target=self._run, name="data").start()
        try:
            while self._last is None:
                if self._latest is not None:
                    done, of = self._latest
                    yield msgspec.json.encode({"done": done, "of": of}) + b"\n"
                    await asyncio.sleep(0.1)
                await self._changed.wait()
                self._changed.clear()
            yield msgspec.json.encode(self._last) + b"\n"
        finally:
            self._left = True

    def _run(self) -> None:
        try:
            last: dict[str, Any] = {"result": self._make(self._progress)}
        except Fault as fault:
            last = {"fault": told(fault)}
        except BaseException as exc:
            last = {"fault": told(Fault(f"it failed: {type(exc).__name__}"))}
            raise
        finally:
            if "fault" in last or self._left:
                self._undo()
            self._busy.release()
            self._tell(last=last)

    def _progress(self, done: int, of: int) -> None:
        if self._left:
            raise Fault(_GONE)
        self._tell(latest=(done, of))

    def _tell(
        self, *, latest: tuple[int, int] | None = None, last: dict[str, Any] | None = None
    ) -> None:
        def tell() -> None:
            self._latest, self._last = latest, last
            self._changed.set()

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:  # the server has ended
            self._left = True


def told(fault: Fault) -> dict[str, str]:
    """Return a fault as it travels."""
    return {"code": fault.code, "detail": str(fault), "advice": fault.advice}


async def _body(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect as exc:  # a Ctrl-C at the command: nothing of it is kept
        raise RequestFault("the body ends too early") from exc


async def _said(request: Request) -> dict[str, Any]:
    return msgspec.json.decode(await request.body(), type=dict[str, Any])


def _lines(lines: list[dict[str, Any]]) -> Response:
    return Response(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
