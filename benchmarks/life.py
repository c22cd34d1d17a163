"""What the agent costs when nothing happens, and how long a start takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import HOMING, Agent, Collector, Process, declared, until
from benchmarks.report import Row

APP = "bench"
SETTLE_S = 15  #: What a start leaves to do (a tray that redraws, a checkpoint) is not idling.


def starts(folder: Path, *, runs: int) -> list[Row]:
    """Measure from spawning the headless agent to its first answer, warm."""
    agent = Agent(folder / "start", declared(APP))
    took = []
    for _ in range(runs + 1):
        took.append(agent.start())
        agent.stop()
    return [
        Row(
            target_id="P11",
            what="start: headless, spawn → first answer",
            unit="ms",
            ours=took[1:],  # the first one also makes the files
            most=250,
        )
    ]


def idle(folder: Path, *, seconds: float) -> list[Row]:
    """Watch a headless agent that is connected, heartbeats on, and has nothing to do."""
    collector = Collector(folder / "idle-far")
    try:
        collector.add_app(APP)
        collector.start()
        agent = Agent(folder / "idle", declared(APP, collector.endpoint))
        try:
            agent.start()
            until(lambda: agent.status()["links"][0]["state"] == "live", 20, "it is not connected")
            return _watch(agent, seconds, "idle, headless, connected", pss_most=32)
        finally:
            agent.stop()
    finally:
        collector.stop()


def tray(folder: Path, *, seconds: float) -> list[Row]:
    """Watch the tray with its window never opened, on a private display with a real tray host."""
    if not all(shutil.which(name) for name in ("Xvfb", "openbox", "trayer", "xwininfo")):
        return []
    home = folder / "tray"
    Agent(home, declared(APP))  # its settings file
    with _display(folder) as display:
        face = Process(
            [*HOMING],
            {"HOMING_HOME": str(home), "DISPLAY": display, "QT_QPA_PLATFORM": "xcb"},
            folder / "tray.out",
        )
        rows = []
        try:
            took = []
            for _ in range(4):
                began = time.monotonic()
                face.spawn()
                until(lambda: _icon_shown(display), 20, "no icon in the tray", pause_s=0.005)
                took.append((time.monotonic() - began) * 1000)
                if len(took) < 4:
                    face.stop()
                    until(lambda: not _icon_shown(display), 5, "the icon stays")
            rows.append(
                Row(target_id="P11", what="start: tray icon", unit="ms", ours=took[1:], most=450)
            )
            rows += _watch(face, seconds, "idle, tray, window never opened", pss_most=62)
        finally:
            face.stop()
        return rows


def _watch(process: Process, seconds: float, what: str, *, pss_most: float) -> list[Row]:
    time.sleep(SETTLE_S)
    cpu, wakeups, written = process.cpu_us(), process.wakeups(), process.written_bytes()
    time.sleep(seconds)
    process.check_alive()
    cpu_ms = (process.cpu_us() - cpu) / 1000
    woken = sum(n - wakeups.get(task, 0) for task, n in process.wakeups().items()) / seconds
    return [
        Row(
            target_id="P10",
            what=f"{what}: CPU per 10 min",
            unit="ms",
            ours=[cpu_ms * 600 / seconds],
            most=50,
            note=f"measured over {seconds:.0f} s",
        ),
        Row(
            target_id="P10",
            what=f"{what}: wake-ups",
            unit="/s",
            ours=[woken],
            most=0.15,
            note="heartbeats included; 0.1 without",
        ),
        Row(
            target_id="P10",
            what=f"{what}: PSS",
            unit="MiB",
            ours=[process.pss_mib()],
            most=pss_most,
        ),
        Row(
            target_id="P10",
            what=f"{what}: written",
            unit="bytes",
            ours=[process.written_bytes() - written],
            most=0,
        ),
    ]


@contextmanager
def _display(folder: Path) -> Iterator[str]:
    """Start a display with a window manager and a tray; yields its name."""
    reading, writing = os.pipe()
    server = subprocess.Popen(
        [
            "Xvfb",
            "-displayfd",
            str(writing),
            "-noreset",
            "-nolisten",
            "tcp",
            "-screen",
            "0",
            "800x600x24",
        ],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as line:
        display = f":{line.readline().strip()}"
    env = {"DISPLAY": display}
    hosts = [
        Process(["openbox"], env, folder / "openbox.out"),
        Process(["trayer", "--edge", "top", "--align", "right"], env, folder / "trayer.out"),
    ]
    try:
        for host in hosts:
            host.spawn()
        until(lambda: '"panel"' in _windows(display), 10, "no tray host")
        yield display
    finally:
        for host in reversed(hosts):
            host.stop()
        server.terminate()
        server.wait()


def _windows(display: str) -> str:
    asked = ["xwininfo", "-display", display, "-root", "-tree"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def _icon_shown(display: str) -> bool:
    return "homing" in _windows(display).casefold()
