"""Dead letters: events that the far end refused for good, kept until a person decides.

A refused event must not block those behind it, and must not vanish either. Every change needs an
open turn; the accounts change with the rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from agent.adapters.outbox.rows import SegmentRows
from agent.adapters.outbox.segments import Batch, Letter
from agent.adapters.outbox.streams import Streams
from agent.rules.ledger import Loss

MOST_LETTERS = 10_000  #: More, and the oldest go (``Loss.OVERFLOWED``).
DETAIL_CHARACTERS = 200  #: Of what the far end said; it is shown to people.


class DeadLetters:
    """The table ``dead_letter``.

    Args:
        db: The outbox's database.
        streams: Whose accounts change with the rows.
        rows: Where letters come from, and go back to.

    """

    def __init__(self, db: sqlite3.Connection, streams: Streams, rows: SegmentRows) -> None:
        self._db = db
        self._streams = streams
        self._rows = rows
        for id_, dead in self.totals().items():
            stream = streams.get(id_)
            if stream is None:
                raise sqlite3.DatabaseError(f"dead letters of a stream {id_} that is not there")
            stream.account.dead = dead

    def bury(self, batch: Batch, event_id: str, reason: str, detail: str, now_ms: int) -> bool:
        """Move one event of a batch here; whether it was still in the queue."""
        taken = self._rows.take_out(batch, {event_id})
        for event in taken:
            self._db.execute(
                "INSERT OR REPLACE INTO dead_letter (id, stream, buried_ms, reason, detail, body)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (event_id, batch.stream, now_ms, reason, detail[:DETAIL_CHARACTERS], event),
            )
            self._streams.touch(batch.stream).account.dead += 1
        return bool(taken)

    def newest(self, app_id: str | None, limit: int) -> list[Letter]:
        """Return dead letters, newest first."""
        rows = self._db.execute(
            "SELECT d.id, s.app_id, s.upstream, d.buried_ms, d.reason, d.detail, d.body"
            " FROM dead_letter d JOIN stream s ON s.id = d.stream WHERE ?1 IS NULL OR s.app_id = ?1"
            " ORDER BY d.n DESC LIMIT ?2",
            (app_id, limit),
        )
        return [Letter(*row) for row in rows]

    def revive(self, ids: Sequence[str] | None, now_ms: int) -> int:
        """Put letters (these, or all) back at the end of their streams, oldest first."""
        revived = 0
        for n, stream in self._chosen(ids):
            (body,) = self._db.execute("SELECT body FROM dead_letter WHERE n = ?", (n,)).fetchone()
            self._db.execute("DELETE FROM dead_letter WHERE n = ?", (n,))
            changed = self._streams.touch(stream)
            changed.account.dead -= 1
            self._rows.add(changed, [body], now_ms)
            revived += 1
        return revived

    def drop(self, ids: Sequence[str] | None) -> int:
        """Delete letters (these, or all), counted as lost."""
        return self._lose(list(self._chosen(ids)), Loss.DROPPED)

    def drop_of(self, stream: int) -> int:
        """Delete the letters of a stream whose app was purged."""
        rows = self._db.execute("SELECT n, stream FROM dead_letter WHERE stream = ?", (stream,))
        return self._lose(rows.fetchall(), Loss.PURGED)

    def drop_oldest_of_too_many(self) -> int:
        """Keep the newest ``MOST_LETTERS``."""
        (letters,) = self._db.execute("SELECT count(*) FROM dead_letter").fetchone()
        if letters <= MOST_LETTERS:
            return 0
        rows = self._db.execute(
            "SELECT n, stream FROM dead_letter ORDER BY n LIMIT ?", (letters - MOST_LETTERS,)
        )
        return self._lose(rows.fetchall(), Loss.OVERFLOWED)

    def totals(self) -> dict[int, int]:
        """Return how many letters each stream has."""
        return dict(
            self._db.execute("SELECT stream, count(*) FROM dead_letter GROUP BY stream").fetchall()
        )

    def _lose(self, chosen: Sequence[tuple[int, int]], reason: Loss) -> int:
        for n, stream in chosen:
            self._db.execute("DELETE FROM dead_letter WHERE n = ?", (n,))
            changed = self._streams.touch(stream)
            changed.account.dead -= 1
            changed.account.lose(reason, 1)
        return len(chosen)

    def _chosen(self, ids: Sequence[str] | None) -> Iterator[tuple[int, int]]:
        """Yield (n, stream) of these letters or of all, oldest first."""
        if ids is None:
            yield from self._db.execute("SELECT n, stream FROM dead_letter ORDER BY n").fetchall()
            return
        found: list[tuple[int, int]] = []
        for id_ in set(ids):
            found += self._db.execute("SELECT n, stream FROM dead_letter WHERE id = ?", (id_,))
        yield from sorted(found)
