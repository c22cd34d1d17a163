"""What collectors on one engine tell each other: accounts, who is live, and that they live.

Of equal keys the row with the greatest version is true. Whether a collector lives is judged by the
server's clock alone, so that the clocks of the machines need not agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from collector.store.clickhouse_door import Door
from collector.store.clickhouse_mutations import NOBODY, Mutations
from collector.store.interface import TABLES, Named

ASK_S = 5.0

_ACCOUNTS = """
SELECT subject, key, argMax(value, version) AS said, argMax(gone, version) AS away,
  max(version) AS latest
FROM account GROUP BY subject, key
"""
_ACCOUNTS_MARK = "SELECT count(*), toInt64(sum(cityHash64(subject, key, version))) FROM account"
_STONES = "SELECT toInt64(sum(cityHash64(app_id, digest, erased_ts))) FROM tombstone"
_BEAT = """
INSERT INTO collector (id, beat_s, version)
SELECT %(id)s, toInt64(toUnixTimestamp(now())), toUInt64(toUnixTimestamp(now()))
"""
_ALIVE = """
SELECT id FROM (SELECT id, max(beat_s) AS latest FROM collector GROUP BY id) AS beats
WHERE latest >= toInt64(toUnixTimestamp(now())) - %(grace)s
"""
_SILENT = """
SELECT id FROM (SELECT id, max(beat_s) AS latest FROM collector GROUP BY id) AS beats
WHERE latest < toInt64(toUnixTimestamp(now())) - %(grace)s
"""
_LIVE = """
SELECT collector, app_id, device_id, argMax(facts, version) AS said, argMax(gone, version) AS away,
  max(version) AS latest
FROM live WHERE collector IN %(collectors)s AND version > %(since)s
GROUP BY collector, app_id, device_id
"""


class AccountRow(NamedTuple):
    """One row of the accounts; table ``account``.

    Attributes:
        subject: The table that it is of.
        key: Its key, as JSON.
        value: The row, as JSON.
        gone: It was removed; ``value`` is the last it was.

    """

    subject: str
    key: str
    value: str
    gone: bool
    version: int


class LiveRow(NamedTuple):
    """One device on one collector; table ``live``."""

    collector: str
    app_id: str
    device_id: str
    facts: str
    gone: bool
    version: int


class Shared:
    """The tables that collectors share. Blocks; any thread may call."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._mutations = Mutations(door)

    # --- accounts ------------------------------------------------------------------------------

    def accounts_mark(self) -> tuple[int, int]:
        """Return two numbers that change when a row of the accounts does."""
        ((count, mark),) = self._door.ask(_ACCOUNTS_MARK, deadline_s=ASK_S)
        return int(count), int(mark)

    def accounts(self) -> list[AccountRow]:
        found = self._door.ask(_ACCOUNTS, deadline_s=ASK_S)
        return [AccountRow(s, k, v, bool(gone), int(n)) for s, k, v, gone, n in found]

    def tell_accounts(self, rows: Sequence[AccountRow]) -> None:
        self._insert("account", AccountRow._fields, rows)

    # --- collectors ----------------------------------------------------------------------------

    def beat(self, collector: str) -> None:
        """Say that a collector lives."""
        settings = {"insert_distributed_sync": 1}
        self._door.ask(_BEAT, {"id": collector}, deadline_s=ASK_S, settings=settings)

    def alive(self, grace_s: int) -> set[str]:
        """Return the collectors that were heard of lately."""
        found = self._door.ask(_ALIVE, {"grace": grace_s}, deadline_s=ASK_S)
        return {str(id_) for (id_,) in found}

    def forget(self, collectors: Iterable[str]) -> None:
        """Remove what collectors left that are no more."""
        gone = tuple(collectors)
        if gone:
            values: Mapping[str, object] = {"gone": gone}
            self._mutations.delete(
                {"live": "collector IN %(gone)s", "collector": "id IN %(gone)s"}, values
            )

    def silent(self, grace_s: int) -> set[str]:
        """Return the collectors that were not heard of for so long."""
        found = self._door.ask(_SILENT, {"grace": grace_s}, deadline_s=ASK_S)
        return {str(id_) for (id_,) in found}

    # --- who is live ---------------------------------------------------------------------------

    def live(self, collectors: Iterable[str], since: int) -> list[LiveRow]:
        """Return what these collectors said after a version."""
        values = {"collectors": tuple(collectors) or NOBODY, "since": max(0, since)}
        found = self._door.ask(_LIVE, values, deadline_s=ASK_S)
        return [LiveRow(c, a, d, f, bool(gone), int(n)) for c, a, d, f, gone, n in found]

    def tell_live(self, rows: Sequence[LiveRow]) -> None:
        self._insert("live", LiveRow._fields, rows)

    # --- erasures ------------------------------------------------------------------------------

    def erasures_mark(self) -> tuple[int, int]:
        """Return two numbers that change when somebody is erased, by whichever collector."""
        ((stones,),) = self._door.ask(_STONES, deadline_s=ASK_S)
        return int(stones), self._mutations.state(TABLES[Named]).mark

    def _insert(self, table: str, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        if rows:
            data = [
                [int(value) if isinstance(value, bool) else value for value in column]
                for column in zip(*rows, strict=True)
            ]
            self._door.insert(table, names, data, wait_s=ASK_S)
