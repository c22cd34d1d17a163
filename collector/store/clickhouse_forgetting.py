"""What the distributed engine deletes, and waits for (SECURITY.md, "Delete-user").

Each class of facts says here by which of its columns somebody is found, and from when on it is
old. A class without a line here is an error at import, so a new table cannot be forgotten. The
embedded engine draws the same lines.

Nothing binds the steps of an erasure together, so their order does: the events go first, then what
was told by them, so that an erasure that was interrupted is finished by doing it again.
"""
# ruff: noqa: S608 - the texts are our own; every value is bound

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from collector.store.clickhouse_address import Address
from collector.store.clickhouse_door import Door
from collector.store.clickhouse_mutations import NOBODY, Mutations
from collector.store.clickhouse_shared import Shared
from collector.store.interface import (
    TABLES,
    Attribute,
    Beat,
    Feedback,
    Membership,
    Named,
    Once,
    Progress,
    RawItem,
    Seen,
    Stored,
    Tombstone,
    unseen,
)
from collector.store.mentions import spellings

SLICE: Final = 10_000
ASK_S: Final = 120.0
ALIVE_S: Final = 10  #: Who was silent for longer is no collector (collector.sharing).
HEARD_S: Final = 2.0  #: Within so many seconds one that lives hears of an erasure.

_USER = "user_id IN %(users)s"
_DEVICE = "device_id IN %(devices)s"
_MACHINE = "machine_id IN %(devices)s"
_USER_ID = "(kind = 'user' AND id IN %(users)s)"
_DEVICE_ID = "(kind = 'device' AND id IN %(devices)s)"
_NOBODY = ""


WHOSE: Final[Mapping[type, str]] = {
    Stored: f"{_USER} OR {_DEVICE} OR {_MACHINE}",
    Seen: f"{_USER_ID} OR {_DEVICE_ID}",
    Beat: f"{_USER} OR {_DEVICE}",
    Attribute: _USER_ID,
    Membership: _USER,
    Feedback: _USER,
    RawItem: f"{_USER} OR <raw> OR <note>",
    Once: "<reply>",
    Named: _NOBODY,  # what only they had named goes with their events
    Tombstone: _NOBODY,  # a digest under a key; it is what keeps them erased
}
OLD: Final[Mapping[type, str]] = {
    Stored: "recv_ts < %(before)s",
    # Whoever still has events keeps the first sight: it is of all time (docs/numbers.md).
    Seen: _NOBODY,
    Beat: "last_ts < %(before)s",
    Attribute: "recv_ts < %(before)s",
    Membership: "recv_ts < %(before)s",
    Feedback: "recv_ts < %(before)s",
    RawItem: "recv_ts < %(before)s",
    Once: "recv_ts < %(before)s",
    Named: _NOBODY,
    Tombstone: "until_ts < %(before)s",
}
assert TABLES.keys() == WHOSE.keys() == OLD.keys()

#: The row name of an event (docs/numbers.md, eventsprops), as the catalogue has it.
#: ``<column>``: its JSON mentions somebody; only for tables from which nothing is counted.
_SAYS = re.compile("<([a-z]+)>")
_ROW_NAME = (
    "multiIf(kind = 'event', name, kind = 'error', concat('error:', name), kind = 'init', 'init',"
    " kind = 'userid', 'nucleus:userid', kind = 'props', 'nucleus:props', type)"
)
_Values = Mapping[str, object]


