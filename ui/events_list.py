"""Live events: the newest on top, and nothing moves under the eye of somebody who reads.

Following means that the list is at its top and nothing is selected; then new events push in.
Otherwise the rows in view stay where they are, and a button counts what came since.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from PySide6.QtCore import (
    QAbstractTableModel,
    QEvent,
    QItemSelection,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    Qt,
    Signal,
)
from PySide6.QtGui import QGuiApplication, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QWidget

from agent.door import Passing, Status
from ui import details
from ui.controls import Button, CommandLine
from ui.language import tr, trn
from ui.pieces import Card, announce, plain_label, set_text
from ui.tables import Column, Data, Index, Table, heading, side
from ui.theme import tone_colour
from ui.views import Tone, first_event_line
from ui.words import DOT, byte_size, clock, count, plain, tip

MAX_ROWS = 500  #: As many as a person scrolls through; `homing tail` shows more.


def event_columns() -> tuple[Column, ...]:
    """Return the columns; the less important ones need room."""
    return (
        Column(tr("Time"), 8),
        Column(tr("Event"), 18, grows=True),
        Column(tr("App"), 12, rank=1),
        Column(tr("User"), 9, rank=3),
        Column(tr("Payload"), 16, grows=True, rank=2),
        Column(tr("Size"), 7, number=True, rank=4),
    )


def title(event: Passing) -> str:
    """Return what to call an event: its name, with its type where that says more."""
    if not event.name:
        return plain(event.type)
    return (
        plain(event.name) if event.type == "event" else f"{plain(event.name)} ({plain(event.type)})"
    )


def as_text(event: Passing) -> str:
    """Return an event as one line of JSON, for the clipboard."""
    try:
        payload: object = json.loads(event.payload) if event.payload else None
    except ValueError:
        payload = event.payload  # it was clipped
    return json.dumps(
        {
            "at": event.at_ms,
            "app": event.app_id,
            "id": event.id,
            "type": event.type,
            "name": event.name,
            "userId": event.user_id,
            "payload": payload,
            **({"marks": event.marks} if event.marks else {}),
        },
        ensure_ascii=False,
    )


class EventsModel(QAbstractTableModel):
    """The last ``MAX_ROWS`` events, newest first."""

    def __init__(self, columns: Sequence[Column], parent: QWidget) -> None:
        super().__init__(parent)
        self._columns = columns
        self._events: list[Passing] = []
        self.status: Status | None = None  #: Knows the apps' names.

    def add(self, events: Sequence[Passing]) -> int:
        """Put events on top, given oldest first; return how many came in."""
        newest_first = list(reversed(events))[:MAX_ROWS]
        if not newest_first:
            return 0
        self.beginInsertRows(QModelIndex(), 0, len(newest_first) - 1)
        self._events[:0] = newest_first
        self.endInsertRows()
        if len(self._events) > MAX_ROWS:
            self.beginRemoveRows(QModelIndex(), MAX_ROWS, len(self._events) - 1)
            del self._events[MAX_ROWS:]
            self.endRemoveRows()
        return len(newest_first)

    def event_at(self, row: int) -> Passing:
        """Return one event."""
        return self._events[row]

    def rowCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._events)

    def columnCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._columns)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Data.DisplayRole
    ) -> object:
        return heading(self._columns, section, orientation, role)

    def data(self, index: Index, role: int = Data.DisplayRole) -> object:
        if not index.isValid() or index.row() >= len(self._events):
            return None
        event, at = self._events[index.row()], index.column()
        if role == Data.DisplayRole:
            return self._cell(event, at)
        if role == Data.TextAlignmentRole:
            return side(self._columns[at])
        if role == Data.ToolTipRole:
            return tip(self._more(event) if at == 4 else self._cell(event, at))
        if role == Data.ForegroundRole:
            tone = _tone(event, at)
            owner = self.parent()
            assert isinstance(owner, QWidget)
            return None if tone == "plain" else tone_colour(owner.window().palette(), tone)
        if role == Data.AccessibleTextRole:
            said = self._more(event) if at == 4 and event.marks else self._cell(event, at)
            return f"{self._columns[at].title}: {said}"
        return None

    @staticmethod
    def _more(event: Passing) -> str:
        """Return the payload, and before it what is new, odd or looks personal in it."""
        payload = plain(event.payload, 500)
        return f"{plain('; '.join(event.marks), 300)}\n{payload}" if event.marks else payload

    def _cell(self, event: Passing, column: int) -> str:
        match column:
            case 0:
                return clock(event.at_ms, seconds=True)
            case 1:
                return title(event)
            case 2:
                return details.app_name(self.status, event.app_id)
            case 3:
                return plain(event.user_id)
            case 4:
                return plain(event.payload)
            case _:
                return byte_size(event.size)


def _tone(event: Passing, column: int) -> Tone:
    if column == 1:
        return "bad" if event.type == "error" else "muted" if event.type == "init" else "plain"
    startling = column == 4 and any(not mark.startswith("new-") for mark in event.marks)
    return "bad" if startling else "muted"


class EventsView(Table):
    """The table of events, which keeps its place while somebody reads.

    Signals:
        unseen: How many events came while the person was reading.

    """

    unseen = Signal(int)

    def __init__(self) -> None:
        columns = event_columns()
        super().__init__(tr("Live events"), columns, rows_wanted=9)
        self.events = EventsModel(columns, self)
        self.setModel(self.events)
        self.setSelectionMode(Table.SelectionMode.ExtendedSelection)
        self._unseen = 0
        self.verticalScrollBar().valueChanged.connect(self._scrolled)

    def reading(self) -> bool:
        """Return whether somebody is reading: scrolled down, or holding a selection."""
        return self.verticalScrollBar().value() > 0 or self.selectionModel().hasSelection()

    def add(self, events: Sequence[Passing]) -> None:
        """Show newer events without moving what is being read."""
        if not self.reading():
            self.events.add(events)
            self.scrollToTop()
            return
        top = QPersistentModelIndex(self.indexAt(QPoint(0, 0)))
        before = self.visualRect(top).top()
        self._count(self._unseen + self.events.add(events))
        self.executeDelayedItemsLayout()
        if top.isValid():
            bar = self.verticalScrollBar()
            bar.setValue(bar.value() + self.visualRect(top).top() - before)

    def follow(self) -> None:
        """Go back to the newest."""
        self.clearSelection()
        self.scrollToTop()
        self._count(0)

    def selected(self) -> list[Passing]:
        """Return the selected events, in the order of the list."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        return [self.events.event_at(row) for row in rows]

    def event(self, event: QEvent) -> bool:
        if (
            event.type() == QEvent.Type.ShortcutOverride
            and isinstance(event, QKeyEvent)
            and event.key() == Qt.Key.Key_Escape
            and self.reading()
        ):
            event.accept()  # the first Escape stops reading, the second closes the window
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            chosen = self.selected()
            if chosen:
                QGuiApplication.clipboard().setText("\n".join(as_text(one) for one in chosen))
                announce(self, trn("Event copied", "{n} events copied", len(chosen), n=len(chosen)))
            return
        if event.key() == Qt.Key.Key_Escape and self.reading():
            self.follow()
            return
        super().keyPressEvent(event)

    def _scrolled(self, value: int) -> None:
        if value == 0 and not self.selectionModel().hasSelection():
            self._count(0)

    def _count(self, unseen: int) -> None:
        if unseen != self._unseen:
            self._unseen = unseen
            self.unseen.emit(unseen)


