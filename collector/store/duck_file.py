"""One open DuckDB file: the writer's cursor, the readers' cursors, and a door between them.

The engine lets one process in, and in that process a file is open until its last cursor is closed.
So whoever has to close it (to rewrite it, or to read again what a doubtful commit left) shuts the
door first: new readers wait, running ones get a few seconds, then they are interrupted.

Invariants:
    1. Nobody uses a cursor outside of :meth:`DuckFile.reading`, but for the one writer.
    2. While :meth:`DuckFile.alone` lasts, no other thread is inside.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb

from tracking.errors import StorageFault

Cursor = duckdb.DuckDBPyConnection
Config = dict[str, str | bool | int | float | list[str]]

CONFIG: Final[Config] = {
    "threads": 2,
    "memory_limit": "256MB",
    "preserve_insertion_order": True,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
#: Files that the engine may touch besides the one it is opened with: the successor's.
SUCCESSOR: Final = (".new", ".new.wal", ".new.wal.checkpoint", ".new.wal.recovery")
PATIENCE_S = 10.0  #: How long running readers may finish before they are interrupted.
SHUT_S = 120.0  #: How long a reader waits at the door.
GIVEN_UP_S = 10.0  #: How soon an interrupted reader must be gone.


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Translate DuckDB's errors of the world; misuse stays a bug."""
    try:
        yield
    except duckdb.InterruptException as exc:
        raise StorageFault("the store took too long to answer") from exc
    except (
        duckdb.IOException,
        duckdb.OutOfMemoryException,
        duckdb.FatalException,
        duckdb.ConnectionException,
        duckdb.TransactionException,
        duckdb.SerializationException,
        OSError,
    ) as exc:
        text = (str(exc).splitlines() or [type(exc).__name__])[0][:200]
        raise StorageFault(f"the store cannot be used: {text}") from exc


class DuckFile:
    """A file that is open, or shut for a moment.

    Args:
        path: Of the file; its folder exists and is ours.

    Attributes:
        writer: The one writer's cursor.
        opened: How often it was opened: what was begun before the last time is over.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened = 0
        self._door = threading.Condition()
        self._shut = False
        self._inside: list[Cursor] = []
        self._readers = threading.local()

    def open(self) -> None:
        """Open it; what a killed engine left of its working memory on disk goes first."""
        with translated():
            shutil.rmtree(spill_of(self.path), ignore_errors=True)
            self.db = duckdb.connect(str(self.path), config=CONFIG)
            try:
                self._lock_up()
                self.writer = self.db.cursor()
            except BaseException:
                self.db.close()
                raise
        self._readers = threading.local()
        self.opened += 1

    def _lock_up(self) -> None:
        """Let nobody read other files or load code through the engine, whatever is asked of it."""
        name = str(self.path.absolute())
        allowed = ", ".join(quoted(f"{name}{end}") for end in SUCCESSOR)
        self.db.execute(f"SET allowed_paths = [{allowed}]")
        self.db.execute("SET enable_external_access = false")
        self.db.execute("SET lock_configuration = true")

    def close(self) -> None:
        """Close it, once nobody is inside. Twice is as good as once.

        Raises:
            StorageFault: Somebody is inside and does not end.

        """
        with self.alone():
            self.close_alone()

    def close_alone(self) -> None:
        """Close it inside of :meth:`alone`."""
        with contextlib.suppress(duckdb.Error):
            self.writer.close()
        with contextlib.suppress(duckdb.Error):
            self.db.close()  # with every cursor that was made of it

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Have nobody else inside; called by whoever may write.

        Raises:
            StorageFault: Somebody is inside and does not end.

        """
        with self._door:
            self._shut = True
            try:
                if not self._door.wait_for(self._empty, PATIENCE_S):
                    for cursor in self._inside:
                        cursor.interrupt()
                    if not self._door.wait_for(self._empty, GIVEN_UP_S):
                        raise StorageFault("the store is being read and cannot be closed")
            except BaseException:
                self._let_in()
                raise
        try:
            yield
        finally:
            with self._door:
                self._let_in()

    def _empty(self) -> bool:
        return not self._inside

    def _let_in(self) -> None:
        self._shut = False
        self._door.notify_all()

    @contextlib.contextmanager
    def reading(self, cursor: Cursor | None = None) -> Iterator[Cursor]:
        """Be inside, with a cursor: the thread's own, or one that was brought.

        Raises:
            StorageFault: The file stays shut, or cannot be used.

        """
        with self._door:
            if not self._door.wait_for(lambda: not self._shut, SHUT_S):
                raise StorageFault("the store is being rewritten, ask again later")
            if cursor is None:
                cursor = self._own()
            self._inside.append(cursor)
        try:
            with translated():
                yield cursor
        finally:
            with self._door:
                self._inside.remove(cursor)
                self._door.notify_all()

    def _own(self) -> Cursor:
        cursor: Cursor | None = getattr(self._readers, "cursor", None)
        if cursor is None:
            with translated():
                cursor = self._readers.cursor = self.db.cursor()
        return cursor

    def cursor(self) -> tuple[Cursor, int]:
        """Return a cursor of its own for a long reading, and the number of this opening."""
        with self.reading():
            return self.db.cursor(), self.opened

    def size_bytes(self) -> int:
        """Return the size of the file and of its write-ahead log."""
        return sum(_size(path) for path in (self.path, wal_of(self.path)))


def quoted(text: str) -> str:
    """Return a text as it stands in a statement that binds no values (SET, ATTACH)."""
    return "'" + text.replace("'", "''") + "'"


def wal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def spill_of(path: Path) -> Path:
    """Return the folder into which the engine puts what does not fit into its memory."""
    return path.with_name(f"{path.name}.tmp")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
