"""What a reviewer would have to remember about files: size, names, paths, licences, assertions."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Source

ROOT = Path(__file__).parents[2]
MAX_LINES = 400
VAGUE = re.compile(r"(?:^|[/_])(?:utils?|helpers?|common|managers?|handlers?|misc)(?:[_.]|$)")
# Written so that this file does not contain what it looks for.
PLACES = (
    re.compile(r"(?<![\w.~])/" + r"(?:root|work|workspace)/\w"),
    re.compile(r"(?<![\w.~])/" + r"Users/\w"),
    re.compile(r"https?://[\w.-]*(?:" + r"pypi|npmjs|pythonhosted" + r")[\w.-]*/"),
)


def test_no_python_file_is_longer_than_400_lines_unless_it_says_why(
    python: tuple[Source, ...],
) -> None:
    long = [
        f"{source.name}: {len(source.text.splitlines())}"
        for source in python
        if len(source.text.splitlines()) > MAX_LINES and not _says_why(source)
    ]
    assert not long, "split along a real seam, or name the lines in the docstring and say why"


def _says_why(source: Source) -> bool:
    said = source.docstring.casefold()
    return "lines" in said and "400" in said


def test_every_python_file_says_what_it_is_for(python: tuple[Source, ...]) -> None:
    mute = [s.name for s in python if s.text.strip() and not s.docstring]
    assert not mute


def test_every_python_file_reads_annotations_late(python: tuple[Source, ...]) -> None:
    eager = [
        s.name
        for s in python
        if any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in s.tree.body)
        and "from __future__ import annotations" not in s.text
    ]
    assert not eager


def test_no_file_has_a_name_that_says_nothing(committed: tuple[Source, ...]) -> None:
    assert not [source.name for source in committed if VAGUE.search(source.name)]


def test_no_class_or_function_has_a_name_that_says_nothing(rooms: tuple[Source, ...]) -> None:
    vague = [
        f"{source.name}:{node.lineno} {node.name}"
        for source in rooms
        for node in ast.walk(source.tree)
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and re.search(r"(?i)helper|manager|utils?$|^do_?it$", node.name)
    ]
    assert not vague


def test_nothing_committed_knows_the_machine_it_was_written_on(
    committed: tuple[Source, ...],
) -> None:
    found = [
        f"{source.name}:{number}: {line.strip()[:80]}"
        for source in committed
        for number, line in enumerate(source.text.splitlines(), 1)
        for place in PLACES
        if place.search(line)
    ]
    assert not found


def test_nothing_is_left_to_do_later(rooms: tuple[Source, ...]) -> None:
    later = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|NotImplementedError")
    assert not [source.name for source in rooms if later.search(source.text)]


def test_every_test_file_asserts(python: tuple[Source, ...]) -> None:
    silent = []
    for source in python:
        if not re.search(r"(?:^|/)test_[^/]*\.py$", source.name):
            continue
        nodes = list(ast.walk(source.tree))
        asserts = any(isinstance(node, ast.Assert) for node in nodes)
        if not asserts and not re.search(r"pytest\.raises\(|waitSignal\(", source.text):
            silent.append(source.name)
    assert not silent


def test_no_test_is_skipped_or_allowed_to_fail(python: tuple[Source, ...]) -> None:
    """But for what only root can do: mounting a small disk, becoming another user. CI is root."""
    verbs = {"skip", "skipif", "xfail", "importorskip"}
    skipping = [
        f"{source.name}:{node.lineno}"
        for source in python
        if source.name.startswith("tests/")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in verbs
        and not (node.args and "getuid()" in ast.unparse(node.args[0]))
    ]
    assert not skipping, "a test that does not run proves nothing"
