"""A spool's folder for each test of this room."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # spools: of this room
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runtime"))  # cores


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "spool"
    path.mkdir(mode=0o700)
    return path
