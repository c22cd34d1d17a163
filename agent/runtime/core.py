"""The thread that thinks: one asyncio loop that owns the outbox, the rules and the local socket.

Apps talk to this loop, it commits what they said, and answers; links report to it by letters and
carry out its orders. So nothing in the agent is locked, and the order in which things happened
is the order of one loop. The commit runs in the loop on purpose: handing it to another thread
measured slower at every load (docs/benchmarks.md), because every caller waits for it anyway.

Invariants:
    1. Only the core thread touches outbox, desks, deliveries and board.
    2. Everything that arrived in one turn of the loop is one commit (:class:`Commits`).
    3. A timer exists only while somebody waits for its time; an idle agent is not woken.
"""

from __future__ import annotations

import asyncio
import logging
import secrets as chance
from collections.abc import Callable, Coroutine
from contextlib import suppress

import msgspec

from agent.adapters.machine.facts import facts as machine_facts
from agent.adapters.machine.places import Places
from agent.adapters.outbox.outbox import Bounds, Outbox
from agent.adapters.records.wire_log import Room, WireRing
from agent.door import Notice, Status
from agent.rules import sessions
from agent.rules.identity import ID_BYTES, passing_device_id
from agent.runtime.counter.commits import Commits
from agent.runtime.counter.desk import Desk
from agent.runtime.counter.fairness import fairness_of
from agent.runtime.counter.identify import Naming
from agent.runtime.counter.intake import Intake
from agent.runtime.counter.linting import Linting, linting_of
from agent.runtime.counter.screening import screening_of
from agent.runtime.counter.spooling import Spooling, spooling_of
from agent.runtime.counter.waiting import Waiters
from agent.runtime.counts import Counts
from agent.runtime.farsight import Farsight, Sight
from agent.runtime.furnishing import board_of, secrets_of
from agent.runtime.halting import Halting
from agent.runtime.housing import Housing
from agent.runtime.keeper import APP_ID
from agent.runtime.loopback.gateway import Gateway
from agent.runtime.means import Means
from agent.runtime.networks.network import Network
from agent.runtime.off_loop import off_loop
from agent.runtime.people.consents import Consents
from agent.runtime.people.deletions import Deleting
from agent.runtime.people.purging import Purging
from agent.runtime.people.seating import Seating
from agent.runtime.people.your_data import YourData
from agent.runtime.report import facts_of, local_glance, snapshot
from agent.runtime.upkeep import Upkeep
from agent.runtime.watching import Watchers
from agent.runtime.ways.departures import Departures
from agent.runtime.ways.far_ends import FarEnds
from agent.runtime.ways.leaving import Dock
from agent.runtime.ways.reconciliation import Reconciling
from agent.runtime.wire import WireLog
from agent.settings import Settings
from tracking.errors import StorageFault

log = logging.getLogger("agent.core")

ERRANDS_S = 1.0  #: So long a stop waits for what it would rather not leave half done.


