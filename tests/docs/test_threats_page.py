"""The page about threats: every row of the model, each with a test that there is."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (\d+)(?:-(\d+))? \|.*\| (tests/[\w/]+\.py)::(\w+) \|$", re.M)


@cache
def named_in(file: str) -> frozenset[str]:
    path = ROOT / file
    tree = ast.parse(path.read_text("utf-8") if path.exists() else "")
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def test_every_threat_has_a_row_and_every_row_a_test() -> None:
    page = (ROOT / "docs" / "threats.md").read_text("utf-8")
    rows = ROW.findall(page)
    numbers = [n for first, last, *_ in rows for n in range(int(first), int(last or first) + 1)]
    assert numbers == list(range(1, 65))
    assert len(rows) == len(re.findall(r"^\| \d", page, re.M)), "a row is written in another form"
    missing = [f"{file}::{name}" for _, _, file, name in rows if name not in named_in(file)]
    assert not missing
