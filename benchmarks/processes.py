"""Real processes in folders of their own: an agent, a collector, the limit, the load.

Benchmarks and system tests start them as a person would, by the command line, and look at them
from outside: through the local socket, ``/proc``, and the collector's own export.

Invariants:
    1. Nothing here ends a process that it did not start.
    2. No process outlives its object's ``stop`` or ``kill``.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

ROOT = Path(__file__).parents[1]
HOMING = (sys.executable, "-m", "homing")
T = TypeVar("T")

#: Bounds so wide that a benchmark measures the agent and not its quotas.
WIDE = """
[limits]
events_per_s = 1000000
burst = 10000000

[outbox]
max_events = 100000000
max_mib = 65536
"""


def until(ask: Callable[[], T | None], seconds: float, what: str, *, pause_s: float = 0.02) -> T:
    """Ask again and again until there is an answer.

    Raises:
        TimeoutError: There was none in time.

    """
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds} s: {what}")
        time.sleep(pause_s)


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask_local(path: Path, route: str, body: object = None, timeout_s: float = 10.0) -> Any:
    """Ask the local API over its socket, with nothing of the agent's own code."""
    payload = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{'GET' if body is None else 'POST'} {route} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
        "Connection: close\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout_s)
        sock.connect(str(path))
        sock.sendall(head.encode() + payload)
        answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    status, _, text = answer.partition(b"\r\n\r\n")
    if b" 200 " not in status[:32]:
        raise ConnectionError(answer[:300].decode(errors="replace"))
    return json.loads(text)


class Process:
    """One child, its log, and what ``/proc`` tells of it."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.words = list(words)
        self.env = {**_clean_environment(), **env}
        self.log = log
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def child(self) -> subprocess.Popen[bytes]:
        assert self._child is not None, "it was not started"
        return self._child

    @property
    def pid(self) -> int:
        return self.child.pid

    def spawn(self, stdout: int | IO[bytes] | None = None) -> None:
        """Start it; what it says is appended to its log."""
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.words,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                cwd=ROOT,
            )

    def kill(self) -> None:
        """End it with SIGKILL, in the middle of whatever it does."""
        self.child.kill()
        self.child.wait()

    def stop(self, seconds: float = 15.0) -> int:
        """End it politely; return its exit code."""
        if self._child is None:
            return 0
        if self._child.poll() is None:
            self._child.terminate()
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            raise

    def check_alive(self) -> None:
        """Raise with the end of its log if it has ended."""
        if self.child.poll() is not None:
            tail = self.log.read_text(errors="replace")[-3000:]
            raise ChildProcessError(f"{self.words} ended with {self.child.returncode}:\n{tail}")

    def cpu_ms(self) -> float:
        """Return the CPU time it has used, all threads, in milliseconds."""
        with Path(f"/proc/{self.pid}/stat").open() as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")

    def cpu_us(self) -> float:
        """Return the CPU time by the scheduler's own, finer clock, in microseconds."""
        return sum(
            int(Path(f"{task}/schedstat").read_text().split()[0]) / 1000 for task in self._tasks()
        )

    def wakeups(self) -> dict[str, int]:
        """Return how often each thread has gone to sleep, which is how often it was woken."""
        return {
            task: int(line.split()[1])
            for task in self._tasks()
            for line in Path(f"{task}/status").read_text().splitlines()
            if line.startswith("voluntary_ctxt_switches")
        }

    def written_bytes(self) -> int:
        """Return how much it has sent towards the disk."""
        lines = Path(f"/proc/{self.pid}/io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))

    def pss_mib(self) -> float:
        """Return its proportional share of memory, in MiB."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    def _tasks(self) -> list[str]:
        folder = f"/proc/{self.pid}/task"
        return [f"{folder}/{task}" for task in os.listdir(folder)]


class Agent(Process):
    """A headless agent in a home of its own.

    Args:
        home: Its HOMING_HOME; made here. Keep it short: a socket's path has 107 bytes.
        settings: What its homing.toml says.
        env: Further variables, ``LD_PRELOAD`` for one.

    """

    def __init__(self, home: Path, settings: str, env: Mapping[str, str] | None = None) -> None:
        for folder in (home, home / "config"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home = home
        self.socket = home / "run" / "agent.sock"
        file = home / "config" / "homing.toml"
        file.write_text(settings)
        file.chmod(0o600)
        super().__init__(
            [*HOMING, "agent"], {**(env or {}), "HOMING_HOME": str(home)}, home / "agent.out"
        )

    def start(self, seconds: float = 30.0) -> float:
        """Start it and wait for its first answer; return how long that took, in milliseconds."""
        began = time.monotonic()
        self.spawn()
        until(self._answers, seconds, "the agent does not answer", pause_s=0.002)
        return (time.monotonic() - began) * 1000

    def _answers(self) -> bool:
        self.check_alive()
        if not self.socket.exists():
            return False
        try:
            ask_local(self.socket, "/v1/status")
        except (OSError, ValueError):
            return False
        return True

    def status(self) -> Any:
        """Return its snapshot."""
        return ask_local(self.socket, "/v1/status")

    def ledger(self, app_id: str) -> Any:
        """Return one app's part of the snapshot."""
        return next(app for app in self.status()["apps"] if app["app_id"] == app_id)


class Collector(Process):
    """A far end with a data folder of its own, on a port that stays the same over restarts."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        words = [*HOMING, "collector", "serve", "--port", str(self.port), "--data-dir", str(folder)]
        super().__init__(words, env or {}, folder.with_name(folder.name + ".out"))

    @property
    def endpoint(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def start(self, seconds: float = 30.0) -> None:
        """Start it and wait until it accepts connections."""
        self.spawn()
        until(self._answers, seconds, "the collector does not listen")

    def _answers(self) -> bool:
        self.check_alive()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def command(self, *words: str) -> str:
        """Run one of its administrative commands; return what it prints."""
        done = subprocess.run(
            [*HOMING, "collector", *words, "--data-dir", str(self.folder)],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            raise ChildProcessError(f"collector {words}: {done.stderr[-2000:]}")
        return done.stdout

    def add_app(self, app_id: str) -> None:
        """Make an app known."""
        self.command("app", "add", app_id, "--id", app_id)

    def export(self, app_id: str) -> list[Any]:
        """Return every stored event of an app, in the order in which the collector tells them."""
        file = self.folder.with_name(f"{self.folder.name}-{time.monotonic_ns()}.ndjson")
        self.command("export", app_id, "--format", "ndjson", "--output", str(file))
        with file.open() as lines:
            events = [json.loads(line) for line in lines]
        file.unlink()
        return events

    def data(self, app_id: str, path: str) -> Any:
        """Ask the Data API, with a token made for it; return the JSON that it answers."""
        token = json.loads(self.command("token", "add", app_id))["token"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1/apps/{app_id}{path}",
            headers={"Authorization": token},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)


def declared(app_id: str, endpoint: str | None = None) -> str:
    """Return the settings that declare an app, with or without a far end."""
    lines = ["[[apps]]", f'id = "{app_id}"', f'name = "{app_id}"']
    if endpoint is not None:
        lines += ["[[apps.upstreams]]", 'kind = "nucleus"', f'endpoint = "{endpoint}"']
    return "\n".join(lines) + "\n"


def _clean_environment() -> dict[str, str]:
    """Our environment without a desktop, a keyring or another agent's settings."""
    ours = ("HOMING_", "XDG_", "DBUS_", "DO_NOT_TRACK", "COVERAGE")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
