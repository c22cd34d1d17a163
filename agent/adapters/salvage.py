"""Saving what can be read of a damaged outbox.

The damaged file is never written to: it is renamed, read with errors expected, and every row
whose checksum fits goes into a new file. Around pages that cannot be read the search goes on by
row number, so one bad page costs the rows on it and no others.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.migrations import upgrade
from agent.adapters.outbox_file import beside, make_private, open_database
from agent.adapters.segments import ids_of, sealed

STEP = 1 << 20  #: Row numbers skipped at first behind a page that cannot be read.


@dataclass(slots=True)
class Salvaged:
    """A new database with what was saved, and how much that was."""

    db: sqlite3.Connection
    set_aside: Path
    salvaged: int = 0
    damaged: int = 0


def set_aside_and_salvage(path: Path, now_ms: int, notices: list[str]) -> Salvaged:
    """Rename the damaged file, save its rows into a new one at ``path``, and count.

    Raises:
        StorageFault: Not even a new file can be made.

    """
    del now_ms
    aside = beside(path, "damaged")
    path.rename(aside)
    for end in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(f"{path.name}{end}").rename(aside.with_name(f"{aside.name}{end}"))
    make_private(path, notices)
    db = open_database(path)
    upgrade(db)
    found = Salvaged(db, aside)
    try:
        old = sqlite3.connect(f"file:{aside}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.DatabaseError:
        return found
    with contextlib.closing(old):
        _copy(old, db, found)
    return found


def _copy(old: sqlite3.Connection, db: sqlite3.Connection, found: Salvaged) -> None:
    db.execute("BEGIN IMMEDIATE")
    for table, columns in (
        ("stream", 5),
        ("loss", 3),
        ("app", 2),
        ("tally", 4),
        ("dead_letter", 7),
        ("seen", 3),
    ):
        marks = ",".join("?" * columns)
        with contextlib.suppress(sqlite3.DatabaseError):
            for row in old.execute(f"SELECT * FROM {table}"):  # noqa: S608 - our own names
                db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608
    known = {row[0] for row in db.execute("SELECT id FROM stream")}
    for seq, stream, accepted_ms, events, body in _segments(old, found):
        if stream not in known:
            db.execute(
                "INSERT INTO stream (id, app_id, upstream) VALUES (?, ?, ?)",
                (stream, f"unknown-{stream}", "nucleus"),
            )
            known.add(stream)
        db.execute(
            "INSERT OR IGNORE INTO segment VALUES (?, ?, ?, ?, ?, ?, ?)",
            (seq, stream, accepted_ms, events, len(body), sealed(body), body),
        )
        found.salvaged += events
    db.execute("COMMIT")


def _segments(old: sqlite3.Connection, found: Salvaged) -> list[tuple[int, int, int, int, bytes]]:
    """Return every segment that can be read and whose checksum fits, in order."""
    rows: list[tuple[int, int, int, int, bytes]] = []
    after, step = 0, 1
    try:
        (last,) = old.execute("SELECT max(seq) FROM segment").fetchone()
    except sqlite3.DatabaseError:
        last = None
    top = (1 << 40) if last is None else int(last)
    while after < top:
        try:
            row = old.execute(
                "SELECT seq, stream, accepted_ms, events, crc, body FROM segment NOT INDEXED"
                " WHERE seq > ? ORDER BY seq LIMIT 1",
                (after,),
            ).fetchone()
        except sqlite3.DatabaseError:
            after, step = after + step, min(step * 2, STEP)
            if step == STEP and not rows:
                break  # the root itself cannot be read
            continue
        if row is None:
            break
        after, stream, accepted_ms, events, crc, body = row
        step = 1
        if isinstance(body, bytes) and sealed(body) == crc and len(ids_of(body)) == events:
            rows.append((after, stream, accepted_ms, events, body))
        else:
            continue  # the ledger, which knows what was accepted, counts it
    return rows
