"""What the outbox's tests are done with: events as the intake writes them, and crashes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from agent.adapters.outbox.outbox import Bounds, Outbox
from agent.adapters.outbox.segments import Batch
from tracking.errors import StorageFault

NOW_MS = 1_795_225_137_848
ROOM = Bounds()


def event(number: int | str, payload: str = "") -> bytes:
    """One stored event; its id tells its number."""
    return f'{{"id":"e{number}","type":"event","payload":"{payload}"}}'.encode()


def events(first: int, count: int, size: int = 0) -> list[bytes]:
    return [event(number, "x" * size) for number in range(first, first + count)]


def ids_in(box: Outbox, app_id: str | None = None) -> list[str]:
    """The ids of everything that waits, oldest first."""
    return [row.id for row in box.export(app_id)]


def append(box: Outbox, stream: int, bodies: Sequence[bytes], now_ms: int = NOW_MS) -> None:
    with box.turn():
        box.append(stream, bodies, now_ms)


def fail(box: Outbox, stream: int, bodies: Sequence[bytes]) -> None:
    """Append in a turn that does not end well."""
    with box.turn():
        box.append(stream, bodies, NOW_MS)
        raise StorageFault("cut")


def findings(box: Outbox) -> list[str]:
    """What a whole recount finds wrong."""
    return [one for one in box.check() if one is not None]


def settle(box: Outbox, batch: Batch, ids: Sequence[str] | None = None) -> int:
    with box.turn():
        return box.settle(batch, frozenset(batch.ids if ids is None else ids))


def whole(box: Outbox, stream: int, after: int = 0) -> Batch:
    """Lease the next batch, which must exist."""
    batch = box.lease(stream, after, 500, 256 * 1024)
    assert batch is not None
    return batch


def crash(box: Outbox, folder: Path) -> Path:
    """Copy the files of an open outbox away, as a cut of power leaves them."""
    folder.mkdir(mode=0o700)
    for end in ("", "-wal", "-shm"):
        source = box.path.with_name(f"{box.path.name}{end}")
        if source.exists():
            shutil.copy(source, folder / source.name)
    return folder / box.path.name
