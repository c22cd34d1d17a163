"""The engine itself on today's ClickHouse: tables, writes, repeats and deletions as on 18.16."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("todays_engine.py")


@pytest.mark.soak
def test_todays_clickhouse_keeps_every_promise_of_the_old_one(tmp_path: Path) -> None:
    assert find_spec("chdb"), "`.venv/bin/pip install --group engines` installs today's engine"
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
