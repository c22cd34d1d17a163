"""The bar that asks about an app: Allow, Not now, Deny; no dialog, and it never takes the focus.

Three answers of equal weight: none is filled, none is chosen by Return. While an answer is on its
way to the agent the next app is asked about; one that could not be given is asked again.
"""

from __future__ import annotations

import time

from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QVBoxLayout

from agent.door import Status
from ui import asking
from ui.asking import Question
from ui.controls import Button
from ui.deeds import Deeds
from ui.language import tr
from ui.pieces import Card, announce, plain_label, set_text
from ui.theme import severity_colour

EDGE_PX = 4
WORDS = 46  #: Letters; a question squeezed into less reads badly.


class QuestionBar(Card):
    """Asks about one app at a time; takes no room while none asks.

    Args:
        deeds: Carry the answers.

    Signals:
        shown: Whether it asks now.

    """

    shown = Signal(bool)

    def __init__(self, deeds: Deeds) -> None:
        super().__init__(tr("An app asks"))
        self._deeds = deeds
        self._question: Question | None = None
        self._answered: set[str] = set()
        self._status: Status | None = None
        self.title.hide()
        self.body.removeItem(self.head)
        self.body.setContentsMargins(20, 10, 20, 12)
        self.asks = plain_label(scale=1.1, strong=True, wrap=True)
        self.program = plain_label(wrap=True)
        self.story = plain_label(muted=True, wrap=True)
        self.goes_to = plain_label(muted=True, wrap=True)
        self.more = plain_label(muted=True, wrap=True)
        words = QVBoxLayout()
        words.setSpacing(3)
        for label in (self.asks, self.program, self.goes_to, self.story, self.more):
            words.addWidget(label)
        self.allow = Button(tr("&Allow"))
        self.later = Button(tr("&Not now"))
        self.deny = Button(tr("&Deny"))
        self._buttons = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._buttons.setSpacing(8)
        for button, deed in (
            (self.allow, deeds.allow),
            (self.later, deeds.not_now),
            (self.deny, deeds.deny),
        ):
            self._buttons.addWidget(button)
            button.clicked.connect(lambda _=False, deed=deed: self._answer(deed))
        side = QHBoxLayout()
        side.addLayout(self._buttons)
        side.addStretch(1)
        self._rows = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._rows.setSpacing(14)
        self._rows.addLayout(words, 1)
        self._rows.addLayout(side)
        self.body.addLayout(self._rows)
        deeds.unanswered.connect(self._ask_again)
        self.hide()

    def show_status(self, status: Status | None, now_ms: int | None = None) -> None:
        """Ask about whoever asks in this snapshot."""
        self._status = status
        still = {app.app_id for app in asking.waiting(status)}
        self._answered &= still  # who no longer asks may be asked about again one day
        now = round(time.time() * 1000) if now_ms is None else now_ms
        self._show(asking.question(status, now, self._answered))

    def stops(self) -> tuple[Button, Button, Button]:
        """Return where Tab stops."""
        return self.allow, self.later, self.deny

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._settle()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(severity_colour(self.palette(), "info"))
        edge = QRectF(self.rect()).adjusted(6.5, 6.5, -6.5, -6.5)  # as a notice has it
        if self.layoutDirection() == Qt.LayoutDirection.RightToLeft:
            edge.setLeft(edge.right() - EDGE_PX)
        edge.setWidth(EDGE_PX)
        painter.drawRoundedRect(edge, 2, 2)

    def _show(self, question: Question | None) -> None:
        before, self._question = self._question, question
        if question is None:
            if not self.isHidden():
                self.hide()
                self.shown.emit(False)
            return
        set_text(self.asks, question.title)
        set_text(self.program, question.program)
        set_text(self.story, question.story)
        set_text(self.goes_to, question.goes_to)
        set_text(self.more, question.more)
        self.more.setVisible(bool(question.more))
        self.setAccessibleDescription(f"{question.title}. {question.whole}")
        for button, words in (
            (self.allow, tr("Allow {name} to report", name=question.name)),
            (self.later, tr("Do not answer about {name} now", name=question.name)),
            (self.deny, tr("Deny {name}", name=question.name)),
        ):
            button.setAccessibleName(words)
        if self.isHidden():
            self.show()
            self.shown.emit(True)
        self._settle()
        if before is None or before.app_id != question.app_id:
            announce(self, f"{question.title}. {question.whole}")

    def _answer(self, deed: object) -> None:
        if self._question is None or not callable(deed):
            return
        app_id = self._question.app_id
        self._answered.add(app_id)
        deed(app_id)
        self.show_status(self._status)

    def _ask_again(self, app_id: str) -> None:
        self._answered.discard(app_id)
        self.show_status(self._status)

    def _settle(self) -> None:
        """Put the buttons below the words where there is no room beside them.

        And below each other before a word is cut: of two answers that begin alike, nobody could
        tell which is which.
        """
        needed = sum(button.sizeHint().width() + 8 for button in self.stops())
        letter = self.asks.fontMetrics().averageCharWidth()
        beside = self.width() >= needed + WORDS * letter
        directions = QBoxLayout.Direction
        margins = self.body.contentsMargins()
        in_a_row = beside or self.width() >= needed + margins.left() + margins.right()
        for box, level in ((self._rows, beside), (self._buttons, in_a_row)):
            wanted = directions.LeftToRight if level else directions.TopToBottom
            if box.direction() != wanted:
                box.setDirection(wanted)
