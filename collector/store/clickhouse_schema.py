"""The tables of the distributed engine, and how an older database becomes one of today.

Every table is a ReplacingMergeTree, whose merges, and ``FINAL`` before a merge, leave one row of
those that are equal in the sort key. The sort key of events is what a repeat has in common with
its original: app, day, kind, device, content key; never who it was, what it was called at its
receipt, or when that was. The precedence decides for the row that arrived first.

    day          of the date that the event said, if it was believed, else 0: always looked at
    precedence   greater, the earlier the row arrived

With a cluster, table ``t`` is a view of all shards (Distributed) over ``t_local``, whose replicas
ZooKeeper keeps equal. A repeat comes to the shard of its original, because its device decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from collector.store.clickhouse_address import Address
from collector.store.interface import (
    TABLES,
    Attribute,
    Beat,
    Feedback,
    Membership,
    Named,
    Once,
    RawItem,
    Seen,
    Stored,
    Tombstone,
)

VERSION: Final = 1
DAYS_A_PARTITION = 30
#: Seconds that replaced files are kept: longer than the kernel keeps fresh ones from the disk.
OLD_PARTS_S = 90

_NUMBERS = {
    *("key_a", "key_b", "ts", "recv_ts", "said_ts", "avail_ram", "flags"),
    *("first_ts", "last_ts", "erased_ts", "until_ts"),
}
_LISTS = {"attr_keys", "attr_values"}

#: By table: what its rows are found by. The rest of a row is told apart by its hash.
_FOUND_BY: dict[type, tuple[str, ...]] = {
    Seen: ("app_id", "kind", "id", "first_ts", "last_ts"),
    Beat: ("app_id", "first_ts", "device_id", "last_ts"),
    Attribute: ("app_id", "kind", "id", "key", "ts", "recv_ts"),
    Membership: ("app_id", "user_id", "company_id", "ts", "recv_ts"),
    Feedback: ("app_id", "feedback_id", "recv_ts", "ts"),
    RawItem: ("app_id", "recv_ts", "source", "user_id"),
    Once: ("app_id", "key", "recv_ts"),
    Named: ("app_id", "event", "key"),
    Tombstone: ("app_id", "kind", "digest", "erased_ts", "until_ts"),
}
#: By table: what decides the shard, so that equal rows meet.
_SHARDED_BY: dict[type, str] = {
    Stored: "app_id, device_id",
    Seen: "app_id, id",
    Beat: "app_id, device_id",
    Attribute: "app_id, id",
    Membership: "app_id, user_id",
    Feedback: "app_id, feedback_id",
    RawItem: "app_id, user_id",
    Once: "app_id, key",
    Named: "app_id, event",
    Tombstone: "app_id, digest",
}

#: What collectors on one engine tell each other (collector.sharing): name → columns, sort key.
SHARED: dict[str, tuple[str, str]] = {
    "account": (
        "subject String, key String, value String, gone UInt8, version UInt64",
        "subject, key",
    ),
    "live": (
        "collector String, app_id String, device_id String, facts String, gone UInt8,"
        " version UInt64",
        "collector, app_id, device_id",
    ),
    "collector": ("id String, beat_s Int64, version UInt64", "id"),
}


def columns(shape: type) -> tuple[str, ...]:
    """Return the names of a class's fields."""
    fields: tuple[str, ...] = shape._fields  # type: ignore[attr-defined]
    return fields


def _typed(name: str) -> str:
    if name in _LISTS:
        return f"{name} Array(String)"
    if name == "score":
        return "score Float64"
    return f"{name} {'Int64' if name in _NUMBERS else 'String'}"


def statements(where: Address, *, modern: bool, old_parts_s: int) -> Iterator[str]:
    """Yield what makes the tables, each doing no harm if it was done already.

    Args:
        where: The database, and its cluster if there is one.
        modern: The server can be told to sync what it writes (20.10 and later).
        old_parts_s: See OLD_PARTS_S.

    """
    settings = f"SETTINGS old_parts_lifetime = {old_parts_s}"
    if modern:
        settings += ", fsync_after_insert = 1, fsync_part_directory = 1"
    yield from _table(
        where,
        "events",
        f"{', '.join(_typed(name) for name in columns(Stored))}, day Int64, precedence UInt64",
        "app_id, day, kind, device_id, key_a, key_b",
        _SHARDED_BY[Stored],
        settings,
        partition=f"intDiv(day, {DAYS_A_PARTITION})",
        version="precedence",
    )
    for shape, found_by in _FOUND_BY.items():
        rest = [name for name in columns(shape) if name not in found_by]
        told_apart = [f"cityHash64({', '.join(_text(name) for name in rest)})"] if rest else []
        yield from _table(
            where,
            TABLES[shape],
            ", ".join(_typed(name) for name in columns(shape)),
            ", ".join([*found_by, *told_apart]),
            _SHARDED_BY[shape],
            settings,
        )
    for name, (said, key) in SHARED.items():
        first = key.split(",", 1)[0]
        yield from _table(where, name, said, key, first, settings, version="version")


def _text(name: str) -> str:
    return f"toString({name})" if name == "score" else name


def _table(
    where: Address,
    name: str,
    said: str,
    key: str,
    sharded_by: str,
    settings: str,
    *,
    partition: str = "",
    version: str = "",
) -> Iterator[str]:
    partitioned = f" PARTITION BY {partition}" if partition else ""
    if not where.cluster:
        yield (
            f"CREATE TABLE IF NOT EXISTS {name} ({said}) ENGINE = ReplacingMergeTree({version})"
            f"{partitioned} ORDER BY ({key}) {settings}"
        )
        return
    arguments = f"'/clickhouse/tables/{where.database}/{{shard}}/{name}', '{{replica}}'"
    if version:
        arguments += f", {version}"
    everywhere = f"ON CLUSTER {where.cluster}"
    database = where.database
    yield (
        f"CREATE TABLE IF NOT EXISTS {database}.{name}_local {everywhere} ({said})"
        f" ENGINE = ReplicatedReplacingMergeTree({arguments}){partitioned} ORDER BY ({key})"
        f" {settings}"
    )
    yield (
        f"CREATE TABLE IF NOT EXISTS {database}.{name} {everywhere} ({said})"
        f" ENGINE = Distributed({where.cluster}, {database}, {name}_local,"
        f" cityHash64({sharded_by}))"
    )


def local(where: Address, name: str) -> str:
    """Return the name of the table that holds rows, for ALTER and for system tables."""
    return f"{name}_local" if where.cluster else name
