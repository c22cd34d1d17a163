"""The cards of the first page, but for the events: numbers, outbox, connections, people, facts.

Each panel takes the snapshot, asks :mod:`ui.views` or :mod:`ui.details` for its words and shows
them; none keeps anything of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QFocusEvent, QPainter, QPaintEvent, QPalette, QPen, QResizeEvent
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from agent.door import Status
from ui import details, views
from ui.chart import RateChart
from ui.language import tr
from ui.pieces import Card, FactRows, Fill, Line, plain_label, set_text, set_tone
from ui.tables import Column, RowsModel, Table, TableRow
from ui.theme import severity_colour
from ui.words import tip

ARROWS = {"up": "▲ ", "down": "▼ ", "same": "", "none": ""}


class TileCard(Card):
    """One number at a glance."""

    def __init__(self) -> None:
        super().__init__("")
        self.title.hide()
        self.body.setSpacing(1)
        self.body.setContentsMargins(14, 9, 14, 10)
        self.body.removeItem(self.head)
        self.label = Line(muted=True)
        self.value = Line(scale=1.9, strong=True)
        self.change = Line(scale=0.92)
        for line in (self.label, self.value, self.change):
            self.body.addWidget(line)

    def show_tile(self, tile: views.Tile) -> None:
        """Show a number, and how it moved."""
        self.setAccessibleName(f"{tile.label}: {tile.value}")
        self.setAccessibleDescription(". ".join(p for p in (tile.difference, tile.about) if p))
        self.setToolTip(tip(tile.about))
        self.label.show_text(tile.label)
        self.value.show_text(tile.value)
        self.change.show_text(f"{ARROWS[tile.trend]}{tile.difference}")
        set_tone(self.change, tile.tone if tile.trend != "none" else "muted")


class TilesRow(QWidget):
    """The tiles, as many beside each other as fit."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName(tr("At a glance"))
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(10)
        self._tiles: list[TileCard] = []
        self._columns = 0

    def show_status(self, status: Status | None) -> None:
        shown = views.tiles(status)
        while len(self._tiles) < len(shown):
            self._tiles.append(TileCard())
            self._columns = 0
        for at, tile in enumerate(self._tiles):
            if at < len(shown):
                tile.show_tile(shown[at])
        self.setAccessibleDescription(
            ". ".join(f"{t.label}: {t.value} {t.difference}".strip() for t in shown)
        )
        self.arrange(len(shown))

    def arrange(self, wanted: int | None = None) -> None:
        """Lay the tiles out anew if their number, or the width, asks for it."""
        if wanted is None:
            wanted = sum(not tile.isHidden() for tile in self._tiles)
        least = self.fontMetrics().averageCharWidth() * 14 + 28
        fit = max(2, min(wanted, (self.width() + 10) // (least + 10)))
        rows = -(-wanted // fit)
        columns = -(-wanted // rows) if rows else 1
        visible = [not tile.isHidden() for tile in self._tiles]
        if columns == self._columns and visible == [at < wanted for at in range(len(self._tiles))]:
            return
        self._columns = columns
        for at in range(max(columns, self._grid.columnCount())):
            self._grid.setColumnStretch(at, 1 if at < columns else 0)
        for at, tile in enumerate(self._tiles):
            rest = columns - at % columns if at == wanted - 1 else 1  # the last fills its row
            self._grid.addWidget(tile, at // columns, at % columns, 1, rest)
            tile.setVisible(at < wanted)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.arrange()

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self.hasFocus():
            painter = QPainter(self)
            painter.setPen(QPen(self.palette().color(QPalette.ColorRole.Accent), 2.0))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))


class RatePanel(Card):
    """The curve of the last hour."""

    def __init__(self) -> None:
        super().__init__(tr("Events per minute"))
        self.chart = RateChart()
        self.body.addWidget(self.chart, 1)

    def show_status(self, status: Status | None) -> None:
        self.chart.show_minutes(status.minutes if status else ())


class OutboxPanel(Card):
    """What waits on this disk, and where it is going."""

    def __init__(self) -> None:
        super().__init__(tr("Outbox"))
        self.reachable()
        self.waiting = plain_label(scale=1.7, strong=True)
        self.caption = plain_label(muted=True)
        numbers = QHBoxLayout()
        numbers.setSpacing(8)
        numbers.addWidget(self.waiting, 0, Qt.AlignmentFlag.AlignBottom)
        numbers.addWidget(self.caption, 1, Qt.AlignmentFlag.AlignBottom)
        # Labels have no baseline to align to: the difference of their descents makes one.
        drop = self.waiting.fontMetrics().descent() - self.caption.fontMetrics().descent()
        self.caption.setContentsMargins(0, 0, 0, drop)
        self.fill = Fill(tr("How full the outbox is"))
        self.forecast = plain_label(wrap=True)
        self.bound = plain_label(muted=True, scale=0.92, wrap=True)
        self.rows = FactRows()
        self.body.addLayout(numbers)
        for widget in (self.fill, self.forecast, self.rows, self.bound):
            self.body.addWidget(widget)
        self.body.addStretch(1)

    def show_status(self, status: Status | None, now_ms: int) -> None:
        view = details.outbox(status, now_ms)
        set_text(self.waiting, view.waiting)
        set_text(self.caption, view.caption)
        self.fill.show_share(view.fill, "bad" if view.tone == "bad" else "good", view.fill_text)
        set_text(self.forecast, view.forecast)
        set_tone(self.forecast, view.tone)
        set_text(self.bound, view.fill_text)
        self.bound.setVisible(bool(view.fill_text))
        rows = self.rows.show_rows(view.rows)
        self.setAccessibleDescription(f"{view.waiting} {view.caption}. {view.forecast} {rows}")


class ConnectionsPanel(Card):
    """Each connection to a far end."""

    def __init__(self) -> None:
        super().__init__(tr("Connection"))
        self.reachable()
        self.empty = plain_label(muted=True, wrap=True)
        self.body.addWidget(self.empty)
        self._links: list[tuple[QLabel, FactRows]] = []
        self.body.addStretch(1)

    def show_status(self, status: Status | None, now_ms: int) -> None:
        shown = details.links(status, now_ms)
        self.empty.setVisible(not shown)
        if not shown:
            set_text(self.empty, _no_link_words(status))
        while len(self._links) < len(shown):
            name, rows = plain_label(strong=True, wrap=True), FactRows()
            at = self.body.count() - 1  # before the stretch
            self.body.insertWidget(at, name)
            self.body.insertWidget(at + 1, rows)
            self._links.append((name, rows))
        said: list[str] = []
        for at, (name, rows) in enumerate(self._links):
            there = at < len(shown)
            name.setVisible(there and len(shown) > 1)
            rows.setVisible(there)
            if there:
                set_text(name, shown[at].title)
                said.append(f"{shown[at].title}. {rows.show_rows(shown[at].rows)}")
        self.setAccessibleDescription(" ".join(said) or self.empty.text())


def _no_link_words(status: Status | None) -> str:
    if status is None:
        return tr("Not known yet.")
    if status.keeping == "offered":
        return tr("No far end is set. Events are kept on this disk until there is one.")
    return tr("No app has a far end yet.")


class UsersPanel(Card):
    """Who is there now."""

    def __init__(self) -> None:
        super().__init__(tr("Live users"))
        self.count = plain_label(strong=True)
        self.head.addWidget(self.count)
        columns = (
            Column(tr("User"), 9, grows=True),
            Column(tr("System"), 12, grows=True, rank=1),
            Column(tr("Seen"), 9, number=True),
        )
        self.table = Table(tr("Live users"), columns, rows_wanted=5)
        self.model = RowsModel(columns, self.table)
        self.table.setModel(self.model)
        self.empty = plain_label(muted=True, wrap=True)
        self.caption = plain_label(muted=True)
        self.body.addWidget(self.table, 1)
        self.body.addWidget(self.empty)
        self.body.addWidget(self.caption)
        self.body.addStretch(0)

    def show_status(self, status: Status | None, now_ms: int) -> None:
        view = details.users(status, now_ms)
        set_text(self.count, view.count)
        self.model.show_rows(
            [TableRow((row.who, row.system, row.seen), row.about) for row in view.rows]
        )
        self.table.setVisible(bool(view.rows))
        self.empty.setVisible(not view.rows)
        set_text(self.empty, view.empty)
        self.caption.setVisible(bool(view.caption))
        set_text(self.caption, view.caption)


class MachinePanel(Card):
    """The slow truths about this computer."""

    def __init__(self) -> None:
        super().__init__(tr("This computer"))
        self.reachable()
        self.rows = FactRows()
        self.body.addWidget(self.rows)
        self.body.addStretch(1)

    def show_status(self, status: Status | None, now_ms: int) -> None:
        self.setAccessibleDescription(self.rows.show_rows(details.machine(status, now_ms)))


class AppsPanel(Card):
    """The ledger: what became of every event, app by app."""

    def __init__(self) -> None:
        super().__init__(tr("Apps"))
        names = details.app_columns()
        ranks = (0, 1, 0, 2, 3, 4, 5)  # narrow windows keep what was delivered
        columns = (
            Column(names[0], 10, grows=True),
            *(Column(names[at], 7, number=True, rank=ranks[at]) for at in range(1, 6)),
            Column(names[6], 11, rank=ranks[6]),
        )
        self.table = Table(tr("Apps"), columns, rows_wanted=8)
        self.model = RowsModel(columns, self.table)
        self.table.setModel(self.model)
        self.empty = plain_label(muted=True, wrap=True)
        self.body.addWidget(self.table)
        self.body.addWidget(self.empty)
        self.body.addStretch(1)

    def show_status(self, status: Status | None) -> None:
        rows = details.apps(status)
        self.model.show_rows([TableRow((r.name, *r.cells), r.about, r.tone) for r in rows])
        self.table.fit_rows()
        self.table.setVisible(bool(rows))
        self.empty.setVisible(not rows)
        set_text(self.empty, tr("No app is set up yet. Apps are named in the settings file."))


class NoticeBar(QWidget):
    """One thing a person should know, for as long as it is true."""

    def __init__(self) -> None:
        super().__init__()
        self._severity = "info"
        self.words = plain_label(wrap=True)
        row = QVBoxLayout(self)
        row.setContentsMargins(20, 8, 20, 8)
        row.addWidget(self.words)

    def show_notice(self, severity: str, text: str) -> None:
        """Show a notice."""
        set_text(self.words, text)
        self.setAccessibleName(text)
        if severity != self._severity:
            self._severity = severity
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(self.palette().color(QPalette.ColorRole.Mid), 1.0))
        painter.setBrush(self.palette().color(QPalette.ColorRole.Base))
        ground = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.drawRoundedRect(ground, 6, 6)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(severity_colour(self.palette(), self._severity))
        edge = ground.adjusted(6, 6, 0, -6)
        edge.setWidth(4)
        if self.layoutDirection() == Qt.LayoutDirection.RightToLeft:
            edge.moveRight(ground.right() - 6)
        painter.drawRoundedRect(edge, 2, 2)


class NoticesPanel(QWidget):
    """All notices; takes no room when there is none."""

    def __init__(self) -> None:
        super().__init__()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(6)
        self._bars: list[NoticeBar] = []

    def show_status(self, status: Status | None, hint: str = "") -> None:
        """Show the snapshot's notices, and a hint of the face's own."""
        shown = [(notice.severity, notice.text) for notice in views.notices(status)]
        if hint:
            shown.append(("info", hint))
        self.show_notices(shown)

    def show_notices(self, shown: Sequence[tuple[str, str]]) -> None:
        while len(self._bars) < len(shown):
            bar = NoticeBar()
            self._column.addWidget(bar)
            self._bars.append(bar)
        for at, bar in enumerate(self._bars):
            bar.setVisible(at < len(shown))
            if at < len(shown):
                bar.show_notice(*shown[at])
        self.setVisible(bool(shown))

    def minimumSizeHint(self) -> QSize:
        return QSize(0, super().minimumSizeHint().height())
