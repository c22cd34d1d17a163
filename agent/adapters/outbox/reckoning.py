"""What each queue's far end has confirmed, per hour and device: a count and a digest of ids.

Kept to be compared with what a Homing collector holds (docs/reconciliation.md), and written in the
very transaction in which the events are deleted: neither a crash nor a repeat of an acknowledgement
counts anything twice. The hour is that of the event's own date, as both ends read it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from agent.rules.ledger import Account
from tracking.dates import parse_ms
from tracking.reckoning import HOUR_MS, Sum

DAY_MS = 86_400_000
KEPT_DAYS = 30  #: As long as a collector keeps from coming back who was erased.
AHEAD_MS = DAY_MS  #: Dates further in the future are not compared.
MOST_DEVICES = 64  #: Of one queue; a collector is asked about as many at once.
OTHERS = ""  #: Device of events beyond those: counted, and not compared.


class Reckoned(NamedTuple):
    """What was confirmed of one device's events that are dated in one hour."""

    hour_ms: int
    device: str
    sum: Sum


class _Said(msgspec.Struct, rename="camel", gc=False):
    id: str
    date: str = ""
    device_id: str = ""


_events = msgspec.json.Decoder(list[_Said])
_Key = tuple[int, int, str]


class Reckoning:
    """The tables ``reckoning`` and ``reckoned``; every change needs an open turn.

    Args:
        db: The outbox's database.

    Attributes:
        streams: Whose events are counted.

    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.streams: Collection[int] = ()
        self._sums: dict[_Key, Sum] = {}
        self._devices: dict[int, set[str]] = {}
        self._hours: dict[str, int] = {}

    def begin(self, streams: Iterable[tuple[int, Account]], now_ms: int) -> None:
        """Count these queues from now on; one that never delivered anything is counted whole."""
        for stream, account in streams:
            since_ms = now_ms if account.delivered else 0
            self._db.execute("INSERT OR IGNORE INTO reckoned VALUES (?, ?)", (stream, since_ms))

    def unbegun(self, streams: Iterable[int]) -> list[int]:
        """Return which of these queues were never counted."""
        known = {stream for (stream,) in self._db.execute("SELECT stream FROM reckoned")}
        return [stream for stream in streams if stream not in known]

    def add(self, stream: int, bodies: Iterable[bytes]) -> None:
        """Count what was confirmed, in this turn.

        Args:
            stream: Whose.
            bodies: Events joined by commas, as the outbox keeps them.

        """
        if stream not in self.streams:
            return
        now_ms = int(time.time() * 1000)
        ids: dict[_Key, list[str]] = {}
        for body in bodies:
            for event in _events.decode(b"[" + body + b"]"):
                hour_ms = self._hour_of(event.date)
                if now_ms - KEPT_DAYS * DAY_MS <= hour_ms <= now_ms + AHEAD_MS:
                    key = (stream, hour_ms, event.device_id)
                    ids.setdefault(key, []).append(event.id)
        for (_, hour_ms, device), those in ids.items():
            named = (stream, hour_ms, self._named(stream, device))
            self._sums.setdefault(named, Sum()).add(those)

    def _hour_of(self, date: str) -> int:
        """Return the beginning of a date's hour; those of one hour begin alike."""
        name = date[:14]  # 2026-11-21T17:
        known = self._hours.get(name)
        if known is None:
            at_ms = parse_ms(f"{name}00:00.000Z") if len(date) == 24 and date[-1] == "Z" else None
            at_ms = parse_ms(date) if at_ms is None else at_ms
            known = 0 if at_ms is None else at_ms - at_ms % HOUR_MS
            if len(date) == 24 and date[-1] == "Z":
                if len(self._hours) > 1_000:
                    self._hours.clear()
                self._hours[name] = known
        return known

    def _named(self, stream: int, device: str) -> str:
        known = self._devices.get(stream)
        if known is None:
            said = "SELECT DISTINCT device FROM reckoning WHERE stream = ?"
            known = {found for (found,) in self._db.execute(said, (stream,))}
            self._devices[stream] = known
        if device not in known:
            if len(known) >= MOST_DEVICES:
                return OTHERS
            known.add(device)
        return device

    # --- within a turn -------------------------------------------------------------------------

    def write(self) -> None:
        """Write what was counted in this turn; the last thing before it is committed."""
        if self._sums:
            self._db.executemany(
                "INSERT INTO reckoning VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " events = events + excluded.events,"
                " low = (low + excluded.low) % 4294967296,"
                " high = (high + excluded.high) % 4294967296",
                [(*key, one.events, one.low, one.high) for key, one in self._sums.items()],
            )

    def end(self) -> None:
        """The turn is on disk, or undone."""
        self._sums.clear()

    def prune(self, now_ms: int) -> None:
        """Forget hours that nobody compares any more."""
        self._db.execute(
            "DELETE FROM reckoning WHERE hour_ms < ?", (now_ms - (KEPT_DAYS + 1) * DAY_MS,)
        )

    def forget(self, streams: Iterable[int]) -> None:
        """Forget queues; they are counted anew from their next event on."""
        for stream in streams:
            self._devices.pop(stream, None)
            self._db.execute("DELETE FROM reckoning WHERE stream = ?", (stream,))
            self._db.execute(
                "UPDATE reckoned SET since_ms = ? WHERE stream = ?",
                (int(time.time() * 1000), stream),
            )

    # --- out -----------------------------------------------------------------------------------

    def since(self, stream: int) -> int | None:
        """Return since when a queue is counted: 0 if ever; None if it is not."""
        row = self._db.execute(
            "SELECT since_ms FROM reckoned WHERE stream = ?", (stream,)
        ).fetchone()
        return None if row is None else int(row[0])

    def of(self, stream: int, since_ms: int) -> list[Reckoned]:
        """Return a queue's hours that begin at or after then, in order."""
        rows = self._db.execute(
            "SELECT hour_ms, device, events, low, high FROM reckoning"
            " WHERE stream = ? AND hour_ms >= ? ORDER BY hour_ms, device",
            (stream, since_ms),
        )
        return [Reckoned(hour, device, Sum(n, low, high)) for hour, device, n, low, high in rows]
