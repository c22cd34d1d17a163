"""One agent per outbox: real processes, real locks, real sockets (threat rows 5, 6, 31)."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.adapters.machine.lock import Lock, read_holder
from tracking.errors import AgentRunning, Bug, SettingsFault, StorageFault

STARTERS = 20

# Forks twenty agents that wait at one pipe, lets all of them go at once, and prints what each
# says. The winner keeps the lock until every other one has spoken.
RACE = f"""
import os, sys
from pathlib import Path
from agent.adapters.machine.lock import Lock
from tracking.errors import AgentRunning

start_r, start_w = os.pipe()
said_r, said_w = os.pipe()
end_r, end_w = os.pipe()
for _ in range({STARTERS}):
    if os.fork() == 0:
        os.close(start_w)
        os.close(end_w)
        os.read(start_r, 1)
        try:
            lock = Lock.take(Path(sys.argv[1]), now_ms=1)
            os.write(said_w, f"holds {{os.getpid()}}\\n".encode())
        except AgentRunning as running:
            os.write(said_w, f"{{running}}\\n".encode())
        os.read(end_r, 1)
        os._exit(0)
os.close(start_w)
os.close(said_w)
lines = b""
while lines.count(b"\\n") < {STARTERS}:
    lines += os.read(said_r, 4096)
os.close(end_w)
for _ in range({STARTERS}):
    os.wait()
print(lines.decode())
"""

HOLD = """
import sys
from pathlib import Path
from agent.adapters.machine.lock import Lock
lock = Lock.take(Path(sys.argv[1]), now_ms=42, address="/run/x/agent.sock")
print("holds", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.lock"


def hold(path: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "holds\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def test_of_twenty_agents_started_at_once_exactly_one_runs_and_the_others_name_it(
    path: Path,
) -> None:
    said = subprocess.check_output([sys.executable, "-c", RACE, str(path)], text=True, timeout=60)
    lines = said.split("\n")[:STARTERS]
    (winner,) = [line for line in lines if line.startswith("holds")]
    pid = winner.removeprefix("holds ")
    assert lines.count(f"another agent is running here already (process {pid})") == STARTERS - 1


def test_a_second_agent_is_told_the_process_of_the_first(path: Path) -> None:
    child = hold(path)
    with pytest.raises(AgentRunning, match=rf"\(process {child.pid}\)"):
        Lock.take(path, now_ms=1)
    holder = read_holder(path)
    assert holder is not None
    assert (holder.pid, holder.started_ms, holder.address) == (child.pid, 42, "/run/x/agent.sock")
    end(child)


def test_a_killed_agent_leaves_no_lock(path: Path) -> None:
    child = hold(path)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    with Lock.take(path, now_ms=1) as lock:
        assert lock.holder.pid == os.getpid()


def test_a_child_process_does_not_inherit_the_lock(path: Path) -> None:
    lock = Lock.take(path, now_ms=1)
    child = subprocess.Popen(["sleep", "30"])
    lock.release()
    again = Lock.take(path, now_ms=2)  # raises if the child held it
    assert child.poll() is None
    again.release()
    child.kill()
    child.wait()


def test_letting_go_twice_is_harmless_and_nobody_is_named_afterwards(path: Path) -> None:
    lock = Lock.take(path, now_ms=1)
    lock.release()
    lock.release()
    assert path.exists()
    assert read_holder(path) is None
    Lock.take(path, now_ms=1).release()


def test_the_lock_file_is_ours_alone_under_any_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        Lock.take(path, now_ms=1).release()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_lock_file_that_was_deleted_is_made_again_and_locks_again(path: Path) -> None:
    first = Lock.take(path, now_ms=1)
    path.unlink()  # a tidy person; the file's name now belongs to whoever comes next
    second = Lock.take(path, now_ms=2)
    with pytest.raises(AgentRunning):
        Lock.take(path, now_ms=3)
    first.release()
    second.release()


def test_a_lock_on_a_file_that_vanished_meanwhile_does_not_count(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = fcntl.flock, 0

    def tidy_up_then_lock(fd: int, how: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            path.unlink()  # between our opening the file and our locking it
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", tidy_up_then_lock)
    with Lock.take(path, now_ms=1):
        assert calls == 2
        with pytest.raises(AgentRunning):
            Lock.take(path, now_ms=2)


def test_a_link_as_lock_file_is_refused_and_its_target_untouched(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("theirs")
    path.symlink_to(victim)
    with pytest.raises(SettingsFault, match="is a link"):
        Lock.take(path, now_ms=1)
    assert victim.read_text() == "theirs"
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))
    with pytest.raises(SettingsFault, match="is a link"):
        Lock.take(path, now_ms=1)
    assert not path.with_name("nowhere").exists()


def test_a_pipe_or_a_folder_as_lock_file_is_refused_at_once(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(SettingsFault, match="not a regular file"):
        Lock.take(path, now_ms=1)
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageFault, match="is a directory"):
        Lock.take(path, now_ms=1)


def test_an_unreadable_signature_names_nobody(path: Path) -> None:
    path.write_bytes(b"\xff not json")
    path.chmod(0o600)
    assert read_holder(path) is None
    Lock.take(path, now_ms=1).release()


def test_the_holder_removes_the_socket_of_a_dead_agent(path: Path) -> None:
    address = path.with_name("agent.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(address))
    with Lock.take(path, now_ms=1) as lock:
        assert lock.clear_stale_socket(address)
        assert not address.exists()
        assert not lock.clear_stale_socket(address)


@pytest.mark.parametrize("kind", ["file", "link to a file", "link to a socket", "folder", "pipe"])
def test_whatever_else_lies_at_the_sockets_path_survives_and_is_named(
    path: Path, kind: str
) -> None:
    address, victim = path.with_name("agent.sock"), path.with_name("victim")
    if kind == "file":
        address.write_text("mine")
    elif kind == "folder":
        address.mkdir()
    elif kind == "pipe":
        os.mkfifo(address)
    elif kind == "link to a file":
        victim.write_text("mine")
        address.symlink_to(victim)
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(victim))
        address.symlink_to(victim)
    before = address.lstat()
    with Lock.take(path, now_ms=1) as lock, pytest.raises(SettingsFault, match="not ours") as said:
        lock.clear_stale_socket(address)
    assert str(address) in str(said.value)
    assert said.value.advice
    assert os.path.samestat(before, address.lstat())
    assert kind.startswith("link") is victim.exists()


def test_somebody_elses_socket_survives(path: Path, give_away: Callable[[Path], int]) -> None:
    address = path.with_name("agent.sock")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(address))
    uid = give_away(address)
    with Lock.take(path, now_ms=1) as lock, pytest.raises(SettingsFault, match="socket of user"):
        lock.clear_stale_socket(address, uid=uid)
    assert address.is_socket()


def test_nobody_removes_a_socket_without_the_lock(path: Path) -> None:
    lock = Lock.take(path, now_ms=1)
    lock.release()
    with pytest.raises(Bug):
        lock.clear_stale_socket(path.with_name("agent.sock"))
