"""How a data command reaches the store: through the running server, or opened under its lock.

DuckDB lets one process in. If a server runs on the folder it is asked, over its admin socket; else
the command takes the server's lock for itself, so no server starts meanwhile. The caller sees no
difference.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from collector.bulk import holdings
from collector.bulk.dropping import drop
from collector.cli.parser import now_ms
from collector.places import Folder, ServerLock, connect_admin
from collector.settings_reading import load
from collector.store.interface import Fact, Stored
from tracking.errors import (
    AgentRunning,
    Damaged,
    DiskFull,
    Fault,
    RequestFault,
    StorageFault,
)

if TYPE_CHECKING:
    from collector.access.accounts import Accounts
    from collector.settings import Settings
    from collector.store.interface import Store

Progress = Callable[[int, int], None]

MOST_BODY = 6 * 1024 * 1024  #: Bytes of one request; the server takes 8 MiB.
_FAULTS = {
    kind.code: kind for kind in (AgentRunning, Damaged, DiskFull, RequestFault, StorageFault)
}


class Reach(Protocol):
    """A store within reach."""

    def write(self, rows: Sequence[Stored], facts: Sequence[Fact] = ()) -> int: ...

    def ask(self, name: str, **values: object) -> list[tuple[Any, ...]]:
        """Answer a question of :mod:`collector.bulk.holdings`."""
        ...

    def rows(self, app_id: str) -> Iterator[list[Stored]]:
        """Yield every event of an app in slices, in the order of arrival."""
        ...

    def snapshot(self, into: Path, progress: Progress) -> None:
        """Copy the store and the accounts into a folder below DIR."""
        ...

    def compact(self, progress: Progress) -> tuple[int, int]:
        """Rewrite the store; return its size in bytes before and after."""
        ...

    def purge(self, app_id: str, before_ms: int) -> int: ...

    def drop(self, app_id: str) -> None:
        """Remove an app and everything that is stored of it."""
        ...


@contextlib.contextmanager
def within_reach(folder: Folder) -> Iterator[Reach]:
    """Give the store of a folder.

    Raises:
        AgentRunning: Another process has it and does not answer.
        StorageFault: It cannot be used.

    """
    sock = connect_admin(folder, 15.0)
    if sock is not None:
        sock.close()
        yield _Asked(folder)
        return
    from collector.access.accounts import Accounts
    from collector.engines import open_store

    settings = load(folder.path, os.environ, {}).settings
    lock = ServerLock.take(folder)
    try:
        with (
            contextlib.closing(open_store(settings.engine, folder, now_ms(), os.environ)) as store,
            contextlib.closing(Accounts(folder.accounts)) as accounts,
        ):
            yield _Opened(folder, store, accounts, settings)
    finally:
        lock.release()


@contextlib.contextmanager
def one_at_a_time(folder: Folder, what: str) -> Iterator[None]:
    """Let only one data command change a folder; the system ends this when the process dies.

    Raises:
        AgentRunning: Another one runs; the sentence names it.

    """
    path = folder.path / "data.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StorageFault(f"{path} cannot be used: {exc.strerror}") from exc
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StorageFault(f"{path} cannot be locked: {exc.strerror}") from exc
            raise AgentRunning(
                f"{_who(os.pread(fd, 200, 0))} runs on {folder.path}",
                advice="Wait for its end; one of them at a time.",
            ) from None
        os.ftruncate(fd, 0)
        with contextlib.suppress(OSError):  # on a full disk the lock holds, and nobody is named
            os.pwrite(fd, json.dumps({"pid": os.getpid(), "what": what}).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def _who(said: bytes) -> str:
    try:
        found = json.loads(said)
        return f"`{found['what']}` (process {found['pid']})"
    except (ValueError, KeyError, TypeError):
        return "another data command"


class _Opened:
    """A store that this process has open."""

    def __init__(
        self, folder: Folder, store: Store, accounts: Accounts, settings: Settings
    ) -> None:
        from collector.engines import tombstone_key
        from collector.intake.catalogue import NAMES, Catalogue
        from collector.intake.tombstones import TOMBSTONES, Tombstones

        self.folder = folder
        self.store = store
        self.accounts = accounts
        self._catalogue = Catalogue(settings.event_names, settings.event_keys)
        self._catalogue.load(store.ask(NAMES, {}))
        self._tombstones = Tombstones(tombstone_key(settings.engine, folder, os.environ))
        self._tombstones.load(store.ask(TOMBSTONES, {}))

    def write(self, rows: Sequence[Stored], facts: Sequence[Fact] = ()) -> int:
        """Store as the server would: nobody who was erased, no name beyond the bound."""
        rows = self._tombstones.rows(rows, now_ms())
        facts = self._tombstones.facts(facts, now_ms())
        folded, names = self._catalogue.fold(rows)
        return self.store.write(folded, [*facts, *names])

    def ask(self, name: str, **values: object) -> list[tuple[Any, ...]]:
        return holdings.ask(self.store, name, values)

    def rows(self, app_id: str) -> Iterator[list[Stored]]:
        yield from self.store.export(app_id)

    def snapshot(self, into: Path, progress: Progress) -> None:
        from collector.bulk.backup import copy_accounts
        from collector.engines import embedded

        embedded(self.store).backup(into / self.folder.events.name, progress)
        copy_accounts(self.folder.accounts, into / self.folder.accounts.name)

    def compact(self, progress: Progress) -> tuple[int, int]:
        before = self.store.size_bytes()
        self.store.compact(progress)
        return before, self.store.size_bytes()

    def purge(self, app_id: str, before_ms: int) -> int:
        return self.store.purge(app_id, before_ms)

    def drop(self, app_id: str) -> None:
        drop(self.accounts, self.store, app_id)


class _Asked:
    """The store of a running server."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def write(self, rows: Sequence[Stored], facts: Sequence[Fact] = ()) -> int:
        body = holdings.packed(rows, facts)
        if len(body) > MOST_BODY and len(rows) > 1:
            half = len(rows) // 2
            return self.write(rows[:half], facts) + self.write(rows[half:])
        return int(self._job("/data/write", body))

    def ask(self, name: str, **values: object) -> list[tuple[Any, ...]]:
        body = msgspec.msgpack.encode((name, values))
        with self._answer("/data/ask", body) as response:
            text = response.read()
            if response.headers.get("Content-Type") != "application/msgpack":
                _outcome(text)
            return [tuple(row) for row in msgspec.msgpack.decode(text)]

    def rows(self, app_id: str) -> Iterator[list[Stored]]:
        with self._answer(f"/data/rows/{app_id}") as response:
            while length := int.from_bytes(_exactly(response, 4), "big"):
                rows = msgspec.msgpack.decode(_exactly(response, length))
                yield [Stored(*row) for row in rows]

    def snapshot(self, into: Path, progress: Progress) -> None:
        self._job("/data/snapshot", msgspec.json.encode({"into": into.name}), progress)

    def compact(self, progress: Progress) -> tuple[int, int]:
        said = self._job("/data/compact", b"{}", progress)
        return int(said["before"]), int(said["after"])

    def purge(self, app_id: str, before_ms: int) -> int:
        body = msgspec.json.encode({"app": app_id, "before": before_ms})
        return int(self._job("/data/purge", body))

    def drop(self, app_id: str) -> None:
        self._job("/data/drop", msgspec.json.encode({"app": app_id}))

    def _job(self, path: str, body: bytes, progress: Progress | None = None) -> Any:
        with self._answer(path, body) as response:
            while line := response.readline():
                said = msgspec.json.decode(line)
                if "done" in said:
                    if progress is not None:
                        progress(said["done"], said["of"])
                    continue
                return _outcome(line)
        raise Fault("the server ended before it was done", advice="Start it, and try again.")

    @contextlib.contextmanager
    def _answer(self, path: str, body: bytes | None = None) -> Iterator[http.client.HTTPResponse]:
        sock = connect_admin(self.folder, None)
        if sock is None:
            raise Fault("the server has ended", advice="Try again.")
        with sock:
            connection = http.client.HTTPConnection("localhost")
            connection.sock = sock
            try:
                connection.request("GET" if body is None else "POST", path, body)
                response = connection.getresponse()
                if response.status != 200:
                    raise Fault(
                        f"the server answered {response.status}",
                        advice="Is it another version? Start it again.",
                    )
                yield response
            except (OSError, http.client.HTTPException) as exc:
                raise Fault(f"the server does not answer: {exc or type(exc).__name__}") from exc


def _outcome(line: bytes) -> Any:
    """Return what a line says that is the last one; a fault is raised again."""
    said: dict[str, Any] = msgspec.json.decode(line)
    if "fault" in said:
        fault: Mapping[str, str] = said["fault"]
        kind = _FAULTS.get(fault["code"], Fault)
        raise kind(fault["detail"], advice=fault["advice"])
    return said["result"]


def _exactly(response: http.client.HTTPResponse, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = response.read(count - len(parts))
        if not part:
            raise Fault("the server's answer broke off", advice="Try again.")
        parts += part
    return parts
