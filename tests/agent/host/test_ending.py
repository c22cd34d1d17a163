"""How an agent ends while somebody still wants something of it, and goes on when disks do not."""

from __future__ import annotations

import json
import queue
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.machine.secrets import Secrets
from agent.client import LocalDoor
from agent.door import Status
from agent.host import Agent, HostDoor
from agent.runtime.counter import commits
from agent.runtime.counter.profile import PROFILE
from tests.agent.host.conftest import APPS
from tracking.errors import AgentGone, DiskFull, Fault, StorageFault

MakeAgent = Callable[..., tuple[Agent, HostDoor]]
LINE = b'{"appId":"acme-notes","data":[{"id":"a","name":"x"}]}\n'


def test_a_session_is_on_disk_with_its_first_event(make_agent: MakeAgent, folder: Path) -> None:
    _, door = make_agent()
    door.send("first")
    (file,) = folder.rglob("outbox.db")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        (raw,) = db.execute("SELECT profile FROM app WHERE app_id = 'acme-notes'").fetchone()
    kept = PROFILE.decode(raw)
    assert kept.session is not None
    assert kept.recent == (kept.session.session_id,)
    assert kept.identity is not None


def test_who_waits_for_the_core_while_it_stops_hears_that_it_is_gone(
    make_agent: MakeAgent,
) -> None:
    agent, door = make_agent()
    heard: queue.Queue[BaseException | None] = queue.Queue()

    def wait_for_it() -> None:
        try:
            door.send("x", wait="delivered", timeout_s=60)
            heard.put(None)
        except BaseException as exc:
            heard.put(exc)

    threading.Thread(target=wait_for_it, daemon=True).start()
    core = agent._thread.core  # type: ignore[union-attr]
    deadline = time.monotonic() + 10
    while not core.waiters:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    agent.stop()
    assert isinstance(heard.get(timeout=5), AgentGone)
    assert not core.waiters


def test_a_watcher_of_this_process_hears_of_the_end(make_agent: MakeAgent) -> None:
    agent, door = make_agent()
    seen: queue.Queue[Status] = queue.Queue()
    gone: queue.Queue[str] = queue.Queue()
    door.watch(seen.put, None, gone.put)
    seen.get(timeout=5)
    agent.stop()
    assert gone.get(timeout=5)


def test_a_keyring_that_never_answers_holds_no_stop_up(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def silent(self: Secrets) -> Any:
        asked.set()
        answer.wait(30)
        raise AssertionError("nobody waits any more")

    monkeypatch.setattr(Secrets, "device_key", silent)
    agent, _ = make_agent()
    assert asked.wait(5)
    with socket.socket(socket.AF_UNIX) as app:
        app.settimeout(10)
        app.connect(str(agent.places.socket))
        app.sendall(LINE)
        core = agent._thread.core  # type: ignore[union-attr]
        deadline = time.monotonic() + 5
        while not core.intake.unnamed:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        began = time.monotonic()
        agent.stop()
        took_s = time.monotonic() - began
        said = json.loads(app.recv(4096))
    answer.set()
    assert took_s < 3.0
    assert said["code"] == "agent.gone"  # not accepted, and told so
    assert said["reportedIds"] == []


def test_an_outbox_that_cannot_be_read_does_not_end_the_view(
    make_agent: MakeAgent,
) -> None:
    agent, door = make_agent()
    door.send("kept")
    core = agent._thread.core  # type: ignore[union-attr]
    seen: queue.Queue[Status] = queue.Queue()
    stop = door.watch(seen.put)
    seen.get(timeout=5)
    whole = core.outbox.tallies, core.outbox.pending

    def broken(*_: object) -> Any:
        raise StorageFault("the disk does not work")

    core.outbox.tallies = core.outbox.pending = broken  # type: ignore[method-assign]
    status = door.status()
    assert status.apps[0].pending == 2
    assert "the disk does not work" in {notice.text for notice in status.notices}
    core.outbox.tallies, core.outbox.pending = whole  # type: ignore[method-assign]
    door.send("again")
    deadline = time.monotonic() + 5
    while "storage.read" in {notice.code for notice in seen.get(timeout=5).notices}:
        assert time.monotonic() < deadline
    stop()


def test_a_disk_that_has_room_again_is_not_called_full_any_longer(
    make_agent: MakeAgent,
    monkeypatch: pytest.MonkeyPatch,
    expected_warnings: Callable[..., None],
) -> None:
    expected_warnings("agent.core")
    monkeypatch.setattr(commits, "STORAGE_RETRY_S", 0.05)
    agent, door = make_agent()
    reserve = agent._thread.core.outbox._reserve  # type: ignore[union-attr]
    monkeypatch.setattr(reserve, "room_for", lambda _size: False)
    with pytest.raises(DiskFull):
        door.send("no room")
    time.sleep(0.3)
    assert "storage" in {notice.code for notice in door.status().notices}
    monkeypatch.setattr(reserve, "room_for", lambda _size: True)
    deadline = time.monotonic() + 5
    while "storage" in {notice.code for notice in door.status().notices}:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_full_disk_is_one_line_of_the_log_a_minute_however_many_are_refused(
    make_agent: MakeAgent,
    monkeypatch: pytest.MonkeyPatch,
    expected_warnings: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected_warnings("agent.core")
    agent, door = make_agent()
    core = agent._thread.core  # type: ignore[union-attr]
    monkeypatch.setattr(core.outbox._reserve, "room_for", lambda _size: False)

    def lines() -> int:
        return sum("could not be used" in record.getMessage() for record in caplog.records)

    for _ in range(20):
        with pytest.raises(DiskFull):
            door.send("no room")
    assert lines() == 1
    monkeypatch.setattr(commits, "SAY_AGAIN_S", 0.0)
    with pytest.raises(DiskFull):
        door.send("no room")
    assert lines() == 2


def test_a_folder_that_vanished_is_said_and_nobody_waits_for_ever(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.core")
    agent, door = make_agent()
    reserve = agent._thread.core.outbox._reserve  # type: ignore[union-attr]
    path = reserve.path
    reserve.path = path.parent / "gone" / path.name
    with pytest.raises(StorageFault):
        door.send("x")
    reserve.path = path
    assert door.send("x").ids


def test_a_pause_whose_file_cannot_be_removed_ends_all_the_same(make_agent: MakeAgent) -> None:
    agent, door = make_agent()
    door.pause(3600)
    kept = agent.places.state / "pause.json"
    kept.unlink()
    (kept / "in the way").mkdir(parents=True)
    status = door.resume()
    assert status.pause is None
    assert status.links[0].state in ("dialing", "waiting")
    assert any("pause" in notice.text for notice in status.notices)


def test_a_digit_of_another_script_is_no_limit(make_agent: MakeAgent) -> None:
    agent, _ = make_agent(APPS)
    with pytest.raises(Fault, match="limit is from 1"):
        LocalDoor(agent.places.socket).wire(limit="²")  # type: ignore[arg-type]
