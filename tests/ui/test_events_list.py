"""Live events: newest on top, bounded, and still under the eye of somebody who reads."""

from __future__ import annotations

import json

import pytest
from PySide6.QtCore import QItemSelectionModel, QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QAbstractItemModelTester
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot
from scripted_door import event, snapshot

from agent.door import AppStatus
from ui.events_list import MAX_ROWS, EventsPanel, EventsView, as_text, title
from ui.tables import Column, RowsModel, Table, TableRow


@pytest.fixture
def panel(qtbot: QtBot) -> EventsPanel:
    made = EventsPanel()
    qtbot.addWidget(made)
    made.resize(700, 400)
    made.show()
    return made


def names(view: EventsView) -> list[str]:
    return [view.model().index(row, 1).data() for row in range(view.model().rowCount())]


def add(panel: EventsPanel, first: int, last: int) -> None:
    panel.add(tuple(event(n) for n in range(first, last + 1)))
    QApplication.processEvents()


def at_the_top(view: EventsView) -> tuple[str, int]:
    """Return the name of the first row in view, and where its upper edge is."""
    index = view.indexAt(QPoint(0, 0))
    return index.siblingAtColumn(1).data(), view.visualRect(index).top()


def test_the_newest_is_on_top_and_the_list_is_bounded(panel: EventsPanel) -> None:
    tester = QAbstractItemModelTester(
        panel.view.model(), QAbstractItemModelTester.FailureReportingMode.Fatal
    )
    add(panel, 1, 3)
    assert names(panel.view) == ["event.3", "event.2", "event.1"]
    for start in range(4, 2000, 400):
        add(panel, start, start + 399)
    assert len(names(panel.view)) == MAX_ROWS
    assert names(panel.view)[0] == "event.2003"
    assert panel.view.verticalScrollBar().value() == 0
    tester.deleteLater()


def test_what_is_being_read_does_not_move(panel: EventsPanel) -> None:
    add(panel, 1, 100)
    bar = panel.view.verticalScrollBar()
    bar.setValue(bar.maximum() // 2)
    before = at_the_top(panel.view)
    for start in range(101, 201, 10):
        add(panel, start, start + 9)
        assert at_the_top(panel.view) == before
    assert panel.newer.text() == "↑ 100 newer"


def test_a_selected_row_at_the_top_stays_where_it_is(panel: EventsPanel, qtbot: QtBot) -> None:
    add(panel, 1, 50)
    view = panel.view
    first = view.visualRect(view.model().index(0, 0)).center()
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=first)
    assert [one.name for one in view.selected()] == ["event.50"]
    where = view.visualRect(view.selectionModel().selectedRows()[0])
    add(panel, 51, 60)
    assert [one.name for one in view.selected()] == ["event.50"]
    assert view.visualRect(view.selectionModel().selectedRows()[0]) == where
    assert panel.chosen.isVisible()
    assert '{"n": 50}' in panel.chosen.text()


def test_escape_and_the_button_go_back_to_following(panel: EventsPanel, qtbot: QtBot) -> None:
    add(panel, 1, 100)
    view = panel.view
    for go_back in (
        lambda: qtbot.mouseClick(panel.newer, Qt.MouseButton.LeftButton),
        lambda: qtbot.keyClick(view, Qt.Key.Key_Escape),
    ):
        view.verticalScrollBar().setValue(200)
        add(panel, 101, 105)
        assert panel.newer.isVisible()
        go_back()
        assert view.verticalScrollBar().value() == 0
        assert not panel.newer.isVisible()
        assert not view.reading()
        add(panel, 106, 110)
        assert names(view)[0] == "event.110"
        assert view.verticalScrollBar().value() == 0


