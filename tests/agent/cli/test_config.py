"""`config`: the settings of this computer, with no agent needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def file(desk: Any) -> Path:
    """Where the settings file is, or would be."""
    desk.door = None
    desk.run("config", "path")
    return Path(desk.said.strip())


def test_the_path_is_printed_bare_so_that_an_editor_can_have_it(desk: Any, file: Path) -> None:
    assert file == desk.home / "config" / "homing.toml"
    assert desk.run("config", "path", "--json") == 0
    assert json.loads(desk.said) == {"file": str(file), "exists": False}


def test_every_value_is_shown_with_its_origin(desk: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, mode=0o700)
    file.write_text('[log]\nlevel = "debug"\n', "utf-8")
    desk.env["HOMING_OUTBOX_MAX_EVENTS"] = "5000"
    assert desk.run("config") == 0
    shown = {line.split()[0]: line.split(maxsplit=2)[1:] for line in desk.said.splitlines()[1:]}
    assert shown["log.level"] == ['"debug"', str(file)]
    assert shown["outbox.max_events"][0] == "5000"
    assert "HOMING_OUTBOX_MAX_EVENTS" in shown["outbox.max_events"][1]
    assert shown["outbox.max_mib"] == ["256", "default"]
    assert desk.run("config", "show", "--json") == 0
    rows = {row["key"]: row for row in json.loads(desk.said)}
    assert rows["log.level"]["doc"]
    assert rows["log.level"]["bounds"] == "debug, info, warning, error"


def test_a_check_names_every_mistake_at_once_and_is_exit_78(desk: Any, file: Path) -> None:
    assert desk.run("config", "check") == 0
    assert "does not exist, which is fine" in desk.said
    file.parent.mkdir(parents=True, mode=0o700)
    file.write_text('[log]\nlevl = "debug"\n[outbox]\nmax_events = 1\n', "utf-8")
    assert desk.run("config", "check") == 78
    assert "levl" in desk.complained
    assert "max_events" in desk.complained
    assert desk.run("config", "check", "--json") == 78
    problems = json.loads(desk.said)["problems"]
    assert len(problems) == 2
    assert any("levl" in problem for problem in problems)


def test_a_value_is_set_beside_a_persons_comments(desk: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, mode=0o700)
    file.write_text('# mine\n[log]\nlevel = "info"  # for now\n', "utf-8")
    assert desk.run("config", "set", "log.level", "debug") == 0
    assert desk.said.startswith(f'log.level = "debug" ({file})\n')
    text = file.read_text("utf-8")
    assert "# mine" in text
    assert "# for now" in text
    assert desk.run("config", "set", "log.level", "info", "--json") == 0
    assert json.loads(desk.said)["value"] == "info"


def test_a_variable_that_wins_over_the_file_is_admitted(desk: Any, file: Path) -> None:
    desk.env["HOMING_LOG_LEVEL"] = "error"
    assert desk.run("config", "set", "log.level", "debug") == 0
    assert desk.said.startswith('log.level = "error" (')
    assert "HOMING_LOG_LEVEL" in desk.said
    assert file.exists()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["set", "log.levl", "debug"], 78, "log.level"),
        (["set", "log.level", "loud"], 78, "debug, info, warning, error"),
        (["set", "log.level"], 64, "KEY and VALUE"),
        (["show", "more"], 64, "nothing more"),
        (["shwo"], 64, "did you mean show?"),
    ],
)
def test_what_is_impossible_changes_nothing(
    desk: Any, file: Path, words: list[str], code: int, told: str
) -> None:
    assert desk.run("config", *words) == code
    assert told in desk.complained
    assert not file.exists()
