"""The curve: events accepted and delivered per minute, painted by hand.

Two lines that differ in hue, width and dash. The mouse, or the arrow keys, pick a minute whose
numbers are shown and spoken; the whole curve is also one sentence for a screen reader.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, QSize, QSizeF, Qt
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QKeyEvent,
    QLinearGradient,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPalette,
    QPen,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from agent.door import Minute
from ui.language import tr
from ui.pieces import announce
from ui.theme import line_colours
from ui.words import clock, count, short_count

MINUTE_MS = 60_000
SPAN = 60  #: Minutes on the axis.
Role = QPalette.ColorRole
ABSOLUTE = Qt.AlignmentFlag.AlignAbsolute  #: This side, whichever way the text runs.


def nice_top(most: int) -> int:
    """Return the top of an axis: a round, even number that is not below ``most``."""
    scale = 1
    while True:
        for step in (4, 6, 8, 10, 20, 30):
            if step * scale >= most:
                return step * scale
        scale *= 10


def spread(minutes: Sequence[Minute]) -> tuple[Minute, ...]:
    """Return ``SPAN`` minutes without gaps, oldest first; a minute nobody counted is zero."""
    if not minutes:
        return ()
    known = {minute.at_ms // MINUTE_MS: minute for minute in minutes}
    last = max(known)
    return tuple(
        known.get(at) or Minute(at_ms=at * MINUTE_MS, accepted=0, delivered=0)
        for at in range(last - SPAN + 1, last + 1)
    )


def describe(minutes: Sequence[Minute]) -> str:
    """Say in one sentence what the curve shows."""
    if not minutes:
        return tr("No minute has been counted yet.")
    accepted = sum(minute.accepted for minute in minutes)
    delivered = sum(minute.delivered for minute in minutes)
    peak = max(minutes, key=lambda minute: minute.accepted)
    return tr(
        "In the last hour {accepted} events were accepted and {delivered} delivered; "
        "the busiest minute was {clock} with {most}.",
        accepted=count(accepted),
        delivered=count(delivered),
        clock=clock(peak.at_ms),
        most=count(peak.accepted),
    )


class RateChart(QWidget):
    """Accepted and delivered per minute over the last hour."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName(tr("Events per minute"))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._minutes: tuple[Minute, ...] = ()
        self._picked: int | None = None
        self.show_minutes(())

    def show_minutes(self, minutes: Sequence[Minute]) -> None:
        """Show these minutes; the same ones again cost no repaint."""
        whole = spread(minutes)
        self.setAccessibleDescription(describe(whole))
        if whole != self._minutes:
            self._minutes = whole
            self.update()

    @property
    def picked(self) -> Minute | None:
        """The minute whose numbers are shown, if one was picked."""
        if self._picked is None or self._picked >= len(self._minutes):
            return None
        return self._minutes[self._picked]

    def words(self) -> str:
        """Return the numbers of the picked minute."""
        minute = self.picked
        if minute is None:
            return ""
        return tr(
            "{clock}: {accepted} accepted, {delivered} delivered",
            clock=clock(minute.at_ms),
            accepted=count(minute.accepted),
            delivered=count(minute.delivered),
        )

    def sizeHint(self) -> QSize:
        return QSize(420, 190)

    def minimumSizeHint(self) -> QSize:
        return QSize(200, self.fontMetrics().height() * 7)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._pick(self._index_at(event.position().x()))

    def leaveEvent(self, event: object) -> None:
        if not self.hasFocus():
            self._pick(None)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._pick(None)
        super().focusOutEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        last = len(self._minutes) - 1
        at = last if self._picked is None else self._picked
        back = -1 if self.layoutDirection() == Qt.LayoutDirection.LeftToRight else 1
        steps = {
            Qt.Key.Key_Left: at + back if self._picked is not None else last,
            Qt.Key.Key_Right: at - back if self._picked is not None else last,
            Qt.Key.Key_Home: 0,
            Qt.Key.Key_End: last,
        }
        wanted = steps.get(Qt.Key(event.key()))
        if wanted is None or last < 0:
            super().keyPressEvent(event)
            return
        self._pick(min(max(wanted, 0), last))
        announce(self, self.words())

    def _pick(self, at: int | None) -> None:
        if at != self._picked:
            self._picked = at
            self.update()

    def _plot(self) -> QRectF:
        metrics = self.fontMetrics()
        left = metrics.horizontalAdvance("0000") + 8.0
        area = QRectF(self.rect()).adjusted(
            left, metrics.height() * 1.9, -4.0, -metrics.height() * 1.5
        )
        if self.layoutDirection() == Qt.LayoutDirection.RightToLeft:
            area.moveLeft(4.0)
        return area

    def _x(self, at: int, plot: QRectF) -> float:
        share = at / (SPAN - 1)
        if self.layoutDirection() == Qt.LayoutDirection.RightToLeft:
            share = 1 - share
        return plot.left() + share * plot.width()

    def _index_at(self, x: float) -> int | None:
        plot = self._plot()
        if not self._minutes or plot.width() <= 0:
            return None
        share = (x - plot.left()) / plot.width()
        if self.layoutDirection() == Qt.LayoutDirection.RightToLeft:
            share = 1 - share
        at = round(share * (SPAN - 1))
        return at if 0 <= at < len(self._minutes) else None

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        plot = self._plot()
        most = max((max(m.accepted, m.delivered) for m in self._minutes), default=0)
        top = nice_top(most)
        self._paint_axes(painter, plot, top)
        self._paint_legend(painter)
        accepted, delivered = line_colours(self.palette())
        if self._minutes:
            first = self._path([m.accepted for m in self._minutes], plot, top)
            wash = QLinearGradient(plot.topLeft(), plot.bottomLeft())
            wash.setColorAt(0.0, _faded(accepted, 0.22))
            wash.setColorAt(1.0, _faded(accepted, 0.02))
            ground = QPainterPath(first)
            ground.lineTo(self._x(SPAN - 1, plot), plot.bottom())
            ground.lineTo(self._x(0, plot), plot.bottom())
            painter.fillPath(ground, wash)
            painter.setPen(_line(accepted, 2.2))
            painter.drawPath(first)
            painter.setPen(_line(delivered, 1.6, dashed=True))
            painter.drawPath(self._path([m.delivered for m in self._minutes], plot, top))
        else:
            painter.setPen(self.palette().color(Role.PlaceholderText))
            upper = QRectF(plot.topLeft(), QSizeF(plot.width(), plot.height() / 2))
            painter.drawText(upper, Qt.AlignmentFlag.AlignCenter, tr("Nothing counted yet"))
        self._paint_pick(painter, plot, top)
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(self.palette().color(Role.Accent), 1.5))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(1, 1, -1, -1), 4, 4)

    def _path(self, values: Sequence[int], plot: QRectF, top: int) -> QPainterPath:
        path = QPainterPath()
        for at, value in enumerate(values):
            point = QPointF(self._x(at, plot), plot.bottom() - plot.height() * value / top)
            if at:
                path.lineTo(point)
            else:
                path.moveTo(point)
        return path

    def _paint_axes(self, painter: QPainter, plot: QRectF, top: int) -> None:
        palette, metrics = self.palette(), self.fontMetrics()
        mirrored = self.layoutDirection() == Qt.LayoutDirection.RightToLeft
        for share in (0.0, 0.5, 1.0):
            y = plot.bottom() - plot.height() * share
            painter.setPen(QPen(palette.color(Role.Mid), 1.0))
            painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y))
            painter.setPen(palette.color(Role.PlaceholderText))
            room = QRectF(0, y - metrics.height() / 2, plot.left() - 6, metrics.height())
            side = Qt.AlignmentFlag.AlignRight | ABSOLUTE
            if mirrored:
                room = QRectF(plot.right() + 6, room.top(), self.width(), metrics.height())
                side = Qt.AlignmentFlag.AlignLeft | ABSOLUTE
            painter.drawText(
                room, side | Qt.AlignmentFlag.AlignVCenter, short_count(int(top * share))
            )
        for at, words in self._ticks(plot):
            x = self._x(at, plot)
            width = metrics.horizontalAdvance(words) + 2.0
            start = min(max(plot.left(), x - width / 2), plot.right() - width)
            painter.drawText(
                QRectF(start, plot.bottom() + 4, width, metrics.height()),
                Qt.AlignmentFlag.AlignCenter,
                words,
            )

    def _ticks(self, plot: QRectF) -> list[tuple[int, str]]:
        if not self._minutes:
            return []
        step = 15 if plot.width() > 220 else 30
        marks = [(SPAN - 1 - back, back) for back in range(step, SPAN + 1, step)]
        ticks = [(max(0, at), clock(self._minutes[max(0, at)].at_ms)) for at, _ in marks]
        return [*ticks, (SPAN - 1, tr("now"))]

    def _paint_legend(self, painter: QPainter) -> None:
        metrics = self.fontMetrics()
        entries = zip(
            line_colours(self.palette()),
            (tr("accepted"), tr("delivered")),
            (False, True),
            strict=True,
        )
        words = self.words()
        if words:
            painter.setPen(self.palette().color(Role.Text))
            painter.drawText(
                QRectF(8, 0, self.width() - 16, metrics.height() * 1.5),
                Qt.AlignmentFlag.AlignLeading | Qt.AlignmentFlag.AlignVCenter,
                metrics.elidedText(words, Qt.TextElideMode.ElideRight, self.width() - 16),
            )
            return
        mirrored = self.layoutDirection() == Qt.LayoutDirection.RightToLeft
        x, y = 8.0, metrics.height() * 0.75
        for colour, name, dashed in entries:
            width = metrics.horizontalAdvance(name)
            whole = 22 + 6 + width
            left = self.width() - x - whole if mirrored else x
            line = left + (width + 6 if mirrored else 0)
            painter.setPen(_line(colour, 1.6 if dashed else 2.2, dashed=dashed))
            painter.drawLine(QPointF(line, y), QPointF(line + 22, y))
            painter.setPen(self.palette().color(Role.PlaceholderText))
            text = left if mirrored else left + 28
            painter.drawText(
                QRectF(text, 0, width + 2, metrics.height() * 1.5),
                Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter | ABSOLUTE,
                name,
            )
            x += whole + 18

    def _paint_pick(self, painter: QPainter, plot: QRectF, top: int) -> None:
        minute = self.picked
        if minute is None or self._picked is None:
            return
        x = self._x(self._picked, plot)
        painter.setPen(QPen(self.palette().color(Role.PlaceholderText), 1.0))
        painter.drawLine(QPointF(x, plot.top()), QPointF(x, plot.bottom()))
        card = self.palette().color(Role.Base)
        for colour, value in zip(
            line_colours(self.palette()), (minute.accepted, minute.delivered), strict=True
        ):
            painter.setPen(QPen(card, 1.5))
            painter.setBrush(colour)
            painter.drawEllipse(QPointF(x, plot.bottom() - plot.height() * value / top), 4, 4)


def _line(colour: QColor, width: float, *, dashed: bool = False) -> QPen:
    pen = QPen(colour, width)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    if dashed:
        pen.setDashPattern([3.0, 2.5])
    return pen


def _faded(colour: QColor, share: float) -> QColor:
    faded = QColor(colour)
    faded.setAlphaF(share)
    return faded
