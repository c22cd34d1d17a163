"""What every test stands on: no real home, and no warning that nobody expected."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """Hear SIGINT, and let our children hear it.

    A shell without job control starts what it puts in the background deaf to it, and that is
    inherited: tests that press Ctrl-C would fail only there.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole agent below one folder; no test sees the machine's own settings."""
    folder = tmp_path / "home"
    monkeypatch.setenv("HOMING_HOME", str(folder))
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    return folder


@pytest.fixture
def expected_warnings() -> Callable[..., None]:
    """Say which loggers may warn in this test: ``expected_warnings("agent.link")``."""
    allowed: set[str] = set()

    def allow(*loggers: str) -> None:
        allowed.update(loggers)

    allow.allowed = allowed  # type: ignore[attr-defined]
    return allow


@pytest.fixture(autouse=True)
def no_unexpected_warnings(
    caplog: pytest.LogCaptureFixture, expected_warnings: Callable[..., None]
) -> Iterator[None]:
    """Fail a test in which a line at warning or above was logged that nobody expected."""
    yield
    allowed: set[str] = expected_warnings.allowed  # type: ignore[attr-defined]
    surprises = [
        f"{record.name}: {record.getMessage()}"
        for phase in ("setup", "call")
        for record in caplog.get_records(phase)  # type: ignore[arg-type]
        if record.levelno >= logging.WARNING
        and not any(record.name == name or record.name.startswith(f"{name}.") for name in allowed)
    ]
    assert not surprises, surprises
