"""What is deleted from which table, in the embedded engine (SECURITY.md, "Delete-user").

Each class of facts says here by which of its columns somebody is found, and from when on it is old.
A class without a line here is an error at import, so a new table cannot be forgotten.
"""

# ruff: noqa: S608 - the texts are our own; every value is bound

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from collector.store.duck_file import Cursor
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

_USER = "user_id IN (SELECT unnest($users::VARCHAR[]))"
_DEVICE = "device_id IN (SELECT unnest($devices::VARCHAR[]))"
_MACHINE = "machine_id IN (SELECT unnest($devices::VARCHAR[]))"
_NOBODY = "false"


def _kept_user(kind: str, who: str) -> str:
    return f"(kind = '{kind}' AND id IN (SELECT unnest(${who}::VARCHAR[])))"


def _says(column: str) -> str:
    """Say whether JSON mentions somebody; only for tables from which nothing is counted."""
    return f"len(list_filter($spelled::VARCHAR[], lambda x: contains({column}, x))) > 0"


WHOSE: Final[Mapping[type, str]] = {
    Stored: f"{_USER} OR {_DEVICE} OR {_MACHINE}",
    Seen: f"{_kept_user('user', 'users')} OR {_kept_user('device', 'devices')}",
    Beat: f"{_USER} OR {_DEVICE}",
    Attribute: _kept_user("user", "users"),
    Membership: _USER,
    Feedback: _USER,
    RawItem: f"{_USER} OR {_says('raw')} OR {_says('note')}",
    Once: _says("reply"),
    Named: _NOBODY,  # what only they had named goes with their events (_forget_names)
    Tombstone: _NOBODY,  # a digest under a key; it is what keeps them erased
}
OLD: Final[Mapping[type, str]] = {
    Stored: "recv_ts < $before",
    # Who still has events keeps the first sight: it is of all time (docs/numbers.md).
    Seen: "greatest(first_ts, last_ts) < $before AND (kind = 'company' OR id NOT IN ("
    "SELECT device_id FROM events WHERE app_id = $app UNION "
    "SELECT user_id FROM events WHERE app_id = $app))",
    Beat: "last_ts < $before",
    Attribute: "recv_ts < $before",
    Membership: "recv_ts < $before",
    Feedback: "recv_ts < $before",
    RawItem: "recv_ts < $before",
    Once: "recv_ts < $before",
    Named: _NOBODY,
    Tombstone: "until_ts < $before",
}
assert TABLES.keys() == WHOSE.keys() == OLD.keys()

#: The row name of an event (docs/numbers.md, eventsprops), as the catalogue has it.
ROW_NAME: Final = (
    "CASE kind WHEN 'event' THEN name WHEN 'error' THEN 'error:' || name WHEN 'init' THEN 'init' "
    "WHEN 'userid' THEN 'nucleus:userid' WHEN 'props' THEN 'nucleus:props' ELSE type END"
)


class Erased(NamedTuple):
    """What an erasure did.

    Attributes:
        rows: How many rows were deleted.
        firsts: Of others who shared a device or a name with them: the first sight that is left.
        unseen: Of whom nothing is left, with kind and id.

    """

    rows: int
    firsts: list[Seen]
    unseen: list[tuple[str, str]]


def erase(cursor: Cursor, app: str, users: Sequence[str], devices: Sequence[str]) -> Erased:
    """Delete everything about somebody, inside the caller's transaction."""
    whom = {
        "app": app,
        "users": list(users),
        "devices": list(devices),
        "spelled": sorted({way for id_ in (*users, *devices) for way in _spellings(id_)}),
    }
    theirs = {name: whom[name] for name in ("app", "users", "devices")}
    doomed = f"FROM events WHERE app_id = $app AND ({WHOSE[Stored]})"
    pairs = _names(cursor, doomed, theirs)
    shared = cursor.execute(
        f"SELECT DISTINCT 'device', device_id {doomed} UNION SELECT DISTINCT 'user', user_id"
        f" {doomed}",
        theirs,
    ).fetchall()
    gone = {("device", id_) for id_ in devices} | {("user", id_) for id_ in users}
    others = [(kind, id_) for kind, id_ in shared if id_ and (kind, id_) not in gone]
    if others:  # their first sight may have been an event that goes now
        themselves = WHOSE[Seen]
        cursor.execute(
            f"DELETE FROM seen WHERE app_id = $app AND last_ts = 0 AND NOT ({themselves}) AND ("
            "(kind = 'device' AND id IN (SELECT unnest($shared::VARCHAR[]))) OR (kind = 'user'"
            f" AND (id, first_ts) IN (SELECT user_id, ts {doomed})))",
            {**theirs, "shared": [id_ for kind, id_ in others if kind == "device"]},
        )
    rows = 0
    for shape, table in TABLES.items():
        values = {key: whom[key] for key in whom if key == "app" or f"${key}:" in WHOSE[shape]}
        rows += _delete(cursor, table, f"app_id = $app AND ({WHOSE[shape]})", values)
    firsts = _first_sights(cursor, app, others)
    left = {(first.kind, first.id) for first in firsts}
    if firsts:
        cursor.executemany("INSERT INTO seen VALUES (?, ?, ?, ?, ?)", firsts)
    _forget_names(cursor, app, pairs)
    return Erased(rows, firsts, [*gone, *(who for who in others if who not in left)])


