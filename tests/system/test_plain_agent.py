"""The agent alone: installed from its own lock, with neither Qt nor a collector anywhere."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APPS = """
[[apps]]
id = "acme-notes"
name = "Acme Notes"
  [[apps.upstreams]]
  kind = "nucleus"
  endpoint = "ws://127.0.0.1:9"
"""


@pytest.mark.system
@pytest.mark.timeout(240)
def test_the_plain_agent_needs_neither_qt_nor_a_collector(folder: Path) -> None:
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    lock = ROOT / "packaging" / "requirements-agent.lock"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--require-hashes", "-r", lock],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    home = folder / "home"
    (home / "config").mkdir(parents=True, mode=0o700)
    (home / "config" / "homing.toml").write_text(APPS)
    env = {**os.environ, "HOMING_HOME": str(home), "PYTHONPATH": str(ROOT)}

    def homing(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-m", "homing", *words],
            env=env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    for room in ("PySide6", "duckdb"):
        absent = subprocess.run([python, "-c", f"import {room}"], capture_output=True, check=False)
        assert absent.returncode == 1, f"{room} is installed, so this proves nothing"
    agent = subprocess.Popen([python, "-m", "homing", "agent"], env=env, stderr=subprocess.PIPE)
    try:
        assert agent.stderr is not None
        for line in agent.stderr:
            if b"ready" in line:
                break
        sent = homing("send", "hello", "--json")
        assert sent.returncode == 0, sent.stderr
        status = homing("status")
        assert "2" in status.stdout
        assert status.returncode == 1  # degraded: the far end does not answer
        tray = homing()
        assert "pip install homing[tray]" in tray.stderr
    finally:
        agent.terminate()
        agent.communicate(timeout=20)
    assert agent.returncode == 0
