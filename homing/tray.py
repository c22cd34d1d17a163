"""The tray: an agent of its own if there is none, else the one that runs; and its face.

At start the lock decides. Free: the agent is hosted in this process, and the menu says *Quit*.
Held: the tray attaches through the local socket, and a tray that already shows is raised instead
of doubled [R4, R13].
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping

from agent.client import LocalDoor, find_door
from agent.host import Agent, HostDoor
from tracking.errors import AgentGone, AgentRunning

RAISED = 0
NO_DISPLAY = -1


def show(env: Mapping[str, str], *, keep_here: bool) -> int:
    """Show the tray until the person leaves; return the exit code, ``NO_DISPLAY`` without one.

    Args:
        env: The environment.
        keep_here: Keep events on this computer if no far end is named.

    Raises:
        Fault: The agent could not start.

    """
    agent = Agent(env, {"far_end.keep_here": "yes"} if keep_here else None)
    try:
        door = agent.start()
    except AgentRunning:
        return _attached(env, agent)
    return _hosted(agent, door)


def _hosted(agent: Agent, door: HostDoor) -> int:
    from ui.app import run

    leaving = threading.Event()

    def until_stopped() -> None:
        agent.wait()
        if not leaving.is_set():  # `homing stop`, from outside: the face ends as well
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        threading.Thread(target=until_stopped, name="stopped", daemon=True).start()
        return run(
            lambda: door,
            hosted=True,
            state_dir=agent.places.state,
            on_raise=agent.on_raise,
        )
    finally:
        leaving.set()
        agent.stop()


def _attached(env: Mapping[str, str], agent: Agent) -> int:
    from ui.app import run

    first = find_door(env)
    try:
        if first.raise_window():
            return RAISED
    except AgentGone:
        pass  # it is starting or stopping; the face waits for it

    shown: list[Callable[[], None]] = []

    def raise_it() -> None:
        for show_it in shown:
            show_it()

    def open_door() -> LocalDoor:
        door = find_door(env)
        door.on_raise = raise_it
        door.status()  # raises AgentGone as long as there is nobody
        return door

    return run(
        open_door,
        hosted=False,
        state_dir=agent.places.state,
        show_window=True,
        on_raise=shown.append,
    )
