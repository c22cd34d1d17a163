"""A progress bar on standard error for a person who watches; for a log or a pipe there is none."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

Progress = Callable[[int, int], None]

REFRESH_S = 0.1


@contextlib.contextmanager
def bar(said: str, *, in_bytes: bool = False) -> Iterator[Progress]:
    """Give a callback that moves a bar: so much done, of so much (0 if nobody knows)."""
    if not sys.stderr.isatty():
        yield lambda _done, _of: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    console = Console(file=sys.stderr)
    counting = DownloadColumn(binary_units=True) if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), counting, TimeRemainingColumn())
    drawn_s = 0.0
    with RichProgress(*columns, console=console, transient=True) as rich:
        task = rich.add_task(said, total=None)

        def show(done: int, of: int) -> None:
            nonlocal drawn_s
            now_s = time.monotonic()
            if now_s - drawn_s >= REFRESH_S or done >= of:
                drawn_s = now_s
                rich.update(task, completed=done, total=of or None)

        yield show
