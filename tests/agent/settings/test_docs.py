"""docs/settings.md says what the program does, setting by setting."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from agent.adapters.machine.secrets import credential_name
from agent.settings import Spec, specs
from agent.settings.declared import APP_DOCS, TABLES, UPSTREAM_DOCS
from agent.settings.reading import NOT_SETTINGS, check_text
from agent.settings.redaction import RULE_DOCS

PAGE = (Path(__file__).parents[3] / "docs" / "settings.md").read_text("utf-8")


@pytest.mark.parametrize("spec", [*specs()], ids=lambda spec: spec.key)
def test_every_setting_is_documented_with_its_default_its_bounds_and_its_sentence(
    spec: Spec,
) -> None:
    row = f"| `{spec.key}` | `{json.dumps(spec.default)}` | {spec.bounds} | {spec.doc} |"
    assert row in PAGE.splitlines()


@pytest.mark.parametrize(
    ("key", "doc"), [*APP_DOCS.items(), *UPSTREAM_DOCS.items(), *RULE_DOCS.items()]
)
def test_every_key_of_an_app_is_documented_with_its_sentence(key: str, doc: str) -> None:
    assert f"| `{key}` | {doc} |" in PAGE.splitlines()


def test_nothing_is_documented_that_does_not_exist() -> None:
    keys = {spec.key for spec in specs()}
    assert set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", PAGE, re.MULTILINE)) == keys
    assert set(re.findall(r"^## `\[([a-z_]+)\]`", PAGE, re.MULTILINE)) == set(TABLES)
    variables = {spec.variable for spec in specs()} | NOT_SETTINGS
    assert set(re.findall(r"\bHOMING_[A-Z_]+\b", PAGE)) <= variables


def test_the_example_is_a_possible_settings_file() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert (
        check_text(example, Path("homing.toml")).apps[0].id
        == tomllib.loads(example)["apps"][0]["id"]
    )


def test_the_name_of_the_credential_is_the_one_that_is_looked_for() -> None:
    assert f"LoadCredential={credential_name('https://app.nucleus.sh')}:" in PAGE
