"""Colours: a restrained palette of our own, built from the desktop's.

Every widget paints with ``self.palette()``, so that a change of the desktop's scheme is one
assignment. The four hues below are bent until they can be read on whatever card colour comes
out (WCAG 2.2: 4.5 for text, 3 for lines and shapes).
"""

from __future__ import annotations

from PySide6.QtGui import QColor, QPalette

from agent.door import Health
from ui.views import Tone

Role = QPalette.ColorRole
Group = QPalette.ColorGroup

GREEN, BLUE, RED, AMBER = "#1f8f6f", "#3c78d8", "#d64524", "#b07a12"
FILLED = "#1a7a5f"  #: A filled button; white on it has 5.3:1.
TEXT_CONTRAST, SHAPE_CONTRAST = 4.5, 3.0


def is_dark(palette: QPalette) -> bool:
    """Return whether light text stands on a dark ground."""
    return palette.color(Role.Window).lightness() < palette.color(Role.WindowText).lightness()


def themed(desktop: QPalette) -> QPalette:
    """Return the window's palette: page, cards, hairlines and muted text from the desktop's."""
    palette = QPalette(desktop)
    text = desktop.color(Group.Active, Role.WindowText)
    grounds = sorted(
        (desktop.color(Group.Active, Role.Window), desktop.color(Group.Active, Role.Base)),
        key=_luminance,
    )
    dark = is_dark(desktop)
    page = mix(grounds[0], QColor("black"), 0.25) if dark else mix(grounds[0], grounds[1], 0.4)
    card = mix(grounds[1], grounds[0], 0.45) if dark else grounds[1]
    text = mix(text, page, 0.08)
    for group in (Group.Active, Group.Inactive):
        palette.setColor(group, Role.Window, page)
        palette.setColor(group, Role.Base, card)
        palette.setColor(group, Role.AlternateBase, mix(card, text, 0.035))
        palette.setColor(group, Role.WindowText, text)
        palette.setColor(group, Role.Text, text)
        palette.setColor(group, Role.Mid, mix(card, text, 0.14))
        palette.setColor(group, Role.Midlight, mix(card, text, 0.07))
        palette.setColor(group, Role.PlaceholderText, readable(mix(card, text, 0.55), card, text))
        palette.setColor(group, Role.Accent, readable(QColor(GREEN), card, text, SHAPE_CONTRAST))
        # A selection reads as ours, and its text stays readable on it.
        palette.setColor(group, Role.Highlight, mix(card, QColor(GREEN), 0.34 if dark else 0.22))
        palette.setColor(group, Role.HighlightedText, text)
        palette.setColor(group, Role.Button, mix(card, text, 0.05))
        palette.setColor(group, Role.ButtonText, text)
    return palette


def tone_colour(palette: QPalette, tone: Tone) -> QColor:
    """Return the text colour of a tone on a card."""
    text, card = palette.color(Role.Text), palette.color(Role.Base)
    match tone:
        case "plain":
            return text
        case "muted":
            return palette.color(Role.PlaceholderText)
        case "good":
            return readable(QColor(GREEN), card, text)
        case "bad":
            return readable(QColor(RED), card, text)


def health_colour(palette: QPalette, state: Health) -> QColor:
    """Return the colour that goes with a state; its shape says the same."""
    text, card = palette.color(Role.Text), palette.color(Role.Base)
    hue = {"live": GREEN, "attention": RED, "paused": AMBER}.get(state)
    return palette.color(Role.PlaceholderText) if hue is None else readable(QColor(hue), card, text)


def severity_colour(palette: QPalette, severity: str) -> QColor:
    """Return the colour of a notice's edge."""
    text, card = palette.color(Role.Text), palette.color(Role.Base)
    hue = {"error": RED, "warning": AMBER}.get(severity, BLUE)
    return readable(QColor(hue), card, text, SHAPE_CONTRAST)


def button_colours(palette: QPalette, *, main: bool) -> tuple[QColor, QColor, QColor]:
    """Return ground, edge and ink of a button."""
    card, text = palette.color(Role.Base), palette.color(Role.Text)
    if main:
        filled = QColor(FILLED)
        return filled, filled, QColor("white")
    return mix(card, text, 0.03), mix(card, text, 0.28), text


def line_colours(palette: QPalette) -> tuple[QColor, QColor]:
    """Return the colours of *accepted* and *delivered*, told apart by more than hue."""
    text, card = palette.color(Role.Text), palette.color(Role.Base)
    return (
        readable(QColor(BLUE), card, text),
        readable(QColor(GREEN), card, text),
    )


def mix(one: QColor, other: QColor, share: float) -> QColor:
    """Return ``one`` with ``share`` of ``other`` in it."""
    return QColor.fromRgbF(
        one.redF() + (other.redF() - one.redF()) * share,
        one.greenF() + (other.greenF() - one.greenF()) * share,
        one.blueF() + (other.blueF() - one.blueF()) * share,
    )


def readable(colour: QColor, ground: QColor, text: QColor, ratio: float = TEXT_CONTRAST) -> QColor:
    """Bend ``colour`` towards ``text`` until it stands out from ``ground``."""
    for step in range(11):
        bent = mix(colour, text, step / 10)
        if contrast(bent, ground) >= ratio:
            return bent
    return text


def contrast(one: QColor, other: QColor) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2, relative luminance)."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: QColor) -> float:
    parts = (colour.redF(), colour.greenF(), colour.blueF())
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
