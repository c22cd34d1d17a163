"""The house as text: every committed file, and every Python file as a tree."""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("tracking", "homing", "agent", "ui", "collector")


@dataclass(frozen=True, slots=True)
class Source:
    """One committed file.

    Attributes:
        name: Its path below the checkout, with slashes.
        text: What it says; empty for pictures and other bytes that are no text.

    """

    name: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """The file as Python understands it."""
        return _parsed(self.text)

    @property
    def docstring(self) -> str:
        """The module's docstring, or nothing."""
        return ast.get_docstring(self.tree) or ""


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@pytest.fixture(scope="session")
def committed() -> tuple[Source, ...]:
    """Every file that git knows here and that is there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            raw = path.read_bytes()
            found.append(Source(name, "" if b"\0" in raw else raw.decode("utf-8")))
    assert len(found) > 100
    return tuple(found)


@pytest.fixture(scope="session")
def python(committed: tuple[Source, ...]) -> tuple[Source, ...]:
    """Every Python file, tests and benchmarks included."""
    return tuple(source for source in committed if source.name.endswith(".py"))


@pytest.fixture(scope="session")
def rooms(python: tuple[Source, ...]) -> tuple[Source, ...]:
    """Every Python file of the program itself."""
    return tuple(source for source in python if source.name.split("/")[0] in ROOMS)
