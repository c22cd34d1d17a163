"""Takes in what apps left in the spool while no agent ran (docs/spool.md).

It looks when it starts, when a file of the spool was finished, and where the system does not
tell, when an app connects. There is no timer but after a fault of the disk.

Invariants:
    1. A file is deleted after the commit that holds the last of its events, never before; one
       that was interrupted is read again from its beginning, and its ids make repeats known.
    2. What an app left is taken in at a quota of its own: it neither waits for the app's live
       events nor makes them wait.
    3. Of an app that nobody allowed, nothing is read but the header and the number of lines.
    4. One look at a time; what happens meanwhile leads to another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agent.adapters.machine.folder_watch import FolderWatch, open_watch
from agent.adapters.records import aside as aside_folder
from agent.adapters.records import spool
from agent.adapters.records.spool import Found, Reader
from agent.rules.consent import Consent
from agent.rules.quota import Bucket
from agent.rules.wording import events as in_words
from agent.rules.wording import some
from agent.runtime.counter.desk import Desk
from agent.runtime.counter.intake import Intake
from agent.runtime.off_loop import off_loop
from agent.runtime.people.consents import Consents
from tracking.errors import Fault, OverQuota
from tracking.events import Frame, Limits
from tracking.sink import Origin, Receipt

if TYPE_CHECKING:
    from agent.runtime.core import Core

log = logging.getLogger("agent.spool")

AGAIN_S = 30.0  #: After a fault of the disk; the outbox tries again by itself every 5 s.

Note = Callable[[str, str, str], None]


class Spooling:
    """Looks into the spool and hands in what it may.

    Args:
        folder: The spool.
        intake: Where the events go.
        desks: Of the apps that may report.
        consents: Says who may; hears of those about whom nobody decided.
        limits: Of one event.
        bucket: Makes the quota of one app's files.
        run: Runs an errand beside the loop's work.
        note: Shows a notice: code, text, severity.
        unnote: Takes one back.
        wall_ms: Unix milliseconds.
        mono_s: Monotonic seconds.

    """

    def __init__(
        self,
        folder: Path,
        intake: Intake,
        desks: Mapping[str, Desk],
        consents: Consents,
        limits: Limits,
        *,
        bucket: Callable[[], Bucket],
        run: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
        note: Note,
        unnote: Callable[[str], None],
        wall_ms: Callable[[], int],
        mono_s: Callable[[], float],
    ) -> None:
        self.folder = folder
        self.intake = intake
        self.desks = desks
        self.consents = consents
        self.limits = limits
        self.run = run
        self.note = note
        self.unnote = unnote
        self.wall_ms = wall_ms
        self.mono_s = mono_s
        self.taken: Counter[str] = Counter()  #: New events of files that are done, by app.
        self._new_bucket = bucket
        self._buckets: dict[str, Bucket] = {}
        self._loop = asyncio.get_running_loop()
        self._watch: FolderWatch | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wanted = False
        self._late = False  # something could not be taken in at the last look
        self._closed = False
        self._changed_ns = 0  # the folder's own time at the last look
        self._pending: dict[str, int] = {}  # events of apps that wait for a person
        self._logged: set[str] = set()  # difficulties that last are logged once
        self._told: dict[str, Path] = {}  # notices of a file, until it is gone

    def open(self) -> None:
        """Make the folder, watch it, look."""
        try:
            spool.prepare(self.folder)
        except Fault as fault:
            self.note("spool", f"apps cannot leave events while no agent runs: {fault}", "warning")
            return
        self._watch = FolderWatch(self._loop, self._finished, open_watch(self.folder))
        self.look()

    def close(self) -> None:
        """Look no more; a file in the middle is taken in by the next start."""
        self._closed = True
        if self._watch is not None:
            self._watch.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def look(self) -> None:
        """Look into the spool soon; also when a person has decided about an app."""
        if self._watch is None or self._closed:
            return
        self._wanted = True
        if self._task is None:
            self._task = self.run(self._looks())

    def _finished(self, names: list[str]) -> None:
        """Look, unless it was our own taking that changed the folder."""
        if not names or not all(name.endswith(aside_folder.TAKEN) for name in names):
            self.look()

    def knocked(self) -> None:
        """An app connected: look, where nobody tells that the folder changed."""
        if self._watch is None or self._watch.watching:
            return
        try:
            changed_ns = self.folder.stat().st_mtime_ns
        except OSError:
            return
        if changed_ns != self._changed_ns:
            self._changed_ns = changed_ns
            self.look()

    async def _looks(self) -> None:
        try:
            while self._wanted and not self._closed:
                self._wanted = False
                await self._look()
        finally:
            self._task = None

    async def _look(self) -> None:
        now_s = self.wall_ms() / 1000
        self._late = False
        found = await off_loop(partial(spool.survey, self.folder, now_s), name="spool survey")
        self._untell({path for path, _ in (*found.strange, *found.unreadable)})
        for path, why in found.strange:
            self._tell_of("strange", path, path, f"{path} was left alone: {why}")
        for path, why in found.unreadable:
            self._set_aside(path, why)
        by_app: dict[str, list[Found]] = {}
        for file in found.files:
            by_app.setdefault(file.app_id, []).append(file)
        for app_id in self._pending.keys() - by_app.keys():
            del self._pending[app_id]
            self.unnote(f"spool.pending.{app_id}")
        await asyncio.gather(*(self._app(app_id, files) for app_id, files in by_app.items()))
        if found.files or found.unreadable:
            await off_loop(partial(aside_folder.prune, self.folder, now_s), name="spool prune")
        if not self._late:
            self.unnote("spool.later")

    async def _app(self, app_id: str, files: list[Found]) -> None:
        """Do with an app's files what its consent says."""
        events = sum(file.events for file in files)
        if self.consents.ruling(app_id).consent is Consent.PENDING:
            self._wait(app_id, events)
            return
        turned = self.consents.gate(app_id, events, self._origin())
        if turned is not None and turned.fault is not None:
            self._wait(app_id, events)  # there is no room for another app
            return
        if self._pending.pop(app_id, None) is not None:
            self.unnote(f"spool.pending.{app_id}")
        if turned is not None:
            try:
                await self.forget(app_id)
            except OSError as exc:
                self._later(f"what {app_id} left cannot be deleted: {exc}")
            return
        for file in files:
            if not await self._file(self.desks[app_id], file):
                return

    def _wait(self, app_id: str, events: int) -> None:
        """Leave an app's files to the answer of a person, and ask for it."""
        new = events - self._pending.get(app_id, 0)
        self._pending[app_id] = events
        if new > 0:
            self.consents.knock(app_id, new)
        waits = "it waits" if events == 1 else "they wait"
        said = f"{app_id} left {in_words(events)} while no agent ran; {waits} until you allow it"
        self.note(f"spool.pending.{app_id}", said, "warning")

    def _origin(self) -> Origin:
        return Origin(transport="spool", connection=0, peer="", received_ms=self.wall_ms())

    async def forget(self, app_id: str) -> None:
        """Delete what a denied or paused app left, and say how many events that was.

        Raises:
            OSError: Not all of it could be deleted.

        """
        gone = await off_loop(partial(spool.forget, self.folder, app_id), name="spool goes")
        self._pending.pop(app_id, None)
        self.unnote(f"spool.pending.{app_id}")
        self._untell()
        if gone.events:
            log.info("deleted what an app left unheard app=%s count=%d", app_id, gone.events)
            were = "was" if gone.events == 1 else "were"
            said = f"{in_words(gone.events)} that {app_id} left {were} deleted: it may not report"
            self.note(f"spool.denied.{app_id}", said, "info")
        if gone.left:
            raise OSError("; ".join(gone.left))

    async def _file(self, desk: Desk, file: Found) -> bool:
        """Take one file in; return whether the next may follow."""
        try:
            path = spool.take(file.path)
            reader = Reader(path, self.limits)
            done = Counter[str]()
            try:
                while frame := await off_loop(reader.next, name="spool read"):
                    if not await self._hand_in(desk, frame, done):
                        return False
            finally:
                with contextlib.suppress(ValueError):  # given up while a thread still reads
                    reader.close()
            self._finish(desk, reader, done)
            spool.remove(path)  # invariant 1
        except FileNotFoundError:
            return True  # its writer took it back
        except (OSError, Fault) as exc:
            why = spool.in_words(exc)
            self._later(f"what {desk.app_id} left cannot be taken in yet: {why}")
            return False
        except ValueError as exc:  # it changed between the look and the reading
            self._tell_of("strange", file.path, file.path, f"{file.path}: {exc}")
        return True

    async def _hand_in(self, desk: Desk, frame: Frame, done: Counter[str]) -> bool:
        """Return when the events are on disk; False if they are not, and will not be now."""
        bucket = self._buckets.setdefault(desk.app_id, self._new_bucket())
        while True:
            fresh, receipt = await self._take(desk.app_id, frame, bucket)
            if not isinstance(receipt.fault, OverQuota):
                break
            await asyncio.sleep(receipt.fault.retry_after_s)
        if receipt.fault is None:
            done["fresh"] += fresh
            done["known"] += len(frame.events) - fresh
            return True
        if not self.intake.closed:
            self._later(f"what {desk.app_id} left cannot be taken in yet: {receipt.fault}")
        return False

    async def _take(self, app_id: str, frame: Frame, bucket: Bucket) -> tuple[int, Receipt]:
        """Return how many of the events are new, and what the intake says."""
        answered: asyncio.Future[Receipt] = self._loop.create_future()
        named: list[str] = []

        def answer(receipt: Receipt) -> None:
            if not answered.done():
                answered.set_result(receipt)

        self.intake.take(app_id, frame, self._origin(), answer, ids=named.extend, bucket=bucket)
        receipt = await answered
        return len(named), receipt

    def _finish(self, desk: Desk, reader: Reader, done: Counter[str]) -> None:
        """Keep what was no event, and say what became of the file, before it is deleted.

        Raises:
            Fault: What is to be kept aside cannot be written; the file stays.

        """
        app_id, aside = desk.app_id, reader.aside
        if aside.lines:
            kept = aside_folder.keep(self.folder, reader.path.name, aside)
            desk.refused += aside.lines
            log.warning("kept lines of the spool aside app=%s count=%d", app_id, aside.lines)
            why = aside.kept[0].why
            are = "is no event" if aside.lines == 1 else "are no events"
            said = f"{some(aside.lines, 'line')} that {app_id} left {are} ({why}): see {kept}"
            self.note(f"spool.aside.{app_id}", said, "warning")
            self._told[f"spool.aside.{app_id}"] = kept
        if reader.dropped:
            log.warning("an app had no room in the spool app=%s count=%d", app_id, reader.dropped)
            said = (
                f"{app_id} dropped {in_words(reader.dropped)} while no agent ran:"
                " its spool was full"
            )
            self.note(f"spool.dropped.{app_id}", said, "warning")
        fresh, known = done["fresh"], done["known"]
        self.taken[app_id] += fresh
        log.info("took in what an app left app=%s count=%d not_new=%d", app_id, fresh, known)
        if self.taken[app_id]:
            were = "was" if self.taken[app_id] == 1 else "were"
            taken = in_words(self.taken[app_id])
            said = f"{taken} that {app_id} left while no agent ran {were} taken in"
            self.note(f"spool.taken.{app_id}", said, "info")

    def _set_aside(self, path: Path, why: str) -> None:
        try:
            kept = aside_folder.set_aside(self.folder, path)
        except (OSError, Fault) as exc:
            said = f"{path} was left alone: {spool.in_words(exc)}"
            self._tell_of("strange", path, path, said)
            return
        self._tell_of("unreadable", path, kept, f"{kept} is no spool file: {why}")

    def _later(self, why: str) -> None:
        """Look again in a while; a full disk says nothing when it has room again."""
        self._late = True
        self._tell("spool.later", why, "warning")
        if self._timer is None and not self._closed:
            self._timer = self._loop.call_later(AGAIN_S, self._again)

    def _again(self) -> None:
        self._timer = None
        self.look()

    def _tell(self, code: str, said: str, severity: str) -> None:
        if code not in self._logged:
            self._logged.add(code)
            log.warning("the spool has a difficulty code=%s", code)
        self.note(code, said, severity)

    def _tell_of(self, what: str, path: Path, lies: Path, said: str) -> None:
        """Say something of a file, for as long as it lies there."""
        code = f"spool.{what}.{path.name}"
        self._told[code] = lies
        self._tell(code, said, "warning")

    def _untell(self, strange: Collection[Path] | None = None) -> None:
        """Take back what was said of files that are gone, or ``strange`` no more."""
        for code, path in tuple(self._told.items()):
            mended = code.startswith("spool.strange.") and strange is not None
            if (mended and path not in (strange or ())) or not os.path.lexists(path):
                del self._told[code]
                self._logged.discard(code)
                self.unnote(code)


def spooling_of(core: Core) -> Spooling:
    """Return the spooling of a core, which looks again whenever a person has answered."""
    limits = core.settings.limits
    spooling = Spooling(
        core.places.spool,
        core.intake,
        core.desks,
        core.consents,
        Limits(event_bytes=limits.event_kib * 1024),
        bucket=lambda: Bucket(rate_per_s=limits.events_per_s, burst=limits.burst),
        run=core.run,
        note=core.note,
        unnote=core.unnote,
        wall_ms=core.means.wall_ms,
        mono_s=core.means.mono_s,
    )
    seat = core.consents.seat

    def answered(app_id: str) -> None:
        seat(app_id)
        spooling.look()

    core.consents.seat = answered
    return spooling
