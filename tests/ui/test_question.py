"""The question about an app that knocks: asked once, in plain text, answered from the keyboard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot
from scripted_door import ScriptedDoor, knocker, snapshot
from stage import Stage

from agent.door import Notice
from agent.door.apps import EveryApp
from tracking.errors import StorageFault
from ui import asking, views
from ui.bridge import Commands, EventsBridge, StatusBridge
from ui.deeds import Deeds
from ui.steady import ASK_AGAIN_S, MOST_TOLD, Asked
from ui.tray import Tray

NOW = 1_790_000_000_000


def ask(stage: Stage, *app_ids: str) -> None:
    stage.door.say(snapshot(apps=tuple(knocker(app_id) for app_id in app_ids)))


# --- words ------------------------------------------------------------------------------------


def test_the_question_says_who_by_which_program_how_often_and_where_to() -> None:
    app = knocker(first_knock_ms=NOW, knocks=3, offered=12)
    asked = asking.question(snapshot(apps=(app,), strangers_go_to="wss://far.example"), NOW)
    assert asked is not None
    assert asked.title == "acme-recorder wants to report usage through this computer"
    assert asked.program == "Program: /opt/acme/recorder (process 4711)"
    assert asked.story.startswith("It asked 3 times since ")
    assert asked.story.endswith(
        "12 events were turned away; nothing of them is kept until you answer."
    )
    assert asked.goes_to == "Allowed, its events go to wss://far.example."
    assert asked.more == ""


def test_what_nobody_knows_is_said_as_such() -> None:
    app = knocker(executable="", pid=0, knocks=1, offered=0)
    asked = asking.question(snapshot(apps=(app, knocker("b"), knocker("c"))), NOW)
    assert asked is not None
    assert asked.program == "The system does not say which program this is."
    assert asked.story.endswith("Nothing of it is kept until you answer.")
    assert "has a far end" in asked.goes_to
    assert asked.more == "2 more apps ask."


def test_what_a_denial_would_delete_is_said_before_it_does() -> None:
    asked = asking.question(snapshot(apps=(knocker(pending=12),)), NOW)
    assert asked is not None
    assert asked.story.endswith("Denied, 12 events of it that still wait here are deleted.")


def test_only_who_waits_is_asked_about() -> None:
    settled = knocker(asking=False)
    assert asking.question(snapshot(apps=(settled,)), NOW) is None
    assert asking.question(snapshot(apps=(knocker(),)), NOW, {"acme-recorder"}) is None
    assert asking.question(None, NOW) is None


def test_the_notice_is_not_shown_beside_the_question() -> None:
    told = Notice(code="apps.pending", text="acme wants", severity="info", since_ms=NOW)
    assert views.notices(snapshot(notices=(told,))) == ()


# --- the bar ------------------------------------------------------------------------------------


def test_the_bar_takes_no_room_until_an_app_asks_and_never_the_focus(
    stage: Stage, qtbot: QtBot
) -> None:
    window = stage.show()
    bar = window.question
    assert not bar.isVisible()
    window.header.more.setFocus()
    ask(stage, "acme-recorder")
    qtbot.waitUntil(bar.isVisible)
    assert window.header.more.hasFocus()
    assert QApplication.activeModalWidget() is None
    ask(stage)
    qtbot.waitUntil(lambda: not bar.isVisible())


@pytest.mark.parametrize(
    ("key", "request_"),
    [("a", "AllowApp"), ("n", "NotNow"), ("d", "DenyApp")],
)
def test_each_answer_is_a_key_away_and_reaches_the_agent(
    stage: Stage, qtbot: QtBot, key: str, request_: str
) -> None:
    window = stage.show()
    ask(stage, "acme-recorder")
    qtbot.waitUntil(window.question.isVisible)
    qtbot.keyClick(window, key, Qt.KeyboardModifier.AltModifier)
    qtbot.waitUntil(lambda: request_ in stage.asked())
    (said,) = [argument for method, argument in stage.door.calls if method == request_]
    assert isinstance(said, dict)
    assert said["app_id"] == "acme-recorder"
    assert not said.get("keep", False)
    qtbot.waitUntil(lambda: not window.question.isVisible())
    qtbot.waitUntil(lambda: "acme-recorder" in window.header.echo.text())


def test_tab_and_space_do_as_well(stage: Stage, qtbot: QtBot) -> None:
    window = stage.show()
    ask(stage, "acme-recorder")
    qtbot.waitUntil(window.question.isVisible)
    window.header.more.setFocus(Qt.FocusReason.TabFocusReason)
    for button in window.question.stops():
        qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
        assert button.hasFocus()
    qtbot.keyClick(window.question.deny, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: "DenyApp" in stage.asked())


def test_while_an_answer_is_on_its_way_the_next_app_is_asked_about(
    stage: Stage, qtbot: QtBot
) -> None:
    window = stage.show()
    ask(stage, "first", "second")
    qtbot.waitUntil(window.question.isVisible)
    stage.door.gate.clear()  # the agent hangs
    qtbot.mouseClick(window.question.allow, Qt.MouseButton.LeftButton)
    assert window.question.asks.text().startswith("second ")
    qtbot.mouseClick(window.question.deny, Qt.MouseButton.LeftButton)
    assert not window.question.isVisible()
    stage.door.gate.set()
    qtbot.waitUntil(lambda: len(stage.door.calls) == 2)
    assert [argument["app_id"] for _, argument in stage.door.calls] == ["first", "second"]  # type: ignore[index]


def test_an_answer_that_could_not_be_given_is_asked_again(stage: Stage, qtbot: QtBot) -> None:
    window = stage.show()
    ask(stage, "acme-recorder")
    qtbot.waitUntil(window.question.isVisible)
    stage.door.fault = StorageFault("the disk is full")
    qtbot.mouseClick(window.question.allow, Qt.MouseButton.LeftButton)
    assert not window.question.isVisible()
    qtbot.waitUntil(window.question.isVisible)
    assert "the disk is full" in window.header.echo.text()


def test_no_answer_is_chosen_by_return_and_none_stands_out(stage: Stage, qtbot: QtBot) -> None:
    window = stage.show()
    ask(stage, "acme-recorder")
    qtbot.waitUntil(window.question.isVisible)
    qtbot.keyClick(window, Qt.Key.Key_Return)
    assert not any(button.isDefault() or button._main for button in window.question.stops())
    assert stage.door.calls == []


def test_a_hostile_id_and_path_are_shown_as_what_they_are_row_43(
    stage: Stage, qtbot: QtBot
) -> None:
    window = stage.show(360, 480)
    bad = "<img src=/etc/passwd>\u202egnp.exe" + "W" * 100_000
    stage.door.say(snapshot(apps=(knocker(bad, executable=bad),), strangers_go_to=bad))
    qtbot.waitUntil(window.question.isVisible)
    bar = window.question
    for label in (bar.asks, bar.program, bar.story, bar.goes_to):
        assert label.textFormat() is Qt.TextFormat.PlainText
        assert "\u202e" not in label.text()
        assert len(label.text()) < 700
    assert "‹U+202E›" in bar.asks.text().replace("\u200b", "")
    assert window._scroll.widget().width() <= window._scroll.viewport().width()
    qtbot.mouseClick(bar.deny, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(stage.door.calls))
    assert stage.door.calls[0][1]["app_id"] == bad  # type: ignore[index]


def test_a_screen_reader_hears_the_question_and_names_each_answer(
    stage: Stage, qtbot: QtBot
) -> None:
    window = stage.show()
    ask(stage, "acme-recorder")
    qtbot.waitUntil(window.question.isVisible)
    bar = window.question
    assert "acme-recorder wants to report" in bar.accessibleDescription()
    assert "/opt/acme/recorder" in bar.accessibleDescription()
    names = [QAccessible.queryAccessibleInterface(button).text(QAccessible.Text.Name) for button in bar.stops()]  # fmt: skip  # noqa: E501
    assert names == [
        "Allow acme-recorder to report",
        "Do not answer about acme-recorder now",
        "Deny acme-recorder",
    ]


# --- what the main button offers ---------------------------------------------------------------


def test_where_all_apps_are_paused_the_button_resumes_them_not_sending(
    stage: Stage, qtbot: QtBot
) -> None:
    window = stage.show()
    pause = EveryApp(consent="paused", consent_from="you")
    stage.door.say(snapshot(every_app=pause, keeping="offered"))
    qtbot.waitUntil(lambda: window.header.action.text() == "&Resume the apps")
    qtbot.mouseClick(window.header.action, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: stage.asked() == ["ResumeApp"])


@pytest.mark.parametrize("source", ["DO_NOT_TRACK", "policy"])
def test_where_nothing_may_be_kept_nothing_is_offered(source: str) -> None:
    denied = EveryApp(consent="denied", consent_from=source)
    view = views.header(snapshot(every_app=denied, keeping="offered"), NOW)
    assert (view.action, view.action_text) == ("", "")


# --- the tray -----------------------------------------------------------------------------------


def test_each_app_is_told_once_and_not_more_than_one_a_minute() -> None:
    asked = Asked()
    first, second, third = knocker("first"), knocker("second"), knocker("third")
    assert asked.feed([first], 0.0) == [first]
    assert asked.feed([first], 100.0) == []
    assert asked.feed([first, second], 100.0) == [second]
    assert asked.feed([first, second, third], 101.0) == []
    assert asked.due_s(101.0) == ASK_AGAIN_S - 1.0
    assert asked.feed([first, second, third], 100.0 + ASK_AGAIN_S) == [third]
    assert asked.due_s(200.0) is None
    assert asked.feed([], 300.0) == []
    assert asked.feed([first], 400.0) == []  # it went and came again: never twice


def test_a_thousand_invented_ids_are_one_notification_a_minute() -> None:
    asked = Asked()
    told = [
        app.app_id
        for second in range(180)
        for app in asked.feed([knocker(f"id-{second}-{n}") for n in range(100)], float(second))
    ]
    assert len(told) == 3
    assert len(asked._told) <= MOST_TOLD


@pytest.fixture
def tray(qtbot: QtBot) -> Iterator[Tray]:
    statuses = StatusBridge()
    deeds = Deeds(
        Commands(ScriptedDoor, statuses, EventsBridge()), statuses, lambda: None, hosted=False
    )
    made = Tray(deeds, lambda: None, lambda: 0.0)
    yield made
    made.close()


def test_the_trays_menu_names_who_asks_and_only_while_it_asks(tray: Tray) -> None:
    tray.show_status(snapshot())
    assert not tray.question.isVisible()
    tray.show_status(snapshot(apps=(knocker("a&b"),)))
    assert tray.question.isVisible()
    assert tray.question.text() == "&Answer: a&&b…"
    tray.show_gone("no agent answers")
    assert not tray.question.isVisible()


def test_a_notification_names_the_program_and_where_to_answer() -> None:
    assert asking.told(knocker()) == (
        "acme-recorder (/opt/acme/recorder) wants to report usage through this computer."
        " Open Homing to answer."
    )
