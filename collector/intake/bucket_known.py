"""What the store knows of those whom Bucket calls name, asked for many at a time.

Nothing is remembered: a second collector on the same store may have changed it. Instead, requests
share questions. Who comes while a question runs waits for the next one, which asks for all who
came meanwhile; so a question is always asked after the request that needs it arrived, and sees all
that was acknowledged before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from collector.intake.bucket_rows import Known
from collector.store.interface import Feedback, Store
from tracking.bucket import Batch, EventCall, FeedbackCall

T = TypeVar("T")

COMPANIES: Final = (
    "SELECT user_id, max(ts), {argmax|company_id|(ts, recv_ts)} FROM membership"
    " WHERE app_id = $app AND {in|user_id|ids} GROUP BY user_id"
)
FEEDBACK: Final = (
    f"SELECT {', '.join(Feedback._fields)} FROM feedback"  # noqa: S608 - names of our own
    " WHERE app_id = $app AND {in|feedback_id|ids} ORDER BY recv_ts"
)


@dataclass(slots=True)
class _Question(Generic[T]):
    ids: set[str] = field(default_factory=set)
    answer: asyncio.Task[Mapping[str, T]] | None = None


class Shared(Generic[T]):
    """One kind of question, shared by those who have it at the same time.

    Args:
        ask: Asks about ids of one app; runs in a thread.

    """

    def __init__(self, ask: Callable[[str, list[str]], Mapping[str, T]]) -> None:
        self._ask = ask
        self._next: dict[str, _Question[T]] = {}
        self._turns: dict[str, asyncio.Lock] = {}  #: By app; there are few.

    async def about(self, app_id: str, ids: set[str]) -> Mapping[str, T]:
        """Return what is known of these, and perhaps of others.

        Raises:
            StorageFault: The store cannot say.

        """
        if not ids:
            return {}
        question = self._next.get(app_id)
        if question is None:
            question = self._next[app_id] = _Question()
            question.answer = asyncio.create_task(self._put(app_id, question))
        question.ids |= ids
        assert question.answer is not None
        return await asyncio.shield(question.answer)

    async def _put(self, app_id: str, question: _Question[T]) -> Mapping[str, T]:
        async with self._turns.setdefault(app_id, asyncio.Lock()):
            del self._next[app_id]  # who comes from now on has another question
            return await asyncio.to_thread(self._ask, app_id, sorted(question.ids))


class Knowledge:
    """Asks a store what a batch leaves out.

    Args:
        store: The engine.

    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._companies = Shared(self._ask_companies)
        self._feedback = Shared(self._ask_feedback)

    async def of(self, app_id: str, batch: Batch) -> Known:
        """Return the default companies and the earlier feedback that a batch refers to.

        Raises:
            StorageFault: The store cannot say.

        """
        users: set[str] = set()
        feedback: set[str] = set()
        for one in batch.accepted:
            call = one.call
            if isinstance(call, EventCall) and call.company_id is None:
                users.add(call.user_id)
            elif isinstance(call, FeedbackCall) and call.feedback_id is not None:
                feedback.add(call.feedback_id)
        return Known(
            await self._companies.about(app_id, users),
            await self._feedback.about(app_id, feedback),
        )

    def _ask_companies(self, app_id: str, ids: list[str]) -> dict[str, tuple[int, str]]:
        rows = self.store.ask(COMPANIES, {"app": app_id, "ids": ids})
        return {user_id: (ts, company_id) for user_id, ts, company_id in rows}

    def _ask_feedback(self, app_id: str, ids: list[str]) -> dict[str, Feedback]:
        rows = self.store.ask(FEEDBACK, {"app": app_id, "ids": ids})
        return {row[1]: Feedback(*row) for row in rows}  # the latest stays
