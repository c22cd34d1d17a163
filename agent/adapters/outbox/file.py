"""The outbox's file: made private before SQLite sees it, opened for durability, never trusted.

SQLite follows links and creates files that everybody may read, so the file is created here first
(``O_EXCL``, ``O_NOFOLLOW``, 0600; ``-wal`` and ``-shm`` inherit it) and examined at every start.
A link, a file of somebody else, something that is no file: moved aside, unread. A file of ours
that others could open, or that has a second name: moved aside as well, and its events carried
over into a new one, for whoever opened the old one may still hold it open.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from tracking.errors import Damaged, DiskFull, StorageFault

WAL_LIMIT_BYTES = 16 * 1024 * 1024
PROBE_BYTES = 64 * 1024

PRAGMAS_OF_AN_EMPTY_FILE = (  # later the second one would be a commit, over a log not examined
    "PRAGMA page_size = 4096",
    "PRAGMA auto_vacuum = INCREMENTAL",
)
PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # an acknowledgement survives a cut of power
    "PRAGMA secure_delete = ON",  # a deleted event is overwritten, not only unlinked
    f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA cache_size = -4000",  # 4 MiB: the queue is written once and read once
    "PRAGMA temp_store = MEMORY",
    "PRAGMA trusted_schema = OFF",
)


class Trust(enum.Enum):
    """What was found at the outbox's path."""

    FRESH = "nothing usable; an empty private file is there now"
    OURS = "a private file of ours"
    EXPOSED = "a file of ours that others could have opened"


def read_only(folder: Path) -> StorageFault:
    """Return the fault of a disk that may not be written."""
    return StorageFault(
        f"the outbox in {folder} is read-only",
        advice="Make its disk writable again; nothing is accepted until then.",
    )


def disk_full() -> DiskFull:
    """Return the fault of a disk without room."""
    return DiskFull(
        "the disk is full: no new event is accepted, those accepted are safe",
        advice="Free some space; it goes on by itself.",
    )


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Translate SQLite's errors: a full or damaged disk is a Fault, misuse stays a bug."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.InterfaceError):
        raise
    except sqlite3.DatabaseError as exc:
        raise as_fault(exc, path) from exc


def as_fault(exc: sqlite3.DatabaseError, path: Path) -> StorageFault:
    """Return what a database error means for us.

    Codes: https://www.sqlite.org/rescode.html. An error of ours has none and means damage.
    """
    match getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return disk_full()
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Damaged(
                f"the outbox is damaged: {exc}",
                advice="What can be read is saved by itself; homing status shows how much.",
            )
        case sqlite3.SQLITE_READONLY:
            return read_only(path.parent)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN:
            # a log or its index that cannot grow is an I/O error to SQLite, whatever the reason
            return _probe(path.parent) or StorageFault(
                f"the outbox's disk does not work: {exc}", advice="Check the disk."
            )
    return StorageFault(f"the outbox cannot be used: {exc}", advice="Run `homing doctor`.")


def _probe(folder: Path) -> StorageFault | None:
    """Try to write next to the outbox; return what keeps us from it."""
    probe = folder / f".probe-{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(probe, flags, 0o600)
        try:
            os.posix_fallocate(fd, 0, PROBE_BYTES)
        finally:
            os.close(fd)
            probe.unlink()
    except OSError as exc:
        return unusable(folder, exc)
    return _limited()


def _limited() -> StorageFault | None:
    """Return a fault if this process may not write large files (`ulimit -f`)."""
    import resource  # here, for Windows has none

    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if limit == resource.RLIM_INFINITY else disk_full()


def unusable(path: Path, exc: OSError) -> StorageFault:
    """Return what an error of the operating system means for us."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return disk_full()
    if exc.errno == errno.EROFS:
        return read_only(path if path.is_dir() else path.parent)
    return StorageFault(
        f"{path} cannot be used: {exc.strerror or exc}", advice="Free or repair its disk."
    )


def open_database(path: Path) -> sqlite3.Connection:
    """Open a database file that is there already, with our durability.

    Raises:
        sqlite3.DatabaseError: It is damaged, or cannot be opened.

    """
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, cached_statements=64
    )
    try:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        for pragma in (*(() if pages else PRAGMAS_OF_AN_EMPTY_FILE), *PRAGMAS):
            db.execute(pragma).fetchall()
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def examine(path: Path, notices: list[str]) -> Trust:
    """Make sure that ``path`` is a private file, and say what it was.

    Raises:
        OSError: The folder cannot be used.

    """
    for name in (path, *companions(path)):
        why = _not_ours(name)
        if why:
            aside = beside(name, "foreign")
            name.rename(aside)
            notices.append(f"{name.name} was {why}; it was moved to {aside.name}, not read.")
    try:
        found = path.lstat()
    except FileNotFoundError:
        for name in companions(path):  # a log without its database would be replayed into ours
            if name.exists():
                name.rename(beside(name, "stray"))
        make_private(path)
        return Trust.FRESH
    for name in companions(path):
        with contextlib.suppress(FileNotFoundError):
            name.chmod(0o600)
    if stat.S_IMODE(found.st_mode) & 0o077 or found.st_nlink != 1:
        return Trust.EXPOSED
    return Trust.FRESH if found.st_size == 0 else Trust.OURS


def make_private(path: Path) -> None:
    """Create an empty file that only we may read, whatever the umask."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        os.fchmod(fd, 0o600)
    finally:
        os.close(fd)


def _not_ours(path: Path) -> str:
    """Return why something must not even be read, or an empty string."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return ""
    if stat.S_ISLNK(found.st_mode):
        return "a link"
    if not stat.S_ISREG(found.st_mode):
        return "not a regular file"
    if found.st_uid != os.getuid():
        return f"a file of user {found.st_uid}"
    return ""


def companions(path: Path) -> tuple[Path, Path]:
    """Return the names of a database's write-ahead log and of its shared memory."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def beside(path: Path, word: str) -> Path:
    """Return a free name next to ``path`` that tells when it was set aside, and why."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for number in range(1000):
        tail = f"-{number}" if number else ""
        name = path.with_name(f"{path.name}.{word}-{stamp}{tail}")
        if not os.path.lexists(name):
            return name
    raise StorageFault(f"too many files were set aside next to {path}")
