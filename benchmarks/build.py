"""The C programs of this folder, compiled when they are missing or older than their source."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
BIN = HERE / "bin"
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror")
SHARED = ("-shared", "-fPIC")
PROGRAMS = {
    "limit": ("limit.c", ("-lsqlite3",)),
    "load": ("load.c", ()),
    "slow_disk.so": ("slow_disk.c", (*SHARED, "-ldl")),
}


def program(name: str) -> Path:
    """Return the path of a compiled program, compiling it first if need be.

    Raises:
        subprocess.CalledProcessError: gcc is missing something; its words are on stderr.

    """
    source, options = PROGRAMS[name]
    target = BIN / name
    BIN.mkdir(exist_ok=True)
    with (BIN / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test workers may want it at once
        if not target.exists() or target.stat().st_mtime < (HERE / source).stat().st_mtime:
            fresh = target.with_suffix(".new")
            subprocess.run(
                ["gcc", *FLAGS, "-o", str(fresh), str(HERE / source), *options], check=True
            )
            fresh.rename(target)
    return target