def test_selected_events_are_copied_as_json_lines(panel: EventsPanel, qtbot: QtBot) -> None:
    panel.add((event(1, payload='{"a":1}'), event(2, payload='{"clipp')))
    view = panel.view
    view.selectAll()
    qtbot.keyClick(view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    lines = [json.loads(line) for line in QGuiApplication.clipboard().text().splitlines()]
    assert [line["name"] for line in lines] == ["event.2", "event.1"]
    assert lines[1]["payload"] == {"a": 1}
    assert lines[0]["payload"] == '{"clipp'


def test_an_app_is_called_by_its_name_and_a_type_is_named_where_it_says_more(
    panel: EventsPanel,
) -> None:
    app = AppStatus(app_id="acme", name="Acme Notes", consent="allowed", consent_from="x")
    panel.show_status(snapshot(apps=(app,)))
    panel.add((event(1, type="error", name="disk.full"), event(2, type="init", name=None)))
    assert names(panel.view) == ["init", "disk.full (error)"]
    assert panel.view.model().index(0, 2).data() == "Acme Notes"
    assert title(event(1, type="heartbeat", name="")) == "heartbeat"
    assert json.loads(as_text(event(1, payload="")))["payload"] is None


def test_what_is_odd_or_looks_personal_is_told_with_its_payload(panel: EventsPanel) -> None:
    marks = ("personal: email in payload.mail", "new-name")
    panel.add((event(1, marks=marks), event(2)))
    model = panel.view.model()
    marked, plain_one = model.index(1, 4), model.index(0, 4)
    for role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
        assert "personal: email in payload.mail; new-name" in marked.data(role)
        assert "personal" not in plain_one.data(role)
    colour = Qt.ItemDataRole.ForegroundRole
    assert marked.data(colour) != plain_one.data(colour)
    assert json.loads(as_text(event(1, marks=marks)))["marks"] == list(marks)
    assert "marks" not in json.loads(as_text(event(2)))


def test_the_count_of_skipped_events_is_told(panel: EventsPanel) -> None:
    panel.add((event(1),), skipped=1500)
    assert "1,500 more passed by unseen" in panel.title.toolTip()


def test_columns_give_way_in_their_order(qtbot: QtBot) -> None:
    panel = EventsPanel()
    qtbot.addWidget(panel)
    panel.add((event(1),))
    panel.show()
    shown = []
    for width in (240, 420, 1200):
        panel.resize(width, 300)
        QApplication.processEvents()
        shown.append([at for at in range(6) if not panel.view.isColumnHidden(at)])
    assert shown[0] == [0, 1]
    assert shown[0] < shown[1] < shown[2] == [0, 1, 2, 3, 4, 5]


def test_rows_that_are_replaced_keep_selection_and_place(qtbot: QtBot) -> None:
    columns = (Column("Who", 8, grows=True), Column("Seen", 8, number=True))
    table = Table("Users", columns)
    qtbot.addWidget(table)
    model = RowsModel(columns, table)
    tester = QAbstractItemModelTester(model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    table.setModel(model)
    table.resize(300, 120)
    table.show()
    model.show_rows([TableRow((f"user {n}", "1 s")) for n in range(50)])
    QApplication.processEvents()
    table.verticalScrollBar().setValue(300)
    place = table.verticalScrollBar().value()
    flags = QItemSelectionModel.SelectionFlag
    table.selectionModel().select(model.index(20, 0), flags.Select | flags.Rows)
    model.show_rows([TableRow((f"user {n}", "2 s")) for n in range(48)])
    QApplication.processEvents()
    assert table.verticalScrollBar().value() == place
    assert [index.row() for index in table.selectionModel().selectedRows()] == [20]
    assert model.index(20, 1).data() == "2 s"
    model.show_rows([])
    assert model.rowCount() == 0
    tester.deleteLater()


def test_a_cell_says_its_column_to_the_screen_reader(panel: EventsPanel) -> None:
    panel.add((event(7),))
    model = panel.view.model()
    spoken = model.index(0, 1).data(Qt.ItemDataRole.AccessibleTextRole)
    assert spoken == "Event: event.7"
    assert isinstance(panel.view.viewport(), QWidget)
