"""docs/collector.md says what the command line and the Data API have, no more and no less."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import collector.access.accounts
from collector.cli import INTERRUPTED, parser

PAGE = (Path(__file__).parents[2] / "docs" / "collector.md").read_text()
ROWS = [
    [cell.strip().strip("`") for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| `")
]


def commands(parser: argparse.ArgumentParser, before: str = "") -> Iterator[str]:
    """Yield every command that can be run."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield before
    for group in groups:
        for name, sub in group.choices.items():
            yield from commands(sub, f"{before} {name}".strip())


def test_every_command_is_described_with_an_example_that_parses() -> None:
    described = {row[0]: row[2] for row in ROWS if len(row) == 3 and "homing collector" in row[2]}
    assert list(described) == list(commands(parser.build()))
    for name, example in described.items():
        words = shlex.split(example)
        assert words[:2] == ["homing", "collector"]
        assert " ".join(words[2:]).startswith(name)
        parser.build().parse_args(words[2:])
        assert parser.build().parse_args([*words[2:], "--json"]).json is True
    for line in re.findall(r"^homing collector (.+)$", PAGE, re.MULTILINE):
        parser.build().parse_args(shlex.split(line))


def test_every_flag_of_serve_is_named() -> None:
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) >= {"--host", "--port", "--json", "--stdin-eof"}


def test_every_scope_is_described() -> None:
    for scope in collector.access.accounts.SCOPES:
        assert f"`{scope}`" in PAGE


def test_every_exit_code_is_described() -> None:
    codes = {int(n) for n in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert codes == {
        parser.OK,
        parser.FAILED,
        parser.USAGE,
        parser.UNAVAILABLE,
        parser.RUNNING,
        parser.SETTINGS,
        INTERRUPTED,
    }
