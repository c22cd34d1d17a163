"""Tables of the window: plain cells, calm lines, and rows that stay where the eye is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QSize, Qt
from PySide6.QtGui import QFocusEvent, QPainter, QPaintEvent, QPalette, QPen, QResizeEvent
from PySide6.QtWidgets import QFrame, QHeaderView, QTreeView, QWidget

from ui.theme import tone_colour
from ui.views import Tone
from ui.words import tip

Index = QModelIndex | QPersistentModelIndex
Data = Qt.ItemDataRole


@dataclass(frozen=True, slots=True)
class Column:
    """How a column looks.

    Attributes:
        title: Its header.
        chars: Its width in average letters; 0 shares what is left.
        number: Aligned to the end, as numbers are.
        from_px: The table's width from which on the column is shown.

    """

    title: str
    chars: int = 0
    number: bool = False
    from_px: int = 0


@dataclass(frozen=True, slots=True)
class TableRow:
    cells: tuple[str, ...]
    about: str = ""
    tone: Tone = "plain"


class RowsModel(QAbstractTableModel):
    """A few rows that are replaced as a whole, without losing selection or place."""

    def __init__(self, columns: Sequence[Column], parent: QWidget) -> None:
        super().__init__(parent)
        self._columns = columns
        self._rows: list[TableRow] = []

    def show_rows(self, rows: Sequence[TableRow]) -> None:
        """Show these rows; rows that did not change are left alone."""
        fresh = list(rows)
        if fresh == self._rows:
            return
        was, will = len(self._rows), len(fresh)
        if will > was:
            self.beginInsertRows(QModelIndex(), was, will - 1)
            self._rows += fresh[was:]
            self.endInsertRows()
        elif will < was:
            self.beginRemoveRows(QModelIndex(), will, was - 1)
            del self._rows[will:]
            self.endRemoveRows()
        self._rows = fresh
        if fresh:
            last = self.index(will - 1, len(self._columns) - 1)
            self.dataChanged.emit(self.index(0, 0), last)

    def row(self, at: int) -> TableRow:
        """Return one row."""
        return self._rows[at]

    def rowCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._columns)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Data.DisplayRole
    ) -> object:
        if orientation is not Qt.Orientation.Horizontal or section >= len(self._columns):
            return None
        column = self._columns[section]
        if role == Data.DisplayRole:
            return column.title
        if role == Data.TextAlignmentRole:
            return side(column)
        return None

    def data(self, index: Index, role: int = Data.DisplayRole) -> object:
        if not index.isValid() or index.row() >= len(self._rows):
            return None
        row, at = self._rows[index.row()], index.column()
        if role == Data.DisplayRole:
            return row.cells[at]
        if role == Data.TextAlignmentRole:
            return side(self._columns[at])
        if role == Data.ToolTipRole:
            return tip(row.about or row.cells[at])
        if role == Data.ForegroundRole and row.tone != "plain":
            owner = self.parent()
            assert isinstance(owner, QWidget)
            return tone_colour(owner.window().palette(), row.tone)
        if role == Data.AccessibleTextRole:
            return f"{self._columns[at].title}: {row.cells[at]}"
        return None


def side(column: Column) -> Qt.AlignmentFlag:
    """Return on which side a column's text stands."""
    edge = Qt.AlignmentFlag.AlignTrailing if column.number else Qt.AlignmentFlag.AlignLeading
    return edge | Qt.AlignmentFlag.AlignVCenter


class Table(QTreeView):
    """A table without grid or frame; columns come and go with the room there is."""

    def __init__(self, name: str, columns: Sequence[Column], *, rows_wanted: int = 5) -> None:
        super().__init__()
        self._columns = columns
        self._rows_wanted = rows_wanted
        self.setAccessibleName(name)
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setAllColumnsShowFocus(True)
        self.setAlternatingRowColors(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setEditTriggers(QTreeView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QTreeView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTabKeyNavigation(False)  # Tab leaves the table, the arrows move in it
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        header = self.header()
        header.setSectionsMovable(False)
        header.setSectionsClickable(False)
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(20)

    def fit_columns(self) -> None:
        """Give each column its width; called once the model is set, and on every resize."""
        header, room = self.header(), self.viewport().width()
        letter = self.fontMetrics().averageCharWidth()
        for at, column in enumerate(self._columns):
            self.setColumnHidden(at, room < column.from_px)
            if column.chars:
                header.setSectionResizeMode(at, QHeaderView.ResizeMode.Fixed)
                header.resizeSection(at, column.chars * letter + 14)
            else:
                header.setSectionResizeMode(at, QHeaderView.ResizeMode.Stretch)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self.model() is not None:
            self.fit_columns()

    def minimumSizeHint(self) -> QSize:
        line = self.fontMetrics().height() + 6
        return QSize(120, line * (min(self._rows_wanted, 3) + 1) + 6)

    def sizeHint(self) -> QSize:
        line = self.fontMetrics().height() + 6
        return QSize(320, line * (self._rows_wanted + 1) + 8)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.viewport().update()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self.hasFocus():
            painter = QPainter(self.viewport())
            painter.setPen(QPen(self.palette().color(QPalette.ColorRole.Accent), 1.5))
            painter.drawRect(self.viewport().rect().adjusted(1, 1, -1, -1))
