"""docs/redaction.md and docs/lint.md say what the program does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from agent.cli.redact import ACTIONS
from agent.rules.json_edit import parse_path
from agent.rules.lint import (
    MOST_IN_ALL,
    MOST_PROPERTIES,
    MOST_SHAPES,
    SETTLED_APP_EVENTS,
    SETTLED_EVENTS,
    USUAL,
    What,
)
from agent.rules.personal import WORDS
from agent.rules.redaction import Action, Keep
from agent.settings import specs
from agent.settings.reading import check_text

DOCS = Path(__file__).parents[2] / "docs"
REDACTION = (DOCS / "redaction.md").read_text("utf-8")
LINT = (DOCS / "lint.md").read_text("utf-8")


def test_the_example_is_a_rule_that_passes_its_own_examples() -> None:
    (written,) = re.findall(r"```toml\n(.*?)```", REDACTION, re.DOTALL)
    (rule,) = check_text(written, Path("homing.toml")).rules
    assert (rule.name, len(rule.examples)) == ("no e-mail addresses", 2)


def test_every_path_of_the_page_can_be_read() -> None:
    paths = re.findall(r"`(\$[^`]+)`", REDACTION)
    assert len(paths) >= 8
    for path in paths:
        parse_path(path)


@pytest.mark.parametrize("word", [*get_args(Action), *get_args(Keep), *ACTIONS])
def test_every_action_and_what_a_mask_keeps_is_on_the_page(word: str) -> None:
    assert word in REDACTION


def test_the_page_about_lint_has_every_mark_and_every_bound() -> None:
    for mark in get_args(What):
        assert f"| `{mark}` |" in LINT
    for number in (SETTLED_APP_EVENTS, SETTLED_EVENTS, MOST_SHAPES, MOST_PROPERTIES):
        assert re.search(rf"\b{number}\b", LINT)
    assert f"{MOST_IN_ALL:,} properties" in LINT
    assert f"{USUAL:.0%}".replace("%", " %") in LINT
    looks = next(spec for spec in specs() if spec.key == "lint.looks_per_s")
    assert f"`lint.looks_per_s` ({looks.default})" in LINT


def test_every_kind_of_personal_data_is_described() -> None:
    described = {
        "email": "e-mail address",
        "phone": "phone number",
        "card": "card",
        "iban": "IBAN",
        "ip": "network address",
        "mac": "network address",
        "host": "name",
        "path": "home folder",
        "name": "name",
        "birthday": "birthday",
        "address": "address",
        "location": "place",
        "secret": "password or token",
        "id-number": "number",
    }
    assert set(WORDS.values()) == set(described)
    assert all(words in LINT for words in described.values())
