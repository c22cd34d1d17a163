"""Where the agent's threads meet Qt: the only such place.

The door calls :meth:`StatusBridge.post` and :meth:`EventsBridge.post` from its own thread as
often as it likes. The window hears of the newest snapshot only, and of events in batches, at
most four times a second, on the GUI thread. A slow or hidden window therefore never holds the
agent up, and never falls behind it.

The other direction is :class:`Commands`: what a person asks of the agent waits on a thread of
its own, one at a time and in order, so that *pause, resume* never ends paused. Its answers come
back on the GUI thread. Nothing on the GUI thread ever calls a door.
"""

from __future__ import annotations

import logging
import queue
import threading
import traceback
from collections import deque
from collections.abc import Callable

from PySide6.QtCore import QObject, Qt, QTimer, Signal, Slot

from agent.door import Door, Passing, Status
from tracking.errors import AgentGone, Fault

REFRESH_MS = 250  #: Four a second: more than the eye needs of a number.
EVENTS_HELD = 500  #: Newest events kept between two refreshes; older ones are skipped.
WATCH_AGAIN_S = 3.0

log = logging.getLogger("ui.bridge")


def _refresh_timer(owner: QObject, announce: Callable[[], None]) -> QTimer:
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.setTimerType(Qt.TimerType.PreciseTimer)  # a coarse one may be 5 % early
    timer.setInterval(REFRESH_MS)
    timer.timeout.connect(announce)
    return timer


class StatusBridge(QObject):
    """Carries the newest :class:`Status` from any thread to the GUI thread.

    Signals:
        changed: A newer snapshot than the last one announced. Emitted on the GUI thread.
        gone: The agent stopped answering, with a sentence. Emitted on the GUI thread. A
            ``changed`` after it means that it is back.

    """

    changed = Signal(object)
    gone = Signal(str)
    _posted = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lock = threading.Lock()  # guards _newest; held for an assignment, never longer
        self._newest: Status | str | None = None
        self._timer = _refresh_timer(self, self._announce)
        self._posted.connect(self._arm, Qt.ConnectionType.QueuedConnection)

    def post(self, status: Status) -> None:
        """Offer a snapshot; may be called from any thread and does not wait."""
        self._offer(status)

    def post_gone(self, sentence: str) -> None:
        """Say that the agent no longer answers; may be called from any thread."""
        self._offer(sentence)

    def _offer(self, news: Status | str) -> None:
        with self._lock:
            first, self._newest = self._newest is None, news
        if first:
            self._posted.emit()

    @Slot()
    def _arm(self) -> None:
        self._timer.start()

    @Slot()
    def _announce(self) -> None:
        with self._lock:
            newest, self._newest = self._newest, None
        if isinstance(newest, Status):
            self.changed.emit(newest)
        elif newest is not None:
            self.gone.emit(newest)


class EventsBridge(QObject):
    """Carries passing events to the GUI thread in bounded batches, oldest first.

    While nobody listens the newest are kept and nothing wakes up, so that a window that opens
    has something to show.

    Signals:
        arrived: ``tuple[Passing, ...]``, and how many were skipped because more than
            ``EVENTS_HELD`` came between two refreshes. Emitted on the GUI thread.

    """

    arrived = Signal(object, int)
    _posted = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lock = threading.Lock()  # guards _held and _skipped
        self._held: deque[Passing] = deque(maxlen=EVENTS_HELD)
        self._skipped = 0
        self._listening = False
        self._timer = _refresh_timer(self, self._announce)
        self._posted.connect(self._arm, Qt.ConnectionType.QueuedConnection)

    def post(self, events: tuple[Passing, ...]) -> None:
        """Offer events; may be called from any thread and does not wait."""
        if not events:
            return
        with self._lock:
            first = self._listening and not self._held
            self._skipped += max(0, len(self._held) + len(events) - EVENTS_HELD)
            self._held.extend(events)
        if first:
            self._posted.emit()

    def listen(self, listening: bool) -> None:
        """Say whether anybody looks; what was held is announced at once when somebody begins."""
        with self._lock:
            begins, self._listening = listening and not self._listening, listening
        if begins:
            self._announce()

    @Slot()
    def _arm(self) -> None:
        self._timer.start()

    @Slot()
    def _announce(self) -> None:
        with self._lock:
            if not self._listening:
                return
            events, skipped = tuple(self._held), self._skipped
            self._held.clear()
            self._skipped = 0
        if events:
            self.arrived.emit(events, skipped)


