"""Draw the pictures of the window for the README, from invented data.

    python docs/screenshots.py                 docs/images/window-light.png and window-dark.png
    python docs/screenshots.py --every DIR     every state, size and direction, to be looked at

Nothing is connected and nothing is real: the apps, the people and the numbers are a demonstration,
and the window's first notice says so in the pictures.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from pathlib import Path

import demo  # beside this file
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QPalette
from PySide6.QtWidgets import QApplication

import ui.window
from agent.door import Door, Passing, Status
from ui import language
from ui.bridge import Commands, EventsBridge, StatusBridge
from ui.deeds import Deeds
from ui.window import Window

HERE = Path(__file__).resolve().parent
MARK = "Demonstration: the apps, the people and the numbers in this picture are invented."


def dark_palette() -> QPalette:
    """Return the colours of a dark desktop, where the platform has none of its own."""
    palette = QPalette(QColor("#31363b"), QColor("#2a2e32"))
    for role, colour in (
        (QPalette.ColorRole.Base, "#1b1e20"),
        (QPalette.ColorRole.WindowText, "#fcfcfc"),
        (QPalette.ColorRole.Text, "#fcfcfc"),
        (QPalette.ColorRole.ButtonText, "#fcfcfc"),
        (QPalette.ColorRole.ToolTipBase, "#31363b"),
        (QPalette.ColorRole.ToolTipText, "#fcfcfc"),
    ):
        palette.setColor(role, QColor(colour))
    return palette


def draw(
    app: QApplication,
    status: Status,
    events: tuple[Passing, ...],
    size: tuple[int, int],
    target: Path,
    *,
    whole: bool = False,
) -> None:
    """Write one picture of the window; ``whole`` includes what would have to be scrolled to."""
    window = demo_window()
    window.resize(*size)
    window.show_status(status)
    window.show_events(events)
    window.show_hint(MARK)
    window.show()
    app.processEvents()
    if whole:
        page = window._scroll.widget()
        page.resize(size[0], max(size[1], page.heightForWidth(size[0]), page.sizeHint().height()))
        app.processEvents()
        page.grab().save(str(target))
    else:
        window.grab().save(str(target))
    window.close()
    window.deleteLater()
    app.processEvents()


def demo_window() -> Window:
    """Return a window whose buttons lead nowhere."""

    def nobody() -> Door:
        raise AssertionError("a picture asks nothing of an agent")

    status, events = StatusBridge(), EventsBridge()
    return Window(Deeds(Commands(nobody, status, events), status, lambda: None, hosted=True))


def main() -> int:
    """Draw."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=Path, metavar="DIR", help="all states, to be looked at")
    asked = parser.parse_args()
    app = QApplication(sys.argv[:1])
    app.setStyle("Fusion")
    app.setFont(QFont("Noto Sans", 10))
    now = round(time.mktime((2026, 3, 12, 14, 32, 0, 0, 0, -1)) * 1000)
    ui.window.now_ms = lambda: now
    folder = asked.every or HERE / "images"
    folder.mkdir(parents=True, exist_ok=True)
    if asked.every:
        every(app, now, folder)
        return 0
    chance = random.Random(7)
    status, events = demo.full(now, chance), demo.passing(now, chance)
    for scheme in ("light", "dark"):
        if scheme == "dark":
            app.setPalette(dark_palette())
        draw(app, status, events, (1300, 935), folder / f"window-{scheme}.png")
    return 0


def every(app: QApplication, now: int, folder: Path) -> None:
    """Draw every state, size, scheme and direction."""
    light = app.palette()
    for scheme, palette in (("light", light), ("dark", dark_palette())):
        app.setPalette(palette)
        for name, state in demo.STATES.items():
            for size in ((360, 480), (900, 700), (1600, 1000)):
                chance = random.Random(7)
                status = state(now, chance)
                events = () if name == "empty" else demo.passing(now, chance)
                target = folder / f"{name}-{size[0]}-{scheme}.png"
                draw(app, status, events, size, target)
                if size[0] < 1000:
                    whole = folder / f"{name}-{size[0]}-{scheme}-whole.png"
                    draw(app, status, events, size, whole, whole=True)
    app.setPalette(light)
    chance = random.Random(7)
    language.speak(lambda text, _n: demo.GERMAN.get(text, text), group=".", point=",")
    for size in ((360, 480), (900, 700)):
        target = folder / f"german-{size[0]}.png"
        draw(app, demo.attention(now, chance), demo.passing(now, chance), size, target, whole=True)
    language.speak_as_written()
    app.setLayoutDirection(Qt.LayoutDirection.RightToLeft)
    language.speak(lambda text, _n: text, mirrored=True)
    for size in ((360, 480), (900, 700)):
        target = folder / f"arabic-{size[0]}.png"
        draw(app, demo.arabic(now, chance), demo.passing(now, chance), size, target, whole=True)


if __name__ == "__main__":
    sys.exit(main())
