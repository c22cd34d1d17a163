"""What a person can have done from the tray and from the window, in one place.

Each deed goes to the command thread (:class:`ui.bridge.Commands`) and reports back with one
sentence; nothing here waits.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, QProcess, QProcessEnvironment, QUrl, Signal, Slot
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QMenu, QWidget

from agent.door import Door, Sent, Status
from agent.door.apps import AllowApp, DenyApp, NotNow, Outcome, ResumeApp
from agent.door.asking import Request
from tracking.errors import Fault
from ui.bridge import Commands, StatusBridge
from ui.language import tr
from ui.views import Action
from ui.words import plain, until_tomorrow_s

TEST_EVENT = "homing.test"
HOUR_S = 3600.0


class Deeds(QObject):
    """The deeds, and their echo.

    Args:
        commands: Where they are done.
        bridge: Hears the snapshots that some of them answer with.
        leave: Ends the face, and with it the agent if it lives in this process.
        hosted: Whether it does.

    Signals:
        said: A sentence about how a deed ended, and its tone.
        unanswered: An answer about this app could not be given.

    """

    said = Signal(str, str)
    unanswered = Signal(str)

    def __init__(
        self,
        commands: Commands,
        bridge: StatusBridge,
        leave: Callable[[], None],
        *,
        hosted: bool,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._commands = commands
        self._bridge = bridge
        self.leave = leave
        self.hosted = hosted
        self.settings_file = ""

    def pause(self, for_s: float | None) -> None:
        """Pause sending for some time, or until the person resumes; what is reported is kept."""
        self._ask(lambda door: door.pause(for_s), tr("Sending paused; events are kept."))

    def pause_until_tomorrow(self) -> None:
        """Stop sending until the next day begins."""
        self.pause(until_tomorrow_s(round(time.time() * 1000)))

    def resume(self) -> None:
        """End a pause of sending."""
        self._ask(lambda door: door.resume(), tr("Sending again."))

    def retry(self) -> None:
        """Dial now."""
        self._ask(lambda door: door.retry(), tr("Trying again."))

    def keep_here(self) -> None:
        """Start a collector on this computer."""
        self._ask(lambda door: door.keep_here(), tr("Keeping events on this computer."))

    def allow(self, app_id: str) -> None:
        """Let an app report from now on."""
        self._about(app_id, AllowApp(app_id=app_id), tr("{name} may report."))

    def not_now(self, app_id: str) -> None:
        """Leave an app waiting, and ask no more about it."""
        self._about(
            app_id,
            NotNow(app_id=app_id),
            tr("{name} waits, and you are not asked again. To answer: homing apps."),
        )

    def deny(self, app_id: str) -> None:
        """Drop what an app reports from now on."""
        self._about(
            app_id,
            DenyApp(app_id=app_id),
            tr("{name} is denied: what it reports is dropped, not kept."),
        )

    def resume_apps(self) -> None:
        """End the pause of all apps."""
        self._ask(lambda door: door.ask(ResumeApp()), tr("The apps are heard again."))

    def _about(self, app_id: str, request: Request[Outcome], sentence: str) -> None:
        """Give an answer about an app; the sentence is a translated format with its name."""
        name = plain(app_id, 64)

        def done(said: object) -> None:
            note = plain(said.note, 200) if isinstance(said, Outcome) else ""
            self.said.emit(f"{sentence.format(name=name)} {note}".rstrip(), "good")

        def failed(fault: Fault) -> None:
            self.unanswered.emit(app_id)
            self._failed(fault)

        self._commands.ask(lambda door: door.ask(request), done, failed)

    def act(self, action: Action) -> None:
        """Do what the window's main button says."""
        match action:
            case "resume":
                self.resume()
            case "retry":
                self.retry()
            case "resume_apps":
                self.resume_apps()
            case "keep":
                self.keep_here()
            case "":
                pass

    def send_test(self) -> None:
        """Report an event of our own, the way an app would."""
        self._ask(
            lambda door: door.send(TEST_EVENT, payload={"from": "homing"}),
            tr("A test event was accepted and is safe on disk."),
        )

    def open_settings(self) -> None:
        """Open the settings file in the desktop's editor, or say where it is [R6]."""
        if not self.settings_file:
            self.said.emit(tr("The agent has not said yet where its settings are."), "bad")
            return
        path = Path(self.settings_file)
        there = path if path.exists() else path.parent
        if there.exists() and _open(there):
            return
        QGuiApplication.clipboard().setText(str(path))
        self.said.emit(
            tr("Nothing here opens {path}. The path was copied.", path=plain(str(path), 300)), "bad"
        )

    def _ask(self, deed: Callable[[Door], object], done: str) -> None:
        self._commands.ask(deed, lambda said: self._done(said, done), self._failed)

    def _done(self, said: object, sentence: str) -> None:
        if isinstance(said, Status):
            self._bridge.post(said)
        if isinstance(said, Sent) and not said.ids:
            self.said.emit(tr("Nothing was accepted."), "bad")
            return
        self.said.emit(sentence, "good")

    @Slot(object)
    def _failed(self, fault: Fault) -> None:
        parts = [plain(str(fault), 200), plain(fault.advice, 200)]
        self.said.emit(" ".join(part for part in parts if part), "bad")


def fill_pause_menu(menu: QMenu, deeds: Deeds) -> None:
    """Put the three lengths of a pause into a menu."""
    menu.addAction(tr("For &1 hour"), lambda: deeds.pause(HOUR_S))
    menu.addAction(tr("Until &tomorrow"), deeds.pause_until_tomorrow)
    menu.addAction(tr("Until I &resume"), lambda: deeds.pause(None))


def fill_common_menu(menu: QMenu, deeds: Deeds, parent: QWidget | None = None) -> None:
    """Put in what tray and window have in common."""
    menu.addAction(tr("Send a &test event"), deeds.send_test)
    menu.addAction(tr("&Settings file"), deeds.open_settings)
    menu.addSeparator()
    menu.addAction(leave_words(deeds), deeds.leave)


def leave_words(deeds: Deeds) -> str:
    """Say what leaving means: the agent goes too only if it lives in this process."""
    return tr("&Quit") if deeds.hosted else tr("&Close window")


def _open(path: Path) -> bool:
    if sys.platform in {"win32", "darwin"} or "LD_LIBRARY_PATH_ORIG" not in os.environ:
        return QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
    # A frozen build points at its own libraries, which the desktop's editor must not load.
    env = QProcessEnvironment.systemEnvironment()
    env.insert("LD_LIBRARY_PATH", os.environ["LD_LIBRARY_PATH_ORIG"])
    opener = QProcess()
    opener.setProgram("xdg-open")
    opener.setArguments([str(path)])
    opener.setProcessEnvironment(env)
    started, _pid = opener.startDetached()
    return bool(started)
