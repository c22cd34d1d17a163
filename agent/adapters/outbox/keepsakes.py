"""What else must survive a restart: contents seen, tallies per hour, and a profile per app.

*Seen* lets a repeat from below be recognised: 16 bytes of hash and the day, keyed by the hash
alone (no row number and no second index: half the disk, measured). Hashes lie scattered, so the
old ones are found by walking a part of the table at each pruning; a count per day says when
there is nothing to find.

Tallies are a picture, not the ledger: they gather in memory and are written with a turn every few
seconds or thousand events, so that not every commit pays for their page; a kill costs the picture
that much.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Sequence

DAY_MS = 86_400_000
SEEN_DAYS, MOST_SEEN = 60, 2_000_000  #: Repeats are recognised so long, or so many.
HARD_SEEN = MOST_SEEN // 8  #: So many above it, and newer ones go too.
TALLY_DAYS = 14
TALLY_EVERY_S = 5.0
TALLY_EVENTS = 1_000  #: Written sooner if there are so many: a page for a thousand events.
WALK_ROWS = 5_000  #: Hashes looked at in one pruning.


class Keepsakes:
    """The tables ``seen``, ``seen_day``, ``tally`` and ``app``; changes need an open turn.

    Args:
        db: The outbox's database.
        tallied: Tallies that another one had not written yet.

    """

    def __init__(
        self, db: sqlite3.Connection, tallied: dict[tuple[int, str, str], int] | None = None
    ) -> None:
        self._db = db
        self.tallied = {} if tallied is None else tallied
        self._written = False  # tallies are in the open turn
        self._due_s = time.monotonic() + TALLY_EVERY_S
        self._seen = self._seen_before = self._count_seen()
        self._walked = b""  # where the next pruning goes on

    def recall(self, hashes: Sequence[bytes]) -> set[bytes]:
        """Return which of these were remembered."""
        found: set[bytes] = set()
        for at in range(0, len(hashes), 500):
            some = hashes[at : at + 500]
            marks = ",".join("?" * len(some))
            found.update(
                row[0]
                for row in self._db.execute(
                    f"SELECT hash FROM seen WHERE hash IN ({marks})",  # noqa: S608 - marks only
                    some,
                )
            )
        return found

    def remember(self, hashes: Sequence[bytes], now_ms: int) -> None:
        """Remember contents; those that are known keep their day."""
        day = now_ms // DAY_MS
        added = self._db.executemany(
            "INSERT OR IGNORE INTO seen VALUES (?, ?)", [(digest, day) for digest in hashes]
        ).rowcount
        if added > 0:
            self._db.execute(
                "INSERT INTO seen_day VALUES (?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
                (day, added),
            )
            self._seen += added
            if self._seen > MOST_SEEN:
                self._thin(day, 4 * added)

    def _count_seen(self) -> int:
        (seen,) = self._db.execute("SELECT coalesce(sum(n), 0) FROM seen_day").fetchone()
        return int(seen)

    def _thin(self, today: int, rows: int) -> None:
        """Forget some of too many: those of other days, and near the hard bound any."""
        for digest, day in self._walk(rows):
            if self._seen <= MOST_SEEN:
                break
            if day != today or self._seen > MOST_SEEN + HARD_SEEN:
                self._forget(digest, day)

    def _walk(self, most: int) -> list[tuple[bytes, int]]:
        """Return the next hashes of an endless round through all of them."""
        rows = self._db.execute(
            "SELECT hash, day FROM seen WHERE hash > ? ORDER BY hash LIMIT ?", (self._walked, most)
        ).fetchall()
        self._walked = rows[-1][0] if len(rows) == most else b""
        return rows

    def _forget(self, digest: bytes, day: int) -> None:
        self._db.execute("DELETE FROM seen WHERE hash = ?", (digest,))
        self._db.execute("UPDATE seen_day SET n = n - 1 WHERE day = ?", (day,))
        self._seen -= 1

    def count(self, app_id: str, hour_ms: int, kind: str, events: int) -> None:
        """Add events of a kind to an hour."""
        key = (hour_ms, app_id, kind)
        self.tallied[key] = self.tallied.get(key, 0) + events

    def write_tallies_if_due(self) -> None:
        """Write them with the open turn, every few seconds or thousand events."""
        if not self.tallied:
            return
        if time.monotonic() >= self._due_s or sum(self.tallied.values()) >= TALLY_EVENTS:
            self.write_tallies()

    def write_tallies(self) -> None:
        """Write them with the open turn."""
        self._db.executemany(
            "INSERT INTO tally VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " events = events + excluded.events",
            [(*key, events) for key, events in self.tallied.items()],
        )
        self._written = True

    def turn_ended(self, *, well: bool) -> None:
        """The open turn is on disk, or undone."""
        if self._written and well:
            self.tallied.clear()
            self._due_s = time.monotonic() + TALLY_EVERY_S
        self._written = False
        if well:
            self._seen_before = self._seen
        else:  # what was remembered in that turn is forgotten with it
            self._seen = self._seen_before

    def tallies(self, since_ms: int, until_ms: int) -> dict[str, int]:
        """Return events per kind in the hours that began in [since, until)."""
        rows = self._db.execute(
            "SELECT kind, sum(events) FROM tally WHERE hour_ms >= ? AND hour_ms < ? GROUP BY kind",
            (since_ms, until_ms),
        )
        found = Counter(dict(rows.fetchall()))
        for (hour_ms, _, kind), events in self.tallied.items():
            if since_ms <= hour_ms < until_ms:
                found[kind] += events
        return dict(found)

    def tallies_of(self, app_id: str) -> list[tuple[int, str, int]]:
        """Return all that is tallied of an app: hour, kind, events."""
        rows = self._db.execute(
            "SELECT hour_ms, kind, events FROM tally WHERE app_id = ?", (app_id,)
        )
        found = Counter({(hour_ms, kind): events for hour_ms, kind, events in rows})
        for (hour_ms, app, kind), events in self.tallied.items():
            if app == app_id:
                found[hour_ms, kind] += events
        return [(hour_ms, kind, events) for (hour_ms, kind), events in sorted(found.items())]

    def profile(self, app_id: str) -> bytes | None:
        """Return what is kept of an app."""
        row = self._db.execute("SELECT profile FROM app WHERE app_id = ?", (app_id,)).fetchone()
        return None if row is None else bytes(row[0])

    def keep_profile(self, app_id: str, profile: bytes) -> None:
        """Keep it."""
        self._db.execute("INSERT OR REPLACE INTO app VALUES (?, ?)", (app_id, profile))

    def forget(self, app_id: str) -> None:
        """Forget an app's profile and tallies."""
        self._db.execute("DELETE FROM app WHERE app_id = ?", (app_id,))
        self._db.execute("DELETE FROM tally WHERE app_id = ?", (app_id,))
        for key in [key for key in self.tallied if key[1] == app_id]:
            del self.tallied[key]

    def prune(self, now_ms: int) -> None:
        """Drop tallies that nobody looks at, and a part of the hashes that are too old or many."""
        self._db.execute("DELETE FROM tally WHERE hour_ms < ?", (now_ms - TALLY_DAYS * DAY_MS,))
        days = dict(self._db.execute("SELECT day, n FROM seen_day ORDER BY day DESC").fetchall())
        keep_from, kept = now_ms // DAY_MS - SEEN_DAYS, 0
        for day, n in days.items():
            kept += n
            if kept > MOST_SEEN:  # this day's are too many already: it goes with the older ones
                keep_from = max(keep_from, day + 1)
                break
        spare = sum(days.values()) - MOST_SEEN
        if not any(day < keep_from for day in days):
            return
        too_old = now_ms // DAY_MS - SEEN_DAYS
        for digest, day in self._walk(WALK_ROWS):
            if day < too_old or (day < keep_from and spare > 0):
                self._forget(digest, day)
                spare -= 1
        self._db.execute("DELETE FROM seen_day WHERE n <= 0")
        self._seen = self._count_seen()
