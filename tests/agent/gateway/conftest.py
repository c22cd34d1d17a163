"""A gateway for each test, without and with a token."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # houses: equipment
pytest.register_assert_rewrite("houses")

from houses import House, running  # noqa: E402 - after the path it is found on

from agent.door.gateway import NewToken  # noqa: E402


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    yield from running(tmp_path / "gateway.json")


@pytest.fixture
def token(house: House) -> NewToken:
    """A token of the app ``acme``, whose page is tauri://localhost."""
    return house.give("acme", "tauri://localhost")
