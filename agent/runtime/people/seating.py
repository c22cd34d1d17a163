"""Who sits where: each app's desk, with all that is kept of it, and the way out it is given.

An app gets its desk from the settings file, from a person's answer, from the far end on this
computer, or from events of it that still wait although nobody names it any more.

Invariant: only the desk of an app that is allowed has an identity, a way out, or a row to come.
When that ends, its ways are hung up before anything else is done.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from agent.adapters.outbox.outbox import Outbox
from agent.rules.consent import Consent
from agent.rules.quota import Bucket
from agent.rules.ways import Way, only_way
from agent.rules.wording import events
from agent.runtime.counter.desk import Desk
from agent.runtime.counter.intake import Intake
from agent.runtime.counter.lanes import (
    forgotten_lanes,
    holds,
    kept_lanes,
    lanes_of,
    left_behind,
)
from agent.runtime.counter.profile import PROFILE, Profile
from agent.runtime.counter.totals import totals
from agent.runtime.off_loop import off_loop
from agent.runtime.people.consents import Consents
from agent.runtime.report import Board
from agent.runtime.ways.departures import Departures
from agent.settings import Settings

log = logging.getLogger("agent.consent")

MOST_DESKS = 500  #: So many apps the settings may let in unnamed; more knock in vain.


class Seating:
    """Gives apps their desks and their ways out, and takes them away.

    Args:
        settings: Which apps a person declared.
        board: Shows the default app.
        desks: App id → desk; filled here.
        outbox: What is kept of an app.
        intake: Has identities made.
        departures: Opens ways out.
        consents: Says what an app may do.
        version: Ours, for the app of the far end on this computer.
        note: Shows a notice: code, text, severity.
        settle: Writes what arrived and what was acknowledged, at once.
        run: Runs an errand beside the loop's work.

    Attributes:
        welcome: Hears of an allowed app that has no far end but the one on this computer: id, name;
            set by the core.

    """

    def __init__(
        self,
        settings: Settings,
        board: Board,
        desks: dict[str, Desk],
        outbox: Outbox,
        intake: Intake,
        departures: Departures,
        consents: Consents,
        *,
        version: str,
        note: Callable[[str, str, str], None],
        settle: Callable[[], None],
        run: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.settings = settings
        self.board = board
        self.desks = desks
        self.outbox = outbox
        self.intake = intake
        self.departures = departures
        self.consents = consents
        self.version = version
        self.note = note
        self.settle = settle
        self.run = run
        self.welcome: Callable[[str, str], None] | None = None

    def open(self) -> None:
        """Seat who is declared, answered or forgotten, and open the ways out that are declared."""
        for app in self.settings.apps:
            self.seat(app.id, app.name, app.version)
        for app_id, answer in self.consents.answers.apps.items():
            if answer.verdict != "later" and app_id not in (*self.desks, *self.consents.embedded):
                self.seat(app_id, self.consents.name_of(app_id, app_id), "")
        self._seat_forgotten()
        self._choose_default()
        self.board.strangers_go_to = next(iter(self.far_ends("")), "")
        for app_id in tuple(self.desks):
            if self.far_ends(app_id):
                self.depart(app_id)

    def seat(self, app_id: str, name: str, version: str) -> Desk:
        """Give an app its desk, with all that is kept of it."""
        ruling = self.consents.ruling(app_id)
        declared = self.settings.app(app_id)
        limits = self.settings.limits
        desk = Desk(
            app_id=app_id,
            name=name,
            version=version,
            consent=ruling.consent,
            consent_from=ruling.source,
            bucket=Bucket(
                rate_per_s=(declared and declared.events_per_s) or limits.events_per_s,
                burst=(declared and declared.burst) or limits.burst,
            ),
        )
        desk.rule(ruling)
        self.desks[app_id] = desk
        if ruling.consent is Consent.ALLOWED:
            self._equip(desk)
        else:
            self._show(desk)
        return desk

    def apply(self, app_id: str) -> None:
        """Act on what an app may do now."""
        ruling = self.consents.ruling(app_id)
        desk = self.desks.get(app_id)
        if desk is None:
            self._seat_answered(app_id, ruling.consent)
            return
        before = desk.consent
        silenced = before is Consent.ALLOWED and ruling.consent is not Consent.ALLOWED
        if silenced:
            self.settle()  # what arrived before the no, and what was acknowledged, as it was
        desk.rule(ruling)
        desk.name = self.consents.name_of(app_id, desk.name)
        if silenced:
            self._silence(desk)
        elif before is not Consent.ALLOWED and ruling.consent is Consent.ALLOWED:
            self._equip(desk)
            self._send_off(desk)
        if ruling.consent is Consent.PENDING and not self._is_known(desk):
            del self.desks[app_id]
        if before is not desk.consent:
            log.info("an app may do something else app=%s consent=%s", app_id, desk.consent.value)
            self._choose_default()

    def ways_of(self, app_id: str) -> tuple[Way, ...]:
        """Return the ways of an app: its own, or for an app that no file declares the first
        Nucleus one of the file, because a person who named one far end means it for all."""
        app = self.settings.app(app_id)
        if app is not None:
            return app.ways
        if app_id not in self.consents.embedded:
            for other in self.settings.apps:
                for way in other.ways:
                    if way.language == "nucleus" and way.endpoint:
                        return (way,)
        return (only_way(),)

    def far_ends(self, app_id: str) -> tuple[str, ...]:
        """Return where an app's events go if the far end on this computer is not asked."""
        return tuple(way.endpoint for way in self.ways_of(app_id) if way.endpoint)

    def guests(self) -> list[tuple[str, str]]:
        """Return the allowed apps, id and name, that no file declares and that have no far end."""
        known = self.consents.declared | self.consents.embedded
        return [
            (desk.app_id, desk.name)
            for desk in self.desks.values()
            if desk.consent is Consent.ALLOWED
            and desk.app_id not in known
            and not self.far_ends(desk.app_id)
        ]

    def empty(self, desk: Desk) -> None:
        """Keep nothing of an app in memory that was deleted from the disk; its ledger is shown."""
        desk.profile, desk.dirty, desk.marks = Profile(), False, 0
        self._show(desk)

    def _show(self, desk: Desk) -> None:
        """Give a desk whose app may not report the queues to show; its ids stay on the disk."""
        app_id = desk.app_id
        kept = PROFILE.decode(self.outbox.profile(app_id)).ways
        desk.lanes = kept_lanes(app_id, kept, self.ways_of(app_id), self.outbox)
        desk.forgotten = desk.behind = ()

    def _seat_answered(self, app_id: str, may: Consent) -> None:
        """Give an app a desk that it had no need of before."""
        answer = self.consents.answers.apps.get(app_id)
        answered = answer is not None and answer.verdict != "later"
        if may is Consent.ALLOWED and not answered and len(self.desks) >= MOST_DESKS:
            return
        if may is Consent.ALLOWED or answered or app_id in self.consents.answers.breaks:
            desk = self.seat(app_id, self.consents.name_of(app_id, app_id), "")
            if desk.consent is Consent.ALLOWED:
                self._send_off(desk)
            self._choose_default()

    def _is_known(self, desk: Desk) -> bool:
        """Whether a desk is worth keeping although nobody answered for its app."""
        app_id = desk.app_id
        return (
            app_id in self.consents.declared
            or app_id in self.consents.embedded
            or any(
                holds(account)
                for (owner, _), account in self.outbox.accounts().items()
                if owner == app_id
            )
        )

    def _equip(self, desk: Desk) -> None:
        """Give a desk what only an allowed app has."""
        desk.profile = PROFILE.decode(self.outbox.profile(desk.app_id))
        app = self.settings.app(desk.app_id)
        if app is not None:
            desk.speaks = frozenset(app.speaks)
        desk.lanes = lanes_of(desk, self.ways_of(desk.app_id), self.outbox)
        self._note_forgotten_ways(desk)
        self.board.recall(
            desk.app_id,
            desk.profile.today,
            totals(self.outbox, desk).delivered,
            self.consents.wall_ms(),
        )
        self.intake.name(desk)  # now, because a keyring may take its time

    def _send_off(self, desk: Desk) -> None:
        if self.far_ends(desk.app_id):
            self.depart(desk.app_id)
        elif self.welcome is not None:
            self.welcome(desk.app_id, desk.name)

    def _silence(self, desk: Desk) -> None:
        """Hang up, and let nothing more of an app reach the disk."""
        desk.dirty = False
        self.intake.withdraw(desk.app_id)
        for leaving in self.departures.leave(desk.app_id):
            self.run(off_loop(leaving.stop, name="link ends"))

    def move_in(self, app_id: str, name: str) -> None:
        """Seat an app of the far end on this computer, if it has no desk yet."""
        if app_id not in self.desks:
            self.seat(app_id, name, self.version)
            self._choose_default()

    def depart(self, app_id: str, endpoint: str = "") -> None:
        """Open an app's ways out, if it may have any.

        Args:
            app_id: Whose.
            endpoint: Where an app without an upstream of its own goes.

        """
        desk = self.desks[app_id]
        if desk.consent is Consent.ALLOWED:
            for lane in desk.lanes:
                self.departures.open(desk, lane, endpoint)

    def _note_forgotten_ways(self, desk: Desk) -> None:
        """Show upstreams that the settings no longer name but whose events still wait."""
        desk.behind = left_behind(desk, self.outbox)
        desk.forgotten = forgotten_lanes(desk, self.outbox)
        for lane in desk.forgotten:
            number = self.outbox.account(lane.stream).pending
            wait = "waits" if number == 1 else "wait"
            self.note(
                f"upstream.forgotten.{desk.app_id}.{lane.way.name}",
                f"{events(number)} of {desk.app_id} {wait} for the upstream {lane.way.name},"
                " which homing.toml no longer names: see `homing upstreams`",
                "warning",
            )

    def _seat_forgotten(self) -> None:
        """Show apps that the settings no longer name but whose events still wait."""
        waiting = Counter[str]()
        for (app_id, _), account in self.outbox.accounts().items():
            if app_id not in self.desks and holds(account):
                waiting[app_id] += account.pending
        for app_id, number in waiting.items():
            self.seat(app_id, app_id, "")  # with all its queues that hold something
            wait = "waits" if number == 1 else "wait"
            self.note(
                f"app.undeclared.{app_id}",
                f"{events(number)} of {app_id} {wait}, but homing.toml no longer names it",
                "warning",
            )

    def _choose_default(self) -> None:
        """Name the app that `homing send` speaks for."""
        allowed = (d.app_id for d in self.desks.values() if d.consent is Consent.ALLOWED)
        self.board.default_app = next(allowed, None)
