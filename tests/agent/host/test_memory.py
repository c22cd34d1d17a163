"""The limit on malloc's arenas is really taken, and before threads can make some."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import threading
from agent.adapters.machine.memory import use_one_arena
taken = use_one_arena()
done = [threading.Thread(target=lambda: [bytes(200) for _ in range(9999)]) for _ in range(8)]
for thread in done: thread.start()
for thread in done: thread.join()
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.malloc_stats()
print(taken)
"""


def test_eight_threads_share_one_arena() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
    assert done.stderr.count("Arena ") == 1, done.stderr
