"""Real outboxes on real files; the equipment is in ``yard.py``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.adapters.outbox.outbox import Bounds, Outbox

sys.path.insert(0, str(Path(__file__).resolve().parent))  # yard: equipment of this room

from yard import NOW_MS, ROOM


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "outbox.db"


@pytest.fixture
def open_box(path: Path) -> Iterator[Callable[..., Outbox]]:
    """Open outboxes; those still open at the end are closed."""
    boxes: list[Outbox] = []

    def open_(where: Path = path, bounds: Bounds = ROOM, now_ms: int = NOW_MS) -> Outbox:
        boxes.append(Outbox.open(where, bounds, now_ms))
        return boxes[-1]

    yield open_
    for box in boxes:
        box.close()


@pytest.fixture
def box(open_box: Callable[..., Outbox]) -> Outbox:
    return open_box()
