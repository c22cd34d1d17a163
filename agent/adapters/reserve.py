"""Room that is kept only to be given back.

Deleting rows needs room in the write-ahead log; without it a full disk could not even be emptied
(OpenTelemetry Collector issue 7198). While the room is given back nothing is accepted, or the
next events would eat what the deletions need.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

RESERVE_BYTES = 1024 * 1024


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

    def hold(self) -> bool:
        """Take the room, if there is some; return whether it is held."""
        if self._held:
            return True
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
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

    def release(self) -> None:
        """Give the room back."""
        self._held = False
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
