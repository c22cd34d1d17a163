"""Deletions as ClickHouse does them: it rewrites the files that have a match (a *mutation*).

One is done when every server that lives says so; a replica that is dead does it before it serves
again. 18.16 cannot wait for it by itself, so its table of mutations is watched. The files that were
replaced lie in place for ``old_parts_lifetime`` seconds more, then the server removes them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from collector.store.clickhouse_door import Broken, Door
from collector.store.clickhouse_schema import local
from collector.store.interface import Progress, unseen
from tracking.errors import StorageFault

DELETE_S: Final = 300.0  #: How long a deletion may take.
SWEEP_S: Final = 900.0  #: How long the server may take to remove files that it has replaced.
NOBODY: Final = ("\x1anobody",)  #: For an empty list; no id has a control character in it.

_UNFINISHED = """
SELECT count(*) FROM system.mutations
WHERE database = %(database)s AND table IN %(tables)s AND is_done = 0
"""
_UNSWEPT = """
SELECT sum(rows) FROM system.parts WHERE database = %(database)s AND active = 0
  AND modification_time <= (
    SELECT max(create_time) FROM system.mutations WHERE database = %(database)s
  )
"""
_SIZE = """
SELECT sum(bytes_on_disk) FROM system.parts WHERE active = 1 AND database = %(database)s
"""
_STATE = """
SELECT toInt64(sum(cityHash64(table, mutation_id, is_done))), sum(is_done = 0)
FROM system.mutations WHERE database = %(database)s AND table LIKE %(table)s
"""


class State(NamedTuple):
    """What was deleted so far.

    Attributes:
        mark: Another number after every deletion that began or ended, by whichever collector.
        running: Deletions are under way: what is read now may be gone soon.

    """

    mark: int
    running: bool


class Mutations:
    """Deletes, and knows of deletions."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._where = door.where
        self._database = {"database": door.where.database}

    def state(self, table: str = "%") -> State:
        """Return what the engine knows of deletions, so that nobody trusts older memories."""
        named = table if table == "%" else local(self._where, table)
        ((mark, running),) = self._door.ask(_STATE, {**self._database, "table": named})
        return State(int(mark), bool(running))

    def delete(self, what: Mapping[str, str], values: Mapping[str, object]) -> None:
        """Delete rows by table and condition; return when no question finds them any more.

        Raises:
            StorageFault: It is not done (yet); doing it again is safe.

        """
        cluster = f" ON CLUSTER {self._where.cluster}" if self._where.cluster else ""
        tables = []
        for table, condition in what.items():
            name = local(self._where, table)
            self._door.ask(
                f"ALTER TABLE {self._where.database}.{name}{cluster} DELETE WHERE {condition}",
                values,
                deadline_s=DELETE_S,
            )
            tables.append(name)
        if tables:
            self._wait(tables)

    def _wait(self, tables: Sequence[str]) -> None:
        values = {**self._database, "tables": tuple(tables)}
        end = time.monotonic() + DELETE_S
        pause_s = 0.005
        for door in self._servers():
            while door.ask(_UNFINISHED, values)[0][0]:
                if time.monotonic() > end:
                    raise StorageFault("ClickHouse has not finished a deletion yet")
                time.sleep(pause_s)
                pause_s = min(0.5, 1.5 * pause_s)

    def wait_until_swept(self, progress: Progress = unseen) -> None:
        """Return when no file is left that a deletion replaced.

        Args:
            progress: Told how many rows of such files have gone, of the most there were.

        Raises:
            StorageFault: The server has not removed them in time.

        """
        end = time.monotonic() + SWEEP_S
        most = 0
        while left := self.unswept:
            if time.monotonic() > end:
                raise StorageFault(
                    f"ClickHouse has not removed replaced files within {SWEEP_S / 60:.0f} minutes",
                    advice="It goes on by itself; `compact` waits for it again.",
                )
            most = max(most, left)
            progress(most - left, most)
            time.sleep(0.5)

    @property
    def unswept(self) -> int:
        """Rows in files that deletions replaced and that are still there."""
        return sum(int(door.ask(_UNSWEPT, self._database)[0][0] or 0) for door in self._servers())

    def size_bytes(self) -> int:
        return sum(int(door.ask(_SIZE, self._database)[0][0]) for door in self._servers())

    def _servers(self) -> Iterator[Door]:
        """Yield a door to each server that lives."""
        if not self._where.cluster:
            yield self._door
            return
        found = self._door.ask(
            "SELECT host_name, port FROM system.clusters WHERE cluster = %(name)s",
            {"name": self._where.cluster},
        )
        for host, port in found:
            door = Door(replace(self._where, hosts=((str(host), int(port)),)))
            try:
                door.ask("SELECT 1")
            except Broken:
                door.close()
                continue
            try:
                yield door
            finally:
                door.close()
