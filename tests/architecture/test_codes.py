"""Every code that a person or a script may meet is unique, and docs/errors.md explains it."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tracking.errors import Fault, HomingError

if TYPE_CHECKING:
    from conftest import Source

DOCUMENT = (Path(__file__).parents[2] / "docs" / "errors.md").read_text("utf-8")
EXPLAINED = set(re.findall(r"^\| `([a-z_.]+)` \|", DOCUMENT, re.MULTILINE))
QUIET_ROOMS = ("tracking", "agent", "collector")  # ui needs Qt to be imported, and has no faults


@pytest.fixture(scope="module")
def faults() -> list[type[Fault]]:
    """Every kind of fault in every room."""
    for room in QUIET_ROOMS:
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found, rest = [], [Fault]
    while rest:
        fault = rest.pop()
        found.append(fault)
        rest += fault.__subclasses__()
    return [fault for fault in found if fault.__module__.split(".")[0] in QUIET_ROOMS]


def test_every_kind_of_fault_has_a_code_of_its_own(faults: list[type[Fault]]) -> None:
    inherited = [fault.__name__ for fault in faults if "code" not in vars(fault)]
    assert not inherited
    codes = [fault.code for fault in faults]
    assert sorted(codes) == sorted(set(codes))
    assert len(codes) >= 16


def test_a_code_begins_with_the_code_of_the_kind_above(faults: list[type[Fault]]) -> None:
    for fault in faults:
        above = fault.__bases__[0]
        if above not in (Fault, HomingError):
            assert fault.code.startswith(f"{above.code}.") or above.code == "fault"  # type: ignore[attr-defined]


def test_every_fault_is_explained(faults: list[type[Fault]]) -> None:
    assert not {fault.code for fault in faults} - EXPLAINED


def test_every_code_that_is_written_somewhere_is_explained(rooms: tuple[Source, ...]) -> None:
    said = {}
    for source in rooms:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.keyword) and node.arg == "code":
                for part in ast.walk(node.value):
                    if (
                        isinstance(part, ast.Constant)
                        and isinstance(part.value, str)
                        and re.fullmatch(r"[a-z_]+(?:\.[a-z_]+)*", part.value)
                    ):
                        said[part.value] = source.name
    assert not {f"{code} ({where})" for code, where in said.items() if code not in EXPLAINED}
    assert len(said) > 10


def test_nothing_is_explained_that_nobody_says(
    rooms: tuple[Source, ...], faults: list[type[Fault]]
) -> None:
    words = "\n".join(source.text for source in rooms)
    assert not {code for code in EXPLAINED if f'"{code}"' not in words}


def test_nobody_reads_the_words_of_an_error(rooms: tuple[Source, ...]) -> None:
    readers = [
        f"{source.name}:{node.lineno}"
        for source in rooms
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Compare)
        for part in [node.left, *node.comparators]
        if isinstance(part, ast.Call)
        and isinstance(part.func, ast.Name)
        and part.func.id == "str"
        and part.args
        and isinstance(part.args[0], ast.Name)
        and part.args[0].id in ("exc", "error", "fault", "err", "e")
    ]
    assert not readers, "the type decides (tracking/errors.py)"
