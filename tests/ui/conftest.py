"""What the face's tests stand on: no screen, one font, and a door whose other side is a script."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from ui import language

os.environ["QT_QPA_PLATFORM"] = "offscreen"
for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
    os.environ.pop(name, None)  # a developer's own desktop is not under test

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))  # scripted_door, stage, desktop: test equipment of this room

from stage import Stage  # noqa: E402 - beside this file


@pytest.fixture(scope="session")
def qapp(qapp: QApplication) -> QApplication:
    """Pin what changes from machine to machine: the style and the font."""
    qapp.setStyle("Fusion")
    qapp.setFont(QFont("DejaVu Sans", 10))
    return qapp


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Speak as written, whatever a test before did."""
    language.speak_as_written()
    yield
    language.speak_as_written()


@pytest.fixture(scope="session")
def demo() -> ModuleType:
    """The invented snapshots of docs/demo.py."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "docs" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def stage(qtbot: QtBot) -> Iterator[Stage]:
    """A window over a scripted door."""
    made = Stage(qtbot)
    yield made
    made.commands.close()
