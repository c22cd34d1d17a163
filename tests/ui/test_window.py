"""The window as it looks: every panel, size, direction, by keyboard and for screen readers."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from types import ModuleType

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QLabel,
    QMenu,
    QWidget,
)
from pytestqt.qtbot import QtBot
from scripted_door import event, snapshot
from stage import STATES, Stage, fill

from agent.door import Sentence
from ui import language
from ui.window import Window

SIZES = [(360, 480), (900, 700), (1600, 1000)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("state", STATES)
def test_every_state_fits_every_size(
    stage: Stage, demo: ModuleType, state: str, size: tuple[int, int]
) -> None:
    window = stage.show(*size)
    fill(window, demo, state)
    page = window._scroll.widget()
    assert page.width() <= window._scroll.viewport().width()
    for label in page.findChildren(QLabel):
        if label.isVisible():
            right = label.mapTo(page, label.rect().topRight()).x()
            assert right <= page.width(), label.text()


@pytest.mark.parametrize("state", ["attention", "empty"])
def test_long_german_words_fit_a_narrow_window(
    stage: Stage, demo: ModuleType, qtbot: QtBot, state: str
) -> None:
    language.speak(lambda text, _n: demo.GERMAN.get(text, text), group=".", point=",")
    german = Stage(qtbot)
    window = german.show(360, 480)
    fill(window, demo, state)
    assert window._scroll.widget().width() <= window._scroll.viewport().width()
    german.commands.close()


def test_every_word_of_ours_can_be_translated(qtbot: QtBot) -> None:
    language.speak(lambda text, _n: f"«{text}»")
    stage = Stage(qtbot)
    window = stage.show()  # nothing from outside is on it yet
    words = [label.text() for label in window.findChildren(QLabel)]
    for widget in window.findChildren(QWidget):
        words += [widget.accessibleName(), widget.accessibleDescription(), widget.toolTip()]
    for button in window.findChildren(QAbstractButton):
        words.append(button.text())
    for menu in window.findChildren(QMenu):
        words += [action.text() for action in menu.actions()]
    for table in (window.events.view, window.users.table, window.apps.table):
        header = table.model()
        across = Qt.Orientation.Horizontal
        words += [str(header.headerData(at, across)) for at in range(header.columnCount())]
    bare = [text for text in words if any(map(str.isalpha, text)) and "«" not in text]
    assert bare == []
    stage.commands.close()


def test_from_right_to_left_everything_is_mirrored(stage: Stage, demo: ModuleType) -> None:
    window = stage.show()
    fill(window, demo, "full")
    chart, users = window.rate.mapTo(window, window.rate.rect().center()), window.users
    assert chart.x() < users.mapTo(window, users.rect().center()).x()
    window.setLayoutDirection(Qt.LayoutDirection.RightToLeft)
    QApplication.processEvents()
    chart = window.rate.mapTo(window, window.rate.rect().center())
    assert chart.x() > users.mapTo(window, users.rect().center()).x()
    for label in window.findChildren(QLabel):
        if not label.pixmap().isNull():
            continue
        assert label.alignment() & Qt.AlignmentFlag.AlignRight, label.text()


@pytest.mark.parametrize("state", STATES)
def test_no_widget_guesses_at_markup(stage: Stage, demo: ModuleType, state: str) -> None:
    window = stage.show()
    fill(window, demo, state)
    window.show_hint("<b>hint</b>")
    stage.deeds.said.emit("<i>echo</i>", "bad")
    for label in window.findChildren(QLabel):
        assert label.textFormat() is Qt.TextFormat.PlainText, label.text()
    for widget in window.findChildren(QWidget):
        told = widget.toolTip()
        assert not told or (told.startswith("<qt>") and "<" not in told[4:-5]), told
    view = window.events.view
    for model in (view.model(), window.users.table.model(), window.apps.table.model()):
        for column in range(model.columnCount()):
            told = model.index(0, column).data(Qt.ItemDataRole.ToolTipRole)
            assert not told or "<" not in told[4:-5], told


def test_a_name_of_a_megabyte_full_of_tricks_leaves_the_window_as_it_was(
    stage: Stage, tmp_path: Path
) -> None:
    window = stage.show(900, 700)
    canary = tmp_path / "canary.png"
    bad = f'<img src="{canary}">\u202e\x00' + "W" * 1_000_000
    before = window.minimumSizeHint()
    begun = time.perf_counter()
    window.show_status(snapshot(sentence=Sentence(state="attention", text=bad, reason=bad)))
    window.show_events(tuple(event(n, name=bad, user_id=bad, payload=bad) for n in range(50)))
    QApplication.processEvents()
    window.grab()
    assert time.perf_counter() - begun < 3
    assert window.minimumSizeHint() == before
    assert window.size().width() == 900
    for label in window.findChildren(QLabel):
        assert len(label.text()) < 1_000
        assert "\u202e" not in label.text()


def focus_chain(window: Window, qtbot: QtBot) -> list[QWidget]:
    """Walk through the window with Tab until it comes round."""
    window.activateWindow()
    window.header.more.setFocus()
    walked: list[QWidget] = []
    for _ in range(60):
        qtbot.keyClick(QApplication.focusWidget() or window, Qt.Key.Key_Tab)
        here = QApplication.focusWidget()
        assert here is not None
        if walked and here is walked[0]:
            return walked
        walked.append(here)
    raise AssertionError("Tab does not come round")


@pytest.mark.parametrize("width", [360, 900, 1600])
@pytest.mark.parametrize("state", ["attention", "empty"])
def test_tab_reaches_everything_in_the_order_of_the_eye(
    stage: Stage, demo: ModuleType, qtbot: QtBot, width: int, state: str
) -> None:
    window = stage.show(width, 700)
    fill(window, demo, state)
    chain = focus_chain(window, qtbot)
    reachable = {
        widget
        for widget in window.findChildren(QWidget)
        if widget.isVisible() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus
    }
    assert set(chain) == reachable
    assert all(widget.accessibleName() or getattr(widget, "text", str)() for widget in chain)
    head = [window.header.action, window.header.pause, window.header.more, window.tiles]
    start = chain.index(head[0])
    round_chain = chain[start:] + chain[:start]
    assert round_chain[:4] == head
    # Within each column the stops go downwards.
    stops = [w for w in round_chain[4:] if w.parentWidget() is not window.events.command]
    places = [w.mapTo(window._scroll.widget(), w.rect().topLeft()) for w in stops]
    jumps = sum(1 for a, b in itertools.pairwise(places) if b.y() < a.y())
    assert jumps <= {360: 0, 900: 1, 1600: 2}[width]


def test_what_has_the_focus_is_scrolled_into_view(
    stage: Stage, demo: ModuleType, qtbot: QtBot
) -> None:
    window = stage.show(360, 480)
    fill(window, demo, "full")
    port = window._scroll.viewport()
    for _ in focus_chain(window, qtbot):
        widget = QApplication.focusWidget()
        assert widget is not None
        top = widget.mapTo(port, widget.rect().topLeft()).y()
        assert -1 <= top < port.height() - 20, widget
        qtbot.keyClick(widget, Qt.Key.Key_Tab)


@pytest.mark.parametrize("state", STATES)
def test_every_control_and_card_has_a_name_for_the_screen_reader(
    stage: Stage, demo: ModuleType, state: str
) -> None:
    window = stage.show()
    fill(window, demo, state)
    for card in (window.header, window.rate, window.events, window.users, window.outbox,
                 window.connections, window.machine, window.apps, window.tiles):  # fmt: skip
        assert card.accessibleName()
    for card in (window.outbox, window.connections, window.machine, window.tiles):
        assert card.accessibleDescription(), card.accessibleName()
    assert "events were accepted" in window.rate.chart.accessibleDescription() or state == "empty"


def test_a_change_of_state_is_spoken(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken: list[str] = []
    monkeypatch.setattr("ui.header.announce", lambda _widget, words: spoken.append(words))
    window = stage.show()
    window.show_status(snapshot())
    spoken.clear()
    window.show_status(snapshot())
    assert spoken == []
    window.show_status(snapshot(sentence=Sentence(state="offline", text="No route.")))
    assert spoken == ["Offline. No route."]


def test_a_screen_reader_that_listens_is_told_and_breaks_nothing(stage: Stage) -> None:
    window = stage.show()
    QAccessible.setActive(True)
    try:
        for n in range(200):
            state = "offline" if n % 2 else "live"
            window.show_status(snapshot(sentence=Sentence(state=state, text=f"Number {n}.")))
        QApplication.processEvents()
        table = QAccessible.queryAccessibleInterface(window.events.view)
        assert table is not None
        assert table.text(QAccessible.Text.Name) == "Live events"
    finally:
        QAccessible.setActive(False)