class Forgetting:
    """The deletions of :class:`collector.store.clickhouse.ClickHouseStore`."""

    where: Address
    _door: Door
    _mutations: Mutations
    collector = ""  #: The id under which this process shares the engine, if it does.

    def erase(self, app_id: str, *, users: Sequence[str], devices: Sequence[str]) -> int:
        if Shared(self._door).alive(ALIVE_S) - {self.collector}:
            # They are to heed the tombstones, and to have written what they took before.
            time.sleep(HEARD_S)
        values: dict[str, object] = {
            "app": app_id,
            "users": tuple(users) or NOBODY,
            "devices": tuple(devices) or NOBODY,
        }
        spelled = {f"way_{n}": way for n, way in enumerate(spellings([*users, *devices]))}
        values |= spelled
        doomed = f"app_id = %(app)s AND ({WHOSE[Stored]})"
        gone = {("device", id_) for id_ in devices} | {("user", id_) for id_ in users}
        sharing = self._shared_with(doomed, values) - gone
        names = self._names(doomed, values)
        whose = WHOSE[Stored]
        if doubled := self._doubled(doomed, values):
            values["doubled"] = doubled
            whose += " OR (key_a, key_b) IN %(doubled)s"
        rows = self._delete({Stored: whose}, values)
        self._see_again(app_id, sharing)
        self._forget_names(app_id, names)
        others = {
            shape: _SAYS.sub(lambda found: _mentions(found[1], spelled), said)
            for shape, said in WHOSE.items()
            if shape is not Stored
        }
        return rows + self._delete(others, values)

    def purge(self, app_id: str, before_ms: int) -> int:
        values: dict[str, object] = {"app": app_id, "before": before_ms}
        names = self._names(f"app_id = %(app)s AND {OLD[Stored]}", values)
        rows = self._delete(OLD, values)
        self._forget_names(app_id, names)
        return rows + self._forget_sights(app_id, before_ms)

    def drop_app(self, app_id: str) -> None:
        self._delete(dict.fromkeys(TABLES, "1 = 1"), {"app": app_id})

    def compact(self, progress: Progress = unseen) -> None:
        """Wait until the server has removed the files that deletions replaced."""
        self._mutations.wait_until_swept(progress)

    @property
    def unswept(self) -> int:
        """Rows in files that deletions replaced and the server has not removed yet: at most that
        many erased rows have bytes left."""
        return self._mutations.unswept

    def size_bytes(self) -> int:
        return self._mutations.size_bytes()

    # --- the steps -----------------------------------------------------------------------------

    def _read(self, text: str, values: _Values) -> list[tuple[Any, ...]]:
        return self._door.ask(text, values, deadline_s=ASK_S)

    def _delete(self, what: Mapping[type, str], values: _Values) -> int:
        """Delete rows of an app; return how many there were.

        Events are counted without FINAL: a repeat may name somebody whom its original does not.
        """
        gone = 0
        doomed: dict[str, str] = {}
        for shape, said in what.items():
            if not said:
                continue
            table, where = TABLES[shape], f"app_id = %(app)s AND ({said})"
            ((count,),) = self._read(f"SELECT count(*) FROM {table} WHERE {where}", values)
            if count:
                gone += int(count)
                doomed[table] = where
        self._mutations.delete(doomed, values)
        return gone

    def _doubled(self, doomed: str, values: _Values) -> tuple[tuple[int, int], ...]:
        """Return the keys of events that are to go and of which there are repeats not yet merged.

        A repeat may name somebody else, and would be answered once its original has gone.
        """
        found = self._read(
            "SELECT key_a, key_b FROM events WHERE app_id = %(app)s AND (key_a, key_b) IN ("
            f"SELECT key_a, key_b FROM events FINAL WHERE {doomed}"
            ") GROUP BY key_a, key_b HAVING count(*) > 1",
            values,
        )
        return tuple((int(a), int(b)) for a, b in found)

    def _shared_with(self, doomed: str, values: _Values) -> set[tuple[str, str]]:
        """Return the devices and users of events that are to go."""
        found: set[tuple[str, str]] = set()
        for kind in ("device", "user"):
            text = f"SELECT DISTINCT {kind}_id FROM events WHERE {doomed} AND {kind}_id <> ''"
            found |= {(kind, str(id_)) for (id_,) in self._read(text, values)}
        return found

    def _see_again(self, app_id: str, who: set[tuple[str, str]]) -> None:
        """Say anew when others were first seen; it may have been an event that went."""
        for kind in ("device", "user"):
            for ids in _slices(sorted(id_ for what, id_ in who if what == kind)):
                values: dict[str, object] = {"app": app_id, "kind": kind, "ids": ids}
                found = self._read(
                    f"SELECT {kind}_id, min(ts) FROM events FINAL"
                    f" WHERE app_id = %(app)s AND {kind}_id IN %(ids)s GROUP BY {kind}_id",
                    values,
                )
                if found:
                    rows = [(app_id, kind, id_, first, 0) for id_, first in found]
                    self._door.insert(
                        TABLES[Seen], Seen._fields, list(zip(*rows, strict=True)), wait_s=ASK_S
                    )
                values["firsts"] = tuple((id_, int(first)) for id_, first in found) or (
                    (*NOBODY, 0),
                )
                self._mutations.delete(
                    {
                        TABLES[Seen]: "app_id = %(app)s AND kind = %(kind)s AND id IN %(ids)s"
                        " AND last_ts = 0 AND (id, first_ts) NOT IN %(firsts)s"
                    },
                    values,
                )

    def _names(self, doomed: str, values: _Values) -> set[tuple[str, str]]:
        """Return the event names, and the attributes of them, that such events name."""
        text = (
            f"SELECT DISTINCT {_ROW_NAME} AS row_name, arrayJoin(arrayConcat([''], attr_keys)) AS k"
            f" FROM events WHERE {doomed}"
        )
        return {(str(name), str(key)) for name, key in self._read(text, values)}

    def _forget_names(self, app_id: str, pairs: set[tuple[str, str]]) -> None:
        """Take names off the catalogue that no event has any more; one can say who somebody is."""
        for some in _slices(sorted({name for name, _ in pairs})):
            values: dict[str, object] = {"app": app_id, "names": some}
            kept = self._names(f"app_id = %(app)s AND {_ROW_NAME} IN %(names)s", values)
            gone = sorted(pair for pair in pairs - kept if pair[0] in set(some))
            for few in _slices(gone):
                self._mutations.delete(
                    {TABLES[Named]: "app_id = %(app)s AND (event, key) IN %(gone)s"},
                    {"app": app_id, "gone": few},
                )

    def _forget_sights(self, app_id: str, before_ms: int) -> int:
        """Forget when somebody was seen of whom no event is left."""
        gone = 0
        for kind in ("device", "user", "company"):
            values: dict[str, object] = {"app": app_id, "kind": kind, "before": before_ms}
            old = (
                "app_id = %(app)s AND kind = %(kind)s"
                " AND first_ts < %(before)s AND last_ts < %(before)s"
            )
            found = self._read(f"SELECT DISTINCT id FROM seen WHERE {old}", values)
            for ids in _slices(sorted(str(id_) for (id_,) in found)):
                values["ids"] = ids
                left: set[str] = set()
                if kind != "company":
                    text = (
                        f"SELECT DISTINCT {kind}_id FROM events"
                        f" WHERE app_id = %(app)s AND {kind}_id IN %(ids)s"
                    )
                    left = {str(id_) for (id_,) in self._read(text, values)}
                values["ids"] = tuple(id_ for id_ in ids if id_ not in left)
                if values["ids"]:
                    text = f"SELECT count(*) FROM seen WHERE {old} AND id IN %(ids)s"
                    gone += int(self._read(text, values)[0][0])
                    self._mutations.delete({TABLES[Seen]: f"{old} AND id IN %(ids)s"}, values)
        return gone


def _mentions(column: str, ways: Iterable[str]) -> str:
    said = (f"position({column}, %({way})s) > 0" for way in ways)
    return f"({' OR '.join(said) or '1 = 0'})"


def _slices(rows: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for at in range(0, len(rows), SLICE):
        yield tuple(rows[at : at + SLICE])
