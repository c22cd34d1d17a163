"""A pause: nothing is sent, everything is accepted, and it outlives the agent.

Each pause keeps its own cause [R9] and its end; a pause with an end resumes by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.adapters.machine.private_files import read_private, write_private
from agent.door import Pause
from agent.runtime.report import Board
from agent.runtime.ways.departures import Departures
from tracking.errors import Fault, StorageFault

LOOK_S = 30.0  #: A pause is over at most so long after a sleep in which it ended.


class Halting:
    """Begins, keeps and ends pauses.

    Args:
        file: Where a pause is kept.
        board: Shows it.
        departures: Hang up, and dial again.
        wall_ms: Unix milliseconds.
        note: Shows a notice: code, text, severity.

    """

    def __init__(
        self,
        file: Path,
        board: Board,
        departures: Departures,
        *,
        wall_ms: Callable[[], int],
        note: Callable[[str, str, str], None],
    ) -> None:
        self.file = file
        self.board = board
        self.departures = departures
        self.wall_ms = wall_ms
        self.note = note
        self._timer: asyncio.TimerHandle | None = None

    def recall(self) -> None:
        """Go on with a pause that was in force when the agent stopped."""
        try:
            raw = read_private(self.file)
            pause = None if raw is None else msgspec.json.decode(raw, type=Pause)
        except (Fault, msgspec.MsgspecError):
            return
        if pause is not None and (pause.until_ms is None or pause.until_ms > self.wall_ms()):
            self._begin(pause)

    def pause(self, for_s: float | None, reason: str) -> None:
        """Stop sending, for a while or until a person resumes."""
        now_ms = self.wall_ms()
        until_ms = None if for_s is None else now_ms + round(for_s * 1000)
        pause = Pause(reason=reason, since_ms=now_ms, until_ms=until_ms)
        try:
            write_private(self.file, msgspec.json.encode(pause))
        except StorageFault as fault:
            self.note("pause.kept", f"this pause ends with the agent: {fault}", "warning")
        self._begin(pause)

    def resume(self) -> None:
        """Send again."""
        self.close()
        self.board.pause = None
        self.board.unnote("pause.kept")
        try:
            self.file.unlink(missing_ok=True)
        except OSError as exc:
            said = f"this pause comes back with the next start: {self.file}: {exc.strerror}"
            self.note("pause.kept", said, "warning")
        self.departures.go_on()

    def close(self) -> None:
        """Forget the timer; the pause itself stays kept."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self, pause: Pause) -> None:
        self.close()
        self.board.pause = pause
        self._look()
        self.departures.halt()

    def _look(self) -> None:
        """Resume if it is time; the loop's clock stands still while the machine sleeps."""
        self.close()
        pause = self.board.pause
        if pause is None or pause.until_ms is None:
            return
        left_s = (pause.until_ms - self.wall_ms()) / 1000
        loop = asyncio.get_running_loop()
        if left_s > 0:
            self._timer = loop.call_later(min(left_s, LOOK_S), self._look)
        else:
            self._timer = loop.call_later(0, self.resume)
