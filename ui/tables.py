"""Tables of the window: plain cells, calm lines, and rows that stay where the eye is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
)
from PySide6.QtGui import QColor, QFocusEvent, QPainter, QPaintEvent, QPalette, QPen, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QHeaderView,
    QScrollBar,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionSlider,
    QStyleOptionViewItem,
    QTreeView,
    QWidget,
)

from ui.language import tr
from ui.theme import tone_colour
from ui.views import Tone
from ui.words import tip

Index = QModelIndex | QPersistentModelIndex
Data = Qt.ItemDataRole

CELL_PX, ROW_PX = 3, 8  #: Air beside and above a cell's text.


@dataclass(frozen=True, slots=True)
class Column:
    """How a column looks.

    Attributes:
        title: Its header.
        chars: Its width in average letters.
        grows: Whether it shares what is left; ``chars`` is then its least width.
        number: Aligned to the end, as numbers are.
        rank: Where there is no room for all, the highest ranks go first.

    """

    title: str
    chars: int
    grows: bool = False
    number: bool = False
    rank: int = 0


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
        return heading(self._columns, section, orientation, role)

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


def heading(
    columns: Sequence[Column], section: int, orientation: Qt.Orientation, role: int
) -> object:
    """Return what a model says of the head of a column."""
    if orientation is not Qt.Orientation.Horizontal or section >= len(columns):
        return None
    if role == Data.DisplayRole:
        return columns[section].title
    return side(columns[section]) if role == Data.TextAlignmentRole else None


def side(column: Column) -> Qt.AlignmentFlag:
    """Return on which side a column's text stands."""
    edge = Qt.AlignmentFlag.AlignTrailing if column.number else Qt.AlignmentFlag.AlignLeading
    return edge | Qt.AlignmentFlag.AlignVCenter


class RoomyRows(QStyledItemDelegate):
    """Rows with a little air, and the focus shown once for the table instead of per cell."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(super().sizeHint(option, index).width(), option.fontMetrics.height() + ROW_PX)

    def initStyleOption(self, option: QStyleOptionViewItem, index: Index) -> None:
        super().initStyleOption(option, index)
        option.state &= ~QStyle.StateFlag.State_HasFocus


class QuietHeader(QHeaderView):
    """Column titles over a hairline, without boxes."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.setAccessibleName(tr("Columns"))

    def sizeHint(self) -> QSize:
        return QSize(super().sizeHint().width(), self.fontMetrics().height() + ROW_PX + 2)

    def paintSection(self, painter: QPainter, rect: QRect, section: int) -> None:
        palette = self.palette()
        painter.fillRect(rect, palette.color(QPalette.ColorRole.Base))
        painter.setPen(palette.color(QPalette.ColorRole.PlaceholderText))
        model = self.model()
        where, what = Qt.Orientation.Horizontal, model.headerData
        alignment = what(section, where, Data.TextAlignmentRole)
        title = str(what(section, where, Data.DisplayRole) or "")
        room = rect.adjusted(CELL_PX, 0, -CELL_PX, 0)
        side_here = QStyle.visualAlignment(self.layoutDirection(), Qt.AlignmentFlag(alignment))
        painter.drawText(
            room,
            side_here,
            self.fontMetrics().elidedText(title, Qt.TextElideMode.ElideRight, room.width()),
        )
        painter.setPen(palette.color(QPalette.ColorRole.Mid))
        painter.drawLine(rect.bottomLeft(), rect.bottomRight())


class SlimBar(QScrollBar):
    """A scroll bar that does not shout."""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Vertical)
        self.setAccessibleName(tr("Scroll bar"))
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent, False)  # what is below shows

    def sizeHint(self) -> QSize:
        return QSize(11, super().sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        option = QStyleOptionSlider()
        self.initStyleOption(option)
        part = QStyle.SubControl.SC_ScrollBarSlider
        control = QStyle.ComplexControl.CC_ScrollBar
        handle = QRectF(self.style().subControlRect(control, option, part, self))
        handle = handle.adjusted(3, 1, -2, -1)
        strong = self.isSliderDown() or self.underMouse()
        ink = QColor(self.palette().color(QPalette.ColorRole.WindowText))
        ink.setAlphaF(0.5 if strong else 0.28)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(ink)
        painter.drawRoundedRect(handle, 3, 3)


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
        self.setItemDelegate(RoomyRows(self))
        self.setVerticalScrollBar(SlimBar())
        self.setHeader(QuietHeader(self))
        header = self.header()
        header.setSectionsMovable(False)
        header.setSectionsClickable(False)
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(20)

    def fit_columns(self) -> None:
        """Give each column its width and drop those without room; called on every resize."""
        header, room = self.header(), self.viewport().width()
        letter, title = self.fontMetrics().averageCharWidth(), header.fontMetrics()
        widths = [
            max(column.chars * letter, title.horizontalAdvance(column.title) + 2) + 4 * CELL_PX
            for column in self._columns
        ]
        shown: set[int] = set()
        for at in sorted(range(len(widths)), key=lambda at: (self._columns[at].rank, at)):
            if room < widths[at] and shown:
                break
            room -= widths[at]
            shown.add(at)
        for at, column in enumerate(self._columns):
            self.setColumnHidden(at, at not in shown)
            mode = QHeaderView.ResizeMode.Stretch if column.grows else QHeaderView.ResizeMode.Fixed
            header.setSectionResizeMode(at, mode)
            if not column.grows:
                header.resizeSection(at, widths[at])

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self.model() is not None:
            self.fit_columns()

    def fit_rows(self) -> None:
        """Take exactly the height of the rows, up to the number wanted."""
        rows = min(max(1, self.model().rowCount()), self._rows_wanted)
        self.setFixedHeight(self._line() * rows + self.header().sizeHint().height() + 2)

    def _line(self) -> int:
        return self.fontMetrics().height() + ROW_PX

    def minimumSizeHint(self) -> QSize:
        return QSize(120, self._line() * (min(self._rows_wanted, 4) + 1) + 6)

    def sizeHint(self) -> QSize:
        return QSize(320, self._line() * (self._rows_wanted + 1) + 8)

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
