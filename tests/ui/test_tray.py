"""The tray's decisions without a tray: what it would show, when, and what its menu offers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytestqt.qtbot import QtBot
from scripted_door import ScriptedDoor, snapshot

from agent.door import Pause, Sentence
from ui.bridge import Commands, EventsBridge, StatusBridge
from ui.deeds import Deeds
from ui.tray import Tray


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tray(qtbot: QtBot, clock: Clock) -> Iterator[Tray]:
    statuses = StatusBridge()
    commands = Commands(ScriptedDoor, statuses, EventsBridge())
    deeds = Deeds(commands, statuses, lambda: None, hosted=True)
    made = Tray(deeds, lambda: None, clock)
    yield made
    made.close()


OFFLINE = snapshot(sentence=Sentence(state="offline", text="Offline: <b>refused</b> & more."))


def entries(tray: Tray) -> list[str]:
    return [action.text() for action in tray.menu.actions() if action.isVisible() and action.text()]


def test_a_short_loss_changes_the_words_but_not_the_icon(tray: Tray, clock: Clock) -> None:
    clock.now_s = 10.0
    tray.show_status(snapshot())
    clock.now_s = 12.0
    tray.show_status(snapshot())
    assert tray._mark == "live"
    tray.show_status(OFFLINE)
    assert tray._mark == "live"
    assert tray.sentence.text() == "Offline: <b>refused</b> && more."
    assert tray._tooltip == "Homing: Offline: ‹b›refused‹/b› ＆ more."
    clock.now_s = 18.0
    tray.show_status(OFFLINE)
    assert tray._mark == "offline"


def test_the_icon_settles_though_nothing_new_is_heard(
    tray: Tray, clock: Clock, qtbot: QtBot
) -> None:
    tray.show_status(snapshot())
    assert tray._mark == "offline"  # as it begins, until an agent has answered for a second
    assert tray._settle.isActive()
    assert tray._settle.interval() <= 1100
    clock.now_s = 1.5
    qtbot.waitUntil(lambda: tray._mark == "live")
    assert not tray._settle.isActive()


def test_the_menu_offers_pause_or_resume_never_both(tray: Tray) -> None:
    tray.show_status(snapshot())
    assert entries(tray)[1:4] == ["&Open", "&Pause sending", "Send a &test event"]
    pause = Pause(reason="you asked", since_ms=0)
    tray.show_status(snapshot(pause=pause, sentence=Sentence(state="paused", text="Paused.")))
    assert entries(tray) == [
        "Paused.", "&Open", "&Resume sending", "Send a &test event", "&Settings file", "&Quit",
    ]  # fmt: skip


def test_the_status_line_tells_and_cannot_be_chosen(tray: Tray) -> None:
    tray.show_gone("no agent")
    assert tray.sentence.text() == "Waiting for the agent"
    assert not tray.sentence.isEnabled()


def test_without_a_tray_it_keeps_looking_and_shows_nothing(tray: Tray) -> None:
    tray.start()
    assert tray.icon is None
    assert not tray.is_present()
    assert tray._poll.isActive()
    for _ in range(60):
        tray._look()
    assert tray._poll.interval() == 15_000  # still asking, but quietly
