"""Taking an app off this disk: all that is kept of it, wherever that is (threat rows 32, 49).

Who keeps something of an app's events offers a way to forget it, in one line of :meth:`_others`.
The outbox comes first: what waits could otherwise still be sent.

Invariant: a denial is kept before anything is deleted, and marked as purged after everything was.
So a purge that was interrupted, by a full disk or by SIGKILL, is done again at the next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from agent.rules.consent import Consent
from agent.runtime.off_loop import off_loop
from tracking.errors import Fault

if TYPE_CHECKING:
    from agent.runtime.core import Core

log = logging.getLogger("agent.consent")

Forget = Callable[[str], Awaitable[object]]  #: May raise a Fault or an OSError; twice is harmless.


class Purged(NamedTuple):
    """What went, and what could not.

    Attributes:
        events: Waiting events and dead letters, counted as lost.
        left: What is still there, and why; empty if nothing is.

    """

    events: int
    left: tuple[str, ...]


class Purging:
    """Deletes what is kept of one app.

    Args:
        core: Whose outbox, records and spool.

    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self._turn = asyncio.Lock()  # one app at a time, and none while it is allowed again

    def go_on(self) -> None:
        """Finish what an earlier run of the agent could not."""
        for app_id, answer in self.core.consents.answers.apps.items():
            if answer.verdict == "denied" and not (answer.keep or answer.purged):
                self.core.run(self._again(app_id))

    async def purge(self, app_id: str) -> Purged:
        """Delete everything of a denied app, a slice at a time, and keep that it was done."""
        async with self._turn:
            core, gone, left = self.core, 0, []
            if core.consents.ruling(app_id).consent is Consent.ALLOWED:
                return Purged(0, ())  # a person changed their mind while another app went
            try:
                for some in core.outbox.purging(app_id):
                    gone += some
                    await asyncio.sleep(0)  # others report meanwhile
            except Fault as fault:
                left.append(f"the outbox: {fault}")
            core.intake.forget(app_id)
            core.reconciling.forget([app_id])
            desk = core.desks.get(app_id)
            if desk is not None:
                core.seating.empty(desk)
            for what, forget in self._others():
                try:
                    await forget(app_id)
                except (Fault, OSError) as fault:
                    left.append(f"{what}: {fault}")
            log.info("purged an app app=%s events=%d left=%d", app_id, gone, len(left))
            self._tell(app_id, tuple(left))
            return Purged(gone, tuple(left))

    def _others(self) -> tuple[tuple[str, Forget], ...]:
        """Return what besides the outbox holds something of an app."""
        core = self.core

        async def records(app_id: str) -> None:
            await off_loop(partial(core.wire.forget, app_id), name="records go")

        async def files(app_id: str) -> None:
            await core.spooling.forget(app_id)

        async def comparisons(app_id: str) -> None:
            core.reconciling.forget((app_id,))

        return (
            ("the record of the wire", records),
            ("the spool", files),
            ("the shapes of its events", core.linting.forget_app),
            ("the daily comparisons", comparisons),
        )

    def _tell(self, app_id: str, left: tuple[str, ...]) -> None:
        core, code = self.core, f"consent.purge.{app_id}"
        if left:
            said = f"not everything of {app_id} could be deleted: {'; '.join(left)}"
            again = "Deny it again" if core.consents.unkept else "It is tried again"
            when = "when its cause is gone" if core.consents.unkept else "at the next start"
            core.note(code, f"{said}. {again} {when}", "error")
            return
        core.unnote(code)
        answer = core.consents.answers.apps.get(app_id)
        if answer is not None and answer.verdict == "denied":
            core.consents.said(app_id, msgspec.structs.replace(answer, purged=True))

    async def _again(self, app_id: str) -> None:
        await self.purge(app_id)
