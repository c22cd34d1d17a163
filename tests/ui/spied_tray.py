"""The real tray, ``homing`` without arguments, and a spy that tells what is on its window.

The spy only reads: it looks at the widgets as a person would, on the GUI thread, when a line on
standard input asks it to.
"""

from __future__ import annotations

import json
import os
import sys
import threading

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QMenu

from homing.tray import show
from ui.window import Window


def tell(*words: object) -> None:
    print(json.dumps(words), flush=True)


def look() -> None:
    """Tell what can be seen now."""
    popup = QApplication.activePopupWidget()
    menu = [a.text().replace("&", "") for a in popup.actions()] if isinstance(popup, QMenu) else []
    state, names = "", []
    for window in QApplication.topLevelWidgets():
        if isinstance(window, Window) and window.isVisible():
            model = window.events.view.model()
            names = [model.index(row, 1).data() for row in range(model.rowCount())]
            state = window.header.state.text()
    tell("seen", state, names, menu)


def listen() -> None:
    for _line in sys.stdin:
        app = QApplication.instance()
        if app is not None:
            QTimer.singleShot(0, app, look)
        else:
            tell("seen", "", [], [])


if __name__ == "__main__":
    threading.Thread(target=listen, daemon=True).start()
    code = show(os.environ, keep_here="--keep-here" in sys.argv)
    tell("exit", code)
    sys.exit(code)
