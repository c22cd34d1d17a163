"""The tray icon: a mark, a menu, and the rare notification.

A tray host may come late, die and come back [R1-R3]. Qt registers an icon anew when a host
*returns*, but an icon made before any host existed is never seen: it has to be destroyed and
made again. :class:`Tray` therefore watches the name of the host on D-Bus, asks Qt from time to
time where there is no D-Bus, and makes the icon when it can be seen.
"""

from __future__ import annotations

import html
import logging
import os
import time
from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Signal, Slot
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from agent.door import Health, Status
from ui import views
from ui.asking import told, waiting
from ui.deeds import Deeds, fill_common_menu, fill_pause_menu
from ui.language import tr
from ui.marks import mark_icon
from ui.steady import Asked, SteadyState, Urgent
from ui.words import menu_text, plain

WATCHER = "org.kde.StatusNotifierWatcher"
POLL_MS = 2000
POLL_LATER_MS = 15_000  #: After two minutes without a host; asked for hours, not seconds.
EAGER_POLLS = 60
NOTIFY_MS = 15_000

log = logging.getLogger("ui.tray")


class Tray(QObject):
    """Icon, menu and notifications, for as long as there is a tray to show them in.

    Args:
        deeds: What its entries do.
        open_window: Shows the window.
        clock: Monotonic seconds; tests choose it.

    Signals:
        present: Whether an icon can be seen now.

    """

    present = Signal(bool)

    def __init__(
        self,
        deeds: Deeds,
        open_window: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._open_window = open_window
        self._clock = clock
        self._steady = SteadyState()
        self._urgent = Urgent()
        self._asked = Asked()
        self._status: Status | None = None
        self._gone: str | None = None
        self._mark: Health = "offline"
        self._tooltip = "Homing"
        self.icon: QSystemTrayIcon | None = None
        self.menu = QMenu()
        self.sentence = self.menu.addAction("")
        self.sentence.setEnabled(False)
        self.menu.addSeparator()
        self.menu.addAction(tr("&Open"), open_window)
        self.question = self.menu.addAction("", open_window)
        self._pause_menu = self.menu.addMenu(tr("&Pause sending"))
        fill_pause_menu(self._pause_menu, deeds)
        self.resume = self.menu.addAction(tr("&Resume sending"), deeds.resume)
        fill_common_menu(self.menu, deeds)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.timeout.connect(self._show)
        self._poll = QTimer(self)
        self._poll.timeout.connect(self._look)
        self._polls = 0
        self._host_on_bus = self._made_for_bus = False
        self._bus_watch = self._watch_bus()
        self._show()

    def start(self) -> None:
        """Show the icon if there is a tray, and keep looking for one if not."""
        self._look()
        if self.icon is None:
            self._poll.start(POLL_MS)

    def is_present(self) -> bool:
        """Return whether an icon can be seen."""
        return self.icon is not None and QSystemTrayIcon.isSystemTrayAvailable()

    def show_status(self, status: Status) -> None:
        """Take a newer snapshot in."""
        self._status, self._gone = status, None
        self._show()

    def show_gone(self, sentence: str) -> None:
        """Say that nobody answers."""
        self._gone = sentence
        self._show()

    def close(self) -> None:
        """Take the icon away."""
        self._poll.stop()
        self._settle.stop()
        self._remove()

    @Slot()
    def _show(self) -> None:
        now = self._clock()
        view = views.tray(self._status, self._gone)
        self._mark = self._steady.feed(view.state, now)
        self._tooltip = view.tooltip
        self.sentence.setText(menu_text(view.sentence))
        self._pause_menu.menuAction().setVisible(not view.paused)
        self.resume.setVisible(view.paused)
        waits = [self._steady.due_s(now)]
        asking = waiting(self._status) if self._gone is None else []
        self.question.setVisible(bool(asking))
        if asking:
            self.question.setText(tr("&Answer: {name}…", name=menu_text(asking[0].app_id)))
        if self._status is not None and self._gone is None:
            for sentence in self._urgent.feed(self._status, now):
                self._notify(sentence)
            for app in self._asked.feed(asking, now):
                self._notify(told(app))
            waits += [self._urgent.due_s(now), self._asked.due_s(now)]
        self._paint()
        due = [wait for wait in waits if wait is not None]
        if due:
            self._settle.start(int(min(due) * 1000) + 50)

    def _paint(self) -> None:
        if self.icon is None:
            return
        icon = mark_icon(self._mark)
        if self.icon.icon().cacheKey() != icon.cacheKey():
            self.icon.setIcon(icon)
        if self.icon.toolTip() != self._tooltip:
            self.icon.setToolTip(self._tooltip)

    def _notify(self, sentence: str) -> None:
        """Tell something; with our own mark, because a stock icon would replace the tray's."""
        if self.icon is None:
            return
        words = plain(sentence, 240)
        # A notification daemon reads markup; Qt's own balloon, on old trays, shows text as it is.
        body = html.escape(words) if self._host_on_bus else words
        self.icon.showMessage(tr("Homing"), body, mark_icon("attention"), NOTIFY_MS)

    @Slot()
    def _look(self) -> None:
        """Ask whether there is a tray, and act if that changed."""
        self._polls += 1
        if self._polls == EAGER_POLLS:
            self._poll.setInterval(POLL_LATER_MS)
        if self.icon is None and QSystemTrayIcon.isSystemTrayAvailable():
            self._poll.stop()
            self._make()

    def _make(self) -> None:
        icon = QSystemTrayIcon(mark_icon(self._mark), self)
        icon.setToolTip(self._tooltip)
        icon.setContextMenu(self.menu)
        icon.activated.connect(self._activated)
        icon.messageClicked.connect(self._open_window)
        icon.show()
        self.icon, self._made_for_bus = icon, self._host_on_bus
        log.info("shown in the tray over_dbus=%s", self._host_on_bus)
        self.present.emit(True)

    def _remove(self) -> None:
        if self.icon is not None:
            self.icon.hide()
            self.icon.deleteLater()
            self.icon = None

    def _activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        reasons = QSystemTrayIcon.ActivationReason
        if reason in {reasons.Trigger, reasons.DoubleClick, reasons.MiddleClick}:
            self._open_window()

    def _watch_bus(self) -> QObject | None:
        """Hear of tray hosts that come and go, where there is a session bus."""
        if "DBUS_SESSION_BUS_ADDRESS" not in os.environ and not os.environ.get("XDG_RUNTIME_DIR"):
            return None
        from PySide6.QtDBus import QDBusConnection, QDBusServiceWatcher

        bus = QDBusConnection.sessionBus()
        if not bus.isConnected():
            return None
        interface = bus.interface()
        self._host_on_bus = bool(interface.isServiceRegistered(WATCHER).value())
        watch = QDBusServiceWatcher(
            WATCHER, bus, QDBusServiceWatcher.WatchModeFlag.WatchForOwnerChange, self
        )
        watch.serviceOwnerChanged.connect(self._host_changed)
        return watch

    @Slot(str, str, str)
    def _host_changed(self, _name: str, _before: str, after: str) -> None:
        self._host_on_bus = bool(after)
        if not after:
            log.info("the tray host went away")
            self.present.emit(False)
            return
        if self.icon is not None and self._made_for_bus:
            self.present.emit(True)  # Qt registers it with the new host by itself
            return
        self._remove()  # one that was made for no host, or for an older kind of tray, stays unseen
        self._look()