def purge(cursor: Cursor, app: str, before_ms: int) -> Erased:
    """Delete what an app sent before then, inside the caller's transaction."""
    span = {"app": app, "before": before_ms}
    pairs = _names(cursor, f"FROM events WHERE app_id = $app AND ({OLD[Stored]})", span)
    rows, unseen = 0, []
    for shape, table in TABLES.items():
        if OLD[shape] == _NOBODY:
            continue
        if shape is Seen:
            unseen = _unsee(cursor, OLD[Seen], span)
        else:
            rows += _delete(cursor, table, f"app_id = $app AND ({OLD[shape]})", span)
    _forget_names(cursor, app, pairs)
    return Erased(rows + len(unseen), [], unseen)


def drop_app(cursor: Cursor, app: str) -> Erased:
    """Delete every row of an app, inside the caller's transaction."""
    unseen = _unsee(cursor, "true", {"app": app})
    rows = sum(_delete(cursor, table, "app_id = $app", {"app": app}) for table in TABLES.values())
    return Erased(rows + len(unseen), [], unseen)


def _unsee(cursor: Cursor, where: str, values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Delete first sights; return whose."""
    return cursor.execute(
        f"DELETE FROM seen WHERE app_id = $app AND ({where}) RETURNING kind, id", values
    ).fetchall()


def _delete(cursor: Cursor, table: str, where: str, values: Mapping[str, object]) -> int:
    (count,) = cursor.execute(f"DELETE FROM {table} WHERE {where}", values).fetchone() or (0,)
    return int(count)


def _spellings(id_: str) -> Iterable[str]:
    """Return how an id stands in JSON: with its letters, or with escapes for them."""
    yield msgspec.json.encode(id_).decode()
    escaped = "".join(c if c.isascii() else _escape(c) for c in id_)
    yield msgspec.json.encode(escaped).decode().replace("\\\\u", "\\u")


def _escape(char: str) -> str:
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _first_sights(cursor: Cursor, app: str, who: Sequence[tuple[str, str]]) -> list[Seen]:
    """Return the first sight of devices and users, as far as their events go."""
    firsts = []
    for kind in ("device", "user"):
        ids = [id_ for what, id_ in who if what == kind]
        found = cursor.execute(
            f"SELECT {kind}_id, min(ts) FROM events WHERE app_id = $app"
            f" AND {kind}_id IN (SELECT unnest($ids::VARCHAR[])) GROUP BY {kind}_id",
            {"app": app, "ids": ids},
        )
        firsts += [Seen(app, kind, id_, ts, 0) for id_, ts in found.fetchall()]
    return firsts


def _names(cursor: Cursor, doomed: str, values: Mapping[str, object]) -> Sequence[tuple[str, str]]:
    """Return the event names, and the attributes of them, that events name which are to go."""
    return cursor.execute(
        f"SELECT DISTINCT {ROW_NAME}, '' {doomed} UNION"
        f" SELECT DISTINCT {ROW_NAME}, unnest(attr_keys) {doomed}",
        values,
    ).fetchall()


def _forget_names(cursor: Cursor, app: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Take names off the catalogue that no event has any more; a name can say who somebody is."""
    if not pairs:
        return
    names = [name for name, _ in pairs]
    events = f"FROM events WHERE app_id = $app AND {ROW_NAME} IN (SELECT unnest($names::VARCHAR[]))"
    cursor.execute(
        "DELETE FROM catalogue WHERE app_id = $app AND (event, key) IN ("
        "SELECT unnest($names::VARCHAR[]), unnest($keys::VARCHAR[])) AND (event, key) NOT IN ("
        f"SELECT {ROW_NAME}, '' {events} UNION SELECT {ROW_NAME}, unnest(attr_keys) {events})",
        {"app": app, "names": names, "keys": [key for _, key in pairs]},
    )
