"""The small widgets everything is made of. Their labels never read text as markup.

Qt guesses: a ``QLabel`` whose text looks like HTML becomes HTML, and ``<img src=…>`` then reads
a file of this computer (SECURITY.md, "Stored XSS / Qt rich text"). So every label of the face
comes from here with ``PlainText`` set, and a test walks the window to see that none does not.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import (
    QAccessible,
    QAccessibleAnnouncementEvent,
    QFocusEvent,
    QFont,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
)
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from ui.theme import tone_colour
from ui.views import Row, Tone
from ui.words import breakable, tip

MUTED = QPalette.ColorRole.PlaceholderText
RADIUS = 8.0


def plain_label(
    text: str = "",
    *,
    muted: bool = False,
    scale: float = 1.0,
    strong: bool = False,
    wrap: bool = False,
) -> QLabel:
    """Make a label that shows its text as it is."""
    return _styled(PlainLabel(), text, muted=muted, scale=scale, strong=strong, wrap=wrap)


class PlainLabel(QLabel):
    """A label that stands where the page begins, whichever way its own text runs."""

    def __init__(self) -> None:
        super().__init__()
        self._stand()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.LayoutDirectionChange:
            self._stand()

    def _stand(self) -> None:
        mirrored = self.layoutDirection() == Qt.LayoutDirection.RightToLeft
        flags = Qt.AlignmentFlag
        edge = flags.AlignRight if mirrored else flags.AlignLeft
        self.setAlignment(edge | flags.AlignAbsolute | flags.AlignVCenter)


def _styled(
    label: QLabel, text: str, *, muted: bool, scale: float, strong: bool, wrap: bool
) -> QLabel:
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)
    label.setWordWrap(wrap)
    label.setText(breakable(text) if wrap else text)
    if muted:
        label.setForegroundRole(MUTED)
    if scale != 1.0 or strong:
        font = QFont(label.font())
        font.setPointSizeF(font.pointSizeF() * scale)
        if strong:
            font.setWeight(QFont.Weight.DemiBold)
        label.setFont(font)
    return label


def set_tone(label: QLabel, tone: Tone) -> None:
    """Colour a label's text, in this scheme; the rest of its palette stays the window's."""
    palette = QPalette()
    if tone != "plain":
        window = label.window().palette()
        palette.setColor(label.foregroundRole(), tone_colour(window, tone))
    if label.palette().color(label.foregroundRole()) != palette.color(label.foregroundRole()):
        label.setPalette(palette)


def set_text(label: QLabel, text: str) -> None:
    """Change a label's text; an unchanged one costs no repaint."""
    shown = breakable(text) if label.wordWrap() else text
    if label.text() != shown:
        label.setText(shown)


class Line(PlainLabel):
    """One line that ends in an ellipsis where there is no room; the tooltip has it whole."""

    def __init__(
        self, text: str = "", *, muted: bool = False, scale: float = 1.0, strong: bool = False
    ) -> None:
        super().__init__()
        self._about = ""
        _styled(self, text, muted=muted, scale=scale, strong=strong, wrap=False)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def show_text(self, text: str, about: str = "") -> None:
        """Show a line, with what else there is to say about it in the tooltip."""
        set_text(self, text)
        self._about = about
        self._explain()

    def minimumSizeHint(self) -> QSize:
        return QSize(self.fontMetrics().averageCharWidth() * 4, super().minimumSizeHint().height())

    def resizeEvent(self, event: object) -> None:
        super().resizeEvent(event)  # type: ignore[arg-type]
        self._explain()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        elided = self.fontMetrics().elidedText(
            self.text(), Qt.TextElideMode.ElideRight, self.width()
        )
        self.style().drawItemText(
            painter,
            self.rect(),
            int(self.alignment()),
            self.palette(),
            self.isEnabled(),
            elided,
            self.foregroundRole(),
        )

    def _explain(self) -> None:
        cut = self.fontMetrics().horizontalAdvance(self.text()) > self.width()
        parts = [part for part in (self.text() if cut else "", self._about) if part]
        wanted = tip(" \N{EN DASH} ".join(parts))
        if self.toolTip() != wanted:
            self.setToolTip(wanted)


class Card(QFrame):
    """A part of the window with a title, named for the screen reader as well."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.setAccessibleName(title)
        self.setObjectName("card")
        self.head = QHBoxLayout()
        self.title = Line(title, strong=True)
        self.head.addWidget(self.title, 1)
        self.body = QVBoxLayout(self)
        self.body.setContentsMargins(14, 12, 14, 14)
        self.body.setSpacing(8)
        self.body.addLayout(self.head)

    def reachable(self) -> None:
        """Let Tab stop here, so that a card without controls can be read and scrolled to."""
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        edge = QPalette.ColorRole.Accent if self.hasFocus() else QPalette.ColorRole.Mid
        painter.setPen(QPen(self.palette().color(edge), 2.0 if self.hasFocus() else 1.0))
        painter.setBrush(self.palette().color(QPalette.ColorRole.Base))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), RADIUS, RADIUS)


class FactRows(QWidget):
    """Labels on the left, facts on the right; rows are reused, so a refresh builds nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(12)
        self._grid.setVerticalSpacing(5)
        self._grid.setColumnStretch(1, 1)
        self._rows: list[tuple[QLabel, Line]] = []

    def show_rows(self, rows: Sequence[Row]) -> str:
        """Show these rows and no others; return them as one sentence."""
        while len(self._rows) < len(rows):
            label, fact = plain_label(muted=True), Line()
            at = len(self._rows)
            self._grid.addWidget(label, at, 0)
            self._grid.addWidget(fact, at, 1)
            self._rows.append((label, fact))
        for at, (label, fact) in enumerate(self._rows):
            there = at < len(rows)
            label.setVisible(there)
            fact.setVisible(there)
            if there:
                row = rows[at]
                set_text(label, row.label)
                fact.show_text(row.value, row.about)
                fact.setAccessibleName(f"{row.label}: {row.value}")
                set_tone(fact, row.tone)
        return ". ".join(f"{row.label}: {row.value}" for row in rows)


class Fill(QWidget):
    """A slim bar: how full something is. The words beside it say the same."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setFixedHeight(6)
        self._share = 0.0
        self._tone: Tone = "good"

    def show_share(self, share: float, tone: Tone, words: str) -> None:
        """Show a share from 0 to 1."""
        self.setAccessibleDescription(words)
        self.setToolTip(tip(words))
        if (share, tone) != (self._share, self._tone):
            self._share, self._tone = share, tone
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.palette().color(QPalette.ColorRole.Mid))
        groove = QRectF(self.rect())
        painter.drawRoundedRect(groove, 3, 3)
        if self._share > 0:
            full = QRectF(groove)
            full.setWidth(max(6.0, groove.width() * self._share))
            if self.layoutDirection() == Qt.LayoutDirection.RightToLeft:
                full.moveRight(groove.right())
            painter.setBrush(tone_colour(self.palette(), self._tone))
            painter.drawRoundedRect(full, 3, 3)


def announce(widget: QWidget, sentence: str) -> None:
    """Have the screen reader say a sentence, wherever the focus is."""
    if QAccessible.isActive():
        QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(widget, sentence))
