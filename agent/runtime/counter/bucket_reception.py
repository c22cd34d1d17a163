"""Where the Bucket endpoints hand over: the agent's :class:`tracking.bucket_endpoints.BucketSink`.

A key names an app; on this computer it is no secret and no far end's key:

    on the local socket   the path's key is the appId; a Bearer is the appId of an app that is
                          known here, or a gateway token (SDKs want a long key)
    at the gateway        the token in the path named the app before anything was read; whatever
                          key the SDK brings is dropped there

Official clients throw a batch away on any answer but success, within ten seconds, and never
repeat it (BUCKET.md §5). So what an app sends over its quota waits at the counter until the quota
allows it, :data:`PATIENCE_S` at most, and only then is refused with 503; what the outbox can hold
is never refused for the state of an upstream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from agent.rules.gatekeeping import digest_of
from agent.runtime.counter.intake import Intake
from agent.runtime.counter.journey import Journey
from agent.runtime.counter.waiting import Waiters
from tracking.acknowledging import Arrival
from tracking.bucket import Batch
from tracking.bucket_endpoints import BucketKey, Repeat
from tracking.endpoints import Origin, Receipt
from tracking.errors import OverQuota
from tracking.nucleus import APP_ID

PATIENCE_S: Final = 5.0  #: Half of what the official clients wait for an answer.


class BucketReception:
    """Takes calls in.

    Args:
        intake: Keeps them.
        waiters: Hears what far ends confirm.
        app_of_digest: Returns the app that a gateway token with this SHA-256 opens.

    """

    def __init__(
        self, intake: Intake, waiters: Waiters, app_of_digest: Callable[[str], str | None]
    ) -> None:
        self.intake = intake
        self.waiters = waiters
        self.app_of_digest = app_of_digest

    async def app_of(self, key: BucketKey) -> str | None:
        """Return the app that a key names, None if it names none.

        What is shown in a header may be a real secret that was meant for somebody else; so it is
        compared, and never becomes the name of an app that knocks. Whether the app may report is
        asked with its calls (:meth:`agent.runtime.people.consents.Consents.gate`), which are
        counted.
        """
        if key.text in self.intake.desks:
            return key.text
        if key.kind == "path":
            return key.text if APP_ID.fullmatch(key.text) else None
        return self.app_of_digest(digest_of(key.text))

    async def keep(
        self, app_id: str, batch: Batch, origin: Origin, repeat: Repeat | None
    ) -> Arrival | None:
        """Return when the calls are on disk; as :class:`BucketSink` says.

        A repeat is answered as the first time, because the answer is made of the request alone.
        """
        journey = None
        if origin.wait_s is not None:
            journey = Journey(self.intake, self.waiters, app_id, len(batch.accepted))
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE_S
        while True:
            answered: asyncio.Future[Receipt] = loop.create_future()
            self._take(app_id, batch, origin, repeat, answered, journey)
            fault = (await answered).fault
            if fault is None:
                return journey
            if not isinstance(fault, OverQuota) or loop.time() + fault.retry_after_s > until:
                raise fault
            await asyncio.sleep(fault.retry_after_s)
            batch = msgspec.structs.replace(batch, rejected=())  # counted the first time

    def _take(
        self,
        app_id: str,
        batch: Batch,
        origin: Origin,
        repeat: Repeat | None,
        answered: asyncio.Future[Receipt],
        journey: Journey | None,
    ) -> None:
        def answer(receipt: Receipt) -> None:
            if not answered.done():  # who asked may have gone; the calls are kept all the same
                answered.set_result(receipt)

        key = "" if repeat is None else repeat.key
        ids = None if journey is None else journey.begins
        self.intake.take_calls(app_id, batch, origin, answer, repeat=key, ids=ids)


class GatewayReception(BucketReception):
    """The same behind the gateway, which says itself whose request it is."""

    def __init__(self, intake: Intake, waiters: Waiters) -> None:
        super().__init__(intake, waiters, lambda _: None)

    async def app_of(self, key: BucketKey) -> str | None:
        return key.text
