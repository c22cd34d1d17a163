"""Today's ClickHouse in this process (chDB), behind the door that the engine knows, for the soak.

Debian ships 18.16; what its SQL and its deletions do has to hold for servers of these years too. It
is 887 MB installed and therefore in no lock: `.venv/bin/pip install --group engines`. A process has
one chDB at one place, so this is a program of its own: ``todays_engine.py FOLDER``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "collector"))  # collectors

from clickhouse_driver.util.escape import escape_params
from collectors import DAY, NOW, row

from collector.store import clickhouse
from collector.store.clickhouse import ClickHouseStore
from collector.store.clickhouse_address import Address, address
from collector.store.clickhouse_door import SETTINGS, Row
from collector.store.interface import Beat
from collector.store.questions import Questions


class TodaysDoor:
    """Asks one chDB as :class:`collector.store.clickhouse_door.Door` asks a server."""

    engine: Any = None  #: The one connection of this process, set below.

    def __init__(self, where: Address) -> None:
        self.where = where
        if not TodaysDoor.engine.query("SELECT 1 FROM system.settings WHERE changed").bytes():
            for name, value in SETTINGS.items():
                said = value if isinstance(value, int) else f"'{value}'"
                TodaysDoor.engine.query(f"SET {name} = {said}")
            TodaysDoor.engine.query("SET output_format_json_quote_64bit_integers = 0")

    def ask(
        self,
        query: str,
        values: Mapping[str, object] | None = None,
        *,
        deadline_s: float = 10.0,
        listed: Mapping[str, tuple[Sequence[tuple[str, str]], Sequence[Mapping[str, object]]]]
        | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> list[Row]:
        del deadline_s, settings
        text = self._quoted(query, values or {"": 0})
        for name, (columns, rows) in (listed or {}).items():
            shape = ", ".join(f"{column} {kind}" for column, kind in columns)
            said = ", ".join(self._row(tuple(row.values())) for row in rows)
            text = text.replace(f"FROM {name}", f"FROM values('{shape}', {said})")
        if not text.lstrip().upper().startswith("SELECT"):
            self._run(text)
            return []
        answer = json.loads(self._run(text, "JSONCompact"))
        kinds = [column["type"] for column in answer["meta"]]
        return [tuple(map(_alive, row, kinds)) for row in answer["data"]]

    def insert(
        self, table: str, columns: Sequence[str], data: Sequence[Sequence[object]], *, wait_s: float
    ) -> None:
        del wait_s
        lines = "\n".join(json.dumps(row) for row in zip(*data, strict=True))
        self._run(f"INSERT INTO {table} ({', '.join(columns)}) FORMAT JSONCompactEachRow\n{lines}")

    def stream(self, query: str, values: Mapping[str, object], *, slice_: int) -> Iterator[Row]:
        del slice_
        yield from self.ask(query, values)

    def close(self) -> None:
        """The connection is everybody's."""

    def _run(self, text: str, form: str = "TabSeparated") -> bytes:
        if self.where.database != "system":
            self.engine.query(f"USE {self.where.database}")
        return bytes(self.engine.query(text, form).bytes() or b"")

    def _row(self, values: tuple[object, ...]) -> str:
        return self._quoted("%(row)s", {"row": values})

    @staticmethod
    def _quoted(query: str, values: Mapping[str, object]) -> str:
        server = SimpleNamespace(get_timezone=lambda: "UTC")
        context = SimpleNamespace(server_info=server, client_settings={}, settings={})
        return query % escape_params(dict(values), context)


def _alive(value: Any, kind: str) -> Any:
    return tuple(value) if kind.startswith("Tuple") else value


def check(folder: str) -> None:
    """Write, repeat, ask, erase and sweep, as on 18.16."""
    TodaysDoor.engine = import_module("chdb").connect(folder)
    clickhouse.Door = TodaysDoor  # type: ignore[assignment, misc]
    store = ClickHouseStore(address("clickhouse://here/checks", {}), old_parts_s=1)
    door = store.door
    ((version,),) = door.ask("SELECT version()")
    assert int(version.split(".")[0]) >= 24, version
    synced = "SELECT engine_full FROM system.tables WHERE database = 'checks' AND name = 'events'"
    assert "fsync_after_insert = 1" in str(door.ask(synced))
    rows = [row(name=f"e{n}", ts=NOW - n * DAY, user_id="u") for n in range(5)]
    assert store.write(rows, [Beat("A", "d", "s", "", NOW, NOW + 5)]) == 5
    assert store.write([one._replace(recv_ts=NOW + 5) for one in rows]) == 0
    late = (*rows[0]._replace(recv_ts=NOW + 9, user_id="late"), NOW // DAY, 1)
    names = (*clickhouse.EVENT_COLUMNS, "day", "precedence")
    door.insert("events", names, [[value] for value in late], wait_s=5)
    assert door.ask("SELECT count() FROM events") == [(6,)]
    assert store.count("A") == 5
    assert {one.user_id for one, _ in store.newest("A", NOW, 10)} == {"u"}
    first = "SELECT kind, id, min(first_ts) FROM seen GROUP BY kind, id ORDER BY kind, id"
    assert store.ask(first, {}) == [("device", "d", NOW - 4 * DAY), ("user", "u", NOW - 4 * DAY)]
    assert Questions(store).quickglance("A", NOW)["users"] == 1
    store.erase("A", users=["u"], devices=[])
    assert door.ask("SELECT count() FROM events") == [(0,)]
    store.compact()
    assert store.unswept == 0


if __name__ == "__main__":
    check(sys.argv[1])
