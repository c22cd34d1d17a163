"""What else must survive a restart: contents seen, tallies per hour, and a profile per app.

*Seen* lets a repeat from below be recognised: 16 bytes of hash and the day, keyed by the hash
alone (no row number and no second index: half the disk, measured). Hashes lie scattered, so the
old ones are found by walking a part of the table at each pruning; a count per day says when
there is nothing to find.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

DAY_MS = 86_400_000
SEEN_DAYS, MOST_SEEN = 60, 2_000_000  #: Repeats are recognised so long, or so many.
TALLY_DAYS = 14
WALK_ROWS = 5_000  #: Hashes looked at in one pruning.


class Keepsakes:
    """The tables ``seen``, ``seen_day``, ``tally`` and ``app``; changes need an open turn.

    Args:
        db: The outbox's database.

    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
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

    def count(self, app_id: str, hour_ms: int, kind: str, events: int) -> None:
        """Add events of a kind to an hour."""
        self._db.execute(
            "INSERT INTO tally VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " events = events + excluded.events",
            (hour_ms, app_id, kind, events),
        )

    def tallies(self, since_ms: int, until_ms: int) -> dict[str, int]:
        """Return events per kind in the hours that began in [since, until)."""
        rows = self._db.execute(
            "SELECT kind, sum(events) FROM tally WHERE hour_ms >= ? AND hour_ms < ? GROUP BY kind",
            (since_ms, until_ms),
        )
        return dict(rows.fetchall())

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
        rows = self._db.execute(
            "SELECT hash, day FROM seen WHERE hash > ? ORDER BY hash LIMIT ?",
            (self._walked, WALK_ROWS),
        ).fetchall()
        too_old = now_ms // DAY_MS - SEEN_DAYS
        for digest, day in rows:
            if day < too_old or (day < keep_from and spare > 0):
                self._db.execute("DELETE FROM seen WHERE hash = ?", (digest,))
                self._db.execute("UPDATE seen_day SET n = n - 1 WHERE day = ?", (day,))
                spare -= 1
        self._db.execute("DELETE FROM seen_day WHERE n <= 0")
        self._walked = rows[-1][0] if len(rows) == WALK_ROWS else b""
