"""Today's ClickHouse inside this process (chDB), asked as a server is asked.

Only what a comparison of answers needs: tables, rows, questions. Debian's server is of 2018; who
starts a cluster now has one of today. chDB is 887 MB, so it is there for ``make soak`` alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import chdb.session
from clickhouse_driver.util.escape import escape_params

from collector.store.clickhouse import EVENT_COLUMNS, day_of
from collector.store.clickhouse_address import Address
from collector.store.clickhouse_door import SETTINGS
from collector.store.clickhouse_schema import columns, statements
from collector.store.dialect import CLICKHOUSE, render
from collector.store.interface import TABLES, Fact, Seen, Stored

LAST = 2**63 - 1


class Today:
    """A store's reading half over chDB.

    Args:
        folder: Where its files lie.

    """

    dialect = "clickhouse"

    def __init__(self, folder: Path) -> None:
        self.session = chdb.session.Session(str(folder))
        where = Address(hosts=(("nowhere", 9000),), user="default", database="today")
        self._run("CREATE DATABASE today")
        self._run("USE today")
        for statement in statements(where, modern=False, old_parts_s=90):
            self._run(statement)
        for name in ("join_use_nulls",):  # what the border post sets for each conversation
            self._run(f"SET {name} = {SETTINGS[name]}")
        self._place = 0

    def _run(self, text: str, shape: str = "") -> str:
        return str(self.session.query(text, shape) if shape else self.session.query(text))

    def write(self, rows: Sequence[Stored], more: Sequence[Fact] = ()) -> None:
        """Insert rows and facts; of repeats the first to come is the one that is answered."""
        said = []
        for row in rows:
            self._place += 1
            said.append((*row, day_of(row), LAST - self._place))
        self._insert("events", (*EVENT_COLUMNS, "day", "precedence"), said)
        firsts: list[Fact] = [
            Seen(row.app_id, kind, id_, row.ts, 0)
            for row in rows
            for kind, id_ in (("device", row.device_id), ("user", row.user_id))
            if id_
        ]
        by_shape: dict[type, list[Any]] = {}
        for fact in (*more, *firsts):
            by_shape.setdefault(type(fact), []).append(fact)
        for shape, facts in by_shape.items():
            self._insert(TABLES[shape], columns(shape), facts)

    def _insert(self, table: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            lines = "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)
            self._run(f"INSERT INTO today.{table} FORMAT JSONEachRow {lines}")

    def ask(
        self, text: str, values: Mapping[str, object], *, deadline_s: float = 10.0
    ) -> list[tuple[Any, ...]]:
        del deadline_s
        bound = {
            name: (tuple(value) or ("\0",)) if isinstance(value, (list, tuple)) else value
            for name, value in values.items()
        }
        asked = render(text, CLICKHOUSE) % escape_params(bound, {})
        said = json.loads(
            self._run(
                f"{asked} SETTINGS output_format_json_quote_64bit_integers = 0", "JSONCompact"
            )
        )
        kinds = [float if "Float" in column["type"] else None for column in said["meta"]]
        return [
            tuple(
                kind(value) if kind and value is not None else value
                for kind, value in zip(kinds, row, strict=True)
            )
            for row in said["data"]
        ]

    def close(self) -> None:
        self.session.close()
