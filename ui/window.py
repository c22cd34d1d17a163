"""The window: one page that says everything, in one, two or three columns.

It is given snapshots and events and looks things up nowhere. While it is hidden or minimised it
is given nothing, and its only timer (relative times, once a second) stands still.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QByteArray, QEvent, QSettings, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QCloseEvent,
    QGuiApplication,
    QHideEvent,
    QKeySequence,
    QResizeEvent,
    QShortcut,
    QShowEvent,
)
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from agent.door import Passing, Status
from ui import views
from ui.deeds import Deeds
from ui.events_list import EventsPanel
from ui.header import StatusHeader
from ui.language import tr
from ui.marks import mark_icon
from ui.panels import (
    AppsPanel,
    ConnectionsPanel,
    MachinePanel,
    NoticesPanel,
    OutboxPanel,
    RatePanel,
    TilesRow,
    UsersPanel,
)
from ui.question import QuestionBar
from ui.tables import SlimBar
from ui.theme import themed

TICK_MS = 1000
TWO_COLUMNS_PX, THREE_COLUMNS_PX = 720, 1280
ROOM_SHARE = 0.92  #: Of the screen, at most, at the first opening.
GEOMETRY = "window/geometry"


def now_ms() -> int:
    """Return this computer's time."""
    return round(time.time() * 1000)


