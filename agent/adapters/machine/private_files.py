"""Files and folders that only we may read, on a machine that others use too.

A path is not believed: it is opened without following a link, and what was opened is looked at
(SECURITY.md, "Storage"; threat rows 3, 30, 31). What belongs to someone else is refused and left
as it is; what is ours but open to others is closed to them.

POSIX. ``uid`` is an argument so that a test can be somebody else without being root.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import stat
from pathlib import Path

from tracking.errors import SettingsFault, StorageFault

log = logging.getLogger("agent.private_files")

FOLDER_MODE = 0o700
FILE_MODE = 0o600
OTHERS = 0o077  #: Permission bits of the group and of everybody else.
PUBLIC_WRITE = stat.S_IWOTH
MOST_BYTES = 64 * 1024  #: No private file is larger: a key, a token, a lock.


def make_folder(path: Path, *, uid: int | None = None) -> None:
    """Make sure that ``path`` is a folder of ours that nobody else can enter.

    Missing folders are made with mode 0700, parents included; one of ours with a looser mode is
    tightened.

    Raises:
        SettingsFault: Something else is there: a link, a file, somebody else's folder.
        StorageFault: It cannot be made: no permission, a read-only or full disk.

    """
    uid = os.getuid() if uid is None else uid
    try:
        for folder in (*reversed(path.parents), path):
            with contextlib.suppress(FileExistsError):
                if not os.path.lexists(folder):
                    folder.mkdir(mode=FOLDER_MODE)
        if path.is_symlink():
            raise SettingsFault(
                f"{path} is a link, and a link may lead into somebody else's hands",
                advice=f"Remove it, or set HOMING_HOME to a folder of your own: ls -ld {path}",
            )
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        raise SettingsFault(
            f"{path} is not a folder", advice="Move it away, or set HOMING_HOME elsewhere."
        ) from None
    except OSError as exc:
        owner = _owner_of(path)
        if owner is not None and owner != uid:
            raise _foreign(path, owner, uid) from None
        raise _unusable(path, exc) from exc
    try:
        found = os.fstat(fd)
        if found.st_uid != uid:
            raise _foreign(path, found.st_uid, uid)
        if stat.S_IMODE(found.st_mode) & OTHERS:
            os.fchmod(fd, FOLDER_MODE)
            log.info("closed a folder to others path=%s", path)
    finally:
        os.close(fd)


def is_private_folder(path: Path, *, uid: int | None = None) -> str:
    """Return why ``path`` is not a folder that only we can enter; empty if it is one."""
    uid = os.getuid() if uid is None else uid
    try:
        found = path.lstat()
    except OSError as exc:
        return os.strerror(exc.errno or 0).lower()
    if not stat.S_ISDIR(found.st_mode):
        return "it is not a folder"
    if found.st_uid != uid:
        return f"it belongs to user {found.st_uid}"
    if stat.S_IMODE(found.st_mode) & OTHERS:
        return f"its mode is {stat.S_IMODE(found.st_mode):04o}, others can enter"
    return ""


def read_private(
    path: Path, *, uid: int | None = None, shared: bool = False, most_bytes: int = MOST_BYTES
) -> bytes | None:
    """Return the content of a file of ours, or None if there is none.

    Args:
        path: A regular file with one name, ours.
        uid: Who we are.
        shared: The file was put there for us and may be root's, and readable by others, but not
            writable by them (an organisation's key, a systemd credential).
        most_bytes: A larger one is refused.

    Raises:
        SettingsFault: It is a link, not a regular file, somebody else's, or far too large.
        StorageFault: It cannot be read.

    """
    uid = os.getuid() if uid is None else uid
    try:
        # O_NONBLOCK: a pipe planted at the path would otherwise hold us for ever
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise SettingsFault(f"{path} is a link", advice="Put the file itself there.") from None
        owner = _owner_of(path)
        if owner is not None and owner != uid:
            raise _foreign(path, owner, uid) from None
        raise _unusable(path, exc) from exc
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise SettingsFault(f"{path} is not a regular file")
        if found.st_uid != uid and not (shared and found.st_uid == 0):
            raise _foreign(path, found.st_uid, uid)
        if shared:
            if stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
                raise SettingsFault(
                    f"{path} can be changed by others", advice=f"Run: chmod go-w {path}"
                )
        elif found.st_nlink != 1:
            raise SettingsFault(f"{path} has {found.st_nlink} names, a file of ours has one")
        elif stat.S_IMODE(found.st_mode) & OTHERS:
            os.fchmod(fd, FILE_MODE)
            log.warning("a private file was readable by others, closed it path=%s", path)
        if found.st_size > most_bytes:
            raise SettingsFault(f"{path} is {found.st_size} bytes, more than any file of its kind")
        return os.read(fd, most_bytes)
    except OSError as exc:
        raise _unusable(path, exc) from exc
    finally:
        os.close(fd)


def write_private(path: Path, content: bytes, *, mode: int = FILE_MODE) -> None:
    """Put ``content`` at ``path``, whole or not at all, readable by us alone.

    It is written beside and renamed, so a cut of power leaves the old file or the new one, and a
    link at ``path`` is replaced, never followed.

    Raises:
        StorageFault: The disk is full, read-only, or not ours to write.

    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(beside, flags, FILE_MODE)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as exc:
        raise _unusable(path, exc) from exc


def sync_folder(folder: Path) -> None:
    """Make what was renamed in a folder survive a cut of power."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _owner_of(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None


def _foreign(path: Path, owner: int, uid: int) -> SettingsFault:
    return SettingsFault(
        f"{path} belongs to user {owner}, we are user {uid}",
        advice="Somebody else put it there. Remove it, or set HOMING_HOME to a folder of your own.",
    )


def _unusable(path: Path, exc: OSError) -> StorageFault:
    return StorageFault(
        f"{path}: {os.strerror(exc.errno or 0).lower()}",
        advice="Check the disk and the permissions of its folder.",
    )
