"""`homing` in a terminal without a display: an agent that lasts as long as its view."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from agent.client import find_door
from agent.host import Agent
from tests.agent.host.conftest import APPS


def test_an_agent_that_is_stopped_from_elsewhere_takes_its_view_and_its_lock_along(
    folder: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.secrets")
    (folder / "config").mkdir(mode=0o700, parents=True)
    (folder / "config" / "homing.toml").write_text(APPS)
    env = {"HOMING_HOME": str(folder), "PATH": "/usr/bin:/bin", "TERM": "xterm"}
    ours, theirs = pty.openpty()
    view = subprocess.Popen(
        [sys.executable, "-m", "homing"],
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(theirs)
    shown, stopped = b"", False
    deadline = time.monotonic() + 30
    try:
        while view.poll() is None:
            assert time.monotonic() < deadline, shown[-500:]
            if not select.select([ours], [], [], 0.1)[0]:
                continue
            try:
                shown += os.read(ours, 65536)
            except OSError:
                break  # the view gave its terminal up
            if b"retry" in shown and not stopped:  # its last line: all of it is shown
                find_door(env).stop()
                stopped = True
        assert view.wait(10) == 0
    finally:
        view.kill()
        _, errors = view.communicate()
        os.close(ours)
    assert b"Traceback" not in errors
    again = Agent(env)
    again.start()
    again.stop()
