"""The window: every panel, every size and direction, by keyboard and for screen readers."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QAccessible, QColor, QGuiApplication, QPalette
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QLabel,
    QLineEdit,
    QMenu,
    QToolTip,
    QWidget,
)
from pytestqt.qtbot import QtBot
from scripted_door import ScriptedDoor, event, snapshot

from agent.door import Sentence
from ui import language
from ui.bridge import Commands, EventsBridge, StatusBridge
from ui.chart import RateChart
from ui.deeds import Deeds
from ui.events_list import EventsView
from ui.window import Window, now_ms


class Stage:
    """A window over a scripted door, without an app round it."""

    def __init__(self, qtbot: QtBot, memory: Path | None = None) -> None:
        self.door = ScriptedDoor(silent=True)
        self.statuses, self.events = StatusBridge(), EventsBridge()
        self.commands = Commands(lambda: self.door, self.statuses, self.events)
        self.left: list[bool] = []
        self.deeds = Deeds(
            self.commands, self.statuses, lambda: self.left.append(True), hosted=True
        )
        self.window = Window(self.deeds, memory)
        qtbot.addWidget(self.window)
        self.statuses.changed.connect(self.window.show_status)
        self.commands.start()

    def show(self, width: int = 900, height: int = 700) -> Window:
        self.window.resize(width, height)
        self.window.show()
        QApplication.processEvents()
        return self.window

    def asked(self) -> list[str]:
        return [method for method, _ in self.door.calls]


@pytest.fixture
def stage(qtbot: QtBot) -> Iterator[Stage]:
    made = Stage(qtbot)
    yield made
    made.commands.close()


STATES = ["full", "offline", "attention", "paused", "empty", "hostile"]
SIZES = [(360, 480), (900, 700), (1600, 1000)]


def fill(window: Window, demo: ModuleType, state: str) -> None:
    chance = random.Random(3)
    window.show_status(demo.STATES[state](now_ms(), chance))
    window.show_events(() if state == "empty" else demo.passing(now_ms(), chance))
    QApplication.processEvents()


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


@pytest.mark.parametrize(
    ("key", "modifier", "method"),
    [
        (Qt.Key.Key_F5, Qt.KeyboardModifier.NoModifier, "retry"),
        (Qt.Key.Key_P, Qt.KeyboardModifier.ControlModifier, "pause"),
    ],
)
def test_keys_ask_the_agent(
    stage: Stage, qtbot: QtBot, key: Qt.Key, modifier: Qt.KeyboardModifier, method: str
) -> None:
    window = stage.show()
    window.activateWindow()
    qtbot.keyClick(window, key, modifier)
    qtbot.waitUntil(lambda: stage.asked() == [method])


def test_the_same_key_pauses_and_resumes(stage: Stage, qtbot: QtBot) -> None:
    window = stage.show()
    window.activateWindow()
    qtbot.keyClick(window, Qt.Key.Key_P, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: window.header.state.text() == "Paused")
    qtbot.keyClick(window, Qt.Key.Key_P, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: stage.asked() == ["pause", "resume"])


@pytest.mark.parametrize("key", [Qt.Key.Key_Escape, Qt.Key.Key_W])
def test_keys_close_the_window(stage: Stage, qtbot: QtBot, key: Qt.Key) -> None:
    window = stage.show()
    window.activateWindow()
    control = Qt.KeyboardModifier.ControlModifier
    none = Qt.KeyboardModifier.NoModifier
    qtbot.keyClick(window, key, control if key == Qt.Key.Key_W else none)
    assert not window.isVisible()
    assert not stage.left


def test_control_q_leaves(stage: Stage, qtbot: QtBot) -> None:
    window = stage.show()
    window.activateWindow()
    qtbot.keyClick(window, Qt.Key.Key_Q, Qt.KeyboardModifier.ControlModifier)
    assert stage.left == [True]


@pytest.mark.parametrize(
    ("state", "method"),
    [("offline", "retry"), ("attention", "retry"), ("paused", "resume"), ("empty", "keep_here")],
)
def test_the_main_button_does_what_it_says(
    stage: Stage, demo: ModuleType, qtbot: QtBot, state: str, method: str
) -> None:
    window = stage.show()
    fill(window, demo, state)
    qtbot.mouseClick(window.header.action, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: stage.asked() == [method])
    qtbot.waitUntil(window.header.echo.isVisible)


def test_an_agent_that_hangs_does_not_hold_the_window(
    stage: Stage, demo: ModuleType, qtbot: QtBot
) -> None:
    window = stage.show()
    fill(window, demo, "offline")
    stage.door.gate.clear()
    begun = time.monotonic()
    qtbot.mouseClick(window.header.action, Qt.MouseButton.LeftButton)
    window.resize(1000, 800)
    QApplication.processEvents()
    assert time.monotonic() - begun < 1
    stage.door.gate.set()
    qtbot.waitUntil(window.header.echo.isVisible)


def test_a_failed_deed_says_why_and_what_to_do(stage: Stage, qtbot: QtBot) -> None:
    from tracking.errors import Refused

    window = stage.show()
    stage.door.fault = Refused("no such app", advice="Check the app's id.")
    stage.deeds.retry()
    qtbot.waitUntil(window.header.echo.isVisible)
    assert window.header.echo.text() == "no such app Check the app's id."


def test_settings_that_nothing_opens_are_named_and_copied(
    stage: Stage, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.deeds._open", lambda path: False)
    window = stage.show()
    stage.deeds.settings_file = str(tmp_path / "homing.toml")
    stage.deeds.open_settings()
    assert "homing.toml" in window.header.echo.text().replace("\u200b", "")
    assert QGuiApplication.clipboard().text() == stage.deeds.settings_file


def test_a_hidden_window_does_nothing(stage: Stage, qtbot: QtBot) -> None:
    window = stage.show()
    assert window._clock.isActive()
    seen: list[bool] = []
    window.looked_at.connect(seen.append)
    window.hide()
    assert not window._clock.isActive()
    window.show()
    window.setWindowState(Qt.WindowState.WindowMinimized)
    assert not window._clock.isActive()
    window.raise_up()
    assert window._clock.isActive()
    assert seen == [False, True, False, True]


def test_an_unchanged_snapshot_repaints_nothing(
    stage: Stage, demo: ModuleType, qtbot: QtBot
) -> None:
    window = stage.show()
    status = demo.full(now_ms(), random.Random(3))
    window.show_status(status)
    QApplication.processEvents()
    painted: list[str] = []

    class Watch(QWidget):
        def eventFilter(self, watched: object, happening: QEvent) -> bool:
            if happening.type() == QEvent.Type.Paint:
                painted.append(type(watched).__name__)
            return False

    watch = Watch()
    qtbot.addWidget(watch)
    for widget in (window.rate.chart, window.apps.table.viewport(), window.outbox.fill):
        widget.installEventFilter(watch)
    window.show_status(status)
    QApplication.processEvents()
    assert painted == []


def test_the_window_comes_back_where_it_was(qtbot: QtBot, tmp_path: Path) -> None:
    memory = tmp_path / "state" / "window.ini"
    first = Stage(qtbot, memory)
    first.show(777, 555)
    first.window.close()
    assert memory.exists()
    second = Stage(qtbot, memory)
    assert (second.window.width(), second.window.height()) == (777, 555)
    first.commands.close()
    second.commands.close()


def test_an_unreadable_memory_is_no_reason_not_to_open(qtbot: QtBot, tmp_path: Path) -> None:
    memory = tmp_path / "window.ini"
    memory.write_bytes(b"\x00[window]\ngeometry=@ByteArray(nonsense\n\xff")
    stage = Stage(qtbot, memory)
    fresh = Stage(qtbot)
    assert stage.window.size() == fresh.window.size()
    for made in (stage, fresh):
        made.commands.close()


def test_the_window_follows_the_desktop_into_the_dark(
    stage: Stage, qapp: QApplication, demo: ModuleType
) -> None:
    window = stage.show()
    fill(window, demo, "full")
    light = window.grab().toImage().pixelColor(3, 3).lightness()
    before = qapp.palette()
    dark = QPalette(QColor("#31363b"), QColor("#2a2e32"))
    for role in (QPalette.ColorRole.WindowText, QPalette.ColorRole.Text):
        dark.setColor(role, QColor("#fcfcfc"))
    try:
        qapp.setPalette(dark)
        QApplication.processEvents()
        image = window.grab().toImage()
        assert image.pixelColor(3, 3).lightness() < 80 < light
    finally:
        qapp.setPalette(before)
        QToolTip.setPalette(before)


def test_a_window_that_waits_for_the_agent_keeps_what_it_showed(stage: Stage) -> None:
    window = stage.show()
    window.show_status(snapshot(sentence=Sentence(state="live", text="All well.")))
    window.show_gone("no agent answers")
    assert window.header.state.text() == "Waiting for the agent"
    assert not window.machine.rows.isHidden()
    window.show_status(snapshot())
    assert window.header.state.text() == "Connected"


def test_the_first_event_can_be_copied_to_a_terminal(
    stage: Stage, demo: ModuleType, qtbot: QtBot
) -> None:
    window = stage.show()
    fill(window, demo, "empty")
    command = window.events.command
    assert command.isVisible()
    _line, copy = command.stops()
    qtbot.mouseClick(copy, Qt.MouseButton.LeftButton)
    copied = QGuiApplication.clipboard().text()
    assert copied.startswith("curl --unix-socket /run/user/1000/homing/agent.sock")
    assert isinstance(command.stops()[0], QLineEdit)
    window.show_events((event(1),))
    assert not command.isVisible()


@pytest.mark.parametrize("kind", [RateChart, EventsView])
def test_the_focus_of_painted_widgets_can_be_seen(
    stage: Stage, demo: ModuleType, kind: Callable[..., QWidget]
) -> None:
    window = stage.show()
    fill(window, demo, "full")
    window.activateWindow()
    widget = window.rate.chart if kind is RateChart else window.events.view
    before = widget.grab().toImage()
    widget.setFocus(Qt.FocusReason.TabFocusReason)
    QApplication.processEvents()
    assert widget.grab().toImage() != before
