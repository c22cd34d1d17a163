"""What could not be read in the spool, kept beside it for a while (docs/spool.md).

No rule of redaction has seen a line of the spool, so nothing of one is written here: not the line,
no digest of it, by which a short value can be guessed, and no reason that quotes it. A file that is
no spool file of anybody's is moved here as it is.

Any thread; it blocks.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from agent.adapters.machine.private_files import make_folder, write_private

TAKEN: Final = ".taken"
ASIDE: Final = "aside"  #: Folder of what could not be read as an event.
ASIDE_LINES: Final = 1000  #: Of one file that are named; the others are counted.
ASIDE_ALL_BYTES, ASIDE_DAYS = 8 * 1024 * 1024, 30
DAY_S: Final = 86_400.0


class NoEvent(NamedTuple):
    """A line that is no event: which of its file, counted from 1, why, and how long."""

    line: int
    why: str
    bytes: int


@dataclass(slots=True)
class Aside:
    """Lines that are no events, up to a bound; beyond it they are counted."""

    kept: list[NoEvent] = field(default_factory=list)
    lines: int = 0

    def add(self, number: int, why: str, size: int) -> None:
        self.lines += 1
        if len(self.kept) < ASIDE_LINES:
            self.kept.append(NoEvent(number, why, size))


def keep(folder: Path, name: str, aside: Aside) -> Path:
    """Keep which lines of one file are no events, and why; return where.

    Written whole under the file's own name, so an import that is repeated writes it again.

    Raises:
        Fault: It cannot be written.

    """
    make_folder(folder / ASIDE)
    rows = [msgspec.json.encode(one._asdict()) for one in aside.kept]
    if aside.lines > len(rows):
        rows.append(msgspec.json.encode({"more": aside.lines - len(rows)}))
    path = folder / ASIDE / name.removesuffix(TAKEN)
    write_private(path, b"\n".join(rows) + b"\n")
    return path


def set_aside(folder: Path, path: Path) -> Path:
    """Move a file that is no spool file out of the way; return where.

    Raises:
        Fault: There is no place to put it.
        OSError: It cannot be moved.

    """
    make_folder(folder / ASIDE)
    kept = folder / ASIDE / path.name.removesuffix(TAKEN)
    path.rename(kept)
    os.utime(kept)  # it lies here from now on, however old it is
    return kept


def prune(folder: Path, now_s: float) -> None:
    """Delete what has lain aside for 30 days, and the oldest of more than 8 MiB."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder / ASIDE) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                seen = entry.stat(follow_symlinks=False)
                found.append((seen.st_mtime, seen.st_size, entry.path))
    total = 0
    for mtime, size, name in sorted(found, reverse=True):
        total += size
        if total > ASIDE_ALL_BYTES or now_s - mtime > ASIDE_DAYS * DAY_S:
            with contextlib.suppress(OSError):
                Path(name).unlink()
