"""A mistake of ours ends the agent loudly, wherever it happens; what others do never does."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.agent.host.conftest import APPS

BEGIN = """
    import os, sys, threading, time
    from agent.host import Agent
    agent = Agent(dict(os.environ))
    door = agent.start()
    core, loop = agent._thread.core, agent._thread._loop
    def wrong(*_, **__):
        raise ZeroDivisionError("planted")
    def within(code, **more):  # a mistake has a line of ours in its traceback
        space = {"__name__": "agent.planted", "wrong": wrong, "core": core, "loop": loop} | more
        exec(code, space)
        return space
"""
PLACES = {
    "a callback of the loop": "loop.call_soon_threadsafe(within('def f(): wrong()')['f'])",
    "a timer": "loop.call_soon_threadsafe(loop.call_later, 0.01, within('def f(): wrong()')['f'])",
    "a commit": "core.outbox.append = wrong; threading.Thread(target=door.send, args='x').start()",
    "a notice of a link": (
        "delivery = core.departures.ways['acme-notes', 'nucleus'];"
        "type(delivery.rule).feed = wrong; door.retry()"
    ),
    "a watch": "core.watchers.newest = wrong; door.watch(print)",
    "the view of the far end": (
        "core.farsight.aim(type('Api', (), {'quickglance': wrong})()); door.watch(lambda _: None)"
    ),
    "the keeper's thread": (
        "from agent.runtime.keeper import Keeper; Keeper._one_life = wrong; door.keep_here()"
    ),
}


def run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    (folder / "config").mkdir(mode=0o700, parents=True)
    (folder / "config" / "homing.toml").write_text(APPS)
    script = textwrap.dedent(BEGIN) + program + "\ntime.sleep(10)\nos._exit(1)\n"
    return subprocess.run(
        [sys.executable, "-c", script],
        env={"HOMING_HOME": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("where", PLACES)
def test_a_mistake_ends_the_agent_and_leaves_a_report(folder: Path, where: str) -> None:
    done = run(folder, PLACES[where])
    assert done.returncode == 70, done.stderr
    (report,) = folder.rglob("crash.txt")
    assert "planted" in report.read_text()


def test_a_watcher_of_this_process_that_fails_harms_only_itself(folder: Path) -> None:
    done = run(folder, "door.watch(wrong)\ntime.sleep(1)\ndoor.status()\nagent.stop()\nos._exit(5)")
    assert done.returncode == 5, done.stderr
    assert not list(folder.rglob("crash.txt"))
