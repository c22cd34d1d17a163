"""A person's answers about apps, carried out (the requests of :mod:`agent.door.apps`).

An answer is kept first, then acted on; deleting comes last, because it may take a while and may
fail. One answer at a time: two persons' scripts must not delete what the other has just allowed.
"""

from __future__ import annotations

import asyncio
import difflib
from typing import TYPE_CHECKING

import msgspec

from agent.door.apps import (
    AllowApp,
    AppConsent,
    Consenting,
    DenyApp,
    ForgetAnswer,
    ListConsents,
    NotNow,
    Outcome,
    PauseApp,
    ResumeApp,
    ShowConsent,
)
from agent.rules.consent import MOST_NAME_CHARS, MOST_REASON_CHARS, Answer, Break, Consent
from agent.rules.wording import visible
from tracking.errors import RequestFault
from tracking.nucleus import APP_ID

if TYPE_CHECKING:
    from agent.runtime.answering import Handlers
    from agent.runtime.core import Core

LONGEST_S = 366 * 86_400.0
GONE_OUT = "What its far end already has is not deleted with it."


class Apps:
    """Answers for one core.

    Args:
        core: Decides.

    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self._turn = asyncio.Lock()

    # --- looking -------------------------------------------------------------------------------

    async def list(self, asked: ListConsents) -> Consenting:
        """Return every app, those who ask first."""
        del asked
        consents = self.core.consents
        asking = consents.asking()
        known = dict.fromkeys([*asking, *self.core.desks, *consents.knocks.by_app])
        return Consenting(
            apps=tuple(self.describe(app_id) for app_id in known),
            every_app=consents.every_app(),
            dropped_of_others=consents.dropped,
        )

    async def show(self, asked: ShowConsent) -> AppConsent:
        """Return one app.

        Raises:
            RequestFault: Nobody knows it (404).

        """
        return self.describe(self.known(asked.app_id))

    def describe(self, app_id: str) -> AppConsent:
        """Return what is to be said of an app's consent."""
        core, consents = self.core, self.core.consents
        ruling = consents.ruling(app_id)
        after = consents.after(app_id, ruling)
        knocker = consents.knocks.by_app.get(app_id)
        desk = core.desks.get(app_id)
        accounts = [
            account for (owner, _), account in core.outbox.accounts().items() if owner == app_id
        ]
        name = consents.name_of(app_id, app_id if desk is None else desk.name)
        shown = AppConsent(
            app_id=app_id,
            name=name,
            consent=ruling.consent.value,
            consent_from=ruling.source,
            reason=ruling.reason,
            since_ms=ruling.since_ms,
            until_ms=ruling.until_ms,
            then="" if after is None else after.consent.value,
            declared=app_id in consents.declared,
            asking=app_id in consents.asking(),
            dropped=0 if desk is None else desk.dropped,
            waiting=sum(account.pending for account in accounts),
            dead=sum(account.dead for account in accounts),
            far_ends=core.seating.far_ends(app_id) or core.housing.far_ends(),
        )
        if knocker is None:
            return shown
        return msgspec.structs.replace(
            shown,
            executable=knocker.executable,
            pid=knocker.pid,
            first_knock_ms=knocker.first_ms,
            last_knock_ms=knocker.last_ms,
            knocks=knocker.times,
            offered=knocker.offered,
            ways=tuple(sorted(knocker.by)),
        )

    # --- answering -----------------------------------------------------------------------------

    async def allow(self, asked: AllowApp) -> Outcome:
        """Let an app report.

        Raises:
            RequestFault: Nobody knows it, or the name is impossible.

        """
        app_id = self.known(asked.app_id, new=asked.new)
        if len(asked.name) > MOST_NAME_CHARS:
            raise RequestFault(f"a name has at most {MOST_NAME_CHARS} characters", field="name")
        async with self._turn:
            consents = self.core.consents
            before = consents.answers.apps.get(app_id)
            name = asked.name.strip() or ("" if before is None else before.name)
            consents.said(app_id, Answer(verdict="allowed", since_ms=self._now(), name=name))
            remark = self.core.intake.tongues.remark(app_id, self.core.desks.get(app_id))
            return self._outcome(app_id, note=self._after_allowing(app_id) + remark)

    async def deny(self, asked: DenyApp) -> Outcome:
        """Drop what an app reports, and delete what is kept of it.

        Raises:
            RequestFault: Nobody knows it, or the time is impossible.

        """
        app_id = self.known(asked.app_id, new=asked.new)
        async with self._turn:
            consents = self.core.consents
            before = consents.answers.apps.get(app_id)
            answer = Answer(
                verdict="denied",
                since_ms=self._now(),
                until_ms=self._until(asked.for_s),
                reason=asked.reason[:MOST_REASON_CHARS],
                name="" if before is None else before.name,
                keep=asked.keep,
            )
            consents.said(app_id, answer)
            if asked.keep:
                return self._outcome(app_id, note="What waited stays here and is not sent.")
            purged = await self.core.purging.purge(app_id)
            return self._outcome(app_id, GONE_OUT, purged.events, purged.left)

    async def pause(self, asked: PauseApp) -> Outcome:
        """Drop what an app, or every app, reports for a while.

        Raises:
            RequestFault: Nobody knows it, it waits for an answer, or the time is impossible.

        """
        consents = self.core.consents
        rest = Break(
            since_ms=self._now(),
            until_ms=self._until(asked.for_s),
            reason=asked.reason[:MOST_REASON_CHARS],
        )
        if asked.app_id is None:
            async with self._turn:
                consents.change(msgspec.structs.replace(consents.answers, all_apps=rest))
                return self._outcome(None)
        app_id = self.known(asked.app_id)
        ruling = consents.ruling(app_id)
        if ruling.consent is Consent.PENDING:
            raise RequestFault(
                f"{app_id} waits for your answer, so there is nothing to pause",
                field="app_id",
                status=409,
                advice=f"homing apps allow {app_id}, or homing apps deny {app_id} --for 1h",
            )
        if ruling.consent is Consent.DENIED:
            raise RequestFault(
                f"{app_id} is denied by {ruling.source}, which is more than a pause",
                field="app_id",
                status=409,
            )
        async with self._turn:
            breaks = consents.answers.breaks | {app_id: rest}
            consents.change(msgspec.structs.replace(consents.answers, breaks=breaks))
            return self._outcome(app_id)

    async def resume(self, asked: ResumeApp) -> Outcome:
        """End a pause.

        Raises:
            RequestFault: Nobody knows the app, or it is not this pause that stills it.

        """
        consents = self.core.consents
        if asked.app_id is None:
            async with self._turn:
                consents.change(msgspec.structs.replace(consents.answers, all_apps=None))
                return self._outcome(None)
        app_id = self.known(asked.app_id)
        async with self._turn:
            breaks = {id_: rest for id_, rest in consents.answers.breaks.items() if id_ != app_id}
            consents.change(msgspec.structs.replace(consents.answers, breaks=breaks))
            ruling = consents.ruling(app_id)
            if ruling.consent is Consent.PAUSED:
                raise RequestFault(
                    f"{app_id} is paused with all apps",
                    field="app_id",
                    status=409,
                    advice="End that pause: homing apps resume --all",
                )
            if ruling.consent is Consent.DENIED:
                raise RequestFault(
                    f"{app_id} is not paused but denied by {ruling.source}",
                    field="app_id",
                    status=409,
                    advice=f"If you want it to report again: homing apps allow {app_id}",
                )
            return self._outcome(app_id)

    async def forget(self, asked: ForgetAnswer) -> Outcome:
        """Take an answer back.

        Raises:
            RequestFault: Nobody knows the app.

        """
        app_id = self.known(asked.app_id)
        async with self._turn:
            self.core.consents.said(app_id, None)
            return self._outcome(app_id)

    async def not_now(self, asked: NotNow) -> Outcome:
        """Ask no more about an app that waits.

        Raises:
            RequestFault: Nobody knows it.

        """
        app_id = self.known(asked.app_id)
        async with self._turn:
            consents = self.core.consents
            if app_id not in consents.answers.apps:
                consents.said(app_id, Answer(verdict="later", since_ms=self._now()))
            return self._outcome(app_id)

    # --- parts ---------------------------------------------------------------------------------

    def _outcome(
        self,
        app_id: str | None,
        note: str = "",
        purged: int = 0,
        left: tuple[str, ...] = (),
    ) -> Outcome:
        self.core.watchers.changed()
        return Outcome(
            app=None if app_id is None else self.describe(app_id),
            every_app=self.core.consents.every_app(),
            purged=purged,
            unpurged=left,
            unkept=self.core.consents.unkept,
            note=note,
        )

    def _after_allowing(self, app_id: str) -> str:
        """Say what keeps an allowed app from being heard, or where its events go."""
        core, ruling = self.core, self.core.consents.ruling(app_id)
        if ruling.consent is not Consent.ALLOWED:
            why = visible(ruling.reason) or ruling.source
            kept = "holds" if self.core.consents.unkept else "is kept"
            return f"Your answer {kept}, but for now nothing is reported: {why}."
        far_ends = core.seating.far_ends(app_id) or core.housing.far_ends()
        if not far_ends:
            return (
                "It has no far end yet: what it reports waits on this computer until homing.toml"
                " names one, or until `homing keep-here`."
            )
        whose = "" if app_id in core.consents.declared else ", as you named no other for it"
        return f"What it reports goes to {visible(far_ends[0])}{whose}."

    def known(self, app_id: str, *, new: bool = False) -> str:
        """Return the id of an app that somebody knows, or that is new on purpose.

        Raises:
            RequestFault: Nobody knows it, or it is no id.

        """
        if not APP_ID.fullmatch(app_id):
            raise RequestFault(
                f"an app's id is 1 to 64 of A-Z a-z 0-9 _ -, got {visible(app_id, 80)!r}",
                field="app_id",
            )
        core = self.core
        known = {
            *core.desks,
            *core.consents.knocks.by_app,
            *core.consents.answers.apps,
            *core.consents.answers.breaks,
        }
        if app_id in known or new:
            return app_id
        near = difflib.get_close_matches(app_id, sorted(known), n=1, cutoff=0.5)
        meant = f"Did you mean {near[0]}? " if near else ""
        raise RequestFault(
            f"no app {app_id!r} is declared here, and none has knocked",
            field="app_id",
            status=404,
            advice=f"{meant}See `homing apps`; to answer before it comes, add --new.",
        )

    def _until(self, for_s: float | None) -> int | None:
        if for_s is None:
            return None
        if not 0 < for_s <= LONGEST_S:
            raise RequestFault("for_s is between 0 and 366 days", field="for_s")
        return self._now() + round(for_s * 1000)

    def _now(self) -> int:
        return self.core.means.wall_ms()


def handlers(core: Core) -> Handlers:
    """Return who answers the requests of :mod:`agent.door.apps`."""
    apps = Apps(core)
    return {
        ListConsents: apps.list,
        ShowConsent: apps.show,
        AllowApp: apps.allow,
        DenyApp: apps.deny,
        PauseApp: apps.pause,
        ResumeApp: apps.resume,
        ForgetAnswer: apps.forget,
        NotNow: apps.not_now,
    }
