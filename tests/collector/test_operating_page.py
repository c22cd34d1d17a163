"""docs/operating.md says what the code has: settings, metrics, reasons, lines of the log."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import collector
import tracking
from collector import health, logs
from collector.cli import parser
from collector.metrics import FAMILIES, OUTCOMES, WAYS
from collector.settings import Spec, specs
from collector.settings_reading import CONFIG_VARIABLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operating.md").read_text()


def rows(head: str) -> list[list[str]]:
    """Return the rows of the table that begins with this head."""
    lines = PAGE[PAGE.index(head) :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def shown(spec: Spec) -> str:
    value = spec.default
    if isinstance(value, tuple):
        value = ", ".join(value)
    if isinstance(value, (int, float)) and value >= 10_000:
        return f"{value:,}"
    return str(value) if value != "" else "none"


def test_every_setting_stands_there_as_it_is_declared() -> None:
    wanted = [[f"`{s.key}`", shown(s), s.bounds, s.doc] for s in specs()]
    assert rows("| setting | default | may be | what it is |") == wanted
    assert CONFIG_VARIABLE in PAGE
    (drain,) = [spec for spec in specs() if spec.key == "drain_s"]
    assert drain.variable in PAGE
    assert drain.flag in PAGE


def test_every_metric_stands_there_as_it_is_declared() -> None:
    wanted = [[f"`{f.name}`", f.kind, f.doc] for f in FAMILIES]
    assert rows("| metric | kind | what it is |") == wanted
    assert {row[0].strip("`") for row in rows("| outcome | means |")} == set(OUTCOMES)
    for way in WAYS:
        assert f"`{way}`" in PAGE
    families = "|".join(family.name for family in FAMILIES)
    for name in re.findall(r"homing_[a-z_]+", PAGE):
        assert re.fullmatch(rf"(?:{families})(?:_bucket)?", name), name


def test_every_reason_for_not_being_ready_stands_there() -> None:
    tree = ast.parse(Path(health.__file__).read_text())
    said = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    described = {row[0].strip("`") for row in rows("| reason | means | do |")}
    assert described <= said
    assert described >= {"draining", "behind", "not storing"}
    assert described >= {one for one in said if re.fullmatch(r"store \w+", one)}


def sentences() -> Iterator[str]:
    """Yield every sentence that a collector may log, without its values."""
    for room in (collector, tracking):
        assert room.__file__ is not None
        for file in Path(room.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                match node:
                    case ast.Call(
                        func=ast.Attribute(
                            value=ast.Name(id="log" | "_log"),
                            attr="info" | "warning" | "error" | "exception" | "critical",
                        ),
                        args=[ast.Constant(value=str(said)), *_],
                    ):
                        yield logs._VALUE.sub("", said)


def test_every_line_of_the_log_is_explained() -> None:
    explained = {row[0] for row in rows("| line | means |")}
    assert explained == set(sentences())


def test_every_command_and_file_that_is_named_exists() -> None:
    for line in re.findall(r"^homing collector (.+)$", PAGE, re.MULTILINE):
        parser.build().parse_args(shlex.split(line))
    for words in re.findall(r"`homing collector ([^`]+)`", PAGE):
        parser.build().parse_args(shlex.split(words))
    packaged = {row[0].strip("`") for row in rows("| file in `packaging/collector` | is |")}
    assert packaged == {path.name for path in (ROOT / "packaging" / "collector").iterdir()}
    for linked in re.findall(r"\]\(([a-z-]+\.md)\)", PAGE):
        assert (ROOT / "docs" / linked).is_file()
    for test in re.findall(r"`(tests/[a-z_/]+\.py)`", PAGE):
        assert (ROOT / test).is_file()
