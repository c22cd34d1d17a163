"""The mark: a homing pigeon in four states, drawn from ``icons/*.svg``.

Each state has a shape of its own (whole, hollow, with two bars, with an exclamation mark), so
that neither a colour-blind eye nor a grey panel loses it; the hues have 3:1 contrast on light
and on dark panels alike, whose colour an application cannot ask for.
"""

from __future__ import annotations

import functools
from pathlib import Path

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from agent.door import Health

SIZES = (16, 22, 24, 32, 48, 64, 128)


def icon_folder() -> Path:
    """Return where the drawings are: in the wheel beside this file, in a checkout above it."""
    here = Path(__file__).resolve().parent
    return next(folder for folder in (here / "icons", here.parent / "icons") if folder.is_dir())


@functools.cache
def mark_icon(state: Health | None = None) -> QIcon:
    """Return the icon of a state, or the application's own."""
    name = "homing.svg" if state is None else f"homing-{state}.svg"
    icon = QIcon()
    drawing = QSvgRenderer(str(icon_folder() / name))
    for size in SIZES:
        icon.addPixmap(_drawn(drawing, size))
    return icon


def _drawn(drawing: QSvgRenderer, size: int) -> QPixmap:
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    drawing.render(painter, QRectF(0, 0, size, size))
    painter.end()
    return pixmap
