"""Answers about people (docs/numbers.md, "Users"); times in Unix milliseconds, 0 is never None."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from collector.store import queries_people as queries
from collector.store.interface import Stored
from collector.store.questions_sessions import SessionQuestions
from tracking.nucleus import normal_platform

AT_ONCE = 2_000  #: People whose details are asked for with one question.
_ID = re.compile(r"[0-9a-f]{24}")
_COLUMNS = ", ".join(Stored._fields)
_IN_ORDER = "ORDER BY ts, recv_ts, key_a, key_b"
SESSION_ROWS = f"""
SELECT {_COLUMNS} FROM {{events}} WHERE app_id = $app AND device_id = $device
AND session_id = $session AND (user_id = $user OR user_id = '') {_IN_ORDER} LIMIT $limit
"""  # noqa: S608 - of names of our own

Record = dict[str, Any]


class Person(NamedTuple):
    """Somebody: ``u`` and a userId, or ``a`` and an anonymous identity."""

    kind: Literal["u", "a"]
    id: str

    @property
    def user(self) -> str:
        """The userId, empty for an anonymous identity."""
        return self.id if self.kind == "u" else ""


def id_of(app: str, who: Person) -> str:
    """Return ``_id``: an address, not a secret."""
    text = f"{app}\0{who.kind}\0{who.id}"
    return hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[
        :24
    ]


class PeopleQuestions(SessionQuestions):
    """What can be asked about people."""

    def everybody(self, app: str) -> list[tuple[str, Person, int, int]]:
        """Return everybody as ``(_id, who, first sight, last seen)``, latest first, then by _id."""
        rows = self._ask(queries.EVERYBODY, queries.PAIRS, app=app)
        people = []
        for kind, name, first, last in rows:
            who = Person(kind, name)
            people.append((id_of(app, who), who, first, last))
        people.sort(key=lambda one: (-one[3], one[0]))
        return people

    def users(self, app: str, skip: int = 0, limit: int | None = None) -> list[Record]:
        """Return a part of the list of users, in its order."""
        people = self.everybody(app)[skip : None if limit is None else skip + limit]
        return [record for part in self.details(app, people) for record in part]

    def details(
        self, app: str, people: Sequence[tuple[str, Person, int, int]]
    ) -> Iterator[list[Record]]:
        """Yield what is known of people, a part of them at a time, in their order."""
        for at in range(0, len(people), AT_ONCE):
            yield self._details(app, people[at : at + AT_ONCE])

    def user(self, app: str, who: Person) -> Record | None:
        """Return what is known of one person, None if nothing is."""
        for id_, one, first, last in self.everybody(app):
            if one == who:
                return self._details(app, [(id_, one, first, last)])[0]
        return None

    def find(self, app: str, wanted: str) -> Person | None:
        """Resolve ``:userId``: as userId, then as ``_id``, then as anonId."""
        if not wanted:
            return None
        ((known,),) = self._ask(queries.IS_USER, app=app, wanted=wanted)
        if known:
            return Person("u", wanted)
        if _ID.fullmatch(wanted):
            prefix = f"{app}\0u\0"
            found = self._ask(queries.USER_BY_ID, app=app, prefix=prefix, wanted=wanted)
            if found:
                return Person("u", found[0][0])
        prefix = f"{app}\0a\0"
        hidden = [
            Person("a", name)
            for (name,) in self._ask(queries.HIDDEN_BY_ID, app=app, prefix=prefix, wanted=wanted)
        ]
        hidden.sort(key=lambda who: who.id == wanted)  # by its _id before by its name
        return hidden[0] if hidden else None

    def devices_of(self, app: str, who: Person) -> list[str]:
        """Return the devices that are one person's alone: of a user, those that named no other."""
        if who.kind == "a":
            rows = self._ask(queries.DEVICES_OF_HIDDEN, app=app, hidden=[who.id])
            return [device for device, _ in rows]
        rows = self._ask(queries.SHARED_DEVICES, app=app, user=who.id)
        return [device for device, users in rows if users == 1]

    def sessions_of(self, app: str, who: Person) -> list[Record]:
        """Return the sessions of one person, newest first."""
        if who.kind == "u":
            found = self.instances_of_user(app, who.id)
        else:
            devices = self.devices_of(app, who)
            found = self.instances_of_devices(app, devices) if devices else []
        return [
            {
                "device": one.device,
                "session": one.session,
                "start": one.start,
                "end": one.end,
                "actions": one.actions,
                "errors": one.errors,
            }
            for one in found
        ]

    def session_devices(self, app: str, who: Person, session: str) -> list[str]:
        """Return on which devices a person had a session of that id."""
        rows = self._ask(queries.SESSION_DEVICES, app=app, session=session, user=who.user)
        devices = sorted(device for (device,) in rows)
        if who.kind == "u":
            return devices
        own = set(self.devices_of(app, who))
        return [device for device in devices if device in own]

    def session_rows(
        self, app: str, who: Person, device: str, session: str, limit: int
    ) -> list[Stored]:
        """Return the events of a session that name this person or nobody, by time."""
        rows = self._ask(
            SESSION_ROWS, app=app, device=device, session=session, user=who.user, limit=limit
        )
        return [Stored(*row) for row in rows]

    def sights(self, app: str, devices: Sequence[str]) -> dict[str, int]:
        """Return when devices were first seen."""
        if not devices:
            return {}
        return dict(self._ask(queries.SIGHTS, app=app, devices=sorted(set(devices))))

    def attributes(self, app: str, kind: str, ids: Sequence[str]) -> Mapping[str, Record]:
        """Return the Bucket attributes of users or companies, each by its own latest writer."""
        found: defaultdict[str, Record] = defaultdict(dict)
        for id_, key, said in self._ask(queries.ATTRIBUTES, app=app, kind=kind, ids=list(ids)):
            found[id_][key] = json.loads(said)
        return found

    # --- details -------------------------------------------------------------------------------

    def _details(self, app: str, people: Sequence[tuple[str, Person, int, int]]) -> list[Record]:
        users = [who.id for _, who, _, _ in people if who.kind == "u"]
        hidden = [who.id for _, who, _, _ in people if who.kind == "a"]
        devices: defaultdict[Person, list[Record]] = defaultdict(list)
        sets: defaultdict[Person, list[tuple[int, str, Record]]] = defaultdict(list)
        props: Mapping[str, Record] = {}
        if users:
            stays = self._stays(queries.STAYS_OF_USERS, app=app, users=users)
            for user, *row in self._ask(queries.DEVICES_OF_USERS, app=app, users=users):
                devices[Person("u", user)].append(_device(*row, stayed=stays.get((user, row[0]))))
            for user, device, at, sent in self._ask(
                queries.SETS_OF_USERS, app=app, users=users, **queries.BLANKS
            ):
                sets[Person("u", user)].append((at, device, _without_nulls(sent)))
            props = self.attributes(app, "user", users)
        if hidden:
            owner = {
                device: Person("a", name)
                for device, name in self._ask(queries.DEVICES_OF_HIDDEN, app=app, hidden=hidden)
            }
            theirs = sorted(owner)
            stays = self._stays(queries.STAYS_ON_DEVICES, app=app, devices=theirs)
            for _, *row in self._ask(queries.DEVICES, app=app, devices=theirs):
                devices[owner[row[0]]].append(_device(*row, stayed=stays.get(("", row[0]))))
            for _, device, at, sent in self._ask(
                queries.SETS_OF_DEVICES, app=app, devices=theirs, **queries.BLANKS
            ):
                sets[owner[device]].append((at, device, _without_nulls(sent)))
        return [
            {
                "_id": id_,
                "userId": who.user or None,
                "anonId": None if who.user else who.id,
                "createdAt": first or None,
                "lastSeen": last or None,
                "devices": sorted(devices[who], key=lambda one: (-one["lastSeen"], one["_id"])),
                "props": _laid_over(sets[who], props[who.id] if who.user else {}),
                "propsByDevice": {device: said for _, device, said in sets[who]},
            }
            for id_, who, first, last in people
        ]

    def _stays(self, text: str, **values: object) -> dict[tuple[str, str], int]:
        return {(user, device): last for user, device, last in self._ask(text, **values)}


def _device(
    device: str, last: int, platform: str, os_version: str, version: str, *, stayed: int | None
) -> Record:
    return {
        "_id": device,
        "lastSeen": max(last, stayed or 0),
        "platform": normal_platform(platform),
        "osVersion": os_version or None,
        "version": version or None,
    }


def _without_nulls(payload: str) -> Record:
    said = json.loads(payload)
    return {key: value for key, value in said.items() if value is not None}


def _laid_over(sets: list[tuple[int, str, Record]], attributes: Record) -> Record:
    props: Record = {}
    for _, _, said in sorted(sets, key=itemgetter(0, 1)):
        props |= said
    return props | attributes
