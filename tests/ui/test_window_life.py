"""The window as it is used: keys, buttons, hiding, hanging agents, memory, the dark."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QColor, QGuiApplication, QPalette
from PySide6.QtWidgets import (
    QApplication,
    QLineEdit,
    QToolTip,
    QWidget,
)
from pytestqt.qtbot import QtBot
from scripted_door import event, snapshot
from stage import Stage, fill

from agent.door import Sentence
from ui.chart import RateChart
from ui.events_list import EventsView
from ui.window import now_ms


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
