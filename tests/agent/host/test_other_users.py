"""Another user of this computer: kept out, and believed by nobody (threat rows 1, 2 and 8).

Run as root, as in CI, a real process becomes user 65534 and tries; for anyone else the same is
tried with the one difference that can be had, a user id that is not ours.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.client import LocalDoor
from agent.host import Agent, HostDoor
from tracking.errors import Fault

NOBODY = 65_534
MakeAgent = Callable[..., tuple[Agent, HostDoor]]
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
BECOME = f"import os, socket, sys; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"


def as_nobody(code: str, *words: str) -> str:
    """Run Python code as another user, with the system's interpreter that anybody may run."""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", BECOME + code, *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return (done.stdout + done.stderr).strip()


CONNECT = """
s = socket.socket(socket.AF_UNIX)
s.settimeout(10)
try:
    s.connect(sys.argv[1])
    s.sendall(b"GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    print("answered" if s.recv(99) else "closed")
except PermissionError:
    print("refused")
except (BrokenPipeError, ConnectionResetError):
    print("closed")
"""


def test_another_user_cannot_reach_the_socket_row_1(make_agent: MakeAgent) -> None:
    agent, _ = make_agent()
    assert as_nobody(CONNECT, str(agent.places.socket)) == "refused"


def test_one_who_reaches_it_all_the_same_is_closed_before_a_reply_row_2(
    make_agent: MakeAgent, expected_warnings: Callable[..., None]
) -> None:
    agent, door = make_agent()
    expected_warnings("agent.core")
    path = agent.places.socket
    for folder in (path.parent, path.parent.parent):
        folder.chmod(0o755)
    path.chmod(0o666)
    assert as_nobody(CONNECT, str(path)) == "closed"
    knock = CONNECT.replace(
        'b"GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"',
        'b\'{"appId":"acme-notes","data":[{"name":"x"}]}\\n\'',
    )
    assert as_nobody(knock, str(path)) == "closed"
    assert door.outbox() == ()
    assert {app.app_id for app in door.status().apps} == {"acme-notes", "acme-ci"}


SERVE = """
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
s.listen(5)
print("ready", flush=True)
s.settimeout(20)
c, _ = s.accept()
c.settimeout(5)
try:
    print("heard", len(c.recv(99)), flush=True)
except OSError:
    print("heard 0", flush=True)
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hn-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


@contextlib.contextmanager
def impostor(path: Path) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        ["/usr/bin/python3", "-c", BECOME + SERVE, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_client_tells_an_impostors_socket_nothing_row_8(open_folder: Path) -> None:
    path = open_folder / "agent.sock"
    with impostor(path), pytest.raises(Fault, match="not a socket of this user"):
        LocalDoor(path).send("secret")


def test_nor_an_impostor_behind_a_socket_that_looks_like_ours_row_8(open_folder: Path) -> None:
    """The path's owner is right, the process that serves it is not: only the kernel knows."""
    path = open_folder / "agent.sock"
    with impostor(path) as child:
        os.chown(path, os.getuid(), os.getgid())
        with pytest.raises(Fault, match="served by another user"):
            LocalDoor(path).send("secret")
        assert child.stdout is not None
        assert child.stdout.readline() == "heard 0\n"


def test_a_command_of_ours_says_so_and_ends_row_8(open_folder: Path) -> None:
    home = open_folder / "home"
    run = home / "run"
    run.mkdir(mode=0o755, parents=True)
    run.chmod(0o777)
    with impostor(run / "agent.sock"):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "homing", "status"],
            env={"HOMING_HOME": str(home), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert "not a socket of this user, so nothing was sent to it" in done.stderr
    assert time.monotonic() - began < 10


def test_no_listener_of_ours_is_in_the_abstract_namespace_row_7(make_agent: MakeAgent) -> None:
    """There anybody may connect, and anybody may be first (unix(7))."""
    agent, _ = make_agent()
    inodes = {
        Path(link).readlink().name.removeprefix("socket:[").removesuffix("]")
        for link in Path("/proc/self/fd").iterdir()
        if link.is_symlink() and "socket:[" in os.readlink(link)
    }
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    paths = [row[7] for row in rows if row[6] in inodes and len(row) > 7]
    assert str(agent.places.socket) in paths
    assert not [path for path in paths if path.startswith("@")]


def test_the_probe_itself_can_connect_where_it_may(open_folder: Path) -> None:
    """Or the tests above would pass because user 65534 can do nothing at all."""
    path = open_folder / "free.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o777)
        listener.listen(1)
        listener.settimeout(20)
        child = subprocess.Popen(
            ["/usr/bin/python3", "-c", BECOME + CONNECT, str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        accepted, _ = listener.accept()
        accepted.sendall(b"hello")
        assert child.stdout is not None
        assert child.stdout.read().strip() == "answered"
        child.wait()
        child.stdout.close()
        accepted.close()
