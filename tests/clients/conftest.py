"""The fixtures of the clients' tests."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # programs: of this room

from programs import DRIVERS, Here, Program


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home short enough for a socket's path, without a keyring to be asked."""
    path = Path(tempfile.mkdtemp(prefix="hk-"))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={path}/no-bus")
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=list(DRIVERS))
def language(request: pytest.FixtureRequest) -> str:
    """Each test is run with each client."""
    return str(request.param)


@pytest.fixture
def program(folder: Path, language: str) -> Iterator[Callable[..., Program]]:
    """Start programs that report to the agent of the folder."""
    started: list[Program] = []

    def start(home: Path = folder, **env: str) -> Program:
        started.append(Program(DRIVERS[language], home, **env))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def here(folder: Path, expected_warnings: Callable[..., None]) -> Iterator[Here]:
    """An agent in this process that is not started yet."""
    expected_warnings("agent.secrets")
    one = Here(folder)
    yield one
    one.stop()
