"""Garbage is collected on the GUI thread, because Qt's objects die of being freed on another.

Python collects cycles on whichever thread happens to allocate; with the agent's core in the same
process that is usually not ours, and a widget's wrapper freed there takes its QObject along
(seen as a segmentation fault in the tests). So while a face shows, the automatic collection is
off, and the face collects when it hears of a new status: where nothing changes nothing is
allocated, and no timer is needed.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def only_here() -> Iterator[None]:
    """Leave the collecting to :func:`sweep` until the end."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def sweep() -> int:
    """Collect what is due by the interpreter's own thresholds; return how much was unreachable."""
    due = [n for n in range(3) if 0 < gc.get_threshold()[n] < gc.get_count()[n]]
    return gc.collect(due[-1]) if due else 0
