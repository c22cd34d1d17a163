"""How the distributed engine forgets: ``ALTER TABLE … DELETE``, waited for.

A deletion rewrites the files that have a match (a *mutation*). It is done when every server that
lives says so; a replica that is dead does it before it serves again. 18.16 cannot wait for it by
itself, so its table of mutations is watched. The files that were replaced lie in place for
``old_parts_lifetime`` seconds more, then the server removes them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from collector.store.clickhouse_door import Address, Broken, Door
from collector.store.clickhouse_schema import columns, local
from collector.store.interface import (
    TABLES,
    Beat,
    Feedback,
    Named,
    Once,
    RawItem,
    Stored,
    Tombstone,
)
from tracking.errors import StorageFault

ERASE_S = 300.0  #: How long a deletion may take.
SWEEP_S = 900.0  #: How long the server may take to remove files that it has replaced.
NOBODY = ("\x1anobody",)  #: Stands for an empty list; no id has a control character in it.

#: What is about nobody, or about somebody's erasure.
_IMPERSONAL = frozenset({Named, Once, Tombstone})
#: By table: the moment by which retention judges a row.
_AGED_BY: Mapping[type, str] = {
    Stored: "ts",
    Beat: "last_ts",
    Feedback: "recv_ts",
    RawItem: "recv_ts",
    Once: "recv_ts",
}

_UNSWEPT = """
SELECT sum(rows) FROM system.parts WHERE database = %(database)s AND active = 0
  AND modification_time <= (
    SELECT max(create_time) FROM system.mutations WHERE database = %(database)s
  )
"""


class Forgetting:
    """The deletions of :class:`collector.store.clickhouse.ClickHouseStore`."""

    where: Address
    _door: Door

    def erase(self, app_id: str, *, users: Sequence[str], devices: Sequence[str]) -> int:
        values = {
            "app": app_id,
            "users": tuple(users) or NOBODY,
            "devices": tuple(devices) or NOBODY,
        }
        about = {
            TABLES[shape]: f"app_id = %(app)s AND ({' OR '.join(_about(shape))})"
            for shape in TABLES
            if shape not in _IMPERSONAL and _about(shape)
        }
        return self._delete(about, values)

    def purge(self, app_id: str, before_ms: int) -> int:
        old = {
            TABLES[shape]: f"app_id = %(app)s AND {column} < %(before)s"
            for shape, column in _AGED_BY.items()
        }
        return self._delete(old, {"app": app_id, "before": before_ms})

    def drop_app(self, app_id: str) -> None:
        self._delete(dict.fromkeys(TABLES.values(), "app_id = %(app)s"), {"app": app_id})

    def compact(self) -> None:
        """Wait until the server has removed the files that deletions replaced."""
        end = time.monotonic() + SWEEP_S
        while self.unswept:
            if time.monotonic() > end:
                raise StorageFault("ClickHouse has not removed replaced files yet")
            time.sleep(0.5)

    @property
    def unswept(self) -> int:
        """Rows in files that deletions replaced and the server has not removed yet: at most that
        many erased rows have bytes left."""
        database = {"database": self.where.database}
        return sum(int(door.ask(_UNSWEPT, database)[0][0] or 0) for door in self._servers())

    def size_bytes(self) -> int:
        text = (
            "SELECT sum(bytes_on_disk) FROM system.parts"
            " WHERE active = 1 AND database = %(database)s"
        )
        database = {"database": self.where.database}
        return sum(int(door.ask(text, database)[0][0]) for door in self._servers())

    def _delete(self, what: Mapping[str, str], values: Mapping[str, object]) -> int:
        """Delete rows by table and condition; return how many there were."""
        gone = 0
        touched = []
        for table, condition in what.items():
            # Without FINAL: a repeat may name somebody whom its original does not.
            text = f"SELECT count(*) FROM {table} WHERE {condition}"  # noqa: S608 - words of ours
            ((count,),) = self._door.ask(text, values, deadline_s=ERASE_S)
            if count:
                gone += int(count)
                touched.append(self._mutate(table, condition, values))
        self._wait(touched)
        return gone

    def _mutate(self, table: str, condition: str, values: Mapping[str, object]) -> str:
        cluster = f" ON CLUSTER {self.where.cluster}" if self.where.cluster else ""
        name = local(self.where, table)
        self._door.ask(
            f"ALTER TABLE {self.where.database}.{name}{cluster} DELETE WHERE {condition}",
            values,
            deadline_s=ERASE_S,
        )
        return name

    def _wait(self, tables: Sequence[str]) -> None:
        text = (
            "SELECT count(*) FROM system.mutations"
            " WHERE database = %(database)s AND table IN %(tables)s AND is_done = 0"
        )
        values = {"database": self.where.database, "tables": tuple(tables) or NOBODY}
        end = time.monotonic() + ERASE_S
        pause_s = 0.005
        for door in self._servers():
            while door.ask(text, values)[0][0]:
                if time.monotonic() > end:
                    raise StorageFault("ClickHouse has not finished a deletion yet")
                time.sleep(pause_s)
                pause_s = min(0.5, 1.5 * pause_s)

    def _servers(self) -> Iterator[Door]:
        """Yield a door to each server that lives."""
        if not self.where.cluster:
            yield self._door
            return
        found = self._door.ask(
            "SELECT host_name, port FROM system.clusters WHERE cluster = %(name)s",
            {"name": self.where.cluster},
        )
        for host, port in found:
            door = Door(replace(self.where, hosts=((str(host), int(port)),)))
            try:
                door.ask("SELECT 1")
            except Broken:
                continue
            else:
                yield door
            finally:
                door.close()


def _about(shape: type) -> list[str]:
    """Return the conditions under which a row of a class is about one of these people."""
    fields = columns(shape)
    said = []
    if "user_id" in fields:
        said.append("user_id IN %(users)s")
    if "device_id" in fields:
        said.append("device_id IN %(devices)s")
    if {"kind", "id"} <= set(fields):
        said.append("(kind = 'user' AND id IN %(users)s)")
        said.append("(kind = 'device' AND id IN %(devices)s)")
    return said
