"""The official clients as npm publishes them, installed from the lock, unchanged."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.processes import Collector

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def clients() -> Path:
    """Install what package-lock.json names beside it, unless that is what is there."""
    lock = HERE / "package-lock.json"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = HERE / "node_modules" / ".homing-lock.sha"
    with (HERE / ".lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # one of two test workers installs
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run(
                ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
                cwd=HERE,
                check=True,
                timeout=110,
            )
            stamp.write_text(wanted)
    return HERE / "node_modules"


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hc-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def collector(folder: Path) -> Iterator[Collector]:
    """A far end that knows the app ``bench`` and runs."""
    far_end = Collector(folder / "far")
    far_end.add_app("bench")
    far_end.start()
    yield far_end
    far_end.stop()
