"""A person's own data: what is held of it, and its deletion, here and at the far ends.

Deleting here is what a denial does (:mod:`agent.runtime.people.purging`); an app that stays allowed
goes on with a new identity. What a far end is asked is kept on disk before anything is deleted,
because only here it is known by which names the far end knows this person; and it is asked after,
so that nothing that still waited can follow the deletion.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from agent.adapters.records import spool
from agent.door.lint import ListShapes
from agent.door.your_data import (
    Deleted,
    DeleteData,
    Deletions,
    FarEnd,
    Held,
    HeldApp,
    HeldStream,
    ReadDeletions,
    ReadHeld,
    ReadReceipts,
    Receipts,
    RetryDeletion,
)
from agent.rules.consent import Consent
from agent.runtime.counter.profile import Profile
from agent.runtime.off_loop import off_loop
from agent.runtime.people.deletions import deletion
from agent.runtime.people.persons import former, not_about_all, persons_of, profile_of
from tracking.errors import Fault, RequestFault

if TYPE_CHECKING:
    from agent.runtime.answering import Handlers
    from agent.runtime.core import Core


class YourData:
    """Answers for what is kept of a person.

    Args:
        core: Where everything is.

    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self._turn = asyncio.Lock()  # one deletion at a time

    async def held(self, request: ReadHeld) -> Held:
        """Tell what is held for an app, or for all."""
        return Held(apps=tuple([await self._app(app) for app in self._apps(request.app_id)]))

    async def delete(self, request: DeleteData) -> Deleted:
        """Delete what is held for an app, or for all; and ask the far ends, if that is wanted.

        Raises:
            StorageFault: The far ends could not be asked for certain; nothing was deleted.

        """
        async with self._turn:
            apps = self._apps(request.app_id)
            asked, not_asked = [], []
            if request.remote:
                for app_id in apps:
                    profile = profile_of(self.core, app_id)
                    persons = persons_of(profile)
                    for place in self.core.far_ends.of(app_id):
                        if place.told.why_not or not persons:
                            why = place.told.why_not or "nothing was ever sent there"
                            told = msgspec.structs.replace(place.told, why_not=why)
                            not_asked.append(told)
                        else:
                            asked.append(self.core.deleting.ask(place, persons))
                            if some := not_about_all(place, profile):
                                not_asked.append(some)
                    not_asked += former(self.core, app_id)
            events, records, left = 0, 0, []
            for app_id in apps if request.local else ():
                gone = await self._delete(app_id)
                events, records = events + gone[0], records + gone[1]
                left += gone[2]
            if request.local:
                self.core.reconciling.forget(apps)
            self.core.deleting.go_on()
            self.core.watchers.changed()
            return Deleted(
                apps=apps if request.local else (),
                events=events,
                records=records,
                left=tuple(left),
                requests=tuple(deletion(one) for one in asked),
                not_asked=tuple(not_asked),
            )

    async def deletions(self, request: ReadDeletions) -> Deletions:
        """Tell what far ends were asked to delete."""
        del request
        return Deletions(requests=self.core.deleting.told())

    async def receipts(self, request: ReadReceipts) -> Receipts:
        """Hand out the receipts of a request."""
        return Receipts(receipts=tuple(self.core.deleting.receipts(request.id)))

    async def retry(self, request: RetryDeletion) -> Deletions:
        """Ask again now."""
        self.core.deleting.retry(request.id)
        return Deletions(requests=self.core.deleting.told())

    # --- here ----------------------------------------------------------------------------------

    def _apps(self, app_id: str | None) -> tuple[str, ...]:
        core = self.core
        known = dict.fromkeys([*core.desks, *(app for app, _ in core.outbox.accounts())])
        if app_id is None:
            return tuple(known)
        if app_id not in known:
            raise RequestFault(f"nothing is held of {app_id!r}", field="app_id", status=404)
        return (app_id,)

    async def _delete(self, app_id: str) -> tuple[int, int, list[str]]:
        """Delete an app's data; return events, records of the wire, and what is left and why."""
        core, records, left = self.core, 0, []
        try:
            records = await off_loop(partial(core.wire.forget, app_id), name="records go")
        except Fault as fault:
            left.append(f"the record of the wire: {fault}")
        if core.consents.ruling(app_id).consent is not Consent.ALLOWED:
            purged = await core.purging.purge(app_id)
            return purged.events, records, [*left, *purged.left]
        events = 0
        try:
            for some in core.outbox.purging(app_id):
                events += some
                await asyncio.sleep(0)  # others report meanwhile
        except Fault as fault:
            left.append(f"the outbox: {fault}")
        core.intake.forget(app_id)
        desk = core.desks.get(app_id)
        if desk is not None:  # it goes on, as somebody else
            desk.profile, desk.dirty = Profile(ways=desk.profile.ways), True
            core.intake.name(desk)
        gone = await off_loop(
            partial(spool.forget, core.spooling.folder, app_id), name="spool goes"
        )
        left += [f"the spool: {what}" for what in gone.left]
        try:
            await core.linting.forget_app(app_id)
        except Fault as fault:
            left.append(f"the shapes of its events: {fault}")
        return events, records, left

    # --- what is held --------------------------------------------------------------------------

    async def _app(self, app_id: str) -> HeldApp:
        core = self.core
        desk, ruling = core.desks.get(app_id), core.consents.ruling(app_id)
        reckoning = [
            (one.hour_ms, one.device, one.sum.events, one.sum.digest)
            for way in core.departures.of(app_id)
            for one in core.outbox.reckoning(way.stream, 0)
        ]
        shapes = await core.linting.shapes(ListShapes(app_id=app_id))
        files = [
            str(path)
            for path in sorted(core.spooling.folder.rglob(f"*{spool.prefix(app_id)}*"))
            if path.is_file()
        ]
        return HeldApp(
            app_id=app_id,
            name=desk.name if desk is not None else app_id,
            consent=ruling.consent.value,
            consent_from=ruling.source,
            profile=msgspec.json.encode(profile_of(core, app_id)).decode(),
            streams=tuple(
                HeldStream(
                    name=name,
                    accepted=account.accepted,
                    delivered=account.delivered,
                    pending=account.pending,
                    dead=account.dead,
                    lost={reason.value: n for reason, n in account.lost.items()},
                )
                for (owner, name), account in core.outbox.accounts().items()
                if owner == app_id
            ),
            tallies=tuple(core.outbox.tallies_of(app_id)),
            reckoning=tuple(reckoning),
            shapes=msgspec.json.encode(shapes).decode(),
            spool=tuple(files),
            settings=tuple(
                (row.key, str(row.value), row.origin)
                for row in core.settings.describe()
                if row.key.startswith(f"apps.{app_id}.")
            ),
            far_ends=self._far_ends(app_id),
        )

    def _far_ends(self, app_id: str) -> tuple[FarEnd, ...]:
        profile, places = profile_of(self.core, app_id), self.core.far_ends.of(app_id)
        some = [not_about_all(place, profile) for place in places]
        return (
            *(place.told for place in places),
            *(told for told in some if told is not None),
            *former(self.core, app_id),
        )


def handlers(core: Core) -> Handlers:
    """Return who answers for a person's own data."""
    yours = core.your_data
    return {
        ReadHeld: yours.held,
        DeleteData: yours.delete,
        ReadDeletions: yours.deletions,
        ReadReceipts: yours.receipts,
        RetryDeletion: yours.retry,
    }
