"""The outbox's file: made private before SQLite sees it, opened for durability, never trusted.

SQLite follows links and creates files that everybody may read, so the file is created here first
(``O_EXCL``, ``O_NOFOLLOW``, 0600; ``-wal`` and ``-shm`` inherit it) and examined at every start:
ours, regular, one name, nobody else's to read. What does not pass is moved aside, and said.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from agent.adapters.migrations import Newer, upgrade
from agent.adapters.private_files import make_folder
from tracking.errors import Damaged, DiskFull, StorageFault

RESERVE_BYTES = 1024 * 1024
RESERVE_EVERY_S = 30.0
WAL_LIMIT_BYTES = 16 * 1024 * 1024
QUICK_CHECK_BYTES = 32 * 1024 * 1024  #: Larger files are checked as they are read.

PRAGMAS = (
    "PRAGMA auto_vacuum = INCREMENTAL",  # before the first table, else without effect
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


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Translate SQLite's errors: a full or damaged disk is a Fault, misuse stays a bug."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.InterfaceError):
        raise
    except sqlite3.DatabaseError as exc:
        raise as_fault(exc) from exc


def as_fault(exc: sqlite3.DatabaseError) -> StorageFault:
    """Return what a database error means for us."""
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return DiskFull("the disk is full", advice="Free some space; it goes on by itself.")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Damaged(
            "the outbox is damaged", advice="Restart the agent: what can be read is saved."
        )
    if code == sqlite3.SQLITE_READONLY:
        return StorageFault("the outbox is read-only", advice="Make its disk writable again.")
    return StorageFault(f"the outbox cannot be used: {exc}", advice="Run `homing doctor`.")


def connect(path: Path, notices: list[str]) -> tuple[sqlite3.Connection, int]:
    """Open the file, made private and upgraded; return it and the version it came from.

    Args:
        path: Of the database.
        notices: Sentences for the person are added here.

    Returns:
        The connection, and the older version it was upgraded from (0 if it was not).

    Raises:
        StorageFault: The folder cannot be used, or the file is from a newer Homing.
        sqlite3.DatabaseError: The file is damaged.

    """
    try:
        make_folder(path.parent)
        fresh = make_private(path, notices)
    except OSError as exc:
        raise _unusable(path, exc) from exc
    db = open_database(path)
    try:
        if not fresh and path.stat().st_size <= QUICK_CHECK_BYTES:
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
        found = upgrade(db)
    except Newer as newer:
        db.close()
        raise StorageFault(
            f"{path} was written by a newer Homing (format {newer.version})",
            advice="Install that version again; the file was left as it is.",
        ) from newer
    except sqlite3.OperationalError as exc:
        db.close()
        if as_fault(exc).code == "storage":  # locked, read-only, out of handles: not damage
            raise as_fault(exc) from exc
        if isinstance(as_fault(exc), DiskFull):
            raise as_fault(exc) from exc
        raise
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db, found


def open_database(path: Path) -> sqlite3.Connection:
    """Open a database file with our durability.

    Raises:
        StorageFault: It cannot be opened at all.
        sqlite3.DatabaseError: It is damaged.

    """
    try:
        db = sqlite3.connect(path, isolation_level=None, cached_statements=64)
    except sqlite3.OperationalError as exc:
        raise as_fault(exc) from exc
    try:
        for pragma in PRAGMAS:
            db.execute(pragma).fetchall()
    except sqlite3.DatabaseError as exc:
        db.close()
        fault = as_fault(exc)
        if isinstance(fault, Damaged):
            raise
        raise fault from exc
    return db


def make_private(path: Path, notices: list[str]) -> bool:
    """Make sure that ``path`` is a private file of ours; return whether it is new."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    for name in (path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm"))):
        why = _why_not(name)
        if why:
            aside = beside(name, "foreign")
            name.rename(aside)
            notices.append(f"{name.name} was {why}; it was moved to {aside.name}, not used.")
    try:
        os.close(os.open(path, flags, 0o600))
    except FileExistsError:
        return False
    path.chmod(0o600)  # whatever the umask took away
    return True


def _why_not(path: Path) -> str:
    """Return why a file that exists must not be used, or an empty string."""
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
    if found.st_nlink != 1:
        return f"a file with {found.st_nlink} names"
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o600)  # ours, and only too open: closing it is enough
    return ""


def beside(path: Path, word: str) -> Path:
    """Return a free name next to ``path`` that tells when it was set aside, and why."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    for number in range(1000):
        tail = f"-{number}" if number else ""
        name = path.with_name(f"{path.name}.{word}-{stamp}{tail}")
        if not name.exists() and not name.is_symlink():
            return name
    raise StorageFault(f"too many files were set aside next to {path}")


class Reserve:
    """A file that is only there to be given back when the disk is full.

    Deleting rows needs room in the write-ahead log; without it a full disk could not even be
    emptied (OpenTelemetry Collector issue 7198).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tried_s = -RESERVE_EVERY_S

    def refill(self) -> None:
        """Take the room again if there is some; looked at every 30 s at most."""
        now_s = time.monotonic()
        if now_s - self._tried_s < RESERVE_EVERY_S or self.path.exists():
            return
        self._tried_s = now_s
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self.path, flags, 0o600)
            try:
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
            except OSError:
                self.path.unlink(missing_ok=True)
                raise
            finally:
                os.close(fd)

    def release(self) -> None:
        """Give the room back."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def _unusable(path: Path, exc: OSError) -> StorageFault:
    return StorageFault(
        f"{path} cannot be used: {exc.strerror or exc}", advice="Free or repair its disk."
    )
