"""One agent per outbox: a locked file that says who.

The operating system holds the lock and drops it with the process, however it dies, so there is
no stale lock to argue about. The file stays: removing it would let two processes hold locks on
two files of the same name. Inside stands who holds it, for the sentence of the one who comes
second.

Invariants:
    1. Whoever has a :class:`Lock` is alone until it lets go or dies.
    2. Only the holder removes a socket, and only a socket of ours (threat rows 5, 6).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import msgspec

from agent.adapters.machine.private_files import FILE_MODE, read_private
from tracking.errors import AgentRunning, Bug, SettingsFault, StorageFault

WRITING_S = 0.5  #: How long the winner may take from holding the lock to having signed it.


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """What the lock file says about the agent that holds it.

    Attributes:
        pid: Its process.
        started_ms: When it took the lock, Unix milliseconds.
        address: Where its local API listens, as far as known when it took the lock. A client of
            the same person with another ``XDG_RUNTIME_DIR`` finds the agent by it.

    """

    pid: int
    started_ms: int
    address: str = ""


@dataclass(slots=True)
class Lock:
    """The lock, held. Use as a context manager, or :meth:`release` it."""

    path: Path
    holder: Holder
    _fd: int

    @classmethod
    def take(cls, path: Path, *, now_ms: int, address: str = "") -> Lock:
        """Take the lock, or say who has it.

        Raises:
            AgentRunning: Another agent holds it; the sentence names its process.
            SettingsFault: The file is a link, or somebody else's.
            StorageFault: The file cannot be made or written.

        """
        holder = Holder(pid=os.getpid(), started_ms=now_ms, address=address)
        while True:
            fd = _open(path)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                os.close(fd)
                if exc.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                    raise StorageFault(
                        f"{path} cannot be locked: {os.strerror(exc.errno or 0).lower()}"
                    ) from exc
                raise _running(path) from None
            if not _still_named(fd, path):  # removed between open and lock: another file counts now
                os.close(fd)
                continue
            try:
                os.ftruncate(fd, 0)
                os.pwrite(fd, msgspec.json.encode(holder) + b"\n", 0)
            except OSError as exc:
                os.close(fd)
                raise StorageFault(
                    f"{path} cannot be written: {os.strerror(exc.errno or 0).lower()}",
                    advice="Free some disk, then start again.",
                ) from exc
            return cls(path, holder, fd)

    def clear_stale_socket(self, path: Path, *, uid: int | None = None) -> bool:
        """Remove the socket that a dead agent left; tell whether there was one.

        Raises:
            SettingsFault: Something else lies there. It is left alone.

        """
        if self._fd < 0:
            raise Bug("only the holder of the lock removes a socket")
        uid = os.getuid() if uid is None else uid
        try:
            found = path.lstat()
        except FileNotFoundError:
            return False
        if not stat.S_ISSOCK(found.st_mode):
            kind = "a link" if stat.S_ISLNK(found.st_mode) else "not a socket"
            raise SettingsFault(
                f"{path} is {kind}, it is not ours to remove",
                advice="Look at it, move it away, and start again.",
            )
        if found.st_uid != uid:
            raise SettingsFault(
                f"{path} is a socket of user {found.st_uid}",
                advice="Remove it, or set HOMING_HOME to a folder of your own.",
            )
        path.unlink(missing_ok=True)
        return True

    def release(self) -> None:
        """Let go. The file stays; twice is harmless."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.ftruncate(fd, 0)  # who reads it now learns that nobody holds it
            os.close(fd)

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def read_holder(path: Path) -> Holder | None:
    """Return who signed the lock file, or None. It may have died since: the lock itself knows."""
    try:
        raw = read_private(path)
        return msgspec.json.decode(raw, type=Holder) if raw else None
    except (msgspec.MsgspecError, SettingsFault, StorageFault):
        return None


def is_held(path: Path) -> bool:
    """Tell whether an agent that lives holds the lock, by asking the lock itself for an instant.

    A process id in the file proves nothing: after a power cut it may be somebody else's.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _open(path: Path) -> int:
    """Open the lock file without following a link, and make sure that it is ours."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, FILE_MODE)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise SettingsFault(
                f"the lock file {path} is a link", advice="Remove it, and start again."
            ) from None
        raise StorageFault(
            f"{path}: {os.strerror(exc.errno or 0).lower()}",
            advice="Check the disk and the permissions of its folder.",
        ) from exc
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        os.close(fd)
        raise SettingsFault(
            f"the lock file {path} is not a regular file of ours",
            advice="Look at it, move it away, and start again.",
        )
    os.fchmod(fd, FILE_MODE)
    return fd


def _still_named(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _running(path: Path) -> AgentRunning:
    """Name the agent that holds the lock; wait a moment for one that has not signed yet."""
    until = time.monotonic() + WRITING_S
    while True:
        holder = read_holder(path)
        if holder is not None and _alive(holder.pid):
            who = f"process {holder.pid}"
            break
        if time.monotonic() >= until:
            who = "it is just starting or stopping"
            break
        time.sleep(0.01)
    return AgentRunning(
        f"another agent is running here already ({who})",
        advice="Run `homing status` to see it, `homing stop` to end it.",
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
