"""The drawings: four shapes that can be told apart on any panel, and colours that can be read."""

from __future__ import annotations

import itertools

import pytest
from PySide6.QtCore import QSize
from PySide6.QtGui import QColor, QImage, QPalette
from PySide6.QtWidgets import QApplication

from agent.door import Health
from ui import theme
from ui.marks import SIZES, icon_folder, mark_icon

STATES: tuple[Health, ...] = ("live", "offline", "paused", "attention")
LIGHT_PANELS, DARK_PANELS = ("#ffffff", "#efefef"), ("#1e1e1e", "#31363b")


def drawn(state: Health, size: int) -> QImage:
    return mark_icon(state).pixmap(QSize(size, size), 1.0).toImage()


def shape(image: QImage) -> set[tuple[int, int]]:
    """Return the pixels that are more there than not: the shape without its colour."""
    return {
        (x, y)
        for x in range(image.width())
        for y in range(image.height())
        if image.pixelColor(x, y).alpha() > 127
    }


@pytest.mark.parametrize("size", SIZES)
def test_every_size_a_panel_asks_for_is_drawn_for_it(qapp: QApplication, size: int) -> None:
    for state in STATES:
        assert drawn(state, size).size() == QSize(size, size)


@pytest.mark.parametrize("size", [16, 22, 24])
def test_the_states_differ_in_shape_not_only_in_colour(qapp: QApplication, size: int) -> None:
    shapes = {state: shape(drawn(state, size)) for state in STATES}
    for one, other in itertools.combinations(STATES, 2):
        different = len(shapes[one] ^ shapes[other])
        assert different >= size * size * 0.05, f"{one} and {other} look alike at {size} px"


@pytest.mark.parametrize("panel", [*LIGHT_PANELS, *DARK_PANELS])
@pytest.mark.parametrize("state", STATES)
def test_every_state_stands_out_from_every_panel(
    qapp: QApplication, state: Health, panel: str
) -> None:
    image = drawn(state, 64)
    inks = {
        image.pixelColor(x, y).name()
        for x, y in shape(image)
        if image.pixelColor(x, y).alpha() == 255
    }
    assert inks
    assert min(theme.contrast(QColor(ink), QColor(panel)) for ink in inks) >= 3.0


def test_the_drawings_are_where_the_program_looks(qapp: QApplication) -> None:
    names = {path.name for path in icon_folder().glob("*.svg")}
    assert names == {"homing.svg", *(f"homing-{state}.svg" for state in STATES)}
    assert not mark_icon().isNull()


def desktop(window: str, base: str, text: str) -> QPalette:
    palette = QPalette(QColor(window))
    for role, colour in (
        (QPalette.ColorRole.Window, window),
        (QPalette.ColorRole.Base, base),
        (QPalette.ColorRole.Text, text),
        (QPalette.ColorRole.WindowText, text),
    ):
        palette.setColor(role, QColor(colour))
    return palette


@pytest.mark.parametrize(
    ("window", "base", "text"),
    [
        ("#efefef", "#ffffff", "#000000"),
        ("#31363b", "#1b1e20", "#fcfcfc"),
        ("#000000", "#000000", "#ffffff"),
        ("#ffffff", "#ffffff", "#000000"),
        ("#fdf6e3", "#eee8d5", "#073642"),
    ],
    ids=["light", "dark", "high contrast dark", "high contrast light", "solarized"],
)
def test_every_text_can_be_read_in_every_scheme(
    qapp: QApplication, window: str, base: str, text: str
) -> None:
    palette = theme.themed(desktop(window, base, text))
    card = palette.color(QPalette.ColorRole.Base)
    page = palette.color(QPalette.ColorRole.Window)
    assert theme.contrast(palette.color(QPalette.ColorRole.Text), card) >= 7
    assert theme.contrast(palette.color(QPalette.ColorRole.WindowText), page) >= 7
    for tone in ("muted", "good", "bad"):
        assert theme.contrast(theme.tone_colour(palette, tone), card) >= 4.5, tone
    for state in STATES:
        assert theme.contrast(theme.health_colour(palette, state), card) >= 4.5, state
    for line in theme.line_colours(palette):
        assert theme.contrast(line, card) >= 3
    for main in (True, False):
        ground, _edge, ink = theme.button_colours(palette, main=main)
        assert theme.contrast(ink, ground) >= 4.5
    highlight = palette.color(QPalette.ColorRole.Highlight)
    assert theme.contrast(palette.color(QPalette.ColorRole.HighlightedText), highlight) >= 4.5
