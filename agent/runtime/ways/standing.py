"""How one way out stands: what is told of it, and what of its failures outlives the program.

For ways that ask over HTTP. Owned by the core thread, like the way itself.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from agent.rules.endurance import Hold, dialled, left_s, waiting
from agent.rules.notices import Restarted, Start, State
from agent.rules.posting import PostingRule
from agent.rules.ways import ONLY, Way
from agent.runtime.counter.desk import Desk
from agent.runtime.ways.leaving import Dock

log = logging.getLogger("agent.posting")


@dataclass(slots=True)
class Standing:
    """Watches the rule of one way.

    Attributes:
        since_ms: When the state that people see began.

    """

    desk: Desk
    way: Way
    dock: Dock
    rule: PostingRule
    since_ms: int = 0
    _state: State = State.IDLE
    _odd: str = ""
    _parked_for: str = ""  # the code of a park that was told and has not ended
    _asked: bool = False  # since the start of the program

    @property
    def who(self) -> str:
        """Whose way this is, for the log."""
        name = self.way.name
        return self.desk.app_id if name == ONLY else f"{self.desk.app_id} upstream={name}"

    def look(self, endpoint: str, now_s: float) -> None:
        """See what a notice has changed: log the turns, and keep what is worth it."""
        if self.rule.odd != self._odd:
            self._odd = self.rule.odd
            if self._odd:
                log.warning("the far end answers oddly app=%s odd=%r", self.who, self._odd)
        before, state = self._state, self.rule.state
        if state is before:
            return
        self._state = state
        parked_for = ""
        if state is State.PARKED and self.rule.reason is not None:
            parked_for = self.rule.reason.code
        if state is State.LIVE and before is not State.LIVE:
            log.info("the far end takes what it is sent app=%s", self.who)
        if before is State.LIVE and state is State.WAITING and self.rule.reason is not None:
            log.info("lost the far end app=%s code=%s", self.who, self.rule.reason.code)
        if not (parked_for and parked_for == self._parked_for):
            if State.LIVE in (before, state) or state in (State.IDLE, State.PARKED):
                self.since_ms = self.dock.means.wall_ms()
            if parked_for:
                log.warning("parked app=%s code=%s", self.who, parked_for)
        self.since_ms = self.since_ms or self.dock.means.wall_ms()
        if state is not State.DIALING:
            self._parked_for = parked_for
        self._keep_wait(endpoint, now_s)

    # --- what outlives the program --------------------------------------------------------------

    @property
    def hold(self) -> Hold | None:
        """What is kept of failures."""
        return self.desk.kept(self.way.name).hold

    def beginning(self, endpoint: str) -> Start | Restarted:
        """Return how the way begins, by what was kept of an earlier program's failures."""
        hold = self.hold
        if hold is None or hold.endpoint != endpoint:
            return Start()
        wait_s = left_s(hold, endpoint, self.dock.means.wall_ms(), self.rule.backoff)
        return Restarted(hold.attempt, wait_s, hold.named)

    def asking(self, endpoint: str) -> None:
        """Count the first question since the start as a failure until one is answered well."""
        if not self._asked:
            self._asked = True
            now_ms, backoff = self.dock.means.wall_ms(), self.rule.backoff
            self._hold(dialled(self.hold, endpoint, now_ms, backoff, self.rule.rng))

    def proven(self) -> None:
        """Something was taken: failures are forgotten."""
        self._hold(None)

    def _keep_wait(self, endpoint: str, now_s: float) -> None:
        rule = self.rule
        if rule.state is not State.WAITING or rule.next_try is None:
            return
        wait_s, named = rule.next_try - now_s, rule.held(now_s)
        now_ms = self.dock.means.wall_ms()
        hold = waiting(endpoint, rule.attempt, wait_s, now_ms, named=named)
        if hold is not None:
            self._hold(hold)

    def _hold(self, hold: Hold | None) -> None:
        if hold != self.hold:
            self.desk.keep(self.way.name, hold=hold)
            self.dock.plan_settle()
