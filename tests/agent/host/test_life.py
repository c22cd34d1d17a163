"""Start, stop, second start; who may come in; what survives."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from agent.adapters.local.asking import Loopback, read_loopback
from agent.adapters.machine.places import Places
from agent.adapters.machine.private_files import write_private
from agent.client import LOOPBACK_FILE, LocalDoor, find_door
from agent.host import Agent, HostDoor
from tests.agent.host.conftest import APPS
from tracking.errors import AgentGone, AgentRunning, RequestFault, SettingsFault

MakeAgent = Callable[..., tuple[Agent, HostDoor]]
NOBODY = 65_534


def ask(path: Path, method: str, target: str, body: str = "") -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    with contextlib.closing(connection):
        connection.request(method, target, body or None, {"Content-Type": "application/json"})
        response = connection.getresponse()
        raw = response.read()
    return response.status, json.loads(raw) if raw else {}


def test_a_second_agent_is_told_who_runs_already(make_agent: MakeAgent, folder: Path) -> None:
    make_agent()
    with pytest.raises(AgentRunning, match=str(os.getpid())):
        Agent({"HOMING_HOME": str(folder)}).start()


def test_nothing_is_left_listening_after_a_stop(make_agent: MakeAgent, folder: Path) -> None:
    agent, door = make_agent()
    door.send("kept")
    agent.stop()
    assert not agent.places.socket.exists()
    with pytest.raises(AgentGone):
        door.status()
    with pytest.raises(AgentGone):
        find_door({"HOMING_HOME": str(folder)}).status()
    _, again = make_agent()
    assert again.status().apps[0].pending == 2


def test_stop_through_the_door_ends_the_agent(make_agent: MakeAgent) -> None:
    agent, _ = make_agent()
    LocalDoor(agent.places.socket).stop()
    agent.wait()
    assert not answers(agent.places.socket)


def answers(path: Path) -> bool:
    try:
        LocalDoor(path).status()
    except AgentGone:
        return False
    return True


def test_a_pause_outlives_the_agent(make_agent: MakeAgent) -> None:
    agent, door = make_agent()
    door.pause(None, "quiet please")
    agent.stop()
    _, again = make_agent()
    pause = again.status().pause
    assert pause is not None
    assert pause.reason == "quiet please"
    assert again.resume().pause is None
    assert not (agent.places.state / "pause.json").exists()


def test_do_not_track_acknowledges_and_keeps_nothing_row_47(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> None:
        raise AssertionError("the network cards were looked at")

    monkeypatch.setattr(psutil, "net_if_addrs", never)
    agent, door = make_agent(DO_NOT_TRACK="1")
    status, said = ask(
        agent.places.socket,
        "POST",
        "/app/acme-notes/track",
        '{"data":[{"id":7,"name":"secret-canary"}]}',
    )
    assert (status, said) == (200, {"reportedIds": [7]})
    assert {app.consent for app in door.status().apps} == {"denied"}
    assert door.status().links == ()
    assert door.status().sentence.code == "do_not_track"
    for app_id in (None, "acme-notes"):
        with pytest.raises(RequestFault, match="DO_NOT_TRACK"):
            door.send("secret-canary", app_id=app_id)
    assert door.outbox() == ()
    agent.stop()
    for file in agent.places.data.rglob("*"):
        assert not file.is_file() or b"secret-canary" not in file.read_bytes()


def test_a_stranger_is_refused_with_a_hint(make_agent: MakeAgent) -> None:
    agent, _ = make_agent()
    status, said = ask(
        agent.places.socket, "POST", "/app/stranger/track", '{"data":[{"name":"x"}]}'
    )
    assert status == 403
    assert "stranger" in str(said["error"])
    assert "homing.toml" in str(said["advice"])


def test_another_users_connection_is_closed_before_a_byte_is_read_row_2(
    make_agent: MakeAgent, expected_warnings: Callable[..., None]
) -> None:
    agent, _ = make_agent()
    expected_warnings("agent.core")
    thread = agent._thread
    assert thread is not None
    thread._uid = os.getuid() + 1  # so that we ourselves are the other user
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(agent.places.socket))
        with contextlib.suppress(OSError):
            sock.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            assert sock.recv(99) == b""
        except ConnectionResetError:
            pass
    thread._uid = os.getuid()
    assert LocalDoor(agent.places.socket).status().pid == os.getpid()


def test_another_user_is_kept_out_by_folder_and_socket_row_1(make_agent: MakeAgent) -> None:
    agent, _ = make_agent()
    socket_mode = stat.S_IMODE(agent.places.socket.lstat().st_mode)
    folder_mode = stat.S_IMODE(agent.places.runtime.stat().st_mode)
    assert (socket_mode, folder_mode) == (0o600, 0o700)
    if os.getuid() != 0:
        return  # only root can become another user and try; the modes are what keeps them out
    probe = (
        "import os, socket, sys\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "try: s.connect(sys.argv[1]); print('connected')\n"
        "except PermissionError: print('refused')\n"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-c", probe, str(agent.places.socket)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "refused", done.stderr


def test_a_foreign_file_at_the_sockets_path_survives_and_the_start_is_refused_row_6(
    make_agent: MakeAgent, folder: Path
) -> None:
    agent = Agent({"HOMING_HOME": str(folder)})
    agent.places.prepare()
    agent.places.socket.write_text("mine")
    with pytest.raises(SettingsFault, match="not a socket"):
        make_agent()
    assert agent.places.socket.read_text() == "mine"


def test_over_loopback_nobody_is_heard_without_the_token(
    make_agent: MakeAgent, folder: Path
) -> None:
    make_agent('[ipc]\ntransport = "loopback"\n' + APPS)
    loopback = read_loopback(folder / "state" / LOOPBACK_FILE)
    assert loopback is not None
    where = ("127.0.0.1", loopback.port)
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        connection = http.client.HTTPConnection(*where)
        with contextlib.closing(connection):
            connection.request("GET", "/v1/status", headers=headers)
            response = connection.getresponse()
            assert (response.status, response.read()) == (404, b"")
    line = b'{"appId":"acme-notes","data":[{"name":"x"}]}\n'
    with socket.create_connection(where) as sock:
        sock.sendall(line)
        assert sock.recv(99) == b""
    with socket.create_connection(where) as sock:
        sock.sendall(json.dumps({"token": loopback.token}).encode() + b"\n" + line)
        assert sock.recv(99) == b'{"reportedIds":[]}\n'


def test_a_headless_agent_ends_within_three_seconds_of_sigterm(folder: Path) -> None:
    (folder / "config").mkdir(mode=0o700, parents=True)
    (folder / "config" / "homing.toml").write_text(APPS)
    env = {"HOMING_HOME": str(folder), "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(
        [sys.executable, "-m", "homing", "agent"], env=env, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 20
        door = find_door(env)
        while True:
            try:
                door.send("kept")
                break
            except AgentGone:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        began = time.monotonic()
        process.terminate()
        assert process.wait(10) == 0
        assert time.monotonic() - began < 3.0
    finally:
        process.kill()
        _, errors = process.communicate()
    assert "Traceback" not in errors


def test_the_token_of_a_killed_agent_is_sent_to_nobody(folder: Path) -> None:
    """A port that was written down belongs to anybody once its agent is dead."""
    with socket.create_server(("127.0.0.1", 0)) as impostor:
        impostor.settimeout(0.2)
        port = impostor.getsockname()[1]
        places = Places.find({"HOMING_HOME": str(folder)}).prepare()
        write_private(
            places.state / LOOPBACK_FILE,
            msgspec.json.encode(Loopback(port=port, token="secret")),  # as a SIGKILL leaves it
        )
        with pytest.raises(AgentGone):
            find_door({"HOMING_HOME": str(folder)}).status()
        with pytest.raises(TimeoutError):
            impostor.accept()
