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

from collector.access.accounts import Accounts
from collector.intake.bucket_known import Knowledge
from collector.intake.bucket_rows import Rows
from collector.intake.ingest import Ingest
from collector.intake.writer import Writer
from collector.metrics import way_in
from collector.store.interface import Fact, Once, Store
from tracking.bucket import Batch, CompanyCall, EventCall, FeedbackCall, UserCall
from tracking.bucket_endpoints import BucketKey, Repeat
from tracking.errors import OverQuota
from tracking.peers import peer_key
from tracking.sink import Origin

MOST_STAMPED: Final = 10_000  #: Users and companies whose latest moment is remembered.
RECENT_MS: Final = 1_000  #: Longer ago, it cannot be mistaken for now.
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
        self.knowledge = Knowledge(store)
        self._stamped: dict[tuple[str, str, str], int] = {}  #: By app, kind, id.
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
        way_in.set("bucket")
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
        known = await self.knowledge.of(app_id, batch)
        received_ms = self._stamp(app_id, batch, origin.received_ms)
        rows = Rows(app_id, received_ms, known, once).add(batch)
        done = await self.writer.put(rows.events, [*rows.facts, *more])
        others = len(batch.accepted) - len(rows.events)
        self.counts["stored"] += done.new + others
        self.counts["erased"] += done.erased
        self.counts["repeats"] += len(rows.events) - done.new - done.erased

    def _stamp(self, app_id: str, batch: Batch, received_ms: int) -> int:
        """Return when a batch counts as received: after all that came before of whom it names.

        Two calls about one user within a millisecond would be one moment otherwise, and the order
        in which they came would be lost (§9, 60). Never more than a second later than it was.
        """
        named: set[tuple[str, str, str]] = set()
        for one in batch.accepted:
            call = one.call
            if isinstance(call, CompanyCall):
                named.add((app_id, "company", call.company_id))
            if isinstance(call, UserCall) or (
                isinstance(call, (CompanyCall, EventCall)) and call.company_id and call.user_id
            ):
                named.add((app_id, "user", call.user_id or ""))
            if isinstance(call, FeedbackCall):
                named.add((app_id, "feedback", call.feedback_id or ""))
        later_ms = max((self._stamped.get(who, 0) + 1 for who in named), default=0)
        stamp_ms = max(received_ms, min(later_ms, received_ms + RECENT_MS))
        self._stamped.update(dict.fromkeys(named, stamp_ms))
        if len(self._stamped) > MOST_STAMPED:
            recent_ms = received_ms - RECENT_MS
            self._stamped = {who: ms for who, ms in self._stamped.items() if ms > recent_ms}
        return stamp_ms