class Window(QWidget):
    """The face's one window.

    Args:
        deeds: What its buttons do.
        memory: Where the window's place is remembered, ``None`` to forget it.

    Signals:
        looked_at: Whether somebody can see it now; nobody feeds it while it is ``False``.

    """

    looked_at = Signal(bool)

    def __init__(self, deeds: Deeds, memory: Path | None = None) -> None:
        super().__init__()
        self._deeds = deeds
        self._settings = (
            None if memory is None else QSettings(str(memory), QSettings.Format.IniFormat)
        )
        self._status: Status | None = None
        self._gone: str | None = None
        self._hint = ""
        self._columns = 0
        self._seen = False
        self.setWindowTitle(tr("Homing"))
        self.setWindowIcon(mark_icon())
        self.setMinimumSize(360, 480)

        self.header = StatusHeader(deeds)
        self.question = QuestionBar(deeds)
        self.notices = NoticesPanel()
        self.tiles = TilesRow()
        self.rate = RatePanel()
        self.events = EventsPanel()
        self.users = UsersPanel()
        self.outbox = OutboxPanel()
        self.connections = ConnectionsPanel()
        self.machine = MachinePanel()
        self.apps = AppsPanel()
        self._build()
        self._bind_keys()

        self._clock = QTimer(self)
        self._clock.setInterval(TICK_MS)
        self._clock.timeout.connect(self._refresh)
        self._dress()
        self._refresh()
        self._recall()

    def show_status(self, status: Status) -> None:
        """Show a newer snapshot."""
        self._status, self._gone = status, None
        self._refresh()

    def show_gone(self, sentence: str | None) -> None:
        """Say that nobody answers; what is on the page stays, marked as old [R15]."""
        self._gone = sentence
        self._refresh()

    def show_events(self, events: tuple[Passing, ...], skipped: int = 0) -> None:
        """Show newer events, given oldest first."""
        self.events.add(events, skipped)

    def show_hint(self, hint: str) -> None:
        """Show a sentence of the face's own below the agent's notices; empty for none."""
        self._hint = hint
        self._refresh()

    def raise_up(self) -> None:
        """Come to the front, from hidden, minimised or behind other windows [R4]."""
        if self.isMinimized():
            self.showNormal()
        else:
            self.show()
        self.raise_()
        self.activateWindow()

    def is_seen(self) -> bool:
        """Return whether somebody can see the window."""
        return self.isVisible() and not self.isMinimized()

    def _build(self) -> None:
        page = QWidget()
        self._page = QVBoxLayout(page)
        self._page.setContentsMargins(14, 14, 14, 14)
        self._page.setSpacing(10)
        for part in (self.header, self.question, self.notices, self.tiles):
            self._page.addWidget(part)
        self._lanes: list[QVBoxLayout] = []
        lanes = QHBoxLayout()
        lanes.setSpacing(10)
        for _ in range(3):
            lane = QVBoxLayout()
            lane.setSpacing(10)
            lanes.addLayout(lane, 1)
            self._lanes.append(lane)
        self._lane_row = lanes
        self._page.addLayout(lanes, 1)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setFocusPolicy(
            Qt.FocusPolicy.NoFocus
        )  # its cards take the focus and scroll it
        self._scroll.setVerticalScrollBar(SlimBar())
        self._scroll.setWidget(page)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self._scroll)

    def _bind_keys(self) -> None:
        keys = (
            ("Ctrl+W", self.close),
            ("Esc", self.close),
            ("Ctrl+Q", self._deeds.leave),
            ("F5", self._deeds.retry),
            ("Ctrl+P", self._pause_or_resume),
        )
        for sequence, deed in keys:
            QShortcut(QKeySequence(sequence), self, deed)

    def _pause_or_resume(self) -> None:
        if self._status is not None and self._status.pause is not None:
            self._deeds.resume()
        else:
            self._deeds.pause(None)

    def _arrange(self) -> None:
        """Deal the cards to as many columns as there is room for."""
        width = self.width()
        columns = 1 if width < TWO_COLUMNS_PX else 2 if width < THREE_COLUMNS_PX else 3
        if columns == self._columns:
            return
        self._columns = columns
        lanes: dict[int, Sequence[Sequence[tuple[QWidget | None, int]]]] = {
            1: (
                (
                    (self.rate, 0),
                    (self.events, 0),
                    (self.users, 0),
                    (self.outbox, 0),
                    (self.connections, 0),
                    (self.apps, 0),
                    (self.machine, 0),
                ),
                (),
                (),
            ),
            2: (
                ((self.rate, 2), (self.events, 3), (self.apps, 0)),
                ((self.users, 1), (self.outbox, 0), (self.connections, 0), (self.machine, 0)),
                (),
            ),
            3: (
                ((self.rate, 3), (self.events, 5)),
                ((self.users, 1), (self.apps, 0)),
                ((self.outbox, 0), (self.connections, 0), (self.machine, 0), (None, 1)),
            ),
        }
        for lane in self._lanes:
            while lane.count():
                lane.takeAt(0)
        for at, (lane, cards) in enumerate(zip(self._lanes, lanes[columns], strict=True)):
            for card, stretch in cards:
                if card is None:
                    lane.addStretch(stretch)
                else:
                    lane.addWidget(card, stretch)
            self._lane_row.setStretch(at, ((1, 0, 0), (5, 3, 0), (8, 5, 4))[columns - 1][at])
        self._order_tabs([card for cards in lanes[columns] for card, _ in cards if card])

    def _order_tabs(self, cards: Sequence[QWidget]) -> None:
        """Tab goes through the page as the eye does: the head, then column by column."""
        stops: list[QWidget] = [self.header.action, self.header.pause, self.header.more]
        stops += [*self.question.stops(), self.tiles]
        inner: dict[QWidget, Sequence[QWidget]] = {
            self.rate: (self.rate.chart,),
            self.events: (self.events.newer, self.events.view, *self.events.command.stops()),
            self.users: (self.users.table,),
            self.apps: (self.apps.table,),
        }
        for card in cards:
            stops += inner.get(card, (card,))
        for before, after in itertools.pairwise(stops):
            QWidget.setTabOrder(before, after)

    def _refresh(self) -> None:
        now = now_ms()
        status = self._status
        self.header.show_view(views.header(status, now, self._gone))
        self.question.show_status(None if self._gone else status, now)
        self.notices.show_status(status, self._hint)
        self.tiles.show_status(status)
        self.rate.show_status(status)
        self.events.show_status(status)
        self.users.show_status(status, now)
        self.outbox.show_status(status, now)
        self.connections.show_status(status, now)
        self.machine.show_status(status, now)
        self.apps.show_status(status)

    def _dress(self) -> None:
        """Take the desktop's colours up again."""
        self.setPalette(themed(QGuiApplication.palette()))
        self._refresh()

    def _tell_seen(self) -> None:
        seen = self.is_seen()
        if seen == self._seen:
            return
        self._seen = seen
        if seen:
            self._clock.start()
        else:
            self._clock.stop()
        self.looked_at.emit(seen)

    def _recall(self) -> None:
        place = self._settings.value(GEOMETRY) if self._settings else None
        if not (isinstance(place, QByteArray) and self.restoreGeometry(place)):
            room = self.screen().availableSize() * ROOM_SHARE
            self.resize(QSize(900, 700).boundedTo(room))

    def _remember(self) -> None:
        if self._settings is not None:
            self._settings.setValue(GEOMETRY, self.saveGeometry())
            self._settings.sync()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._refresh()
        self._tell_seen()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._tell_seen()

    def closeEvent(self, event: QCloseEvent) -> None:
        self._remember()
        super().closeEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.WindowStateChange:
            self._tell_seen()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ApplicationPaletteChange:
            self._dress()
        return super().event(event)
