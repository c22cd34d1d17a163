"""The ladder and the life of the face without a screen; test_desktop has what one adds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot
from scripted_door import ScriptedDoor, event, snapshot

from agent.door import Sentence
from tracking.errors import AgentGone
from ui.app import NO_DISPLAY, Face, no_tray_hint, run
from ui.display import display_answers


@pytest.fixture
def door() -> ScriptedDoor:
    return ScriptedDoor()


@pytest.fixture
def face(qapp: QApplication, door: ScriptedDoor, tmp_path: Path) -> Iterator[Face]:
    made = Face(qapp, lambda: door, hosted=True, state_dir=tmp_path, show_window=False)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("env", "answers"),
    [
        ({}, False),
        ({"DISPLAY": ":4711"}, False),
        ({"WAYLAND_DISPLAY": "wayland-7", "XDG_RUNTIME_DIR": "/nonexistent"}, False),
        ({"QT_QPA_PLATFORM": "offscreen"}, True),
        ({"QT_QPA_PLATFORM": "xcb", "WAYLAND_DISPLAY": "wayland-0"}, False),
    ],
)
def test_a_display_that_does_not_answer_is_none(env: dict[str, str], answers: bool) -> None:
    assert display_answers(env) is answers


def test_without_a_display_the_caller_is_told_and_qt_is_not_asked() -> None:
    program = "from ui.app import run; print(run(lambda: None, hosted=True))"
    env = {"PATH": os.environ["PATH"], "DISPLAY": ":4711"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.strip() == str(NO_DISPLAY)


def test_the_window_is_built_when_it_is_first_opened(face: Face, qtbot: QtBot) -> None:
    face.start()
    assert face.window is None
    face.open_window()
    built = face.window
    assert built is not None
    built.close()
    face.open_window()
    assert face.window is built


def test_where_there_is_no_tray_the_window_opens_with_a_hint(face: Face, qtbot: QtBot) -> None:
    face.start()
    qtbot.waitUntil(lambda: face.window is not None and face.window.isVisible())
    assert face.window is not None
    assert face.window.notices.isVisible()
    assert "Closing this window ends Homing." in no_tray_hint(hosted=True)
    assert "leaves the agent running" in no_tray_hint(hosted=False)
    assert QApplication.quitOnLastWindowClosed()
    assert QApplication.activeModalWidget() is None


def test_gnome_people_are_told_which_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CURRENT_DESKTOP", "ubuntu:GNOME")
    assert "AppIndicator" in no_tray_hint(hosted=True)


def test_events_that_passed_before_the_window_opened_are_in_it(
    face: Face, door: ScriptedDoor, qtbot: QtBot
) -> None:
    with qtbot.waitSignal(face.statuses.changed):
        face.start()
    door.pass_by(event(1), event(2))
    door.say(snapshot(9))
    qtbot.waitUntil(lambda: face._status is not None and face._status.pid == 9)
    face.open_window()
    assert face.window is not None
    model = face.window.events.view.model()
    qtbot.waitUntil(lambda: model.rowCount() == 2)


def test_a_status_reaches_the_window_only_while_it_is_seen(
    face: Face, door: ScriptedDoor, qtbot: QtBot
) -> None:
    face.start()
    face.open_window()
    window = face.window
    assert window is not None
    qtbot.waitUntil(lambda: window.header.state.text() == "Connected")
    window.hide()
    door.say(snapshot(sentence=Sentence(state="offline", text="No route.")))
    qtbot.waitUntil(lambda: "No route." in face.tray.sentence.text())
    assert window.header.state.text() == "Connected"
    face.open_window()
    assert window.header.state.text() == "Offline"


def test_a_lost_agent_is_shown_and_the_face_stays(
    face: Face, door: ScriptedDoor, qtbot: QtBot
) -> None:
    face.start()
    face.open_window()
    window = face.window
    assert window is not None
    qtbot.waitUntil(lambda: window.header.state.text() == "Connected")
    door.vanish("no agent answers")
    qtbot.waitUntil(lambda: window.header.state.text() == "Waiting for the agent")
    door.say(snapshot())
    qtbot.waitUntil(lambda: window.header.state.text() == "Connected")


def test_a_failed_entry_of_the_menu_opens_the_window_to_say_so(
    face: Face, door: ScriptedDoor, qtbot: QtBot
) -> None:
    with qtbot.waitSignal(face.statuses.changed):
        face.start()
    door.fault = AgentGone("no agent answers")
    face.deeds.send_test()
    qtbot.waitUntil(lambda: face.window is not None and face.window.header.echo.isVisible())
    assert face.window is not None
    assert face.window.header.echo.text() == "no agent answers"


def in_a_moment(deed: Callable[[], object]) -> None:
    QTimer.singleShot(50, deed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_loop_and_the_handlers_are_put_back(
    qapp: QApplication, door: ScriptedDoor, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    in_a_moment(lambda: os.kill(os.getpid(), number))
    assert run(lambda: door, hosted=True) == 0
    assert signal.getsignal(number) is before


def test_a_second_start_may_ask_from_any_thread(qapp: QApplication, door: ScriptedDoor) -> None:
    opened: list[bool] = []

    def second_start(raise_window: Callable[[], None]) -> None:
        threading.Thread(target=raise_window).start()

    def look() -> None:
        shown = [w for w in QApplication.topLevelWidgets() if w.isVisible()]
        opened.append(any(w.windowTitle() == "Homing" for w in shown))
        QApplication.quit()

    QTimer.singleShot(400, look)
    assert run(lambda: door, hosted=True, on_raise=second_start) == 0
    assert opened == [True]


def test_the_agent_is_never_stopped_by_the_face(qapp: QApplication, door: ScriptedDoor) -> None:
    in_a_moment(QApplication.quit)
    assert run(lambda: door, hosted=False) == 0
    assert "stop" not in {method for method, _ in door.calls}
