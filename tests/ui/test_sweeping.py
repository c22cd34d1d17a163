"""Garbage goes where Qt's objects live, and nowhere else."""

from __future__ import annotations

import gc
import threading
import weakref

from ui.sweeping import only_here, sweep


class Loop:
    """A cycle that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


def test_no_other_thread_collects_while_a_face_shows_and_the_face_does() -> None:
    with only_here():
        gone = weakref.ref(Loop())
        allocating = threading.Thread(target=lambda: [[] for _ in range(200_000)])
        allocating.start()
        kept = [[] for _ in range(5_000)]
        allocating.join()
        assert gone() is not None
        assert sweep() > 0
        assert gone() is None
        assert len(kept) == 5_000
        assert sweep() == 0  # nothing is due any more
    assert gc.isenabled()
