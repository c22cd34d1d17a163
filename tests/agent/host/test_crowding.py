"""Threat row 25: programs that hold every connection, and the person who wants to know which.

The programs are processes of their own, as the agent tells them apart by that; each is an
interpreter without its site packages, which starts in a few hundredths of a second.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.adapters.local.asking import START_IT, LocalAddress, ask
from agent.client import LocalDoor
from agent.host import Agent
from tests.agent.host.counter import FarEnd, Make, apps, events, post, until
from tracking.errors import AgentGone

PROGRAM = r"""
import socket, sys
path, many, said, held = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), []
for _ in range(many):
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(path)
        sock.sendall(said)
        if said.endswith(b"\n"):
            assert sock.recv(100)
        held.append(sock)
    except (OSError, AssertionError):
        break
print(len(held), flush=True)
sys.stdin.read()
"""
WHOLE = '{"appId":"acme","data":[]}\n'
HALF = '{"appId":"acme",'
Hold = Callable[[Agent, int, str], "subprocess.Popen[bytes]"]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Start a program that opens connections, says something on each and keeps them."""
    started: list[subprocess.Popen[bytes]] = []

    def start(agent: Agent, many: int, said: str) -> subprocess.Popen[bytes]:
        program = subprocess.Popen(
            [sys.executable, "-IS", "-c", PROGRAM, str(agent.places.socket), str(many), said],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(program)
        assert program.stdout is not None
        assert program.stdout.readline()
        return program

    yield start
    for program in started:
        program.kill()
        program.communicate()


def test_row_25_one_program_locks_nobody_out_and_is_named(
    make_agent: Make, far: FarEnd, hold: Hold
) -> None:
    agent, _ = make_agent(apps(far, "acme"))
    hog = hold(agent, 64, WHOLE)
    assert post(agent, events({"name": "still"}))[0] == 200
    tools = LocalDoor(agent.places.socket)
    (notice,) = [one for one in tools.status().notices if one.code == "local.crowded"]
    assert f"process {hog.pid} ({Path(sys.executable).resolve()})" in notice.text
    assert "holds 16 connections" in notice.text
    hog.kill()
    until(lambda: all(one.code != "local.crowded" for one in tools.status().notices))


def test_row_25_where_every_place_is_taken_a_person_still_steers(
    make_agent: Make, far: FarEnd, hold: Hold
) -> None:
    agent, _ = make_agent("[limits]\nconnections = 8\n" + apps(far, "acme"))
    for _ in range(2):
        hold(agent, 4, HALF)  # in the middle of something: nobody may end that
    status, said, _ = post(agent, events({"name": "no"}))
    assert (status, said["error"]) == (503, "too many connections are open, come again")
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(agent.places.socket))
        line.sendall(WHOLE.encode())
        assert b"too many connections" in line.recv(1000)
    assert LocalDoor(agent.places.socket).status().pid > 0


def test_row_25_idle_connections_of_the_greediest_yield(
    make_agent: Make, far: FarEnd, hold: Hold
) -> None:
    agent, _ = make_agent("[limits]\nconnections = 8\n" + apps(far, "acme"))
    for _ in range(2):
        hold(agent, 4, WHOLE)

    def answered() -> bool:
        with contextlib.suppress(OSError):
            return post(agent, events({"name": "mine"}))[0] == 200
        return False

    until(answered, 10.0)


def test_who_is_turned_away_by_an_agent_that_runs_is_not_told_to_start_it(folder: Path) -> None:
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(8)
        over = threading.Event()

        def turn_away() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    busy.accept()[0].close()

        busy.settimeout(0.1)
        closing = threading.Thread(target=turn_away)
        closing.start()
        try:
            with pytest.raises(AgentGone, match="the agent is busy") as caught:
                ask(LocalAddress(path=str(path)), "GET", "/v1/status")
        finally:
            over.set()
            closing.join()
    assert caught.value.advice != START_IT
