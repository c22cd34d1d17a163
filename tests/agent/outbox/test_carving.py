"""Carving finds what SQLite finds, and nothing on a page can stop it."""

from __future__ import annotations

import sqlite3
import struct
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from yard import NOW_MS, append, events, settle, whole

from agent.adapters.outbox.carving import (
    INDEX_INNER,
    INDEX_LEAF,
    PAGE_BYTES,
    TABLE_LEAF,
    carve,
    pages_of,
)
from agent.adapters.outbox.outbox import Outbox


def test_carving_a_healthy_file_finds_every_row_of_every_table(path: Path, box: Outbox) -> None:
    stream, other = box.stream("acme", "nucleus"), box.stream("other", "nucleus")
    for first in range(0, 3_000, 30):
        append(box, stream if first % 90 else other, events(first, 30, size=first // 10))
    settle(box, whole(box, stream))
    batch = whole(box, stream)
    with box.turn():
        for id_ in batch.ids[:20]:
            box.bury(batch, id_, "refused", "the far end says no \u2026", NOW_MS)
        box.remember([struct.pack(">QQ", n * 7919, n) for n in range(2_000)], NOW_MS)
        box.keep_profile("acme", b"{}" * 5_000)
    box.purge("other")
    box.close()

    db = sqlite3.connect(path)
    expected: Counter[tuple[object, ...]] = Counter()
    for table in ("segment", "dead_letter", "stream"):
        expected.update(db.execute(f"SELECT * FROM {table}").fetchall())
    without_numbers: Counter[tuple[object, ...]] = Counter()
    for table in ("seen", "app", "loss"):
        without_numbers.update(db.execute(f"SELECT * FROM {table}").fetchall())
    db.close()

    found: Counter[tuple[object, ...]] = Counter()
    with pages_of(path, {}) as (count, page):
        for row in carve(count, page):
            values = row.values()
            found[(row.rowid, *values[1:]) if row.table else tuple(values)] += 1
    assert not expected - found
    assert not without_numbers - found
    assert not [values for values in found if values[1:2] == ("other",) and len(values) == 7]


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from((TABLE_LEAF, INDEX_LEAF, INDEX_INNER)),
    cells=st.integers(0, 0xFFFF),
    starts=st.lists(st.integers(0, 0xFFFF), max_size=40),
    body=st.binary(min_size=1, max_size=300),
)
def test_nothing_on_a_page_can_stop_carving(
    kind: int, cells: int, starts: list[int], body: bytes
) -> None:
    head = struct.pack(">BHHHB", kind, 0, cells, 0, 0) + bytes(4) * (kind == INDEX_INNER)
    pointers = b"".join(struct.pack(">H", start) for start in starts)
    raw = (head + pointers + body * (PAGE_BYTES // len(body) + 1))[:PAGE_BYTES]
    for found in carve(2, lambda number: raw if number <= 2 else b""):
        try:
            assert len(found.values()) == len(found.form)
        except ValueError:
            continue
