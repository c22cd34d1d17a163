"""Controls: the button of the house, and the line of a command to copy."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import (
    QFocusEvent,
    QFontDatabase,
    QGuiApplication,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
)
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QSizePolicy, QStyle, QWidget

from ui.language import tr
from ui.pieces import announce
from ui.theme import button_colours, mix


class KeyFocus:
    """Knows whether the focus came by the keyboard; only then is it drawn.

    A button that was clicked, or that a window gave the focus to as it opened, looks chosen if
    it is ringed.
    """

    by_keys = False

    def note(self, event: QFocusEvent) -> None:
        """Take in how the focus came."""
        reasons = Qt.FocusReason
        if event.reason() in {
            reasons.TabFocusReason,
            reasons.BacktabFocusReason,
            reasons.ShortcutFocusReason,
        }:
            self.by_keys = True
        elif event.reason() is reasons.MouseFocusReason:
            self.by_keys = False


class Button(QPushButton):
    """A flat button; the main one of its place is filled."""

    def __init__(self, text: str = "", *, main: bool = False) -> None:
        super().__init__(text)
        self._main = main
        self._keys = KeyFocus()
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setAutoDefault(False)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._keys.note(event)
        super().focusInEvent(event)

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        words = self.text().replace("&", "")
        arrow = 18 if self.menu() is not None else 0
        return QSize(metrics.horizontalAdvance(words) + 28 + arrow, metrics.height() + 13)

    def minimumSizeHint(self) -> QSize:
        return QSize(60, self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        palette = self.palette()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ground, edge, ink = button_colours(palette, main=self._main)
        if self.isDown() or (self.menu() is not None and self.menu().isVisible()):
            ground = mix(ground, ink, 0.16)
        elif self.underMouse():
            ground = mix(ground, ink, 0.08)
        box = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        ringed = self.hasFocus() and self._keys.by_keys
        accent = QPen(palette.color(QPalette.ColorRole.Accent), 2.0)
        painter.setPen(accent if ringed else QPen(edge, 1.0))
        painter.setBrush(ground)
        painter.drawRoundedRect(box, 6, 6)
        if ringed and self._main:
            painter.setPen(QPen(ink, 1.0))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(box.adjusted(2.5, 2.5, -2.5, -2.5), 4, 4)
        painter.setPen(ink)
        room = self.rect().adjusted(12, 0, -12, 0)
        if self.menu() is not None:
            self._paint_arrow(painter)
            mirrored = self.layoutDirection() == Qt.LayoutDirection.RightToLeft
            room = room.adjusted(16, 0, 0, 0) if mirrored else room.adjusted(0, 0, -16, 0)
        words = self.fontMetrics().elidedText(
            self.text(), Qt.TextElideMode.ElideRight, room.width(), Qt.TextFlag.TextShowMnemonic
        )
        shown = Qt.TextFlag.TextShowMnemonic if self._hints() else Qt.TextFlag.TextHideMnemonic
        painter.drawText(room, int(Qt.AlignmentFlag.AlignCenter) | int(shown), words)

    def _hints(self) -> bool:
        hint = QStyle.StyleHint.SH_UnderlineShortcut
        return bool(self.style().styleHint(hint, None, self))

    def _paint_arrow(self, painter: QPainter) -> None:
        mirrored = self.layoutDirection() == Qt.LayoutDirection.RightToLeft
        x = 16.0 if mirrored else self.width() - 16.0
        y = self.height() / 2
        painter.drawPolyline(
            [QPointF(x - 3.5, y - 1.5), QPointF(x, y + 2), QPointF(x + 3.5, y - 1.5)]
        )


class CommandLine(QWidget):
    """A command to copy into a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._line = QLineEdit()
        self._line.setReadOnly(True)
        self._line.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self._line.setAccessibleName(tr("Command for a terminal"))
        self._line.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._copy = Button(tr("Copy"))
        self._copy.setAccessibleName(tr("Copy the command"))
        self._copy.clicked.connect(self._copied)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._line, 1)
        row.addWidget(self._copy)

    def show_command(self, command: str) -> None:
        """Show a command; an empty one hides the whole line."""
        self.setVisible(bool(command))
        if self._line.text() != command:
            self._line.setText(command)
            self._line.setCursorPosition(0)
            self._copy.setText(tr("Copy"))

    def stops(self) -> tuple[QWidget, QWidget]:
        """Return where Tab stops."""
        return self._line, self._copy

    def _copied(self) -> None:
        QGuiApplication.clipboard().setText(self._line.text())
        self._copy.setText(tr("Copied"))
        announce(self._copy, tr("Copied"))
