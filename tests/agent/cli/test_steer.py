"""`pause`, `resume`, `retry`, `keep-here`, `stop`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

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
