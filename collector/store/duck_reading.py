"""What the embedded engine is asked; the part of a store that changes nothing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

from collector.store import queries
from collector.store.dialect import DUCKDB, render
from collector.store.duck_file import DuckFile
from collector.store.interface import Stored
from tracking.errors import StorageFault

SLICE = 5_000
READ_S = 10.0  #: A question that takes longer is given up.


class DuckReading:
    """Asks an open file, from any thread.

    Args:
        file: Of which every thread gets a cursor of its own.

    """

    def __init__(self, file: DuckFile) -> None:
        self._file = file
        self._exports: set[object] = set()

    @property
    def dialect(self) -> str:
        return "duckdb"

    def ask(
        self, text: str, values: Mapping[str, object], *, deadline_s: float = READ_S
    ) -> list[tuple[Any, ...]]:
        return self._read(render(text, DUCKDB), deadline_s, **values)

    def _read(
        self, query: str, deadline_s: float = READ_S, /, **values: object
    ) -> list[tuple[Any, ...]]:
        with self._file.reading() as cursor:
            late = threading.Timer(deadline_s, cursor.interrupt)
            late.start()
            try:
                return cursor.execute(query, values).fetchall()
            finally:
                late.cancel()

    def newest(self, app_id: str, since_ms: int, limit: int) -> list[tuple[Stored, bool]]:
        rows = self._read(queries.NEWEST, app=app_id, since=since_ms, limit=limit)
        return [(Stored(*row[:-1]), bool(row[-1])) for row in rows]

    def export(self, app_id: str) -> Iterator[list[Stored]]:
        # Inside only while a slice is read: who takes an export slowly holds nobody up. The cursor
        # has the file as it was at the beginning, and ends with it.
        cursor, opened = self._file.cursor()
        self._exports.add(cursor)
        try:
            with self._file.reading(cursor):
                cursor.execute(queries.EXPORT, {"app": app_id})
            while True:
                with self._file.reading(cursor):
                    if self._file.opened != opened:
                        raise StorageFault("the store was rewritten meanwhile, export it again")
                    rows = cursor.fetchmany(SLICE)
                if not rows:
                    return
                yield [Stored(*row) for row in rows]
        finally:
            self._exports.discard(cursor)
            with contextlib.suppress(duckdb.Error):
                cursor.close()

    @property
    def exporting(self) -> int:
        """How many exports are being read; rewriting the file ends them."""
        return len(self._exports)

    def count(self, app_id: str) -> int:
        return int(self._read(queries.COUNT, app=app_id)[0][0])
