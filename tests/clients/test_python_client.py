"""What only a Python program does: threads, forks, signals, the very end of the interpreter."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import Here, once, steps

CLIENT = Path(__file__).parents[2] / "clients" / "python" / "homing_client.py"
HEAD = """
import os, sys, threading, time
import homing_client
from homing_client import Homing

homing = Homing("bench")

def track(count, by=0):
    for n in range(count):
        homing.track("step", {"n": n, "by": by})
"""


@pytest.fixture
def run(folder: Path) -> Callable[[str], str]:
    """Run a program that begins with HEAD to its end; return what it printed."""

    def run_it(body: str) -> str:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-c", HEAD + textwrap.dedent(body)],
            env={"PYTHONPATH": str(CLIENT.parent), "HOMING_HOME": str(folder), "PATH": "/usr/bin"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run_it


@pytest.fixture(params=[True, False], ids=["agent", "no agent"])
def arrived(here: Here, request: pytest.FixtureRequest) -> Callable[[int], object]:
    """Return what arrived, of a program that had an agent, or found none and left a spool."""
    if request.param:
        here.start()

    def look(count: int) -> object:
        if not request.param:
            here.start()
        return steps(here.wait_for(count))

    return look


def test_it_is_written_for_python_38() -> None:
    ast.parse(CLIENT.read_text("utf-8"), feature_version=(3, 8))


def test_it_needs_nothing_but_the_standard_library() -> None:
    tree = ast.parse(CLIENT.read_text("utf-8"))
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        str(node.module).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert names <= sys.stdlib_module_names | {"__future__"}


def test_a_fork_reports_what_it_tracks_and_not_what_its_parent_did(
    run: Callable[[str], str], arrived: Callable[[int], object]
) -> None:
    run("""
        track(100)
        child = os.fork()
        if child == 0:
            assert homing.stats()["queued"] == 0
            track(50, by=1)
            assert homing.flush(5)
            os._exit(0)
        track(100, by=2)
        assert os.waitpid(child, 0)[1] == 0
    """)
    assert arrived(250) == once((0, 100), (1, 50), (2, 100))


def test_workers_of_multiprocessing_lose_nothing_at_their_end(
    run: Callable[[str], str], arrived: Callable[[int], object]
) -> None:
    run("""
        import multiprocessing
        fork = multiprocessing.get_context("fork")
        track(10)
        workers = [fork.Process(target=track, args=(30, n)) for n in (1, 2, 3)]
        for worker in workers: worker.start()
        for worker in workers: worker.join()
    """)
    assert arrived(100) == once((0, 10), (1, 30), (2, 30), (3, 30))


def test_many_threads_may_track_at_once(
    run: Callable[[str], str], arrived: Callable[[int], object]
) -> None:
    run("""
        threads = [threading.Thread(target=track, args=(200, n)) for n in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """)
    assert arrived(1600) == once(*((n, 200) for n in range(8)))


def test_a_signal_handler_may_track_while_its_own_thread_does(
    run: Callable[[str], str], arrived: Callable[[int], object]
) -> None:
    run("""
        import signal
        rung = iter(range(1000))
        signal.signal(signal.SIGALRM, lambda *_: homing.track("step", {"n": next(rung), "by": 1}))
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for n in range(4000): homing.track("step", {"n": n, "by": 0})
        signal.setitimer(signal.ITIMER_REAL, 0)
        while (n := next(rung)) < 20: homing.track("step", {"n": n, "by": 1})
        homing.track("rung", {"times": n})
        print(n)
    """)
    found = arrived(4020)
    assert all(times == 1 for times in found.values())  # type: ignore[attr-defined]
    assert sum(by == 0 for by, _ in found) == 4000  # type: ignore[attr-defined]


def test_what_is_tracked_while_the_interpreter_ends_is_reported(
    run: Callable[[str], str], arrived: Callable[[int], object]
) -> None:
    run("""
        import atexit
        atexit.unregister(homing_client._at_exit)
        atexit.register(track, 5, 1)          # runs after the client's own end
        atexit.register(homing_client._at_exit)
        atexit.register(track, 5, 2)          # and before it
        class Late:
            def __del__(self): track(1, by=3)
        late = Late()
        track(5)
    """)
    found = arrived(15)
    assert found - once((3, 1)) == once((0, 5), (1, 5), (2, 5))  # type: ignore[operator]


def test_nothing_is_raised_with_no_stderr_no_descriptors_and_a_debug_that_fails(
    run: Callable[[str], str], arrived: Callable[[int], object]
) -> None:
    run("""
        import resource
        def fails(sentence): raise RuntimeError(sentence)
        loud, failing = Homing("bench", debug=True), Homing("bench", debug=fails)
        stderr, sys.stderr = sys.stderr, None
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
        for one in (loud, failing, homing):
            one.track("step", {"n": float("nan"), "by": 9})
            one.track("step", {"n": 0, "by": (loud, failing, homing).index(one)})
            assert one.flush(0.2) is False
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, most))
        for one in (loud, failing, homing):
            assert one.flush(5) is True, one.stats()
            one.close()
            one.track("step", {"n": 1, "by": 0})
            assert one.stats()["dropped"] == 1
        sys.stderr = stderr
    """)
    assert arrived(3) == once((0, 1), (1, 1), (2, 1))


def test_a_closed_client_lets_go_of_everything(run: Callable[[str], str], here: Here) -> None:
    here.start()
    run("""
        before = set(os.listdir("/proc/self/fd")), threading.active_count()
        for _ in range(20):
            one = Homing("bench")
            one.track("step", {"n": 0, "by": 0})
            one.close()
            one.close()
        assert (set(os.listdir("/proc/self/fd")), threading.active_count()) == before
    """)
    assert len(here.wait_for(20)) == 20


@pytest.mark.skipif(os.getuid() != 0, reason="the server becomes another user")
def test_nothing_is_said_to_a_server_that_runs_as_another_user(
    run: Callable[[str], str], folder: Path
) -> None:
    """Threat row 8: the socket's file is ours, who listens on it is not."""
    said = run("""
        import socket
        path = os.environ["HOMING_HOME"] + "/run/agent.sock"
        os.mkdir(os.path.dirname(path), 0o700)
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        ready, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            server.listen()
            os.write(told, b"x")
            caller, _ = server.accept()
            os._exit(len(caller.recv(100)))
        os.read(ready, 1)
        track(3)
        assert homing.flush(3)
        server.close()
        print(homing.stats()["spooled"], os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """)
    assert said.split() == ["3", "0"]
