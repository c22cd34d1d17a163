"""What we ship with, and on which terms: every locked package, pinned, hashed, and free to use."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("agent", "run", "dev")

# Words by which the licences are known that our own licence (Apache-2.0) can live with. The LGPL
# is Qt's: a library that is installed apart and can be exchanged.
WELCOME = re.compile(
    r"(?i)\b(?:MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|LGPL|Unlicense"
    r"|CC0|Zlib)"
)


def _locked(name: str, *, everywhere: bool = False) -> dict[str, str]:
    """Return the versions in a lock; with ``everywhere``, without those for one system only."""
    text = (ROOT / "packaging" / f"requirements-{name}.lock").read_text("utf-8")
    lines = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)([ ;]*)", text, re.MULTILINE)
    return {name: version for name, version, rest in lines if not (everywhere and ";" in rest)}


def _terms(package: str) -> str:
    said = importlib.metadata.metadata(package)
    trove = [c for c in said.get_all("Classifier") or [] if c.startswith("License ::")]
    own_words = [said.get("License-Expression"), (said.get("License") or "")[:200]]
    return " | ".join(filter(None, [*own_words, *trove]))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_is_pinned_and_hashed(lock: str) -> None:
    text = (ROOT / "packaging" / f"requirements-{lock}.lock").read_text("utf-8")
    blocks = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"(?m)^\s*#.*\n", "", text).strip())
    assert not [block for block in blocks if "==" not in block or "--hash=sha256:" not in block]
    assert len(blocks) > 10


def test_what_runs_is_part_of_what_is_tested_in_the_same_versions() -> None:
    tested = _locked("dev")
    for lock in ("agent", "run"):
        assert _locked(lock).items() <= tested.items()


def test_the_plain_agent_needs_neither_qt_nor_a_database_server() -> None:
    assert not {"pyside6-essentials", "duckdb"} & {name.lower() for name in _locked("agent")}


def test_every_declared_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *extras["tray"], *extras["collector"]]
    names = {re.match(r"[A-Za-z0-9_-]+", line)[0].lower() for line in declared}  # type: ignore[index]
    assert names <= {name.lower() for name in _locked("run")}


def test_every_package_that_we_run_on_may_be_used_with_ours() -> None:
    terms = {name: _terms(name) for name in _locked("run", everywhere=True)}
    assert not {name: said for name, said in terms.items() if not WELCOME.search(said)}
    assert len(terms) > 20


def test_the_official_clients_in_the_tests_may_be_used_and_name_no_host() -> None:
    lock = json.loads((ROOT / "tests" / "compat" / "package-lock.json").read_text("utf-8"))
    packages = {name: said for name, said in lock["packages"].items() if name}
    assert packages["node_modules/nucleus-nodejs"]["version"] == "3.0.9"
    assert not [n for n, said in packages.items() if not WELCOME.search(said.get("license", ""))]
    assert not [n for n, said in packages.items() if not said["integrity"].startswith("sha512-")]
    assert not [n for n, said in packages.items() if "resolved" in said]


def test_our_own_licence_is_the_one_that_we_declare() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")[:200]
