"""How a file of an older format becomes one of today.

    1 ─► 2   events know the date that they said (``said_ts``); a repeat is found by it
    2 ─► 3   attributes, users' first sight, and the tables for what Bucket tells

A step writes a new file beside the old one, which it only reads, and takes its name at the end:
the old file is the copy that is kept until all is done. A kill at any moment leaves one of the two,
whole, and the next start begins again (:mod:`collector.store.duck_rewrite`).
"""

# ruff: noqa: S608 - the texts are our own

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from collector.intake.attributes import attributes_of
from collector.intake.catalogue import Catalogue
from collector.store.duck_file import Cursor
from collector.store.duck_rewrite import Progress, successor
from collector.store.duck_schema import SCHEMA
from collector.store.interface import Stored

log = logging.getLogger("collector.store")

SLICE: Final = 5_000
SAY_S: Final = 5.0  #: How often a long migration says how far it is.
_OLD: Final = Stored._fields[:25]  #: The columns of events in format 2.


def migrate(path: Path, version: int, progress: Progress | None = None) -> None:
    """Make a closed file of an older format one of today.

    Args:
        path: Of the file; it has no write-ahead log.
        version: Its format.
        progress: Told how many events of how many are done; None: the log is told.

    Raises:
        StorageFault: There is no room for the new file beside it, or the disk fails.

    """
    told = progress or _Said()
    for number in range(version, max(STEPS) + 1):
        log.info("migrating the store format=%d to=%d", number, number + 1)
        # Attributes stand beside the payloads from 3 on, but it packs them: twice is plenty.
        with successor(path, 2 * path.stat().st_size) as db:
            STEPS[number](db, told)


def _to_2(db: Cursor, progress: Progress) -> None:
    """Give events the date that they said, as far as a file of format 1 can tell it.

    What was believed and is not the receipt was said. What was not believed (flag 1) said
    something that is not known any more: its repeats are taken for new ones, once.
    """
    columns = ", ".join(f"{name} {_kind(name)} NOT NULL" for name in _OLD)
    db.execute("CREATE TABLE new.schema_version (version INTEGER NOT NULL)")
    db.execute(f"CREATE TABLE new.events ({columns})")
    db.execute("CREATE TABLE new.device AS SELECT * FROM old.device")
    said = "CASE WHEN flags & 1 = 0 AND ts <> recv_ts THEN ts ELSE 0 END"
    chosen = ", ".join(said if name == "said_ts" else name for name in _OLD)
    db.execute(f"INSERT INTO new.events SELECT {chosen} FROM old.events")
    db.execute("INSERT INTO new.schema_version VALUES (2)")
    total = _count(db)
    progress(total, total)


def _to_3(db: Cursor, progress: Progress) -> None:
    """Read the attributes out of the payloads, and see users for the first time."""
    for statement in SCHEMA:
        for words in ("CREATE TABLE ", "INSERT INTO "):
            statement = statement.replace(words, f"{words}new.")  # noqa: PLW2901
        db.execute(statement)
    db.execute(
        "INSERT INTO new.seen SELECT app_id, 'device', device_id, min(first_ts), 0 FROM old.device"
        " WHERE device_id <> '' GROUP BY ALL"
    )
    db.execute(
        "INSERT INTO new.seen SELECT app_id, 'user', user_id, min(ts), 0 FROM old.events"
        " WHERE user_id <> '' GROUP BY ALL"
    )
    catalogue, total, done = Catalogue(), _count(db), 0
    with closing(db.cursor()) as reader, closing(db.cursor()) as writer:
        writer.execute("BEGIN")
        events, names = writer.appender("new.events"), writer.appender("new.catalogue")
        for rows in _slices(reader):
            folded, new = catalogue.fold([_with_attributes(row) for row in rows])
            events.append_rows(folded)
            events.flush()
            if new:
                names.append_rows(new)
                names.flush()
            done += len(rows)
            progress(done, total)
        writer.execute("COMMIT")


def _slices(reader: Cursor) -> Iterator[list[Any]]:
    columns = ", ".join(_OLD)
    reader.execute(f"SELECT {columns} FROM old.events")
    while rows := reader.fetchmany(SLICE):
        yield rows


def _with_attributes(row: tuple[Any, ...]) -> Stored:
    stored = Stored(*row)
    if not stored.payload:
        return stored
    keys, values = attributes_of(stored.payload)
    return stored._replace(attr_keys=keys, attr_values=values)


def _count(db: Cursor) -> int:
    (count,) = db.execute("SELECT count(*) FROM old.events").fetchone() or (0,)
    return int(count)


def _kind(name: str) -> str:
    numbers = {"key_a", "key_b", "ts", "recv_ts", "said_ts", "avail_ram", "flags"}
    return "BIGINT" if name in numbers else "VARCHAR"


class _Said:
    """Tells the log how far a long migration is."""

    def __init__(self) -> None:
        self._next_s = time.monotonic() + SAY_S

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + SAY_S
            log.info("migrating the store events=%d of=%d", done, total)


STEPS: Final[Mapping[int, Callable[[Cursor, Progress], None]]] = {1: _to_2, 2: _to_3}
