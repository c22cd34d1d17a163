"""The distributed engine: ClickHouse, one server or a cluster, and any number of collectors.

Invariants:
    1. ``write`` has returned ⇒ the server (with ``quorum``, that many replicas) has the rows.
    2. An event is *answered* once, whoever sent it how often through whichever collector. Known
       keys are looked up before they are written; what two collectors write in the same moment,
       or one twice after a doubt, is equal in the sort key, and FINAL leaves the earlier.
    3. So everything may be written again. After an error nobody knows whether it was stored, the
       sender repeats it, and that is harmless.
    4. Nothing is true in this process alone: what is remembered here (whose first sight is
       known) saves questions and decides nothing.
    5. Facts are written before the events that they are told by: a repeat after a failure in
       between finds the events unknown and does both again.

Without a cluster one server is as safe as its disk: it survives a kill; of a cut of power, servers
before 20.10 can lose the last seconds, which a quorum of replicas does not.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from collector.store.clickhouse_address import Address
from collector.store.clickhouse_door import Door
from collector.store.clickhouse_forgetting import Forgetting
from collector.store.clickhouse_mutations import NOBODY, Mutations
from collector.store.clickhouse_schema import OLD_PARTS_S, VERSION, columns, statements
from collector.store.dialect import CLICKHOUSE, render
from collector.store.interface import (
    CLOCK_NOT_BELIEVED,
    TABLES,
    Fact,
    Seen,
    Store,
    Stored,
)
from tracking.errors import StorageFault

DAY_MS = 86_400_000
SLICE = 5_000
READ_S = 10.0  #: A question that takes longer is given up.
WRITE_S = 30.0
MOST_FIRSTS = 200_000

EVENT_COLUMNS: Final = columns(Stored)
_PLACES: Final = 1_000_000  #: Rows of one millisecond that keep their order.
_LAST: Final = 2**63 - 1

_KNOWN = """
SELECT key_a, key_b FROM events
WHERE (app_id, day, kind, device_id, key_a) IN (
  SELECT app_id, day, kind, device_id, key_a FROM asked
)
"""
_ASKED: Final = (
    ("app_id", "String"),
    ("day", "Int64"),
    ("kind", "String"),
    ("device_id", "String"),
    ("key_a", "Int64"),
)
_FIRSTS = """
SELECT app_id, kind, id, min(first_ts) FROM seen
WHERE (app_id, kind, id) IN (SELECT app_id, kind, id FROM asked) AND first_ts > 0
GROUP BY app_id, kind, id
"""
_WHOM: Final = (("app_id", "String"), ("kind", "String"), ("id", "String"))

# What arrived lately may say any day, so it is found by its receipt alone, before FINAL; then each
# is looked up by its key, where FINAL costs nothing, because a repeat's original may be older.
_LATELY = """
SELECT app_id, day, kind, device_id, key_a FROM events
WHERE app_id = %(app)s AND recv_ts >= %(since)s
ORDER BY recv_ts DESC, ts DESC, key_a LIMIT %(limit)s
"""
_BY_KEY = """
SELECT {columns} FROM events FINAL
WHERE (app_id, day, kind, device_id, key_a) IN (
  SELECT app_id, day, kind, device_id, key_a FROM asked
) AND recv_ts >= %(since)s
ORDER BY recv_ts DESC, ts DESC, key_a LIMIT %(limit)s
"""
_EXPORT = "SELECT {columns} FROM events FINAL WHERE app_id = %(app)s ORDER BY precedence DESC"


def day_of(row: Stored) -> int:
    """Return the day by which a row is found: 0 if its date was not believed or is absent."""
    believed = row.said_ts > 0 and not row.flags & CLOCK_NOT_BELIEVED
    return row.said_ts // DAY_MS if believed else 0


class ClickHouseStore(Forgetting, Store):
    """Events and facts in one ClickHouse database.

    Args:
        where: The server and the database, which is made if it is missing.
        old_parts_s: Seconds that the server keeps files which it has replaced.

    Raises:
        StorageFault: The server does not answer, or its database is of a newer Homing.

    """

    def __init__(self, where: Address, *, old_parts_s: int = OLD_PARTS_S) -> None:
        self.where = where
        self._door = Door(where)
        self._mutations = Mutations(self._door)
        self._deleted = 0  #: The mark of deletions when :attr:`_first` was read.
        self._first: OrderedDict[tuple[str, str, str], int] = OrderedDict()
        self._place = itertools.count()
        try:
            self._migrate(old_parts_s)
        except BaseException:
            self._door.close()
            raise

    @property
    def door(self) -> Door:
        """For what collectors share beside events."""
        return self._door

    def _migrate(self, old_parts_s: int) -> None:
        """Make what is missing. Collectors that start together do the same, which is harmless."""
        database, cluster = self.where.database, self.where.cluster
        everywhere = f" ON CLUSTER {cluster}" if cluster else ""
        outside = Door(dataclasses.replace(self.where, database="system"))
        try:
            ((release,),) = outside.ask("SELECT version()")
            found = outside.ask(
                "SELECT 1 FROM system.databases WHERE name = %(name)s", {"name": database}
            )
            tables = outside.ask(
                "SELECT name FROM system.tables"
                " WHERE database = %(name)s AND name = 'schema_version'",
                {"name": database},
            )
            # Only if it is missing: a cluster does it on every server, so every server must live.
            if not found:
                outside.ask(f"CREATE DATABASE IF NOT EXISTS {database}{everywhere}", deadline_s=60)
        finally:
            outside.close()
        kind = "MergeTree"
        if cluster:
            path = f"/clickhouse/tables/{database}/schema_version"
            kind = f"ReplicatedMergeTree('{path}', '{{shard}}-{{replica}}')"
        if not tables:
            self._door.ask(
                f"CREATE TABLE IF NOT EXISTS {database}.schema_version{everywhere}"
                f" (version Int64) ENGINE = {kind} ORDER BY version",
                deadline_s=60,
            )
        ((version,),) = self._door.ask("SELECT max(version) FROM schema_version")
        if version > VERSION:
            raise StorageFault(
                f"{self.where.shown} was written by a newer Homing (format {version})",
                advice="Use that version for it; the database was left as it is.",
            )
        if version < VERSION:
            modern = tuple(map(int, release.split(".")[:2])) >= (20, 10)
            for statement in statements(self.where, modern=modern, old_parts_s=old_parts_s):
                self._door.ask(statement, deadline_s=60)
            self._door.insert("schema_version", ["version"], [[VERSION]], wait_s=WRITE_S)

    # --- writing -------------------------------------------------------------------------------

    def write(self, rows: Sequence[Stored], more: Sequence[Fact] = ()) -> int:
        once: dict[tuple[int, int], Stored] = {}
        for row in rows:
            once.setdefault((row.key_a, row.key_b), row)
        for key in self._known(once.values()):
            once.pop(key, None)
        fresh = list(once.values())
        firsts = self._firsts(fresh) if fresh else {}
        by_table: defaultdict[type, list[Fact]] = defaultdict(list)
        for fact in (*more, *(Seen(*who, first, 0) for who, first in firsts.items())):
            by_table[type(fact)].append(fact)
        for shape, facts in by_table.items():
            self._insert(TABLES[shape], columns(shape), list(zip(*facts, strict=True)))
        if fresh:
            self._insert_events(fresh)
        self._remember(firsts)
        return len(fresh)

    def _insert(self, table: str, names: Sequence[str], data: Sequence[Sequence[object]]) -> None:
        self._door.insert(table, names, data, wait_s=WRITE_S)

    def _insert_events(self, rows: list[Stored]) -> None:
        data: list[Sequence[object]] = list(zip(*rows, strict=True))
        data.append([day_of(row) for row in rows])
        place = self._place
        data.append([_LAST - row.recv_ts * _PLACES - next(place) % _PLACES for row in rows])
        self._insert("events", (*EVENT_COLUMNS, "day", "precedence"), data)

    def _known(self, rows: Iterable[Stored]) -> set[tuple[int, int]]:
        """Return the content keys among these that are stored.

        Whether a date is believed can change between an original and its repeat, so both days are
        looked at.
        """
        asked = [
            dict(zip(("app_id", "day", "kind", "device_id", "key_a"), place, strict=True))
            for row in rows
            for place in _places(row)
        ]
        if not asked:
            return set()
        found = self._door.ask(_KNOWN, listed={"asked": (_ASKED, asked)}, deadline_s=WRITE_S)
        return {(int(a), int(b)) for a, b in found}

    def _firsts(self, rows: list[Stored]) -> dict[tuple[str, str, str], int]:
        """Return whom these events show for the first time, or earlier than was known."""
        firsts: dict[tuple[str, str, str], int] = {}
        for row in rows:
            for kind, id_ in (("device", row.device_id), ("user", row.user_id)):
                if id_:
                    who = (row.app_id, kind, id_)
                    if row.ts < firsts.get(who, _LAST):
                        firsts[who] = row.ts
        state = self._mutations.state()
        if state.running:  # what is read now may be gone soon, and what is written now stays
            self._first.clear()
            return firsts
        if state.mark != self._deleted:
            self._deleted = state.mark
            self._first.clear()
        unheard = [who for who in firsts if who not in self._first]
        if unheard:
            asked = [dict(zip(("app_id", "kind", "id"), who, strict=True)) for who in unheard]
            found = self._door.ask(_FIRSTS, listed={"asked": (_WHOM, asked)}, deadline_s=WRITE_S)
            self._remember({(app, kind, id_): first for app, kind, id_, first in found})
        return {who: ts for who, ts in firsts.items() if ts < self._first.get(who, _LAST)}

    def _remember(self, firsts: Mapping[tuple[str, str, str], int]) -> None:
        for who, first in firsts.items():
            self._first[who] = first
            self._first.move_to_end(who)
        while len(self._first) > MOST_FIRSTS:
            self._first.popitem(last=False)

    # --- reading -------------------------------------------------------------------------------

    @property
    def dialect(self) -> str:
        return CLICKHOUSE.name

    def ask(
        self, text: str, values: Mapping[str, object], *, deadline_s: float = READ_S
    ) -> list[tuple[Any, ...]]:
        bound = {
            name: (tuple(value) or NOBODY) if isinstance(value, (list, tuple)) else value
            for name, value in values.items()
        }
        return self._door.ask(render(text, CLICKHOUSE), bound, deadline_s=deadline_s)

    def newest(self, app_id: str, since_ms: int, limit: int) -> list[tuple[Stored, bool]]:
        span: dict[str, object] = {"app": app_id, "since": since_ms, "limit": 2 * limit + 100}
        names = [name for name, _ in _ASKED]
        lately = self._door.ask(_LATELY, span, deadline_s=READ_S)
        if not lately:
            return []
        asked = [dict(zip(names, place, strict=True)) for place in lately]
        text = _BY_KEY.format(columns=", ".join(EVENT_COLUMNS))
        found = self._door.ask(
            text, {**span, "limit": limit}, listed={"asked": (_ASKED, asked)}, deadline_s=READ_S
        )
        rows = [Stored(*row) for row in found]
        whom = [{"app_id": app_id, "kind": "device", "id": row.device_id} for row in rows]
        firsts = self._door.ask(_FIRSTS, listed={"asked": (_WHOM, whom)}, deadline_s=READ_S)
        born = {id_: first for _, _, id_, first in firsts}
        return [(row, born.get(row.device_id) == row.ts) for row in rows]

    def export(self, app_id: str) -> Iterator[list[Stored]]:
        text = _EXPORT.format(columns=", ".join(EVENT_COLUMNS))
        rows = self._door.stream(text, {"app": app_id}, slice_=SLICE)
        while some := [Stored(*row) for row in itertools.islice(rows, SLICE)]:
            yield some

    def count(self, app_id: str) -> int:
        ((count,),) = self.ask("SELECT count(*) FROM {events} WHERE app_id = $app", {"app": app_id})
        return int(count)

    def close(self) -> None:
        self._door.close()


def _places(row: Stored) -> Iterator[tuple[str, int, str, str, int]]:
    """Yield the sort keys under which a row or its original may be stored."""
    for day in {0, row.said_ts // DAY_MS if row.said_ts > 0 else 0}:
        yield row.app_id, day, row.kind, row.device_id, row.key_a
