"""Who sits where: each app's desk, with all that is kept of it, and the way out it is given.

An app gets its desk from the settings file, from the far end on this computer, or from events of
it that still wait although nobody names it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.adapters.outbox import Outbox
from agent.rules import consent
from agent.rules.consent import Consent
from agent.rules.quota import Bucket
from agent.rules.ways import Way, only_way
from agent.runtime.departures import Departures
from agent.runtime.desk import Desk, Lane
from agent.runtime.intake import Intake
from agent.runtime.keeper import APP_ID
from agent.runtime.lanes import forgotten_lanes, lanes_of
from agent.runtime.profile import PROFILE
from agent.runtime.report import Board
from agent.settings import Settings


class Seating:
    """Gives apps their desks and their ways out.

    Args:
        settings: Which apps a person declared.
        board: Shows the default app.
        desks: App id → desk; filled here.
        outbox: What is kept of an app.
        intake: Has identities made.
        departures: Opens ways out.
        env: Where ``DO_NOT_TRACK`` would stand.
        version: Ours, for the app of the far end on this computer.
        note: Shows a notice: code, text, severity.

    """

    def __init__(
        self,
        settings: Settings,
        board: Board,
        desks: dict[str, Desk],
        outbox: Outbox,
        intake: Intake,
        departures: Departures,
        *,
        env: Mapping[str, str],
        version: str,
        note: Callable[[str, str, str], None],
    ) -> None:
        self.settings = settings
        self.board = board
        self.desks = desks
        self.outbox = outbox
        self.intake = intake
        self.departures = departures
        self.env = env
        self.version = version
        self.note = note

    def open(self) -> None:
        """Seat the declared apps and the forgotten ones, and open the declared ways out."""
        for app in self.settings.apps:
            self.seat(app.id, app.name, app.version)
        self._seat_forgotten()
        self._choose_default()
        for app in self.settings.apps:
            if app.upstreams:
                self.depart(app.id)

    def seat(self, app_id: str, name: str, version: str) -> Desk:
        """Give an app its desk, with all that is kept of it."""
        ruling = consent.decide(
            app_id,
            declared=[app.id for app in self.settings.apps],
            embedded=[APP_ID],
            do_not_track=consent.do_not_track(self.env),
        )
        limits = self.settings.limits
        desk = Desk(
            app_id=app_id,
            name=name,
            version=version,
            consent=ruling.consent,
            consent_from=ruling.source,
            bucket=Bucket(rate_per_s=limits.events_per_s, burst=limits.burst),
        )
        if ruling.consent is Consent.ALLOWED:
            desk.profile = PROFILE.decode(self.outbox.profile(app_id))
            app = self.settings.app(app_id)
            ways = (only_way(),) if app is None else app.ways
            desk.speaks = desk.speaks if app is None else frozenset(app.speaks)
            desk.lanes = lanes_of(desk, ways, self.outbox)
            self._note_forgotten_ways(desk)
        self.desks[app_id] = desk
        if ruling.consent is Consent.ALLOWED:
            self.intake.name(desk)  # now, because a keyring may take its time
        return desk

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
        desk.forgotten = forgotten_lanes(desk, self.outbox)
        for lane in desk.forgotten:
            events = self.outbox.account(lane.stream).pending
            self.note(
                f"upstream.forgotten.{desk.app_id}.{lane.way.name}",
                f"{events} events of {desk.app_id} wait for the upstream {lane.way.name},"
                " which homing.toml no longer names: see `homing upstreams`",
                "warning",
            )

    def _seat_forgotten(self) -> None:
        """Show apps that the settings no longer name but whose events still wait."""
        for (app_id, key), account in self.outbox.accounts().items():
            if app_id in self.desks or not (account.pending or account.dead):
                continue
            lane = Lane(Way(name=key, upstream=key), self.outbox.stream(app_id, key))
            desk = self.seat(app_id, app_id, "")
            desk.lanes = (*desk.lanes, lane)
            self.note(
                f"app.undeclared.{app_id}",
                f"{account.pending} events of {app_id} wait, but homing.toml no longer names it",
                "warning",
            )

    def _choose_default(self) -> None:
        allowed = (d.app_id for d in self.desks.values() if d.consent is Consent.ALLOWED)
        self.board.default_app = next(allowed, None)