class EventsPanel(Card):
    """The card of live events: the list, or how to make the first one."""

    def __init__(self) -> None:
        super().__init__(tr("Live events"))
        self.newer = Button()
        self.newer.hide()
        self.head.addWidget(self.newer)
        self.view = EventsView()
        self.body.addWidget(self.view, 1)
        self.chosen = plain_label(muted=True, wrap=True)
        self.chosen.hide()
        self.body.addWidget(self.chosen)
        self.empty = plain_label(muted=True, wrap=True)
        self.command = CommandLine()
        self.body.addWidget(self.empty)
        self.body.addWidget(self.command)
        self.body.addStretch(0)
        self.newer.clicked.connect(self.view.follow)
        self.view.unseen.connect(self._offer_newer)
        self.view.selectionModel().selectionChanged.connect(self._choose)
        self._status: Status | None = None
        self._settle()

    def show_status(self, status: Status | None) -> None:
        """Learn the apps' names and how to report a first event."""
        self._status = status
        self.view.events.status = status
        self._settle()

    def add(self, events: tuple[Passing, ...], skipped: int = 0) -> None:
        """Show newer events, given oldest first."""
        self.view.add(events)
        self.title.setToolTip(
            tip(
                trn(
                    "{n} more passed by unseen",
                    "{n} more passed by unseen",
                    skipped,
                    n=count(skipped),
                )
            )
            if skipped
            else ""
        )
        self._settle()

    def _settle(self) -> None:
        empty = self.view.events.rowCount() == 0
        self.view.setVisible(not empty)
        self.empty.setVisible(empty)
        line = first_event_line(self._status) if empty else ""
        self.command.show_command(line)
        if empty:
            set_text(
                self.empty,
                tr("Nothing has passed since this window opened. Report an event from a terminal:")
                if line
                else tr("Nothing has passed since this window opened."),
            )

    def _offer_newer(self, unseen: int) -> None:
        self.newer.setVisible(unseen > 0)
        self.newer.setText(
            trn(
                "\N{UPWARDS ARROW} {n} newer",
                "\N{UPWARDS ARROW} {n} newer",
                unseen,
                n=count(unseen),
            )
        )

    def _choose(self, _now: QItemSelection, _before: QItemSelection) -> None:
        chosen = self.view.selected()
        self.chosen.setVisible(len(chosen) == 1)
        if len(chosen) == 1:
            one = chosen[0]
            parts = [title(one), details.app_name(self._status, one.app_id), plain(one.id)]
            head = f" {DOT} ".join(part for part in parts if part)
            set_text(self.chosen, f"{head}\n{plain(one.payload, 500)}" if one.payload else head)
        elif not chosen and self.view.verticalScrollBar().value() == 0:
            self.view.follow()
