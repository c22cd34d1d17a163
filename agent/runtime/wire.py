"""What left this machine and what came back: noted at once, written a moment later, read from disk.

    core, links ── add, judge ──► pending (memory, bounded) ── a thread, every 0.25 s ──► WireRing
                                                                    masks, compresses

Whoever sends pays for appending to a list. The thread sleeps as long as nothing is said, so an
idle machine is woken only when it was awake already. A killed process loses what was said in its
last quarter of a second.

Invariants:
    1. ``add`` never waits for a disk, and memory is bounded: what comes faster than it can be
       written is dropped, counted and said.
    2. What opens a door is masked before it is written (:mod:`agent.rules.masking`); everything
       that is shown comes from there.
    3. Numbers grow in the order in which things were added.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from agent.adapters.records.wire_log import WireRing
from agent.adapters.records.wire_segments import VERDICT, Record
from agent.door import WireEntry
from agent.door.wire import ReadWire, WirePage
from agent.rules.masking import Masks
from agent.runtime.off_loop import off_loop
from tracking.errors import Fault

if TYPE_CHECKING:
    from agent.runtime.answering import Handlers
    from agent.runtime.core import Core

log = logging.getLogger("agent.wire")

GATHER_S = 0.25  #: What is said within it is written together.
MOST_PENDING_BYTES = 4 * 1024 * 1024
MOST_PENDING = 20_000
PAGE_BYTES = 4 * 1024 * 1024  #: Of bodies in one answer; a page has at least one entry.
OVERHEAD_BYTES = 200  #: Of a pending record, beside its body.

Direction = Literal["sent", "received"]


class WireLog:
    """The record of the wire, as everybody in the agent sees it.

    Args:
        ring: Where it is kept; None keeps nothing.
        failed: Hears, from the writing thread, what is wrong with the disk, and '' when it is
            well again.
        died: Hears, from that thread, that it ended by a mistake of ours.

    Attributes:
        masks: Secrets to blot out; whoever learns of one adds it.
        dropped: Records that were not kept.

    """

    def __init__(
        self,
        ring: WireRing | None = None,
        failed: Callable[[str], None] = lambda _: None,
        died: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self.ring = None if ring is None or ring.room.none else ring
        self._unwanted = ring if self.ring is None else None
        self.failed = failed
        self.died = died
        self.masks = Masks()
        self.dropped = 0
        self._lock = threading.Lock()  # of what is pending
        self._writing = threading.Lock()  # taken before the other
        self._pending: list[Record] = []
        self._bytes = 0
        self._added = 0
        self._base: int | None = None
        self._said = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._listeners: set[Callable[[], None]] = set()
        self._resting = False
        self._failing = False

    def open(self) -> None:
        """Forget what an earlier process kept, if nothing is to be kept any more."""
        if self._unwanted is not None:
            try:
                self._unwanted.forget(None)
            except Fault as fault:
                log.warning("could not forget the record of the wire code=%s", fault.code)
                self.failed(str(fault))

    # --- in: any thread ------------------------------------------------------------------------

    def add(
        self,
        at_ms: int,
        app_id: str,
        direction: Direction,
        body: bytes,
        *,
        upstream: str = "",
        kind: str = "frame",
        head: str = "",
        peer: str = "",
        verdict: str = "",
        size: int | None = None,
    ) -> int:
        """Note something that was sent or received.

        Args:
            at_ms: When.
            app_id: Whose.
            direction: Which way it went.
            body: Exactly as on the wire; secrets are masked later, on another thread.
            upstream: The way out's name.
            kind: ``frame``, ``http``, ``handshake``, ``proxy`` or ``data-api``.
            head: Method and path, or the status line.
            peer: Who is at the other end.
            verdict: What became of it, if that is known.
            size: Bytes on the wire, where ``body`` says less already.

        Returns:
            What :meth:`judge` calls it; 0 if it is not kept.

        """
        said = (head, len(body) if size is None else size, peer, verdict, 0, body)
        return self._take(Record(0, at_ms, app_id, upstream, direction, kind, *said))

    def judge(self, of: int, at_ms: int, app_id: str, verdict: str, *, upstream: str = "") -> None:
        """Note what became of something that was sent.

        Args:
            of: What :meth:`add` returned.
            at_ms: When that was known.
            app_id: Whose it is.
            verdict: ``acknowledged 12 of 12``, ``refused: …``, ``not answered``, ``retried``.
            upstream: The way out's name.

        """
        if of:
            self._take(
                Record(0, at_ms, app_id, upstream, "received", VERDICT, "", 0, "", verdict, of, b"")
            )

    def _take(self, record: Record) -> int:
        if self.ring is None:
            return 0
        size = len(record.body) + OVERHEAD_BYTES
        with self._lock:
            if (self._bytes + size > MOST_PENDING_BYTES and self._pending) or len(
                self._pending
            ) >= MOST_PENDING:
                self.dropped += 1
                return 0
            self._added += 1
            number = self._added
            self._pending.append(record)
            self._bytes += size
            listeners = tuple(self._listeners) if self._listeners else ()
        if not self._said.is_set():
            self._said.set()
            if self._thread is None:
                self._begin()
        for listener in listeners:
            listener()
        return number

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="wire log", daemon=True)
                self._thread.start()

    # --- to the disk ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._said.wait()
                self._stop.wait(GATHER_S)
                self._said.clear()
                self.write()
        except Exception as exc:  # a mistake of ours; a thread must not be missed in silence
            self.died(exc)

    def write(self) -> None:
        """Write what is pending; may wait for the disk."""
        ring = self.ring
        if ring is None:
            return
        with self._writing:
            with self._lock:
                pending, self._pending, self._bytes = self._pending, [], 0
                first = self._added - len(pending) + 1
            if not pending:
                return
            try:
                if self._base is None:
                    self._base = ring.last_n
                ring.append(
                    [self._kept(record, first + i) for i, record in enumerate(pending)],
                    pending[-1].at_ms,
                )
            except Fault as fault:
                self.dropped += len(pending)
                if not self._failing:
                    log.warning("could not keep the record of the wire code=%s", fault.code)
                self._failing = True
                self.failed(str(fault))
                return
            if self._failing:
                self._failing = False
                self.failed("")

    def _kept(self, record: Record, number: int) -> Record:
        """Return a record as it is written: numbered, its secrets masked."""
        assert self._base is not None
        apply = self.masks.apply
        return Record(
            self._base + number,
            record.at_ms,
            record.app_id,
            record.upstream,
            record.direction,
            record.kind,
            apply(record.head.encode()).decode("utf-8", "replace") if record.head else "",
            record.size,
            record.peer,
            apply(record.verdict.encode()).decode("utf-8", "replace") if record.verdict else "",
            record.of + self._base if record.of else 0,
            apply(record.body) if record.body else b"",
        )

    def rest(self) -> None:
        """Let nobody wait for what happens next; on the loop's thread."""
        self._resting = True
        for heard in tuple(self._listeners):
            heard()

    def close(self) -> None:
        """Write what is pending, for the last time."""
        with self._lock:
            self._stop.set()
        self._said.set()
        if self._thread is not None:
            self._thread.join(5.0)
        self.write()
        if self.ring is not None:
            with self._writing:
                self.ring.close()

    # --- out -----------------------------------------------------------------------------------

    def page(self, want: ReadWire) -> WirePage:
        """Return what was asked for. Reads the disk, so not on the loop.

        Raises:
            Fault: The disk cannot be read.

        """
        ring = self.ring
        if ring is None:
            return WirePage()
        self.write()
        found: list[WireEntry] = []
        verdicts: dict[int, Record] = {}
        newest, size, more = 0, 0, False
        needle = want.search.encode().lower()
        # From the newest back: so the verdict on something is met before the thing itself.
        with self._writing:
            records = ring.newest_first()
        for kept in records:
            record, newest = kept, newest or kept.n
            if want.after is not None and kept.n <= want.after:
                break
            if kept.kind == VERDICT:
                verdicts.setdefault(kept.of, kept)
                if want.after is None or kept.of > want.after:
                    continue  # it is told with what it is about; a follower has seen that already
            elif kept.n in verdicts:
                record = _judged(kept, verdicts.pop(kept.n).verdict)
            if not _fits(record, want, needle):
                continue
            if len(found) >= want.limit or (found and size + len(record.body) > PAGE_BYTES):
                more = True
                if want.after is None:
                    break
                size -= len(found.pop(0).text)  # a follower wants the oldest of what is new
            found.append(_entry(record))
            size += len(record.body)
        if want.after is not None:
            found.reverse()
        with self._writing:
            count, held_bytes, oldest_ms = ring.held()
        if more and want.after is not None:
            newest = found[-1].n
        return WirePage(
            entries=tuple(found),
            newest=max(newest, want.after or 0) if newest else 0,
            more=more,
            held=count,
            held_bytes=held_bytes,
            oldest_ms=oldest_ms,
            dropped=self.dropped,
        )

    async def read(self, want: ReadWire) -> WirePage:
        """Return what was asked for; with ``wait_s`` wait for something to happen first."""
        page = await off_loop(lambda: self.page(want), name="wire page")
        if page.entries or want.after is None or not want.wait_s or self.ring is None:
            return page
        loop = asyncio.get_running_loop()
        something = asyncio.Event()

        def heard() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(something.set)

        until_s = loop.time() + want.wait_s
        with self._lock:
            self._listeners.add(heard)
        try:
            while not (page.entries or self._resting) and (left_s := until_s - loop.time()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(something.wait(), left_s)
                something.clear()
                page = await off_loop(lambda: self.page(want), name="wire page")
        finally:
            with self._lock:
                self._listeners.discard(heard)
        return page

    def forget(self, app_id: str | None) -> int:
        """Forget an app's records (None: everybody's), their bytes too; return how many.

        Reads and writes the disk, so not on the loop.

        Raises:
            Fault: The disk refuses; the same again is safe.

        """
        if self.ring is None:
            return 0
        self.write()
        with self._writing:
            return self.ring.forget(app_id)


def handlers(core: Core) -> Handlers:
    """Return who answers what is asked of the record."""
    return {ReadWire: core.wire.read}


def _judged(record: Record, verdict: str) -> Record:
    return Record(
        record.n, record.at_ms, record.app_id, record.upstream, record.direction, record.kind,
        record.head, record.size, record.peer, verdict, record.of, record.body,
    )  # fmt: skip


def _fits(record: Record, want: ReadWire, needle: bytes) -> bool:
    """Return whether a record is among what was asked for."""
    return not (
        (want.before is not None and record.n >= want.before)
        or (want.app_id is not None and record.app_id != want.app_id)
        or (want.upstream is not None and record.upstream != want.upstream)
        or (want.direction is not None and record.direction != want.direction)
        or (want.verdict is not None and not record.verdict.startswith(want.verdict))
        or record.at_ms < want.since_ms
        or (want.until_ms is not None and record.at_ms >= want.until_ms)
        or (
            needle
            and needle not in record.body.lower()
            and needle not in "\0".join((record.head, record.peer, record.verdict)).lower().encode()
        )
    )


def _entry(record: Record) -> WireEntry:
    return WireEntry(
        n=record.n,
        at_ms=record.at_ms,
        app_id=record.app_id,
        upstream=record.upstream,
        direction="sent" if record.direction == "sent" else "received",
        kind=record.kind,
        head=record.head,
        size=record.size,
        peer=record.peer,
        verdict=record.verdict,
        of=record.of or None,
        text=record.body.decode("utf-8", "replace"),
    )
