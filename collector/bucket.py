"""The collector's :class:`tracking.bucket_endpoints.BucketSink`: Bucket calls into the store.

    keys ──► Accounts        calls ──► what the store knows of them ──► Rows ──► Writer ──► 200

Nothing is remembered here that a second collector on the same store would have to know: the
default company of a user, an earlier feedback, the reply to an ``Idempotency-Key`` are asked of
the store (issue 3, "no in-memory truth"). Requests of one key wait for each other in this process;
in two processes they make the same rows, which the store keeps once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from collector.accounts import Accounts
from collector.bucket_rows import Known, Rows
from collector.ingest import Ingest
from collector.store.interface import Fact, Feedback, Once, Store
from collector.writer import Writer
from tracking.bucket import Batch, EventCall, FeedbackCall
from tracking.bucket_endpoints import BucketKey, Repeat
from tracking.errors import OverQuota
from tracking.serving import peer_key
from tracking.sink import Origin

COMPANIES: Final = (
    "SELECT user_id, max(ts), {argmax|company_id|(ts, recv_ts)} FROM membership"
    " WHERE app_id = $app AND {in|user_id|users} GROUP BY user_id"
)
FEEDBACK: Final = (
    f"SELECT {', '.join(Feedback._fields)} FROM feedback"  # noqa: S608 - names of our own
    " WHERE app_id = $app AND {in|feedback_id|ids} ORDER BY recv_ts"
)
ONCE: Final = "SELECT max(reply) FROM once WHERE app_id = $app AND key = $key HAVING count(*) > 0"


@dataclass(slots=True)
class _Turn:
    """Those who wait for one name."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    guests: int = 0


class BucketIngest:
    """Takes Bucket calls for the apps of this collector.

    Args:
        accounts: Which keys open which app.
        store: Asked what it knows.
        writer: Stores.
        ingest: Shares its limits and its counts: an app has one quota, whatever it speaks.

    """

    def __init__(self, accounts: Accounts, store: Store, writer: Writer, ingest: Ingest) -> None:
        self.accounts = accounts
        self.store = store
        self.writer = writer
        self.ingest = ingest
        self.counts = ingest.counts
        self._last_ms = 0
        self._turns: dict[str, _Turn] = {}

    async def app_of(self, key: BucketKey) -> str | None:
        """Return the app that a key opens."""
        found = self.accounts.app_of_key(key.kind, key.text)
        if found is None:
            self.counts["unknown_app"] += 1
        return found

    async def keep(
        self, app_id: str, batch: Batch, origin: Origin, repeat: Repeat | None
    ) -> bytes | None:
        """Store a batch; return when it is durable."""
        count = len(batch.accepted) + len(batch.rejected)
        self.counts["accepted"] += count
        self.counts["refused"] += len(batch.rejected)
        self.ingest.within_quota(app_id, count, peer_key(origin.peer))
        try:
            self.writer.reserve(count)
        except OverQuota:
            self.counts["behind"] += count
            raise
        try:
            if repeat is None:
                await self._store(app_id, batch, origin, "", [])
                return None
            return await self._once(app_id, batch, origin, repeat)
        finally:
            self.writer.release(count)

    async def _once(
        self, app_id: str, batch: Batch, origin: Origin, repeat: Repeat
    ) -> bytes | None:
        """Store a batch unless its key was seen; return the reply of then."""
        key = hashlib.sha256(repeat.key.encode("utf-8", "replace")).hexdigest()
        async with self._turn(f"{app_id}/{key}"):
            asked = {"app": app_id, "key": key}
            found = await asyncio.to_thread(self.store.ask, ONCE, asked)
            if found:
                self.counts["repeats"] += len(batch.accepted)
                return str(found[0][0]).encode()
            seal = Once(app_id, key, origin.received_ms, repeat.reply.decode())
            await self._store(app_id, batch, origin, key, [seal])
        return None

    @contextlib.asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[None]:
        """Let the requests of one key come one after the other."""
        turn = self._turns.setdefault(name, _Turn())
        turn.guests += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.guests -= 1
            if not turn.guests:
                del self._turns[name]

    async def _store(
        self, app_id: str, batch: Batch, origin: Origin, once: str, more: list[Fact]
    ) -> None:
        known = await self._known(app_id, batch)
        # Two calls of one millisecond are told apart by their moments: the later one is later.
        self._last_ms = max(origin.received_ms, self._last_ms + 1)
        rows = Rows(app_id, self._last_ms, known, once).add(batch)
        new = await self.writer.write(rows.events, [*rows.facts, *more])
        others = len(batch.accepted) - len(rows.events)
        self.counts["stored"] += new + others
        self.counts["repeats"] += len(rows.events) - new

    async def _known(self, app_id: str, batch: Batch) -> Known:
        """Ask the store about those of whom the batch does not say all."""
        users: set[str] = set()
        feedback: set[str] = set()
        for one in batch.accepted:
            call = one.call
            if isinstance(call, EventCall) and call.company_id is None:
                users.add(call.user_id)
            elif isinstance(call, FeedbackCall) and call.feedback_id is not None:
                feedback.add(call.feedback_id)
        if not users and not feedback:
            return Known()
        return await asyncio.to_thread(self._ask, app_id, sorted(users), sorted(feedback))

    def _ask(self, app_id: str, users: list[str], feedback: list[str]) -> Known:
        companies: dict[str, tuple[int, str]] = {}
        earlier: dict[str, Feedback] = {}
        if users:
            for user_id, ts, company_id in self.store.ask(
                COMPANIES, {"app": app_id, "users": users}
            ):
                companies[user_id] = (ts, company_id)
        if feedback:
            for row in self.store.ask(FEEDBACK, {"app": app_id, "ids": feedback}):
                earlier[row[1]] = Feedback(*row)  # the latest stays
        return Known(companies, earlier)
