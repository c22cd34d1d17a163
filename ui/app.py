"""The face as a program: from a door to an exit code.

The ladder [R1]: a tray icon; where there is no tray, an ordinary window with one hint and no
question; where there is no display, :data:`NO_DISPLAY`, and the caller shows the terminal view.
The window is built when it is first opened. An agent that does not answer is waited for [R15].

    door's threads ──post──► bridges ──signal──► tray, window      (GUI thread)
    command thread ◄──ask── deeds ◄── menu, buttons, keys
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from PySide6.QtCore import (
    QCoreApplication,
    QLibraryInfo,
    QLocale,
    QMetaObject,
    QObject,
    QSocketNotifier,
    Qt,
    QTimer,
    QTranslator,
    Signal,
    Slot,
)
from PySide6.QtWidgets import QApplication

from agent.door import Door, Status
from ui import language
from ui.bridge import Commands, EventsBridge, StatusBridge
from ui.deeds import Deeds
from ui.display import display_answers
from ui.language import tr
from ui.marks import mark_icon
from ui.tray import Tray
from ui.views import Tone

if TYPE_CHECKING:
    from ui.window import Window

NO_DISPLAY = -1  #: Not an exit code: the caller starts the terminal view instead.
DESKTOP_FILE = "homing"  #: Name of the .desktop file; Wayland and docks know the window by it.
TRAY_GRACE_MS = 1500  #: At login panels start beside us: so long, then the window opens instead.

log = logging.getLogger("ui.app")


class Face(QObject):
    """Tray and window of one door."""

    _raise_wanted = Signal()

    def __init__(
        self,
        app: QApplication,
        open_door: Callable[[], Door],
        *,
        hosted: bool,
        state_dir: Path | None,
        show_window: bool,
    ) -> None:
        super().__init__()
        self._app = app
        self._memory = None if state_dir is None else state_dir / "window.ini"
        self._status: Status | None = None
        self._gone: str | None = None
        self.window: Window | None = None
        self.statuses = StatusBridge(self)
        self.events = EventsBridge(self)
        self.commands = Commands(open_door, self.statuses, self.events, self)
        self.deeds = Deeds(self.commands, self.statuses, self.leave, hosted=hosted, parent=self)
        self.tray = Tray(self.deeds, self.open_window, parent=self)
        self.statuses.changed.connect(self._changed)
        self.statuses.gone.connect(self._lost)
        self.tray.present.connect(self._tray_came_or_went)
        self.deeds.said.connect(self._speak_up)
        self._raise_wanted.connect(self.open_window, Qt.ConnectionType.QueuedConnection)
        self._show_window = show_window
        self._grace = QTimer(self)
        self._grace.setSingleShot(True)
        self._grace.setInterval(TRAY_GRACE_MS)
        self._grace.timeout.connect(self._settle_for_a_window)

    def start(self) -> None:
        """Show the icon, ask for the agent, and open the window if it was asked for."""
        self.tray.start()
        self._tray_came_or_went(self.tray.is_present())
        self.commands.start()
        if self._show_window:
            self.open_window()
        elif not self.tray.is_present():
            self._grace.start()

    def raise_from_anywhere(self) -> None:
        """Open the window; may be called from any thread (a second start asks for it) [R4]."""
        self._raise_wanted.emit()

    @Slot()
    def open_window(self) -> None:
        """Show the window, in front; built at the first call."""
        if self.window is None:
            from ui.window import Window

            self.window = Window(self.deeds, self._memory)
            self.window.looked_at.connect(self._looked_at)
            self.events.arrived.connect(self.window.show_events)
            self._hint()
        self._feed()
        self.window.raise_up()

    @Slot()
    def leave(self) -> None:
        """End the face. The caller stops the agent if it lives in this process."""
        QMetaObject.invokeMethod(self._app, "quit", Qt.ConnectionType.QueuedConnection)

    def close(self) -> None:
        """Take everything down, in the order in which it hangs together."""
        self._grace.stop()
        self.tray.close()
        self.commands.close()
        if self.window is not None:
            self.window.close()
            self.window.deleteLater()
            self.window = None

    @Slot(object)
    def _changed(self, status: Status) -> None:
        self._status, self._gone = status, None
        self.deeds.settings_file = status.settings_file
        self.tray.show_status(status)
        if self.window is not None and self.window.is_seen():
            self.window.show_status(status)

    @Slot(str)
    def _lost(self, sentence: str) -> None:
        self._gone = sentence
        self.tray.show_gone(sentence)
        if self.window is not None and self.window.is_seen():
            self.window.show_gone(sentence)

    @Slot(bool)
    def _looked_at(self, seen: bool) -> None:
        self.events.listen(seen)
        if seen:
            self._feed()

    def _feed(self) -> None:
        if self.window is None:
            return
        if self._status is not None:
            self.window.show_status(self._status)
        if self._gone is not None:
            self.window.show_gone(self._gone)

    @Slot(str, str)
    def _speak_up(self, sentence: str, tone: Tone) -> None:
        """Say where it can be read that what was asked for from the menu did not happen."""
        if tone == "bad" and not (self.window is not None and self.window.is_seen()):
            self.open_window()
            assert self.window is not None
            self.window.header.show_echo(sentence, tone)

    @Slot()
    def _settle_for_a_window(self) -> None:
        if not self.tray.is_present():
            log.info("no tray on this desktop, showing the window")
            self.open_window()

    @Slot(bool)
    def _tray_came_or_went(self, there: bool) -> None:
        # Without an icon the window is the program: closing it must not leave a ghost [R4].
        self._app.setQuitOnLastWindowClosed(not there)
        self._hint()

    def _hint(self) -> None:
        if self.window is not None:
            self.window.show_hint("" if self.tray.is_present() else no_tray_hint(self.deeds.hosted))


def no_tray_hint(hosted: bool) -> str:
    """Say what is missing for an icon in the tray, once and without a question."""
    desktop = os.environ.get("XDG_CURRENT_DESKTOP", "")
    missing = (
        tr("GNOME shows tray icons with the extension “AppIndicator and KStatusNotifierItem”.")
        if "GNOME" in desktop.upper()
        else tr("This desktop has no tray at the moment.")
    )
    closing = (
        tr("Closing this window ends Homing.")
        if hosted
        else tr("Closing this window leaves the agent running.")
    )
    return f"{missing} {closing}"


def run(
    open_door: Callable[[], Door],
    *,
    hosted: bool,
    state_dir: Path | None = None,
    show_window: bool = False,
    on_raise: Callable[[Callable[[], None]], object] | None = None,
) -> int:
    """Show the face until the person leaves; return the exit code, or ``NO_DISPLAY``.

    Args:
        open_door: Makes the door. Called on a thread of the face's own, and again every 3 s for
            as long as it raises a :class:`tracking.errors.Fault`.
        hosted: The agent lives in this process: the menu says *Quit*, and the caller stops the
            agent after this returns. Otherwise it says *Close window*.
        state_dir: Where the window's place is remembered.
        show_window: Open the window at once, also where there is a tray.
        on_raise: Called once with what a second start shall call, from any thread, to have the
            window raised.

    """
    if not display_answers():
        return NO_DISPLAY
    app = _application()
    face = Face(app, open_door, hosted=hosted, state_dir=state_dir, show_window=show_window)
    with _signals_end(app):
        if on_raise is not None:
            on_raise(face.raise_from_anywhere)
        face.start()
        code = app.exec()
    face.close()
    return code


def _application() -> QApplication:
    existing = QApplication.instance()
    app = existing if isinstance(existing, QApplication) else QApplication(sys.argv[:1])
    app.setApplicationName("homing")
    app.setDesktopFileName(DESKTOP_FILE)
    app.setWindowIcon(mark_icon())
    _speak(app)
    return app


def _speak(app: QApplication) -> None:
    """Take up the desktop's language: Qt's own words, ours, and how numbers are written."""
    locale = QLocale()
    ours = Path(__file__).resolve().parent / "translations"
    theirs = QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath)
    for name, folder in (("qtbase", theirs), ("homing", str(ours))):
        translator = QTranslator(app)
        if translator.load(locale, name, "_", folder):
            app.installTranslator(translator)

    def translate(text: str, n: int) -> str:
        return QCoreApplication.translate(language.CONTEXT, text, None, n)

    language.speak(
        translate,
        group=locale.groupSeparator(),
        point=locale.decimalPoint(),
        mirrored=app.layoutDirection() == Qt.LayoutDirection.RightToLeft,
    )


@contextlib.contextmanager
def _signals_end(app: QApplication) -> Iterator[None]:
    """End the face on SIGTERM and SIGINT at once.

    Python runs signal handlers between bytecodes, and an idle Qt runs none: the signal's number
    is therefore written to a socket that Qt watches.
    """
    wake, woken = socket.socketpair()
    wake.setblocking(False)
    woken.setblocking(False)
    notifier = QSocketNotifier(woken.fileno(), QSocketNotifier.Type.Read)

    def drained() -> None:
        with contextlib.suppress(BlockingIOError):
            woken.recv(64)

    def ended(_number: int, _frame: FrameType | None) -> None:
        # queued, because quit() does nothing before exec() has begun: a signal can be that early
        QMetaObject.invokeMethod(app, "quit", Qt.ConnectionType.QueuedConnection)

    notifier.activated.connect(drained)
    before = {number: signal.signal(number, ended) for number in (signal.SIGTERM, signal.SIGINT)}
    wakeup_before = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        notifier.setEnabled(False)
        wake.close()
        woken.close()
