"""Where the agent's threads meet Qt: newest only, four times a second, on the GUI thread."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from pytestqt.qtbot import QtBot
from scripted_door import ScriptedDoor, event, snapshot

from agent.door import Door, Passing, Status
from tracking.errors import AgentGone, Fault, Unreachable
from ui.bridge import EVENTS_HELD, Commands, EventsBridge, StatusBridge


@pytest.fixture(autouse=True)
def swept() -> Iterator[None]:
    """Collect what a test leaves here, or the next one's thread may: Qt's objects die of that."""
    yield
    gc.collect()


def test_a_burst_from_another_thread_arrives_as_its_last(qtbot: QtBot) -> None:
    bridge, heard = StatusBridge(), []
    bridge.changed.connect(lambda status: heard.append((status.pid, threading.current_thread())))

    def burst() -> None:
        for n in range(1000):
            bridge.post(snapshot(n))

    with qtbot.waitSignal(bridge.changed, timeout=2000):
        thread = threading.Thread(target=burst)
        thread.start()
    thread.join()

    assert heard == [(999, threading.main_thread())]


def test_a_flood_is_announced_at_most_four_times_a_second(qtbot: QtBot) -> None:
    bridge, heard = StatusBridge(), []
    bridge.changed.connect(lambda status: heard.append(time.monotonic()))
    ended = threading.Event()

    def flood() -> None:
        n = 0
        while not ended.wait(0.002):
            bridge.post(snapshot(n := n + 1))

    thread = threading.Thread(target=flood)
    thread.start()
    qtbot.waitUntil(lambda: len(heard) >= 5, timeout=5000)
    ended.set()
    thread.join()
    assert heard[4] - heard[0] >= 4 * 0.24


def test_a_loss_and_a_return_are_heard_in_their_order(qtbot: QtBot) -> None:
    bridge = StatusBridge()
    with qtbot.waitSignal(bridge.gone) as gone:
        bridge.post(snapshot(1))
        bridge.post_gone("no agent answers")
    assert gone.args == ["no agent answers"]
    with qtbot.waitSignal(bridge.changed):
        bridge.post(snapshot(2))


def test_events_come_in_bounded_batches_and_the_skipped_are_counted(qtbot: QtBot) -> None:
    bridge = EventsBridge()
    bridge.listen(True)
    with qtbot.waitSignal(bridge.arrived, timeout=2000) as arrived:
        for start in range(0, 2000, 100):
            bridge.post(tuple(event(n) for n in range(start, start + 100)))
    batch: tuple[Passing, ...] = arrived.args[0]
    assert len(batch) == EVENTS_HELD
    assert (batch[0].name, batch[-1].name) == ("event.1500", "event.1999")
    assert arrived.args[1] == 1500


def test_while_nobody_looks_the_newest_are_kept_and_nothing_is_announced(qtbot: QtBot) -> None:
    bridge = EventsBridge()
    with qtbot.assertNotEmitted(bridge.arrived, wait=400):
        bridge.post((event(1), event(2)))
    with qtbot.waitSignal(bridge.arrived) as arrived:
        bridge.listen(True)
    assert [one.name for one in arrived.args[0]] == ["event.1", "event.2"]


class Desk:
    """Bridges and commands over a scripted door."""

    def __init__(self, door: ScriptedDoor) -> None:
        self.statuses, self.events = StatusBridge(), EventsBridge()
        self.door = door
        self.opened = 0
        self.commands = Commands(self.open, self.statuses, self.events)

    def open(self) -> Door:
        self.opened += 1
        return self.door


def test_a_command_runs_elsewhere_and_answers_on_the_gui_thread(qtbot: QtBot) -> None:
    desk = Desk(ScriptedDoor())
    where: list[threading.Thread] = []
    answers: list[tuple[object, threading.Thread]] = []
    desk.commands.start()

    def command(door: Door) -> Status:
        where.append(threading.current_thread())
        return door.resume()

    desk.commands.ask(
        command, lambda said: answers.append((said, threading.current_thread())), answers.append
    )
    qtbot.waitUntil(lambda: bool(answers))
    assert where[0] is not threading.main_thread()
    assert answers == [(desk.door.now, threading.main_thread())]
    desk.commands.close()


def test_a_fault_comes_back_as_a_fault(qtbot: QtBot) -> None:
    desk = Desk(ScriptedDoor())
    desk.door.fault = Unreachable("no route", advice="Plug it in.")
    failed: list[object] = []
    desk.commands.start()
    desk.commands.ask(lambda door: door.retry(), failed.append, failed.append)
    qtbot.waitUntil(lambda: bool(failed))
    assert isinstance(failed[0], Unreachable)
    desk.commands.close()


def test_a_mistake_in_a_command_is_told_and_the_next_one_is_carried_out(
    qtbot: QtBot, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("ui.bridge")
    desk = Desk(ScriptedDoor())
    desk.commands.start()
    failed: list[Fault] = []
    done: list[object] = []

    def wrong(_door: Door) -> None:
        raise ZeroDivisionError("planted")

    desk.commands.ask(wrong, done.append, failed.append)
    desk.commands.ask(lambda _door: 7, done.append, failed.append)
    qtbot.waitUntil(lambda: done == [7])
    assert "ZeroDivisionError" in str(failed[0])
    desk.commands.close()


def test_commands_keep_their_order_and_none_waits_on_the_gui_thread(qtbot: QtBot) -> None:
    desk = Desk(ScriptedDoor())
    desk.door.gate.clear()  # the agent hangs
    done: list[object] = []
    desk.commands.start()
    begun = time.monotonic()
    desk.commands.ask(lambda door: door.pause(None), done.append, done.append)
    desk.commands.ask(lambda door: door.resume(), done.append, done.append)
    assert time.monotonic() - begun < 0.1
    desk.door.gate.set()
    qtbot.waitUntil(lambda: len(done) == 2)
    assert [method for method, _ in desk.door.calls] == ["pause", "resume"]
    desk.commands.close()


def test_what_is_asked_while_nobody_is_there_is_refused_not_done_later(qtbot: QtBot) -> None:
    statuses, events = StatusBridge(), EventsBridge()

    def nobody() -> Door:
        raise AgentGone("no agent answers at /run/x")

    commands = Commands(nobody, statuses, events)
    failed: list[object] = []
    commands.ask(lambda door: door.pause(None), failed.append, failed.append)
    with qtbot.waitSignal(statuses.gone) as gone:
        commands.start()
    assert gone.args == ["no agent answers at /run/x"]
    qtbot.waitUntil(lambda: bool(failed))
    assert isinstance(failed[0], AgentGone)
    begun = time.monotonic()
    commands.close()
    assert time.monotonic() - begun < 1


def test_closing_ends_the_watch(qtbot: QtBot) -> None:
    desk = Desk(ScriptedDoor())
    with qtbot.waitSignal(desk.statuses.changed):
        desk.commands.start()
    desk.commands.close()
    assert "scripted-door" not in {thread.name for thread in threading.enumerate()}
    assert "ui-commands" not in {thread.name for thread in threading.enumerate()}
