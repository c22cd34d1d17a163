"""When a change is worth a person's eye: rules without Qt and without a clock.

An icon that flaps is worse than one that is late [R8], and a notification that repeats itself
is switched off. Both rules are fed with the time, so tests choose it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agent.door import AppStatus, Health, Status

#: How long a new state must have held before the icon shows it, seconds (TimeToVisible).
SETTLE_S: dict[Health, float] = {"live": 1.0, "offline": 5.0, "attention": 2.0, "paused": 0.0}

NOTIFY_AFTER_S = 10.0  #: What heals itself within this time, nobody needs to know.
QUIET_S = 3600.0  #: The same cause is not told twice within this time.
ASK_AGAIN_S = 60.0  #: Between two questions that pop up.
MOST_TOLD = 1_000  #: Apps whose question is remembered as told.


@dataclass(slots=True)
class SteadyState:
    """Shows a state once it has lasted; the first one at once.

    Attributes:
        shown: What the icon shows, ``None`` before the first state.

    """

    shown: Health | None = None
    _candidate: Health | None = None
    _since_s: float = 0.0

    def feed(self, state: Health, now_s: float) -> Health:
        """Take the newest state in; return what to show now."""
        if self.shown is None or state == self.shown:
            self.shown, self._candidate = state, None
            return state
        if state != self._candidate:
            self._candidate, self._since_s = state, now_s
        if now_s - self._since_s >= SETTLE_S[state]:
            self.shown, self._candidate = state, None
        return self.shown

    def due_s(self, now_s: float) -> float | None:
        """Return in how many seconds to feed again though nothing new was heard, or ``None``."""
        if self._candidate is None:
            return None
        return max(0.0, self._since_s + SETTLE_S[self._candidate] - now_s)


@dataclass(slots=True)
class Urgent:
    """Decides what a person must be told although the window is shut.

    Only two things qualify: the agent needs a person (``attention``), or a notice of severity
    *error*. Each cause is told once while it lasts, and not again within ``QUIET_S``.
    """

    _since_s: dict[str, float] = field(default_factory=dict)
    _told_s: dict[str, float] = field(default_factory=dict)

    def feed(self, status: Status, now_s: float) -> list[str]:
        """Return the sentences to tell now, usually none."""
        causes = dict(_causes(status))
        for code in [code for code in self._since_s if code not in causes]:
            del self._since_s[code]
        told = []
        for code, sentence in causes.items():
            since = self._since_s.setdefault(code, now_s)
            last = self._told_s.get(code)
            if now_s - since < NOTIFY_AFTER_S or (last is not None and last >= since):
                continue
            if last is not None and now_s - last < QUIET_S:
                continue
            self._told_s[code] = now_s
            told.append(sentence)
        return told

    def due_s(self, now_s: float) -> float | None:
        """Return in how many seconds something may have to be told, or ``None``."""
        waits = [
            NOTIFY_AFTER_S - (now_s - since)
            for code, since in self._since_s.items()
            if code not in self._told_s and now_s - since < NOTIFY_AFTER_S
        ]
        return min(waits) if waits else None


@dataclass(slots=True)
class Asked:
    """Decides which app's question is told although the window is shut: each once, not too many.

    An app that invents ids must not make a desktop flicker: one is told at a time, and the next
    not within ``ASK_AGAIN_S``; of those that came meanwhile the newest is told, for the others
    wait in the window.
    """

    _told: dict[str, None] = field(default_factory=dict)  # in the order in which they were
    _last_s: float | None = None
    _waits: bool = False

    def feed(self, asking: Sequence[AppStatus], now_s: float) -> list[AppStatus]:
        """Return the app to tell of now, usually none."""
        new = [app for app in asking if app.app_id not in self._told]
        self._waits = bool(new)
        if not new or (self._last_s is not None and now_s - self._last_s < ASK_AGAIN_S):
            return []
        self._told.update(dict.fromkeys(app.app_id for app in new))
        while len(self._told) > MOST_TOLD:
            del self._told[next(iter(self._told))]
        self._last_s, self._waits = now_s, False
        return [new[-1]]

    def due_s(self, now_s: float) -> float | None:
        """Return in how many seconds one has to be told, or ``None``."""
        if not self._waits or self._last_s is None:
            return None
        return max(0.0, ASK_AGAIN_S - (now_s - self._last_s))


def _causes(status: Status) -> Iterable[tuple[str, str]]:
    if status.sentence.state == "attention":
        yield status.sentence.code or "attention", status.sentence.text
    for notice in status.notices:
        if notice.severity == "error":
            yield notice.code, notice.text