class Answer(QObject):
    """How one command ended, told on the GUI thread.

    Signals:
        done: The door's answer.
        failed: The :class:`Fault` it raised.

    """

    done = Signal(object)
    failed = Signal(object)


class Commands(QObject):
    """Runs what a person asked for on a thread of its own, in order.

    Args:
        open_door: Makes the door; called on that thread, again and again until it succeeds, so
            that a face may start before its agent [R15].
        status: Hears every snapshot.
        events: Hears every passing event.

    Signals:
        busy: Whether a command is under way.

    """

    busy = Signal(bool)

    def __init__(
        self,
        open_door: Callable[[], Door],
        status: StatusBridge,
        events: EventsBridge,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._open_door = open_door
        self._status = status
        self._events = events
        self._door: Door | None = None
        self._unwatch: Callable[[], None] | None = None
        self._letters: queue.SimpleQueue[tuple[Callable[[Door], object], Answer] | None] = (
            queue.SimpleQueue()
        )
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="ui-commands", daemon=True)

    def start(self) -> None:
        """Open the door and begin to watch."""
        self._thread.start()

    def ask(
        self,
        command: Callable[[Door], object],
        done: Callable[[object], object],
        failed: Callable[[Fault], object],
    ) -> None:
        """Run ``command`` on the command thread; one of the others hears on the GUI thread."""
        answer = Answer(self)  # lives here until it has been given, so a caller may forget it
        answer.done.connect(done)
        answer.failed.connect(failed)
        for ended in (answer.done, answer.failed):
            ended.connect(answer.deleteLater, Qt.ConnectionType.QueuedConnection)
        self._letters.put((command, answer))  # last: the answer may be there before this returns

    def close(self, patience_s: float = 2.0) -> None:
        """Stop watching and end the thread; a call that hangs in the door is left behind."""
        self._closing.set()
        self._letters.put(None)
        if self._thread.is_alive():
            self._thread.join(patience_s)

    def _serve(self) -> None:
        while not self._closing.is_set() and not self._watch():
            self._refuse_waiting()
            self._closing.wait(WATCH_AGAIN_S)
        while (letter := self._letters.get()) is not None:
            command, answer = letter
            self.busy.emit(True)
            try:
                self._run(command, answer)
            finally:
                self.busy.emit(False)
        if self._unwatch is not None:
            self._unwatch()

    def _watch(self) -> bool:
        """Open the door and watch through it; False if nobody is there yet."""
        try:
            if self._door is None:
                self._door = self._open_door()
            self._unwatch = self._door.watch(
                self._status.post, self._events.post, self._status.post_gone
            )
        except Fault as fault:
            log.info("no agent yet, will ask again code=%s", fault.code)
            self._status.post_gone(str(fault))
            return False
        return True

    def _run(self, command: Callable[[Door], object], answer: Answer) -> None:
        assert self._door is not None
        try:
            said = command(self._door)
        except Fault as fault:
            answer.failed.emit(fault)
        except Exception as exc:  # this thread must outlive it, or no later wish would be heard
            # as text: a record that kept the traceback would keep Qt's objects for another thread
            log.error("a command failed by a mistake of ours trace=%s", traceback.format_exc())  # noqa: TRY400
            answer.failed.emit(Fault(f"a mistake of ours ({type(exc).__name__}), see the log"))
        else:
            answer.done.emit(said)

    def _refuse_waiting(self) -> None:
        """Answer what was asked while there is no agent, rather than do it minutes later."""
        while True:
            try:
                letter = self._letters.get_nowait()
            except queue.Empty:
                return
            if letter is None:
                self._letters.put(None)
                return
            letter[1].failed.emit(AgentGone("no agent answers yet"))
