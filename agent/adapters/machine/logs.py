"""Where log lines go: a small rotating file of ours, and standard error when somebody looks.

Lines are a constant sentence and ``key=value`` (docs/errors.md); values are names, counts, sizes
and times, never a payload or a token. Control characters are escaped, so that a name from
outside cannot forge a line or move a terminal's cursor.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from pathlib import Path

from agent.rules.masking import masked

FILE_BYTES = 1024 * 1024
FILES = 5
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Escaping(logging.Formatter):
    """Writes every record on one line, whatever its values hold, without what opens a door."""

    def format(self, record: logging.LogRecord) -> str:
        said = super().format(record).encode("utf-8", "surrogateescape")
        lines = masked(said).decode("utf-8", "surrogateescape").split("\n")
        shown = (
            line if line.isprintable() else line.encode("unicode_escape").decode("ascii")
            for line in lines
        )
        return "\n    ".join(shown)


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """A rotating file that only its owner may read, from its first byte."""

    def _open(self):  # type: ignore[no-untyped-def]  # the base class names a private type
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.fdopen(os.open(self.baseFilename, flags, 0o600), "a", encoding="utf-8")


def begin(folder: Path, level: str, *, on_stderr: bool) -> None:
    """Send all log lines of the process where they belong.

    Args:
        folder: Of the log file, made by ``Places.prepare``.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        on_stderr: Somebody may be looking at the terminal.

    """
    root = logging.getLogger()
    root.setLevel(level.upper())
    file = _PrivateFile(folder / "agent.log", maxBytes=FILE_BYTES, backupCount=FILES - 1)
    targets: list[logging.Handler] = [file]
    if on_stderr:
        targets.append(logging.StreamHandler(sys.stderr))
    for target in targets:
        target.setFormatter(_Escaping(FORMAT))
        root.addHandler(target)
    for noisy in ("uvicorn", "asyncio"):  # a line for each connection that comes and goes
        logging.getLogger(noisy).setLevel(logging.WARNING)
