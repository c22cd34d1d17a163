"""The top of the window: how things are, why, and the one button that fits."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, QTimer
from PySide6.QtGui import QPalette, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QMenu, QVBoxLayout

from agent.door import Health
from ui.controls import Button
from ui.deeds import Deeds, fill_common_menu, fill_pause_menu
from ui.language import tr
from ui.marks import mark_icon
from ui.pieces import Card, announce, plain_label, set_text, set_tone
from ui.theme import health_colour
from ui.views import HeaderView, Tone
from ui.words import DOT, tip

MARK_PX = 52
SENTENCE_LETTERS = 48  #: A sentence squeezed into less reads badly.
ECHO_MS = 8000  #: How long the echo of a deed stays.


class StatusHeader(Card):
    """State, sentence, details and actions; a change of state is spoken."""

    def __init__(self, deeds: Deeds) -> None:
        super().__init__(tr("Status"))
        self._deeds = deeds
        self._view: HeaderView | None = None
        self.title.hide()
        self.mark = plain_label()
        self.mark.setFixedSize(MARK_PX, MARK_PX)
        self.state = plain_label(scale=1.5, strong=True, wrap=True)
        self.sentence = plain_label(scale=1.1, wrap=True)
        self.details = plain_label(muted=True, wrap=True)
        self.echo = plain_label(wrap=True)
        self.echo.hide()
        words = QVBoxLayout()
        words.setSpacing(3)
        for label in (self.state, self.sentence, self.details, self.echo):
            words.addWidget(label)

        self.action = Button(main=True)
        self.action.clicked.connect(self._act)
        self.pause = Button(tr("&Pause sending"))
        pause_menu = QMenu(self.pause)
        fill_pause_menu(pause_menu, deeds)
        self.pause.setMenu(pause_menu)
        self.pause.setToolTip(tip(tr("Pause sending, and resume: Ctrl+P. Events are kept.")))
        self.action.setToolTip(tip(tr("Retry: F5. Resume: Ctrl+P")))
        self.more = Button(tr("&More"))
        more_menu = QMenu(self.more)
        fill_common_menu(more_menu, deeds)
        self.more.setMenu(more_menu)
        others = QHBoxLayout()
        others.setSpacing(8)
        others.addWidget(self.pause)
        others.addWidget(self.more)
        others.addStretch(1)
        self.buttons = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self.buttons.setSpacing(8)
        self.buttons.addWidget(self.action)
        self.buttons.addLayout(others)

        said = QHBoxLayout()
        said.setSpacing(14)
        said.addWidget(self.mark, 0, Qt.AlignmentFlag.AlignTop)
        said.addLayout(words, 1)
        self._rows = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._rows.setSpacing(12)
        self._rows.addLayout(said, 1)
        self._rows.addLayout(self.buttons)
        self.body.addLayout(self._rows)
        self._forget = QTimer(self)
        self._forget.setSingleShot(True)
        self._forget.setInterval(ECHO_MS)
        self._forget.timeout.connect(self.echo.hide)
        deeds.said.connect(self.show_echo)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._settle_rows()

    def _settle_rows(self) -> None:
        """Put the buttons below the words where there is no room beside them."""
        shown = [b for b in (self.action, self.pause, self.more) if not b.isHidden()]
        needed = sum(button.sizeHint().width() + 8 for button in shown)
        letter = self.sentence.fontMetrics().averageCharWidth()
        beside = self.width() >= MARK_PX + SENTENCE_LETTERS * letter + needed
        _turn(self._rows, beside=beside)
        _turn(self.buttons, beside=beside or self.width() >= needed + 28)

    def show_view(self, view: HeaderView) -> None:
        """Show how things are."""
        before, self._view = self._view, view
        if before is None or before.state != view.state:
            self._show_mark(view.state)
        set_text(self.state, view.title)
        palette = QPalette()
        colour = health_colour(self.window().palette(), view.state)
        palette.setColor(self.state.foregroundRole(), colour)
        if self.state.palette().color(self.state.foregroundRole()) != colour:
            self.state.setPalette(palette)
        set_text(self.sentence, view.sentence)
        set_text(self.details, f"  {DOT}  ".join(view.details))
        self.details.setVisible(bool(view.details))
        self.action.setVisible(bool(view.action))
        if self.action.text() != view.action_text:
            self.action.setText(view.action_text)
        self.pause.setVisible(view.can_pause)
        self._settle_rows()
        if before is not None and (before.state, before.title) != (view.state, view.title):
            announce(self, f"{view.title}. {view.sentence}")

    def show_echo(self, sentence: str, tone: Tone) -> None:
        """Show for a while how a deed ended."""
        set_text(self.echo, sentence)
        set_tone(self.echo, tone)
        self.echo.show()
        self._forget.start()
        announce(self, sentence)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._view is not None:
            self._show_mark(self._view.state)  # the screen, and so its scale, may be another

    def _show_mark(self, state: Health) -> None:
        size = QSize(MARK_PX, MARK_PX)
        self.mark.setPixmap(mark_icon(state).pixmap(size, self.devicePixelRatioF()))

    def _act(self) -> None:
        if self._view is not None:
            self._deeds.act(self._view.action)


def _turn(box: QBoxLayout, *, beside: bool) -> None:
    directions = QBoxLayout.Direction
    direction = directions.LeftToRight if beside else directions.TopToBottom
    if box.direction() != direction:
        box.setDirection(direction)