class Core:
    """Everything the agent decides. Made and used on its own loop only.

    Args:
        settings: What a person chose.
        places: Where things are kept.
        means: Clocks and chance.
        version: Ours.
        address: Where we listen, for the status.
        on_death: Called when a thread or an errand of ours died of a bug.

    """

    def __init__(
        self,
        settings: Settings,
        places: Places,
        means: Means,
        *,
        version: str,
        address: str,
        on_death: Callable[[BaseException], None],
    ) -> None:
        self.settings = settings
        self.places = places
        self.means = means
        self.version = version
        self.on_death = on_death
        self.secrets = secrets_of(settings, places, means)
        self.network = Network(self)
        self.far_ends = FarEnds(self)
        self.deleting = Deleting(self, places.state / "deletions")
        self.reconciling = Reconciling(self, places.state / "reconciliation.json")
        self.your_data = YourData(self)
        self.desks: dict[str, Desk] = {}
        self.counts = Counts()
        self.waiters = Waiters()
        bounds = settings.wire
        room = Room(bounds.max_mib * 1024 * 1024, bounds.max_days, bounds.max_entries)
        self.wire = WireLog(WireRing(places.data / "wire", room), self._wire_failed, on_death)
        self.farsight = Farsight(self._seen, means.wall_ms, self.run)
        self.watchers = Watchers(self.status, self.farsight.want)
        self.stopping = asyncio.Event()
        self.on_raise: Callable[[], None] | None = None
        self.board = board_of(settings, places, means, version=version, address=address)
        self._loop = asyncio.get_running_loop()
        self._errands: set[asyncio.Task[None]] = set()
        self.outbox: Outbox
        self.intake: Intake
        self.departures: Departures
        self.upkeep: Upkeep
        self.commits: Commits
        self.halting: Halting
        self.gateway: Gateway  # made with the listeners, by the thread
        self.spooling: Spooling
        self.seating: Seating
        self.consents: Consents
        self.purging: Purging
        self.linting: Linting
        self.housing: Housing

    # --- life ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the outbox, seat the apps, start what leads out.

        Raises:
            StorageFault: The outbox cannot be used at all.

        """
        outbox = self.settings.outbox
        self.outbox = Outbox.open(
            self.places.outbox,
            Bounds(
                events=outbox.max_events,
                bytes=outbox.max_mib * 1024 * 1024,
                age_days=outbox.max_age_days,
            ),
            self.means.wall_ms(),
        )
        self.wire.open()
        self.outbox.counting.today = lambda: self.board.day(self.means.wall_ms())
        self.upkeep = Upkeep(self.outbox, self.means.wall_ms, self.note)
        for number, said in enumerate(self.outbox.opening.notices):
            self.note(f"outbox.opening.{number}", said, "warning")
        if self.places.note:
            self.note("places.runtime", self.places.note, "info")
        self.consents = Consents(
            self.places.state / "consents.json",
            self.settings,
            self.desks,
            embedded=[APP_ID],
            env=self.means.environment,
            wall_ms=self.means.wall_ms,
            note=self.note,
            unnote=self.unnote,
        )
        self.consents.recall()
        facts = machine_facts(self.means.environment)
        per_session = self.settings.identity.device_id == "session"
        self.board.facts = facts_of(facts)
        self.commits = Commits(
            self.outbox,
            self.upkeep,
            self.desks,
            self.counts,
            self.board,
            self.watchers,
            wall_ms=self.means.wall_ms,
            note=self.note,
        )
        naming = Naming(self.secrets, self.board, per_session=per_session, note=self.note)
        self.linting = linting_of(self)
        self.watchers.marks_of = self.linting.marks_of
        self.intake = Intake(
            self.outbox,
            self.desks,
            gate=self.consents.gate,
            facts=facts,
            module_version=self.version,
            wall_ms=self.means.wall_ms,
            mono_s=self.means.mono_s,
            plan=self.commits.plan_flush,
            identify=lambda desk: self.run(naming.name(desk.app_id)),
            fresh_session=lambda recent: sessions.fresh_id(recent, chance.randbelow),
            fairness=fairness_of(self),
            screening=screening_of(self),
            passing_device=_passing_device if per_session else None,
            changed=self.watchers.changed,
        )
        naming.intake = self.intake
        self.departures = Departures(
            Dock(
                outbox=self.outbox,
                link=self.settings.link,
                means=self.means,
                wire=self.wire,
                secrets=self.secrets,
                waiters=self.waiters,
                plan_settle=self.commits.plan_settle,
                settle_now=self.commits.flush_quietly,
                storage_failed=self.commits.failed,
                atlas=self.network.atlas,
                holds_back=self.network.holds_back,
                beat=self.reconciling.beat,
            ),
            changed=self.watchers.changed,
            on_death=self.on_death,
        )
        self.commits.intake, self.commits.departures = self.intake, self.departures
        naming.departures = self.departures
        self.halting = Halting(
            self.places.state / "pause.json",
            self.board,
            self.departures,
            wall_ms=self.means.wall_ms,
            note=self.note,
        )
        self.halting.recall()
        self.seating = Seating(
            self.settings,
            self.board,
            self.desks,
            self.outbox,
            self.intake,
            self.departures,
            self.consents,
            version=self.version,
            note=self.note,
            settle=self.commits.flush_quietly,
            run=self.run,
        )
        self.seating.open()
        self.consents.seat = self.seating.apply
        self.housing = Housing(
            self.settings,
            self.places,
            self.board,
            self.farsight,
            self.secrets,
            atlas=self.network.atlas,
            recorder=self.far_ends.recorder,
            seat=self.seating.move_in,
            depart=self.seating.depart,
            guests=self.seating.guests,
            forbidden=self.consents.nobody_may,
            note=self.note,
            on_death=self.on_death,
            run=self.run,
        )
        self.seating.welcome = self.housing.welcome
        self.network.open()
        self.housing.open()
        self.run(self.housing.aim())
        self.spooling = spooling_of(self)
        self.spooling.open()
        self.purging = Purging(self)
        self.purging.go_on()
        self.deleting.open()
        self.reconciling.open()

    def rest(self) -> None:
        """Take nothing any more, and tell everyone who waits for what will not be."""
        self.stopping.set()
        self.watchers.close()
        self.wire.rest()
        self.farsight.close()
        self.network.close()
        self.deleting.close()
        self.intake.close()
        self.spooling.close()

    async def close(self) -> None:
        """Stop what leads out, write what is owed, close the outbox."""
        self.rest()
        self.halting.close()
        self.consents.close()
        self.departures.rest()
        await asyncio.gather(
            off_loop(self.departures.close, name="links end"),
            off_loop(self.housing.close, name="far end ends"),
        )
        if self._errands:  # a key that is being written is finished, a silent keyring is left
            await asyncio.wait(self._errands, timeout=ERRANDS_S)
        for errand in tuple(self._errands):
            errand.cancel()
        self.commits.close()
        self.linting.close()
        self.upkeep.close()
        await off_loop(self.wire.close, name="wire log ends")
        self.outbox.close()

    def run(self, errand: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run something beside the loop's work; its death is the agent's."""
        task = self._loop.create_task(errand)
        self._errands.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._errands.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self.on_death(error)

        task.add_done_callback(done)
        return task

    # --- what people see ----------------------------------------------------------------------

    def status(self) -> Status:
        """Return the newest snapshot."""
        if self.board.glance is None or self.board.glance.source == "this computer":
            self._glance()
        return self.reconciling.told(
            snapshot(
                self.board,
                self.desks,
                self.departures.ways.values(),
                self.outbox,
                self.counts,
                self.consents,
                self.means.wall_ms(),
                self.means.mono_s(),
            )
        )

    def _glance(self) -> None:
        """Look at the tallies; an outbox that cannot be read must not end the view."""
        try:
            self.board.glance = local_glance(self.outbox.tallies, self.means.wall_ms())
            self.board.unnote("storage.read")
        except StorageFault as fault:  # no one is told of a change: this is asked for by the told
            self._post("storage.read", str(fault), "error")

    def note(self, code: str, text: str, severity: str) -> None:
        """Show a person something until it is no longer true."""
        self._post(code, text, severity)
        self.watchers.changed()

    def unnote(self, code: str) -> None:
        """Show it no longer."""
        self.board.unnote(code)
        self.watchers.changed()

    def _post(self, code: str, text: str, severity: str) -> None:
        said = {"code": code, "text": text, "severity": severity}
        self.board.note(msgspec.convert(said | {"since_ms": self.means.wall_ms()}, Notice))

    def _wire_failed(self, why: str) -> None:
        """Say on the loop what the thread that writes the record of the wire found."""

        def tell() -> None:
            if why:
                self.note("wire", f"What leaves this machine is not recorded: {why}", "warning")
            else:
                self.board.unnote("wire")
                self.watchers.changed()

        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(tell)

    def _seen(self, sight: Sight) -> None:
        board = self.board
        board.glance, board.live_count = sight.glance, sight.live_count
        board.live_users = sight.live_users
        self.watchers.changed()

    # --- apps ---------------------------------------------------------------------------------

    def keep_here(self) -> None:
        """Start the embedded far end, from now on with every start of the agent."""
        self.housing.keep_here()
        self.watchers.changed()

    # --- steering ------------------------------------------------------------------------------

    def pause(self, for_s: float | None, reason: str) -> None:
        """Stop sending; apps are accepted as before. Survives a restart."""
        self.halting.pause(for_s, reason)
        self.watchers.changed()

    def resume(self) -> None:
        """Send again."""
        self.halting.resume()
        self.watchers.changed()


def _passing_device() -> str:
    return passing_device_id(chance.token_bytes(ID_BYTES))
