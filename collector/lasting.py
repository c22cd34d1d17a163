"""What was written, or renamed, is to last: through a cut of power as well."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Put a file on the disk, or what was made, renamed and removed in a folder.

    Raises:
        OSError: The system cannot.

    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
