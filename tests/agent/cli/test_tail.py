"""`tail`: events as they pass, and an end that nobody has to wait for."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.door import Passing


def test_events_are_printed_as_they_pass(desk: Any) -> None:
    assert desk.run("tail", "--count", "2") == 0
    lines = desk.said.splitlines()
    assert lines[0].endswith(' acme-notes build.finished.0 ada {"seconds":41}')
    assert len(lines) == 2
    assert desk.door.asked == [("stop watching", ())]


def test_events_as_json_are_one_object_per_line(desk: Any) -> None:
    assert desk.run("tail", "--count", "3", "--json") == 0
    assert [json.loads(line)["id"] for line in desk.said.splitlines()] == ["id-0", "id-1", "id-2"]


def test_only_one_apps_events_if_so_asked(desk: Any) -> None:
    other = Passing(
        at_ms=0, app_id="other", id="o", type="init", name=None, user_id=None, size=1, payload=""
    )
    desk.door.events = (*desk.door.events, other)
    assert desk.run("tail", "--app", "other", "--count", "1") == 0
    assert desk.said.endswith(" other (init)\n")


def test_an_agent_that_goes_and_comes_back_is_told_once_each(desk: Any) -> None:
    told = desk.door

    def watch(
        on_status: Callable[[Any], None],
        on_events: Callable[[tuple[Passing, ...]], None],
        on_gone: Callable[[str], None],
    ) -> Callable[[], None]:
        def speak() -> None:
            on_gone("the agent stopped")
            on_gone("the agent stopped")
            on_status(told.now)
            on_events(told.events)

        thread = threading.Thread(target=speak)
        thread.start()
        return thread.join

    desk.door.watch = watch
    assert desk.run("tail", "--count", "1") == 0
    assert desk.complained == (
        "homing: the agent stopped; waiting for the agent\nhoming: the agent is back\n"
    )


CHILD = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("scripted", sys.argv[1])
scripted = importlib.util.module_from_spec(spec)
sys.modules["scripted"] = scripted
spec.loader.exec_module(scripted)
from agent.cli import main
from agent.cli.shell import Shell
door = scripted.ScriptedDoor()
sys.exit(main(sys.argv[2:], Shell(out=sys.stdout, err=sys.stderr, inward=sys.stdin,
              env=os.environ, door=lambda: door, entrance=None)))
"""


def test_tail_ends_when_its_reader_does_not_at_the_next_event() -> None:
    conftest = Path(__file__).with_name("conftest.py")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(conftest), "tail"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert b"build.finished.0" in child.stdout.readline()
    child.stdout.close()  # as `head -1` does
    assert child.wait(20) == 141
    assert child.stderr is not None
    assert child.stderr.read() == b""
    child.stderr.close()
