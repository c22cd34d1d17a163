"""A window over a scripted door, without an app round it."""

from __future__ import annotations

import random
from pathlib import Path
from types import ModuleType

from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot
from scripted_door import ScriptedDoor

from ui.bridge import Commands, EventsBridge, StatusBridge
from ui.deeds import Deeds
from ui.window import Window, now_ms

STATES = ["full", "offline", "attention", "paused", "asked", "empty", "hostile"]


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


def fill(window: Window, demo: ModuleType, state: str) -> None:
    chance = random.Random(3)
    window.show_status(demo.STATES[state](now_ms(), chance))
    window.show_events(() if state == "empty" else demo.passing(now_ms(), chance))
    QApplication.processEvents()
