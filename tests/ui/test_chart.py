"""The curve of the last hour."""

from __future__ import annotations

import random

import pytest
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QColor, QMouseEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from agent.door import Minute
from ui.chart import SPAN, RateChart, describe, nice_top, spread
from ui.theme import line_colours
from ui.words import clock

NOW = 1_773_320_040_000  # a whole minute


def minutes(*accepted: int) -> tuple[Minute, ...]:
    first = NOW - (len(accepted) - 1) * 60_000
    return tuple(
        Minute(at_ms=first + at * 60_000, accepted=n, delivered=n // 2)
        for at, n in enumerate(accepted)
    )


@pytest.mark.parametrize(
    ("most", "top"),
    [(0, 4), (4, 4), (5, 6), (11, 20), (31, 40), (99, 100), (101, 200), (7_001, 8_000)],
)
def test_the_axis_ends_at_a_round_number(most: int, top: int) -> None:
    assert nice_top(most) == top


def test_minutes_that_nobody_counted_are_zero_not_missing() -> None:
    gap = (minutes(5)[0], Minute(at_ms=NOW - 30 * 60_000, accepted=9, delivered=9))
    whole = spread(gap)
    assert len(whole) == SPAN
    assert [m.accepted for m in whole if m.accepted] == [9, 5]
    assert whole[-1].at_ms == NOW
    assert spread(()) == ()


def test_the_curve_is_also_a_sentence() -> None:
    assert describe(minutes(3, 8, 2)) == (
        "In the last hour 13 events were accepted and 6 delivered; "
        f"the busiest minute was {clock(NOW - 60_000)} with 8."
    )
    assert describe(()) == "No minute has been counted yet."


@pytest.fixture
def chart(qtbot: QtBot) -> RateChart:
    made = RateChart()
    qtbot.addWidget(made)
    made.resize(420, 200)
    made.show_minutes(minutes(*(random.Random(2).choices(range(40), k=60))))
    made.show()
    return made


def test_both_lines_are_drawn_in_colours_of_their_own(chart: RateChart) -> None:
    image = chart.grab().toImage()
    seen = {
        image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())
    }
    accepted, delivered = line_colours(chart.palette())
    assert accepted.name() in seen
    assert delivered.name() in seen
    assert QColor(accepted) != QColor(delivered)


def hover(chart: RateChart, x: float) -> None:
    """Move the mouse over the chart, as the window system would."""
    kind, none = QEvent.Type.MouseMove, Qt.MouseButton.NoButton
    here = QPointF(x, 90)
    where = chart.mapToGlobal(here)
    move = QMouseEvent(kind, here, where, none, none, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(chart, move)


def test_the_mouse_picks_a_minute_and_leaving_lets_go(chart: RateChart) -> None:
    plot = chart._plot()
    hover(chart, round(plot.right()) - 1)
    assert chart.picked is not None
    assert chart.picked.at_ms == NOW
    assert chart.words().startswith(f"{clock(NOW)}: ")
    hover(chart, round(plot.left()) + 1)
    assert chart.picked.at_ms == NOW - 59 * 60_000
    hover(chart, 1)
    assert chart.picked is None


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_arrows_walk_through_the_minutes(
    chart: RateChart, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, mirrored: bool
) -> None:
    spoken: list[str] = []
    monkeypatch.setattr("ui.chart.announce", lambda _widget, words: spoken.append(words))
    back = Qt.Key.Key_Right if mirrored else Qt.Key.Key_Left
    if mirrored:
        chart.setLayoutDirection(Qt.LayoutDirection.RightToLeft)
    chart.setFocus(Qt.FocusReason.TabFocusReason)
    for key in (back, back, Qt.Key.Key_Home, back, Qt.Key.Key_End):
        qtbot.keyClick(chart, key)
    walked = [words.partition(": ")[0] for words in spoken]
    ends = [clock(NOW), clock(NOW - 60_000)]
    assert walked == [*ends, clock(NOW - 59 * 60_000), clock(NOW - 59 * 60_000), clock(NOW)]


def test_an_empty_chart_and_a_flood_are_drawn_too(chart: RateChart) -> None:
    chart.show_minutes(())
    assert not chart.grab().isNull()
    chart.show_minutes((Minute(at_ms=NOW, accepted=2**62, delivered=-5),))
    assert not chart.grab().isNull()
    chart.resize(20, 10)
    assert not chart.grab().isNull()
