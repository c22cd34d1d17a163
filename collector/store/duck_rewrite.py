"""Whole files of the embedded engine: rewritten, and copied for a backup.

A rewritten file holds what its tables hold and nothing else: a DELETE leaves its bytes where they
were (STORE.md, "Traps"). Both ways make a new file beside the old one, sync it, and rename it, so a
kill at any moment leaves one whole file under the name, and at most a leftover ``….new`` that the
next start removes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import duckdb

from collector.lasting import sync
from collector.store.duck_file import Cursor, quoted, spill_of, translated, wal_of
from tracking.errors import StorageFault

Progress = Callable[[int, int], None]

PIECE_BYTES: Final = 4 << 20
SPARE_BYTES: Final = 16 << 20  #: That much stays free on the disk beside a copy.


def new_of(path: Path) -> Path:
    """Return where the successor of a file is made."""
    return path.with_name(f"{path.name}.new")


def remove_leftovers(path: Path) -> None:
    """Remove what an interrupted rewriting left beside a file."""
    for name in (new_of(path), wal_of(new_of(path))):
        name.unlink(missing_ok=True)
    shutil.rmtree(spill_of(new_of(path)), ignore_errors=True)


@contextlib.contextmanager
def successor(path: Path, needed_bytes: int) -> Iterator[Cursor]:
    """Give a connection with the file attached as ``old`` and its successor, empty, as ``new``.

    The file is closed and has no write-ahead log. If the block ends well, the successor takes its
    place, durably; if not, it is removed and the file is as it was.

    Args:
        path: Of the file.
        needed_bytes: How much room the successor takes at most.

    Raises:
        StorageFault: There is not enough room, or the disk fails.

    """
    new = new_of(path)
    require_room(path.parent, needed_bytes)
    if wal_of(path).exists():
        raise StorageFault(f"{path} could not be brought to rest for rewriting; it is as it was")
    remove_leftovers(path)
    try:
        with translated():
            config: dict[str, str | bool | int | float | list[str]] = {
                "threads": 2,
                "memory_limit": "256MB",
                "temp_directory": str(spill_of(new)),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
            with contextlib.closing(duckdb.connect(":memory:", config=config)) as db:
                old_name, new_name = quoted(str(path)), quoted(str(new))
                db.execute(f"ATTACH {old_name} AS old (READ_ONLY)")
                db.execute(f"ATTACH {new_name} AS new")
                new.chmod(0o600)
                yield db
                db.execute("CHECKPOINT new")
                db.execute("DETACH new")
                db.execute("DETACH old")
            _finished(new)
            put_into_place(path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove_leftovers(path)
        raise


def rewrite(path: Path, cursor: Cursor) -> None:
    """Write an open file anew beside itself, without the bytes of what was deleted from it.

    Others may read meanwhile, nobody may write. :func:`put_into_place` ends it.

    Args:
        path: Of the file.
        cursor: Of the open file.

    """
    new = new_of(path)
    require_room(path.parent, path.stat().st_size)
    remove_leftovers(path)
    try:
        with translated():
            ((name,),) = cursor.execute("SELECT current_database()").fetchall()
            old_name, new_name = '"' + name.replace('"', '""') + '"', quoted(str(new.absolute()))
            cursor.execute(f"ATTACH {new_name} AS new")
            try:
                new.chmod(0o600)
                cursor.execute(f"COPY FROM DATABASE {old_name} TO new")
                cursor.execute("DELETE FROM new.unswept")
                cursor.execute("CHECKPOINT new")
            finally:
                cursor.execute("DETACH new")
            _finished(new)
    except BaseException:
        with contextlib.suppress(OSError):
            remove_leftovers(path)
        raise


def _finished(new: Path) -> None:
    if wal_of(new).exists():
        raise StorageFault(f"{new} could not be finished; the store is as it was")
    sync(new)


def put_into_place(path: Path) -> None:
    """Let the successor of a closed file take its name, durably."""
    with translated():
        if wal_of(path).exists():
            raise StorageFault(
                f"{path} could not be brought to rest for rewriting; it is as it was"
            )
        new_of(path).replace(path)
        sync(path.parent)


def copy(path: Path, target: Path, progress: Progress) -> None:
    """Copy a file that nobody writes meanwhile, with its log, into one whole file.

    Args:
        path: The file.
        target: Replaced when the copy is whole and synced.
        progress: Told how many bytes of how many are copied.

    """
    part = new_of(target)
    pairs = [
        (one, other) for one, other in ((path, part), (wal_of(path), wal_of(part))) if one.exists()
    ]
    total = sum(one.stat().st_size for one, _ in pairs)
    require_room(target.parent, total)
    remove_leftovers(target)
    try:
        with translated():
            done = 0
            for one, other in pairs:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                with one.open("rb") as source, os.fdopen(os.open(other, flags, 0o600), "wb") as to:
                    while piece := source.read(PIECE_BYTES):
                        to.write(piece)
                        done += len(piece)
                        progress(done, total)
            with contextlib.closing(duckdb.connect(str(part))) as db:  # reads the log, if any
                db.execute("CHECKPOINT")
            sync(part)
            part.replace(target)
            sync(target.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            remove_leftovers(target)
        raise


def require_room(folder: Path, needed_bytes: int) -> None:
    """Make sure that a copy fits.

    Raises:
        StorageFault: It does not.

    """
    with translated():
        free = shutil.disk_usage(folder).free
    if free < needed_bytes + SPARE_BYTES:
        raise StorageFault(
            f"the disk of {folder} has {free >> 20} MB free, and a copy of the store needs"
            f" {(needed_bytes + SPARE_BYTES) >> 20} MB",
            advice="Make room; the store is as it was, and it is tried again.",
        )
