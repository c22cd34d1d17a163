"""Mending at its edges: a log struck anywhere, a crash while mending, a segment cut in place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from yard import NOW_MS, append, crash, events, findings, ids_in, settle, whole

from agent.adapters.outbox import salvage
from agent.adapters.outbox.outbox import Bounds, Outbox

FRAME = 24 + 4096  #: Of the write-ahead log; its own header is 32 bytes.


class Killed(BaseException):
    """Stands for a SIGKILL between two steps."""


def test_a_frame_header_struck_anywhere_costs_two_frames_at_most_and_is_told(
    path: Path,
    tmp_path: Path,
    open_box: Callable[..., Outbox],
    expected_warnings: Callable[..., None],
) -> None:
    expected_warnings("agent.outbox")
    box = open_box()
    stream = box.stream("acme", "nucleus")
    for first in range(0, 200, 2):
        append(box, stream, events(first, 2, size=900))
    log = path.with_name("outbox.db-wal")
    frames = (log.stat().st_size - 32) // FRAME
    for struck in range(0, frames - 8, frames // 12):  # the last commit may be torn unnoticed
        where = crash(box, tmp_path / f"struck-{struck}")
        with where.with_name("outbox.db-wal").open("r+b") as file:
            file.seek(32 + struck * FRAME - 16 * bool(struck))
            file.write(b"struck by lightning, 40 bytes of it....")
        again = Outbox.open(where, Bounds(), NOW_MS)
        assert again.opening.set_aside is not None
        kept = ids_in(again)
        assert kept == sorted(kept, key=lambda id_: int(id_[1:]))
        assert len(kept) >= 190
        account = again.account(again.stream("acme", "nucleus"))
        assert account.accepted == 200
        assert again.opening.damaged == 200 - len(kept)
        assert findings(again) == []
        again.close()


@pytest.mark.parametrize("step", [1, 2])
def test_a_crash_while_mending_loses_nothing(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    open_box: Callable[..., Outbox],
    expected_warnings: Callable[..., None],
    step: int,
) -> None:
    expected_warnings("agent.outbox")
    box = open_box()
    stream = box.stream("acme", "nucleus")
    for first in range(0, 1_000, 10):
        append(box, stream, events(first, 10))
    box.close()
    with path.open("r+b") as file:
        file.write(b"no header of a database, sixty-four bytes of something else.....")
    calls = 0

    def die(folder: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == step:
            raise Killed(folder)

    monkeypatch.setattr(salvage, "sync_folder", die)
    with pytest.raises(Killed):
        open_box()
    monkeypatch.undo()
    again = open_box()
    assert ids_in(again) == [f"e{n}" for n in range(1_000)]
    assert findings(again) == []
    again.close()
    left = {name.name.split("-")[0] for name in path.parent.iterdir()}
    assert left == {"outbox.db", "outbox.db.damaged", "outbox.db.reserve"}


def test_a_crash_between_setting_aside_and_taking_its_place_is_completed(
    path: Path, open_box: Callable[..., Outbox]
) -> None:
    box = open_box()
    append(box, box.stream("acme", "nucleus"), events(0, 10))
    box.close()
    shutil.move(path, path.with_name("outbox.db.mended"))
    path.with_name("outbox.db.mending").write_bytes(b"the beginning of another attempt")
    again = open_box()
    assert ids_in(again) == [f"e{n}" for n in range(10)]
    assert again.opening.notices == []


def test_a_segment_too_large_for_its_upstream_is_cut_and_keeps_its_order(box: Outbox) -> None:
    stream = box.stream("acme", "bucket")
    append(box, stream, events(0, 100, size=400))
    append(box, stream, events(100, 3))
    lent, after = [], 0
    while (batch := box.lease(stream, after, 15, 8 * 1024)) is not None:
        assert batch.count <= 15
        assert batch.size <= 8 * 1024
        lent.append(batch)
        after = batch.last
    assert [id_ for batch in lent for id_ in batch.ids] == [f"e{n}" for n in range(103)]
    assert settle(box, lent[2]) == lent[2].count
    assert settle(box, lent[0], lent[0].ids[1:]) == lent[0].count - 1
    assert ids_in(box)[:2] == ["e0", lent[1].ids[0]]
    assert whole(box, stream).count == 103 - lent[2].count - lent[0].count + 1
    assert findings(box) == []


def test_one_event_larger_than_a_batch_is_lent_alone(box: Outbox) -> None:
    stream = box.stream("acme", "nucleus")
    append(box, stream, [*events(0, 2), *events(2, 1, size=300_000), *events(3, 2)])
    counts, after = [], 0
    while (batch := box.lease(stream, after, 500, 256 * 1024)) is not None:
        counts.append(batch.ids)
        after = batch.last
    assert counts == [("e0", "e1"), ("e2",), ("e3", "e4")]
