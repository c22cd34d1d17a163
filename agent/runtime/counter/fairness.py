"""So that one app does not starve the others: its rate, its share of the disk, and being told.

What is over a quota stays unacknowledged, so that its sender keeps it (SECURITY.md, decision 8);
the sender hears why, and when to come back; the person sees which app it is (threat row 28).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from agent.rules.quota import Bucket
from agent.rules.wording import count as in_words
from agent.runtime.counter.desk import Desk
from tracking.errors import OverQuota

if TYPE_CHECKING:
    from agent.runtime.core import Core

QUIET_S = 10.0  #: An app is noisy until nothing of it was refused for so long.
SHARE_RETRY_S = 30.0  #: When to ask again with a full share of the disk: it drains by delivery.
WHOLE = 1.0


class Fairness:
    """Grants what apps report, or says why not.

    Args:
        shares: App id → the part of the outbox that it may fill; all of it if it is not there.
        held: Returns the part of the outbox that an app fills.
        note: Shows a notice: code, text, severity.
        unnote: Takes one back.
        later: Calls a function after so many seconds.

    """

    def __init__(
        self,
        shares: Mapping[str, float] | None = None,
        *,
        held: Callable[[str], float] = lambda _: 0.0,
        note: Callable[[str, str, str], None] = lambda *_: None,
        unnote: Callable[[str], None] = lambda _: None,
        later: Callable[[float, Callable[[], None]], object] = lambda *_: None,
    ) -> None:
        self.shares = shares or {}
        self.held = held
        self.note = note
        self.unnote = unnote
        self.later = later
        self._noisy: dict[str, float] = {}  # since when nothing was refused, monotonic seconds
        self._told: dict[str, float] = {}

    def ask(self, desk: Desk, events: int, now_s: float, bucket: Bucket | None) -> OverQuota | None:
        """Grant so many events, or return why not.

        Args:
            desk: Whose.
            events: How many.
            now_s: Monotonic seconds.
            bucket: Counts them in place of the app's own: what a person imports is no noise of the
                app's, and must not use up what it may report meanwhile.

        """
        share = self.shares.get(desk.app_id, WHOLE)
        if share < WHOLE and self.held(desk.app_id) >= share:
            desk.bucket.refused += events
            return self._full(desk, share, now_s)
        wait_s = (bucket or desk.bucket).take(events, now_s)
        if wait_s <= 0:
            return None
        if bucket is None:
            self._loud(desk, now_s)
        return _too_fast(desk, wait_s)

    def _full(self, desk: Desk, share: float, now_s: float) -> OverQuota:
        said = f"{desk.app_id} fills its {share:.0%} of the outbox; its new events are not taken"
        self._tell(desk.app_id, said, now_s)
        return OverQuota(
            f"{desk.app_id} fills its {share:.0%} of the outbox; keep the events and come back",
            retry_after_s=SHARE_RETRY_S,
            advice="See `homing status` for what stops delivery, or raise the app's share in"
            " homing.toml.",
        )

    def _loud(self, desk: Desk, now_s: float) -> None:
        bucket = desk.bucket
        asked = bucket.asked_per_s(now_s)
        allowed = in_words(round(bucket.rate_per_s))
        if asked > bucket.rate_per_s:
            said = (
                f"{desk.app_id} sends {in_words(round(asked))} events/s, {allowed} are allowed;"
                " the rest has to wait"
            )
        else:
            said = f"{desk.app_id} has used up its quota of {allowed} events/s and has to wait"
        self._tell(desk.app_id, said, now_s)

    def _tell(self, app_id: str, said: str, now_s: float) -> None:
        """Show a person that an app is noisy, until it has been quiet for a while."""
        fresh = app_id not in self._noisy
        self._noisy[app_id] = now_s
        if fresh or now_s - self._told[app_id] >= 1.0:
            self._told[app_id] = now_s
            self.note(_code(app_id), said, "warning")
        if fresh:
            self.later(QUIET_S, lambda: self._quiet(app_id, now_s))

    def _quiet(self, app_id: str, seen_s: float) -> None:
        last_s = self._noisy[app_id]
        if last_s > seen_s:
            self.later(QUIET_S, lambda: self._quiet(app_id, last_s))
            return
        del self._noisy[app_id], self._told[app_id]
        self.unnote(_code(app_id))


def fairness_of(core: Core) -> Fairness:
    """Return the fairness of a core, by its settings."""
    return Fairness(
        {app.id: app.share / 100 for app in core.settings.apps if app.share < 100},
        held=core.outbox.held,
        note=core.note,
        unnote=core.unnote,
        later=asyncio.get_running_loop().call_later,
    )


def _code(app_id: str) -> str:
    return f"app.noisy.{app_id}"


def _too_fast(desk: Desk, wait_s: float) -> OverQuota:
    return OverQuota(
        f"{desk.app_id} reports faster than its quota; keep the events and come back",
        retry_after_s=wait_s,
        advice="Batch events, or raise the app's events_per_s in homing.toml.",
    )
