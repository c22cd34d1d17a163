"""A new outbox out of what can be read of a damaged one.

The damaged file is read page by page (:mod:`agent.adapters.outbox.carving`), with what its
write-ahead log still proves (:mod:`agent.adapters.outbox.wal`). A segment is believed when its
checksum fits: the checksum starts from the owner's name, so a body is never handed to the wrong
app, and a row whose stream number was flipped finds its way home. Names that were lost from their
table are found in its index, and in what the caller knows.

Order, so that a crash in between loses nothing: the new file is finished under another name, the
damaged one gets a name with the time, the new one takes its place. :func:`resume` completes what
a crash interrupted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.adapters.machine.private_files import sync_folder
from agent.adapters.outbox.carving import Found, Pages, carve, pages_of
from agent.adapters.outbox.file import companions, make_private, open_database
from agent.adapters.outbox.migrations import upgrade
from agent.adapters.outbox.rows import MOST_SEQ
from agent.adapters.outbox.segments import ids_of, owner_seal, sealed
from agent.adapters.outbox.wal import newest_pages
from agent.rules.ledger import Loss

COMMIT_ROWS = 1_000  #: Or SLICE_BYTES of bodies, so that memory and log stay small.
COMMIT_BYTES = 8 * 1024 * 1024

Name = tuple[str, str]  #: App id and upstream.

#: Form of a row → the table it is from. From tables, and from indexes and tables without row
#: numbers; the names of streams are in their table and once more in its index.
TABLES = {"nttii": "stream", "ntiittb": "dead_letter"}
INDEXES = {
    "iti": "loss",
    "tb": "app",
    "itti": "tally",
    "bi": "seen",
    "tti": "name",
    "tiiiii": "daily",
}
SEGMENT, EVENT_OF_1 = "niiiiib", ("niib", "niit")


@dataclass(slots=True)
class _Names:
    """Whose events there may be, and whose there are.

    Attributes:
        candidates: Seal of a name → stream number and name, as found somewhere.
        proved: Stream number → the name that a segment's checksum fits.

    """

    candidates: dict[int, tuple[int, Name]] = field(default_factory=dict)
    proved: dict[int, Name] = field(default_factory=dict)

    def add(self, stream: int, name: Name) -> None:
        self.candidates.setdefault(owner_seal(*name), (stream, name))

    def owner(self, crc: int, body: bytes) -> int | None:
        """Return the stream whose name the checksum proves."""
        for seal, (stream, name) in self.candidates.items():
            if sealed(seal, body) == crc:
                self.proved.setdefault(stream, name)
                return stream
        return None


def keep_log(path: Path, aside: Path) -> None:
    """Copy a database's write-ahead log to where the set-aside file will be.

    To be called before SQLite closes the file: closing folds in what SQLite believes of the log,
    and removes the rest.
    """
    log, _ = companions(path)
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size:
            kept, _ = companions(aside)
            make_private(kept)
            shutil.copyfile(log, kept)


def mend(
    path: Path,
    aside: Path,
    known: Collection[tuple[int, str, str]],
    let_go: Callable[[], None],
) -> int:
    """Replace the outbox at ``path`` by a new one with what can be read of it.

    Args:
        path: A database that nobody writes to.
        aside: The name that the old file gets.
        known: Streams (number, app, upstream) that the caller remembers.
        let_go: Closes the old database; called when the new one is complete.

    Returns:
        How many events were saved.

    Raises:
        OSError, sqlite3.DatabaseError: The new file cannot be written; the old one is in place.

    """
    building, finished = _names(path)
    _remove(building)
    make_private(building)
    db = open_database(building)
    try:
        upgrade(db)
        kept, _ = companions(aside)
        with pages_of(path, newest_pages(kept)) as (count, page):
            saved = _refill(db, count, page, known)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except BaseException:
        db.close()
        _remove(building)
        raise
    db.close()
    let_go()
    building.rename(finished)
    sync_folder(path.parent)
    path.rename(aside)
    aside.chmod(0o600)
    for name in companions(path):
        name.unlink(missing_ok=True)
    finished.rename(path)
    sync_folder(path.parent)
    return saved


def resume(path: Path) -> None:
    """Complete a replacement that a crash interrupted, or clear away its beginnings."""
    building, finished = _names(path)
    _remove(building)
    if not os.path.lexists(finished):
        return
    if os.path.lexists(path):
        _remove(finished)  # the old one was not set aside yet: it is read again
        return
    for name in companions(path):
        name.unlink(missing_ok=True)
    finished.rename(path)
    sync_folder(path.parent)


def _names(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}.mending"), path.with_name(f"{path.name}.mended")


def _remove(path: Path) -> None:
    for name in (path, *companions(path)):
        name.unlink(missing_ok=True)


def _refill(
    db: sqlite3.Connection, count: int, page: Pages, known: Collection[tuple[int, str, str]]
) -> int:
    """Put everything that is believed into ``db``; return how many events that were."""
    names = _Names()
    for stream, app_id, upstream in known:
        names.add(stream, (app_id, upstream))
    spare: list[tuple[int, Name]] = []
    db.execute("BEGIN IMMEDIATE")
    for number, found in enumerate(carve(count, page)):
        table = (TABLES if found.table else INDEXES).get(found.form)
        if table is None:
            continue
        with contextlib.suppress(ValueError, sqlite3.Error):
            values = found.values()
            if found.table:
                values[0] = found.rowid
            if table == "name":
                spare.append((int(values[2]), (str(values[0]), str(values[1]))))  # type: ignore[arg-type]
            elif _believed(table, values):
                marks = ",".join("?" * len(values))
                db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", values)  # noqa: S608
        if number % COMMIT_ROWS == COMMIT_ROWS - 1:
            _commit(db)
    for stream, app_id, upstream in db.execute("SELECT id, app_id, upstream FROM stream"):
        names.add(stream, (app_id, upstream))
    for stream, name in spare:
        names.add(stream, name)
    saved = _refill_segments(db, count, page, names)
    for stream, (app_id, upstream) in names.proved.items():
        db.execute(
            "INSERT OR IGNORE INTO stream (id, app_id, upstream) VALUES (?, ?, ?)",
            (stream, app_id, upstream),
        )
        db.execute(
            "UPDATE OR IGNORE stream SET app_id = ?, upstream = ? WHERE id = ?",
            (app_id, upstream, stream),
        )
    db.execute("DELETE FROM segment WHERE stream NOT IN (SELECT id FROM stream)")
    db.execute("DELETE FROM dead_letter WHERE stream NOT IN (SELECT id FROM stream)")
    db.execute("DELETE FROM daily WHERE stream NOT IN (SELECT id FROM stream)")
    db.execute("DELETE FROM loss WHERE stream NOT IN (SELECT id FROM stream)")
    db.execute("INSERT INTO seen_day SELECT day, count(*) FROM seen GROUP BY day")
    db.execute("COMMIT")
    return saved


def _believed(table: str, values: Sequence[object]) -> bool:
    """Return whether a row without a checksum can be one of ours."""
    match table, values:
        case "stream", [int(id_), _, _, int(accepted), int(delivered)]:
            return id_ > 0 and 0 <= delivered <= accepted
        case "loss", [_, reason, int(events)]:
            return reason in {loss.value for loss in Loss} and events >= 0
        case "dead_letter", [*_, bytes(body)]:
            try:
                return ids_of(body) == (values[1],)
            except msgspec.MsgspecError:
                return False
        case "seen", [bytes(digest), _]:
            return len(digest) == 16
        case "daily", [str(day), int(stream), int(accepted), int(delivered), *_]:
            return len(day) == len("2026-11-21") and stream > 0 and min(accepted, delivered) >= 0
        case "tally", [_, _, _, int(events)]:
            return events >= 0
    return True


def _refill_segments(db: sqlite3.Connection, count: int, page: Pages, names: _Names) -> int:
    saved = rows = size = 0
    for seq, stream, accepted_ms, body in _segments(count, page, names):
        events = len(ids_of(body))
        crc = sealed(owner_seal(*names.proved[stream]), body)
        added = db.execute(
            "INSERT OR IGNORE INTO segment VALUES (?, ?, ?, ?, ?, ?, ?)",
            (seq, stream, accepted_ms, events, len(body), crc, body),
        )
        if added.rowcount > 0:
            saved, rows, size = saved + events, rows + 1, size + len(body)
        if rows >= COMMIT_ROWS or size >= COMMIT_BYTES:
            _commit(db)
            rows = size = 0
    return saved


def _segments(count: int, page: Pages, names: _Names) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield every segment that is as it was written: (seq, stream, accepted_ms, body)."""
    for found in carve(count, page):
        with contextlib.suppress(ValueError, msgspec.MsgspecError):
            if found.table and found.form == SEGMENT:
                row = _segment(found, names)
            elif found.table and found.form in EVENT_OF_1:
                row = _event_of_1(found, names)
            else:
                continue
            if row is not None and 0 < row[0] < MOST_SEQ and ids_of(row[3]):
                yield row


def _segment(found: Found, names: _Names) -> tuple[int, int, int, bytes] | None:
    match found.values():
        case [_, int(), int(accepted_ms), int(), int(), int(crc), bytes(body)]:
            owner = names.owner(crc, body)
            return None if owner is None else (found.rowid, owner, accepted_ms, body)
    return None


def _event_of_1(found: Found, names: _Names) -> tuple[int, int, int, bytes] | None:
    """Return a row of version 1, which had no checksums: the JSON has to do."""
    match found.values():
        case [_, int(stream), int(accepted_ms), bytes() | str() as raw]:
            body = raw if isinstance(raw, bytes) else raw.encode()
            for number, name in names.candidates.values():
                if number == stream:
                    names.proved.setdefault(stream, name)
                    return found.rowid, stream, accepted_ms, body
    return None


def _commit(db: sqlite3.Connection) -> None:
    db.execute("COMMIT")
    db.execute("BEGIN IMMEDIATE")
