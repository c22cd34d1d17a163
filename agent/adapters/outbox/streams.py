"""The books: one stream per app and upstream, with its account, in memory and on disk alike.

The numbers are read on every turn and written only where they changed, in the very transaction
that changes the rows. A turn that fails puts them back (:meth:`Streams.put_back`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.adapters.outbox.daily import Counting, Daily
from agent.adapters.outbox.reckoning import Reckoning
from agent.adapters.outbox.segments import owner_seal
from agent.rules.ledger import Account, Loss
from tracking.errors import Bug


@dataclass(slots=True)
class Stream:
    """The events of one app on their way to one upstream.

    Attributes:
        seal: Where the checksums of its bodies start.
        account: Its ledger.
        bytes: Of what is pending.

    """

    id: int
    app_id: str
    upstream: str
    seal: int
    account: Account = field(default_factory=Account)
    bytes: int = 0

    def copy(self) -> Stream:
        """Return a copy that may change without this one."""
        return Stream(
            self.id, self.app_id, self.upstream, self.seal, self.account.copy(), self.bytes
        )


class Streams:
    """All streams of one outbox.

    Args:
        db: Where they are kept.

    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.daily = Daily(db)
        self.reckoning = Reckoning(db)
        self.counting = Counting()
        self._all: dict[int, Stream] = {}
        self._by_key: dict[tuple[str, str], int] = {}
        self._before: dict[int, Stream] | None = None  # as they were when this turn began
        for id_, app_id, upstream, accepted, delivered in db.execute(
            "SELECT id, app_id, upstream, accepted, delivered FROM stream"
        ):
            self.add(app_id, upstream, id_).account = Account(
                accepted=_count(accepted), delivered=_count(delivered)
            )
        try:
            for id_, reason, events in db.execute("SELECT stream, reason, events FROM loss"):
                self._all[id_].account.lost[Loss(reason)] = _count(events)
        except (KeyError, ValueError) as exc:
            raise sqlite3.DatabaseError(f"a loss that nobody wrote: {exc}") from exc

    def add(self, app_id: str, upstream: str, id_: int | None = None) -> Stream:
        """Return the stream of an app to an upstream, making it if it is new.

        A new one is written with its first events: opening a stream needs no disk.
        """
        known = self._by_key.get((app_id, upstream))
        if known is not None:
            return self._all[known]
        id_ = max(self._all, default=0) + 1 if id_ is None else id_
        made = self._all[id_] = Stream(id_, app_id, upstream, owner_seal(app_id, upstream))
        self._by_key[app_id, upstream] = id_
        return made

    def __iter__(self) -> Iterator[Stream]:
        return iter(list(self._all.values()))

    def __getitem__(self, id_: int) -> Stream:
        return self._all[id_]

    def get(self, id_: int) -> Stream | None:
        """Return a stream, None if there is none of that number."""
        return self._all.get(id_)

    def of(self, app_id: str) -> list[Stream]:
        """Return the streams of one app."""
        return [stream for stream in self._all.values() if stream.app_id == app_id]

    # --- within a turn -------------------------------------------------------------------------

    @property
    def in_turn(self) -> bool:
        """Whether a transaction is open."""
        return self._before is not None

    def begin(self) -> None:
        """Remember how things are."""
        if self._before is not None:
            raise Bug("a turn within a turn")
        self._before = {}

    def touch(self, id_: int) -> Stream:
        """Return a stream that is about to change."""
        if self._before is None:
            raise Bug("an outbox was changed outside a turn")
        found = self._all[id_]
        if id_ not in self._before:
            self._before[id_] = found
            found = self._all[id_] = found.copy()
        return found

    def write(self) -> None:
        """Write what changed in this turn; the last thing before it is committed."""
        self.reckoning.write()
        for id_, before in (self._before or {}).items():
            now = self._all[id_]
            account, old = now.account, before.account
            if account.accepted != old.accepted or account.delivered != old.delivered:
                self._db.execute(
                    "INSERT INTO stream VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                    " accepted = excluded.accepted, delivered = excluded.delivered",
                    (id_, now.app_id, now.upstream, account.accepted, account.delivered),
                )
            if id_ in self.counting.streams:
                self.daily.add(self.counting.today(), id_, old, account)
            for reason, events in account.lost.items():
                if events != old.lost.get(reason):
                    self._db.execute(
                        "INSERT OR REPLACE INTO loss VALUES (?, ?, ?)", (id_, reason.value, events)
                    )

    def end(self) -> None:
        """The turn is on disk."""
        self._before = None
        self.reckoning.end()

    def put_back(self) -> None:
        """The turn failed: the numbers are as before."""
        self.reckoning.end()
        self._all.update(self._before or {})
        self._before = None


def _count(value: object) -> int:
    """Return what can be a count."""
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"no count: {value!r}")
    return value
