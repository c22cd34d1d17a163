"""A progress bar for a person who watches; for a log or a pipe there is none."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from agent.rules.wording import events

REFRESH_S = 0.1


class Progress:
    """One bar over a file's bytes. Draws when told, at most ten times a second; no thread."""

    def __init__(self, console: Console, total_bytes: int) -> None:
        self._rich = RichProgress(
            TextColumn("{task.fields[said]}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._rich.add_task("", total=total_bytes, said="reading")
        self._drawn = 0.0

    def show(self, done_bytes: int, acknowledged: int, bad: int) -> None:
        """Move the bar."""
        now = time.monotonic()
        if now - self._drawn < REFRESH_S:
            return
        self._drawn = now
        trouble = f", {bad:,} bad" if bad else ""
        said = f"{events(acknowledged)}{trouble}"
        self._rich.update(self._task, completed=done_bytes, said=said, refresh=True)

    def __enter__(self) -> Self:
        self._rich.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rich.stop()


def progress_on(err: TextIO, total_bytes: int) -> Progress | None:
    """Return a bar on ``err``, or None if nobody watches."""
    if not err.isatty():
        return None
    return Progress(Console(file=err), total_bytes)
