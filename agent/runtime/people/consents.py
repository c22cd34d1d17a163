"""The core's doorkeeper: what a person answered, kept on disk; who knocks; what is dropped.

Every way in asks :meth:`Consents.gate` before anything of a frame is looked at, and
:meth:`Consents.admit` before a connection is upgraded. What an app may do is decided by
:mod:`agent.rules.consent`; here the answers live, with the one timer that their ends need.

Invariants:
    1. What the gate turns away reaches no queue: of a pending app's events only their number is
       kept, in memory; of a denied or paused one's only how many were dropped.
    2. An answer holds from the moment it is given, whether or not it could be written; if not,
       that is said. Answers that cannot be read lead to *pending*, never to *allowed*.
    3. There is a timer only while an answer or a pause has an end, and it is set to that end. A
       sleep of the machine, in which such a timer stands still, is heard from the clock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from agent.adapters.local.callers import who
from agent.adapters.machine.clock_watch import ClockWatch, open_timer
from agent.adapters.machine.private_files import read_private, write_private
from agent.door.apps import EveryApp
from agent.rules import consent
from agent.rules.consent import Answer, Answers, Consent, Ruling
from agent.rules.knocks import MOST_KNOCKERS, Knocks
from agent.rules.wording import visible
from agent.runtime.counter.desk import Desk
from agent.settings import Settings
from tracking.errors import Fault, RequestFault, StorageFault
from tracking.nucleus import APP_ID
from tracking.sink import Origin, Receipt

log = logging.getLogger("agent.consent")

MOST_FILE_BYTES = 1024 * 1024  #: ``MOST_ANSWERS`` of the longest take less.
NAMED_IN_A_NOTICE = 3


class Consents:
    """Keeps the answers, rules, turns away.

    Args:
        file: Where the answers are kept.
        settings: Who is declared, and the policy.
        desks: App id → desk; those that were seated.
        embedded: Ids that the agent made for the far end on this computer.
        env: Where ``DO_NOT_TRACK`` would stand, at the agent's start.
        wall_ms: Unix milliseconds.
        note: Shows a notice: code, text, severity.
        unnote: Takes one back.

    Attributes:
        seat: Hears of an app whose ruling may have changed, and acts on it; set by the core.
        dropped: Events dropped of apps without a desk.
        unkept: Why what was answered is not on the disk; empty if it is.

    """

    def __init__(
        self,
        file: Path,
        settings: Settings,
        desks: Mapping[str, Desk],
        *,
        embedded: Iterable[str],
        env: Mapping[str, str],
        wall_ms: Callable[[], int],
        note: Callable[[str, str, str], None],
        unnote: Callable[[str], None],
    ) -> None:
        self.file = file
        self.settings = settings
        self.desks = desks
        self.declared = frozenset(app.id for app in settings.apps)
        self.embedded = frozenset(embedded)
        self.do_not_track = consent.do_not_track(env)
        self.wall_ms = wall_ms
        self.note = note
        self.unnote = unnote
        self.answers = Answers()
        self.knocks = Knocks()
        self.dropped = 0
        self.unkept = ""
        self.seat: Callable[[str], None] = _nobody
        self._timer: asyncio.TimerHandle | None = None
        self._clock: ClockWatch | None = None

    # --- what was answered ---------------------------------------------------------------------

    def recall(self) -> None:
        """Read what was answered before; unreadable answers are lost, and that is kept too."""
        try:
            raw = read_private(self.file, most_bytes=MOST_FILE_BYTES)
            if raw is not None:
                self.answers = msgspec.json.decode(raw, type=Answers)
        except (Fault, msgspec.MsgspecError) as exc:
            code = exc.code if isinstance(exc, Fault) else "damaged"
            log.warning("the answers of a person could not be read code=%s", code)
            self.answers = Answers(lost_ms=self.wall_ms())
            self.write()
        if self.do_not_track:
            self.note("do_not_track", f"{consent.UNTRACKED}: nothing is kept or sent", "warning")
        elif self.settings.consent.all == "deny":
            self.note("consent.deny", f"{consent.FORBIDDEN}: nothing is kept or sent", "warning")
        self._tell_lost()
        self._plan()

    def ruling(self, app_id: str, now_ms: int | None = None) -> Ruling:
        """Return what an app may do, now or at another time."""
        return consent.decide(
            app_id,
            declared=self.declared,
            embedded=self.embedded,
            do_not_track=self.do_not_track,
            policy=self.settings.consent.all,
            answers=self.answers,
            now_ms=self.wall_ms() if now_ms is None else now_ms,
        )

    def after(self, app_id: str, ruling: Ruling) -> Ruling | None:
        """Return what holds when a ruling has ended by itself; None if it does not."""
        return None if ruling.until_ms is None else self.ruling(app_id, ruling.until_ms)

    @property
    def nobody_may(self) -> str:
        """Why no app may report whatever a person says; empty if that is not so."""
        if self.do_not_track:
            return consent.UNTRACKED
        return consent.FORBIDDEN if self.settings.consent.all == "deny" else ""

    def name_of(self, app_id: str, otherwise: str) -> str:
        """Return what people call an app: as they said, or as the settings do."""
        app = self.settings.app(app_id)
        answer = self.answers.apps.get(app_id)
        if answer is not None and answer.name:
            return answer.name
        return otherwise if app is None else app.name

    def change(self, answers: Answers) -> None:
        """Take new answers up: kept first, then acted on.

        Raises:
            RequestFault: There are more than any person gives.

        """
        if len(answers.apps) > consent.MOST_ANSWERS or len(answers.breaks) > consent.MOST_ANSWERS:
            raise RequestFault(
                f"{consent.MOST_ANSWERS} apps were answered, and one more is too many",
                status=409,
                advice="Forget some: homing apps forget ID.",
            )
        answers = consent.found_again(answers, self.declared)
        self.answers = consent.without_ended(answers, self.wall_ms())
        self.write()
        self.look()

    def said(self, app_id: str, answer: Answer | None) -> None:
        """Take one app's answer up, or back; a pause of that app ends with it."""
        apps = {id_: said for id_, said in self.answers.apps.items() if id_ != app_id}
        breaks = {id_: rest for id_, rest in self.answers.breaks.items() if id_ != app_id}
        if answer is not None:
            apps[app_id] = answer
            if answer.verdict != "later":
                self.knocks.forget(app_id)
        self.change(msgspec.structs.replace(self.answers, apps=apps, breaks=breaks))

    def look(self) -> None:
        """Act on what holds now; called when something was said, and when something ended."""
        kept = consent.without_ended(self.answers, self.wall_ms())
        if kept != self.answers:
            self.answers = kept
            self.write()
        for app_id in {*self.desks, *self.answers.apps, *self.answers.breaks}:
            self.seat(app_id)
        self._tell_pending()
        self._tell_lost()
        self._plan()

    def close(self) -> None:
        """Forget the timer; the answers stay kept."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._clock is not None:
            self._clock.close()
            self._clock = None

    def _plan(self) -> None:
        """Be woken when the next answer ends, and at no other time (invariant 3)."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now_ms = self.wall_ms()
        end_ms = consent.next_end_ms(self.answers, now_ms)
        if end_ms is None:
            self.close()
            return
        loop = asyncio.get_running_loop()
        if self._clock is None:
            self._clock = ClockWatch(loop, self.look, open_timer())
        self._timer = loop.call_later((end_ms - now_ms) / 1000, self.look)

    def write(self) -> None:
        """Keep the answers; if that fails, say how long they hold."""
        try:
            write_private(self.file, msgspec.json.encode(self.answers))
        except StorageFault as fault:
            log.warning("the answers of a person could not be written code=%s", fault.code)
            self.unkept = str(fault)
            said = f"what you answered holds until the agent stops, not longer: {fault}"
            self.note("consent.kept", said, "error")
        else:
            self.unkept = ""
            self.unnote("consent.kept")

    # --- the gate ------------------------------------------------------------------------------

    def gate(self, app_id: str, count: int, origin: Origin) -> Receipt | None:
        """Turn a frame away, or let it pass (None); see invariant 1.

        Args:
            app_id: Whose it claims to be.
            count: Events in it.
            origin: Where it came from.

        """
        desk = self.desks.get(app_id)
        if desk is not None and desk.consent is Consent.ALLOWED:
            return None
        may = self._now(app_id)
        if may is Consent.ALLOWED:
            return None
        if may is Consent.PENDING:
            return Receipt(fault=self.knock(app_id, count, origin))
        desk = self.desks.get(app_id)
        if desk is None:
            self.dropped += count
        else:
            desk.dropped += count
        return Receipt()

    def admit(self, app_id: str, origin: Origin, *, frame_follows: bool) -> None:
        """Let a connection in, or turn it away before anything of it is read.

        Args:
            app_id: Whose it claims to be.
            origin: Where it comes from.
            frame_follows: :meth:`gate` will be asked about the request's frame, and counts it.

        Raises:
            RequestFault: Nobody allowed the app.

        """
        if not frame_follows and self._now(app_id) is Consent.PENDING:
            raise self.knock(app_id, 0, origin)

    def _now(self, app_id: str) -> Consent:
        """Return what an app may do; one that the settings let in for all gets its desk here."""
        desk = self.desks.get(app_id)
        ended = (
            desk is not None
            and (end_ms := desk.consent_until_ms) is not None
            and end_ms <= self.wall_ms()
        )
        if ended or (desk is None and self.ruling(app_id).consent is Consent.ALLOWED):
            self.seat(app_id)  # a timer may be late, for it stands still while the machine sleeps
            desk = self.desks.get(app_id)
        if desk is not None:
            return desk.consent
        may = self.ruling(app_id).consent
        return Consent.PENDING if may is Consent.ALLOWED else may  # no room for another desk

    def knock(self, app_id: str, count: int, origin: Origin | None = None) -> RequestFault:
        """Count a knock of an app that nobody allowed; return what its sender is told.

        Args:
            app_id: Whose name was used.
            count: Events that were offered.
            origin: Where from; None: the spool.

        """
        if not APP_ID.fullmatch(app_id):
            return RequestFault(f"no app has the id {visible(app_id, 80)!r}", field="appId")
        peer = "" if origin is None else origin.peer
        caller = who(peer)
        way = "spool" if origin is None else origin.transport
        new = self.knocks.note(
            app_id,
            by="send" if peer == "person" else way,
            events=count,
            now_ms=self.wall_ms(),
            pid=caller.pid,
            executable="homing send" if peer == "person" else caller.executable,
        )
        if new:
            if len(self.knocks.by_app) < MOST_KNOCKERS:  # or who invents ids fills the log
                log.info("an app that nobody allowed knocked app=%s pid=%d", app_id, caller.pid)
            self._tell_pending()
        return RequestFault(
            f"the app {app_id!r} is not allowed on this computer yet",
            status=403,
            field="appId",
            advice=f"Allow it: homing apps allow {app_id}. Or declare it in homing.toml:"
            f' [[apps]] id = "{app_id}".',
        )

    def refusal(self, app_id: str) -> RequestFault | None:
        """Return why a person's own event is not kept; an app's is acknowledged and dropped.

        Args:
            app_id: Whose; empty: nobody's, because no app may report.

        """
        ruling = self.ruling(app_id)
        if ruling.consent not in (Consent.DENIED, Consent.PAUSED):
            return None
        if self.nobody_may:
            why, advice = self.nobody_may, "Unset it and start the agent again, to report."
            if not self.do_not_track:
                advice = "Whoever looks after the settings of this computer can change that."
        else:
            why = f"{ruling.consent.value} by {ruling.source}"
            why += f" ({visible(ruling.reason)})" if ruling.reason else ""
            word = "allow" if ruling.consent is Consent.DENIED else "resume"
            whom = "--all" if ruling.source != consent.YOU else app_id
            advice = f"If you want it to report again: homing apps {word} {whom}"
        whose = f" for {visible(app_id, 80)}" if app_id else ""
        return RequestFault(
            f"nothing is reported{whose}: {why}",
            field="app_id",
            status=403,
            advice=advice,
        )

    def every_app(self) -> EveryApp | None:
        """Return the no that holds for all apps, None if there is none."""
        answers = consent.without_ended(self.answers, self.wall_ms())
        if self.nobody_may:
            source = "DO_NOT_TRACK" if self.do_not_track else "policy"
            return EveryApp(consent="denied", consent_from=source, reason=self.nobody_may)
        if answers.all_apps is None:
            return None
        pause = answers.all_apps
        return EveryApp(
            consent="paused",
            consent_from=consent.YOU,
            reason=pause.reason,
            since_ms=pause.since_ms,
            until_ms=pause.until_ms,
        )

    # --- what is said of it --------------------------------------------------------------------

    def asking(self) -> list[str]:
        """Return the apps that wait for an answer and were not put off, the longest first."""
        if self.every_app() is not None:
            return []
        return [
            app_id
            for app_id in self.knocks.by_app
            if app_id not in self.answers.apps
            and ((desk := self.desks.get(app_id)) is None or desk.consent is Consent.PENDING)
        ]

    def _tell_pending(self) -> None:
        asking = self.asking()
        if not asking:
            self.unnote("apps.pending")
            return
        if len(asking) == 1:
            (app_id,) = asking
            by = self.knocks.by_app[app_id].executable
            named = f"{app_id} ({visible(by, 100)})" if by else app_id
            said = f"{named} wants to report: `homing apps allow {app_id}`, or `deny`"
        else:
            more = len(asking) - NAMED_IN_A_NOTICE
            named = ", ".join(asking[:NAMED_IN_A_NOTICE])
            tail = f" and {more} more" if more > 0 else ""
            said = f"{len(asking)} apps want to report: {named}{tail}; see `homing apps`"
        self.note("apps.pending", said, "info")

    def _tell_lost(self) -> None:
        if self.answers.lost_ms is None:
            self.unnote("consent.lost")
        else:
            said = f"{consent.LOST}: `homing apps`, then `homing apps allow ID` or `deny`"
            self.note("consent.lost", said, "warning")


def _nobody(app_id: str) -> None:
    del app_id
