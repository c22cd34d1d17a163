"""The outbox's housekeeping in the loop: what is too old goes, what was deleted leaves the disk.

Deleted events stay readable in the write-ahead log until it is folded in, and their room stays
taken; so a moment after a backlog was drained the outbox is tidied, a few milliseconds at a time.
A timer exists only while there is something to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from agent.adapters.outbox.outbox import Outbox
from tracking.errors import StorageFault

log = logging.getLogger("agent.upkeep")

TRIM_EVERY_S = 600.0  #: Age bounds are looked at so often.
TIDY_AFTER_S = 3.0  #: After the queue was drained; sooner would cost every small batch two fsyncs.
TIDY_AGAIN_S = 0.2  #: Between two steps of giving room back.

Note = Callable[[str, str, str], None]


class Upkeep:
    """Trims and tidies an outbox.

    Args:
        outbox: To keep.
        wall_ms: Unix milliseconds.
        note: Shows a person a notice: code, text, severity.

    """

    def __init__(self, outbox: Outbox, wall_ms: Callable[[], int], note: Note) -> None:
        self._outbox = outbox
        self._wall_ms = wall_ms
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._trim_timer = self._loop.call_later(TRIM_EVERY_S, self._trim_again)
        self._tidy_timer: asyncio.TimerHandle | None = None
        self._mended = 0
        outbox.on_notice = self._told

    def close(self) -> None:
        """Tidy once more; nothing is planned any longer."""
        self._trim_timer.cancel()
        if self._tidy_timer is not None:
            self._tidy_timer.cancel()
        try:
            self._outbox.tidy()
        except StorageFault as fault:
            log.warning("could not tidy the outbox code=%s", fault.code)

    def trim(self) -> None:
        """Give up what is too old or too much, and say so.

        Raises:
            StorageFault: Nothing, or not all of it, was given up.

        """
        for lost in self._outbox.trim(self._wall_ms()):
            log.error(
                "gave events up app=%s reason=%s count=%d",
                lost.app_id,
                lost.reason.value,
                lost.events,
            )
            self._note(
                f"loss.{lost.reason.value}.{lost.app_id}",
                f"events of {lost.app_id} were given up: {lost.reason.value}",
                "warning",
            )
        self.tidy_soon()

    def settled(self) -> None:
        """Events were deleted: if nothing waits any more, tidy in a moment."""
        if not any(account.pending for account in self._outbox.accounts().values()):
            self.tidy_soon()

    def tidy_soon(self) -> None:
        """Tidy in a moment, once."""
        if self._tidy_timer is None:
            self._tidy_timer = self._loop.call_later(TIDY_AFTER_S, self._tidy)

    def _tidy(self) -> None:
        self._tidy_timer = None
        try:
            more = self._outbox.tidy()
        except StorageFault as fault:
            log.warning("could not tidy the outbox code=%s", fault.code)
            return
        if more:
            self._tidy_timer = self._loop.call_later(TIDY_AGAIN_S, self._tidy)

    def _trim_again(self) -> None:
        try:
            self.trim()
        except StorageFault as fault:
            self._note("storage", str(fault), "error")
        self._trim_timer = self._loop.call_later(TRIM_EVERY_S, self._trim_again)

    def _told(self, said: str) -> None:
        """Show what was found and mended while running."""
        self._mended += 1
        self._note(f"outbox.mended.{self._mended}", said, "warning")
