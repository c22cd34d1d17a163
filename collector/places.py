"""The collector's folder: who may use it, and what lies in it.

DIR/            0700, ours
  events.duckdb   the store; DuckDB lets one process in
  accounts.db     apps and tokens (SQLite; many processes)
  collector.lock  held by the server; says which process that is
  admin.sock      how the command line asks a running server (0600)
  data.lock       held by a data command: backup, restore, import ... one at a time
  restoring.json  a restore is being finished; before-restore-…/ has what was there
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from tracking.errors import AgentRunning, SettingsFault, StorageFault

SOCKET_PATH_BYTES = 100
RESTORING = "restoring.json"  #: While a restore puts files in place (bulk.backup).
ASIDE = "before-restore-"  #: How a folder begins that has what a restore set aside.


def default_dir(env: Mapping[str, str]) -> Path:
    """Return where a collector keeps its data if nobody says otherwise."""
    home = env.get("HOMING_HOME")
    if home:
        return Path(home).expanduser().absolute() / "collector"
    return Path(platformdirs.user_data_dir("homing", appauthor=False)) / "collector"


def agents_dir(env: Mapping[str, str]) -> Path | None:
    """Return where the desktop agent's own collector lies, None if that is :func:`default_dir`."""
    home = env.get("HOMING_HOME")
    return Path(home).expanduser().absolute() / "data" / "collector" if home else None


@dataclass(frozen=True, slots=True)
class Folder:
    """One collector's data folder."""

    path: Path

    @property
    def events(self) -> Path:
        return self.path / "events.duckdb"

    @property
    def accounts(self) -> Path:
        return self.path / "accounts.db"

    @property
    def lock(self) -> Path:
        return self.path / "collector.lock"

    @property
    def admin(self) -> Path:
        return self.path / "admin.sock"

    def set_aside(self) -> list[Path]:
        """Return the folders of what restores set aside, oldest first; no erasure goes there."""
        return sorted(path for path in self.path.glob(f"{ASIDE}*") if path.is_dir())

    def prepare(self) -> Folder:
        """Make the folder, or make sure that it is ours alone; return self.

        Raises:
            SettingsFault: It is a link, a file or somebody else's.
            StorageFault: It cannot be made.

        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.lstat()
        except FileExistsError as exc:
            raise SettingsFault(f"{self.path} is not a folder") from exc
        except OSError as exc:
            raise StorageFault(f"{self.path} cannot be used: {exc.strerror}") from exc
        if stat.S_ISLNK(found.st_mode):
            raise SettingsFault(f"{self.path} is a link", advice="Name the folder itself.")
        if found.st_uid != os.getuid():
            raise SettingsFault(f"{self.path} belongs to user {found.st_uid}")
        if stat.S_IMODE(found.st_mode) & 0o077:
            self.path.chmod(0o700)
        if (self.path / RESTORING).exists():
            with contextlib.suppress(AgentRunning):
                ServerLock.take(self).release()  # finishes what a kill interrupted
        return self


class ServerLock:
    """Held by the one server of a folder; the system lets go of it when the process dies."""

    def __init__(self, folder: Folder, fd: int) -> None:
        self.folder = folder
        self._fd = fd

    @classmethod
    def take(cls, folder: Folder) -> ServerLock:
        """Take the lock.

        Raises:
            AgentRunning: Another process serves this folder; the sentence names it.

        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(folder.lock, flags, 0o600)
        except OSError as exc:
            raise StorageFault(f"{folder.lock} cannot be used: {exc.strerror}") from exc
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            said = os.pread(fd, 200, 0)
            os.close(fd)
            if exc.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StorageFault(f"{folder.lock} cannot be locked: {exc.strerror}") from exc
            raise AgentRunning(
                f"process {_pid(said)} serves {folder.path} already",
                advice="Stop it first, or name another --data-dir.",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps({"pid": os.getpid()}).encode(), 0)
        if (folder.path / RESTORING).exists():
            from collector.bulk.backup import finish

            finish(folder)
        return cls(folder, fd)

    def listen_admin(self) -> socket.socket:
        """Return the listening admin socket, replacing one that a dead server left."""
        path = self.folder.admin
        if path.is_socket():
            path.unlink()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _ShortPath(path) as short:
                sock.bind(short)
            path.chmod(0o600)
        except OSError as exc:
            sock.close()
            raise StorageFault(f"{path} cannot be used: {exc.strerror}") from exc
        sock.listen(16)
        sock.setblocking(False)
        return sock

    def release(self) -> None:
        if self.folder.admin.is_socket():
            self.folder.admin.unlink()
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


def connect_admin(folder: Folder, timeout_s: float | None) -> socket.socket | None:
    """Return a connection to the server of this folder, None if none runs."""
    try:
        found = folder.admin.lstat()
    except OSError:
        return None
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.getuid():
        raise SettingsFault(f"{folder.admin} is not a socket of this user")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout_s)
    try:
        with _ShortPath(folder.admin) as short:
            sock.connect(short)
    except OSError:
        sock.close()
        return None
    return sock


class _ShortPath:
    """A name for a socket's path that fits into ``sun_path``, however deep the folder lies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self.path)) <= SOCKET_PATH_BYTES:
            return str(self.path)
        self._fd = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._fd}/{self.path.name}"

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _pid(said: bytes) -> str:
    try:
        return str(json.loads(said)["pid"])
    except (ValueError, KeyError, TypeError):
        return "?"
