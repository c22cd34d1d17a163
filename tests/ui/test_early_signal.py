"""A signal that comes before Qt's loop has begun ends the face all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PROGRAM = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from scripted_door import ScriptedDoor
from ui.app import run
sys.exit(run(ScriptedDoor, hosted=False, on_raise=lambda _: os.kill(os.getpid(), signal.SIGTERM)))
"""


def test_a_signal_before_the_loop_ends_the_face() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(HERE)],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
