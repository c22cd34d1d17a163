"""`pause`, `resume`, `retry`, `keep-here`, `stop`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from agent.adapters.machine.lock import Lock
from agent.adapters.machine.places import Places
from agent.cli import steer
from agent.door import Status


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("30m", 1800.0), ("1h", 3600.0), ("1h30m", 5400.0), ("2d", 172800.0)],
)
def test_a_pause_may_have_an_end(desk: Any, text: str, seconds: float) -> None:
    assert desk.run("pause", "--for", text) == 0
    assert desk.door.asked == [("pause", (seconds, "you asked"))]


def test_a_pause_without_an_end_lasts_until_resume(desk: Any) -> None:
    assert desk.run("pause", "--reason", "giving a talk") == 0
    assert desk.door.asked == [("pause", (None, "giving a talk"))]
    assert desk.said == "Sending paused until you resume (you asked).\n"
    assert desk.run("resume", "--json") == 0
    assert json.loads(desk.said)["pause"] is None


def test_retry_may_be_for_one_app(desk: Any) -> None:
    assert desk.run("retry") == 0
    assert desk.run("retry", "--app", "acme-notes") == 0
    assert desk.door.asked == [("retry", (None,)), ("retry", ("acme-notes",))]


def test_keeping_here_that_fails_is_exit_1(desk: Any, status_of: Callable[..., Status]) -> None:
    desk.door.now = status_of(keeping="running")
    assert desk.run("keep-here") == 0
    desk.door.now = status_of(keeping="failed")
    assert desk.run("keep-here", "--json") == 1


def test_stop_says_that_nothing_is_lost(desk: Any) -> None:
    assert desk.run("stop") == 0
    assert desk.door.asked == [("stop", ())]
    assert desk.said.startswith("Stopped.")


@pytest.fixture
def lock(desk: Any) -> Lock:
    """The lock, held as by an agent."""
    path = Places.find({"HOMING_HOME": str(desk.home)}).lock
    path.parent.mkdir(mode=0o700, parents=True)
    return Lock.take(path, now_ms=1)


def test_stopped_is_said_when_another_agent_could_start(desk: Any, lock: Lock) -> None:
    released = threading.Timer(0.3, lock.release)
    released.start()
    began = time.monotonic()
    assert desk.run("stop") == 0
    assert time.monotonic() - began >= 0.25
    released.join()
    assert desk.said.startswith("Stopped.")


def test_an_agent_that_does_not_end_is_not_called_stopped(
    desk: Any, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steer, "STOPPING_S", 0.1)
    with lock:
        assert desk.run("stop") == 1
        assert desk.said == ""
        assert "has not ended" in desk.complained


def test_an_agent_that_started_in_between_is_not_waited_for(desk: Any, lock: Lock) -> None:
    again: list[Lock] = []

    def stop() -> None:
        lock.release()
        again.append(Lock.take(lock.path, now_ms=2))

    desk.door.stop = stop
    assert desk.run("stop") == 0
    again[0].release()
