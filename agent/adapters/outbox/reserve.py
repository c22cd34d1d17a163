"""Room that is kept only to be given back.

Deleting rows needs room in the write-ahead log; without it a full disk could not even be emptied
(OpenTelemetry Collector issue 7198). While the room is given back nothing is accepted, or the
next events would eat what the deletions need.

How much: SQLite folds its log in once it is 4 MiB long, and needs as much room again for that.
With less in reserve a full disk is final: the log can neither grow nor be folded in (tried on a
file system of 8 MiB).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from agent.adapters.outbox.file import beside

RESERVE_BYTES = 8 * 1024 * 1024
SPARE_BYTES = 256 * 1024  #: For indexes, the ledger and page edges.


class Reserve:
    """A file next to the outbox.

    Args:
        path: Of it.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held = False

    @property
    def held(self) -> bool:
        """Whether the room is there to be given back."""
        return self._held

    def room_for(self, size: int) -> bool:
        """Return whether ``size`` bytes fit on the disk twice: in the log, and folded in."""
        disk = os.statvfs(self.path.parent)
        return disk.f_bavail * disk.f_frsize > 2 * size + SPARE_BYTES

    def hold(self) -> bool:
        """Take the room, if there is some; return whether it is held."""
        if self._held:
            return True
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._clear()  # whatever bears the name, a link or a second name: never written to
            fd = os.open(self.path, flags, 0o600)
        except OSError:
            return False
        try:
            os.fchmod(fd, 0o600)
            os.posix_fallocate(fd, 0, RESERVE_BYTES)
            self._held = True
        except OSError:
            self.release()
        finally:
            os.close(fd)
        return self._held

    def _clear(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except (IsADirectoryError, PermissionError):
            self.path.rename(beside(self.path, "foreign"))

    def release(self) -> None:
        """Give the room back."""
        self._held = False
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
