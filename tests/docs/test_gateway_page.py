"""docs/gateway.md has the lines that the program prints, and names what is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.rules.origins import check_origins
from agent.rules.sdk_lines import SdkLine, sdk_lines

PAGE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text("utf-8")
LINES = sdk_lines("acme-notes", 23456, "TOKEN")


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.sdk)
def test_the_page_has_the_line_of_each_sdk(line: SdkLine) -> None:
    assert f"| {line.sdk} | `{line.line}` |" in PAGE.splitlines()


def test_no_other_sdk_is_promised() -> None:
    rows = [row for row in PAGE.splitlines() if "127.0.0.1:23456" in row]
    assert len(rows) == len(LINES)


def test_every_origin_of_the_page_may_be_registered() -> None:
    start = PAGE.index("| origin | whose |")
    table = PAGE[start : PAGE.index("\n\n", start)]
    named = [
        word
        for row in table.splitlines()[2:]
        for word in row.split("|")[1].split("`")[1::2]
        if "…" not in word
    ]
    assert len(named) >= 7
    assert check_origins(named) == tuple(named)
