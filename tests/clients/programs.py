"""Programs with a client of ours in them, and the agent that they report to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from agent.adapters.local.asking import LocalAddress, ask
from agent.host import Agent
from benchmarks.processes import declared, until

HERE = Path(__file__).parent
DRIVERS = {
    "python": [sys.executable, "-X", "dev", str(HERE / "drive_python.py")],
    "node": ["node", str(HERE / "drive_node.mjs")],
}


class Program:
    """A running program with a client in it."""

    def __init__(self, words: list[str], home: Path, **env: str) -> None:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HOMING_", "XDG_", "DO_NOT_TRACK"))
        }
        self.process = subprocess.Popen(
            words,
            env={**inherited, "HOMING_HOME": str(home), **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def begin(self, what: str, **words: Any) -> None:
        """Have something done, without waiting for it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, **words}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise ChildProcessError(self.process.communicate()[1][-2000:])
        return json.loads(line)

    def do(self, what: str, **words: Any) -> Any:
        self.begin(what, **words)
        return self.answer()

    def end(self, seconds: float = 20.0) -> int:
        """Let its standard input end, and so the program; return its exit code."""
        said = self.process.communicate(timeout=seconds)[1]
        assert self.process.returncode or not said, said
        return self.process.returncode

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


WIDE_MS = 5.0  #: Of a track(): 1 ms is the aim; the machine of a test has other things to do.
EXPORT = "/v1/outbox/export"


class Here:
    """Agents in this process, one after the other, all on one home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.agent: Agent | None = None

    def start(self, settings: str = declared("bench")) -> None:
        (self.folder / "config").mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "config" / "homing.toml").write_text(settings)
        self.agent = Agent({"HOMING_HOME": str(self.folder)})
        self.door = self.agent.start()

    def stop(self) -> None:
        if self.agent is not None:
            self.agent.stop()
            self.agent = None

    def stored(self) -> list[dict[str, Any]]:
        """Return the events in the outbox, oldest first, but the agent's own `init`."""
        raw = ask(LocalAddress(path=str(self.folder / "run/agent.sock")), "GET", EXPORT)
        events = [json.loads(line) for line in raw.splitlines()]
        return [event for event in events if event["type"] != "init"]

    def wait_for(self, count: int, seconds: float = 10.0) -> list[dict[str, Any]]:
        """Return what is stored once it is so much."""
        until(lambda: len(self.stored()) >= count, seconds, f"{count} events are not there")
        return self.stored()

    def notices(self) -> dict[str, str]:
        return {notice.code: notice.text for notice in self.door.status().notices}


def steps(events: list[dict[str, Any]]) -> Counter[tuple[int, int]]:
    """Count what ``track`` reported, by who and number."""
    return Counter(
        (event["payload"]["by"], event["payload"]["n"])
        for event in events
        if event.get("name") == "step"
    )


def once(*ranges: tuple[int, int]) -> Counter[tuple[int, int]]:
    """Return what ``steps`` is if each program reported so many, each once: (by, count)."""
    return Counter((by, n) for by, count in ranges for n in range(count))
