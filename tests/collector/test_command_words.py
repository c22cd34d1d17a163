"""What a person typed and what was meant: the nearest word, an app by its name, a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from collectors import command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    done = command("app", "add", "Acme Notes", "--id", "acme-notes", folder=path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sreve",), "'sreve' is not known, did you mean serve?"),
        (("token", "ad"), "'ad' is not known, did you mean add?"),
        (("app", "lsit"), "'lsit' is not known, did you mean list?"),
        (("export", "A", "--format", "parkuet"), "'parkuet' is not known, did you mean parquet?"),
        (("app", "zzzz"), "'zzzz' is not known; it is one of add, list, secret"),
    ],
)
def test_the_nearest_word_is_named(words: tuple[str, ...], said: str) -> None:
    done = command(*words)
    assert done.returncode == 64
    assert said in done.stderr.splitlines()[0]


@pytest.mark.parametrize(
    "words",
    [
        ("export",),
        ("retention",),
        ("app", "secret"),
        ("token", "add"),
        ("token", "list"),
        ("import", "/dev/null", "--app"),
    ],
)
def test_the_name_of_an_app_leads_to_its_id(folder: Path, words: tuple[str, ...]) -> None:
    done = command(*words, "acme notes", folder=folder)
    assert done.returncode == 64
    assert "That is the name of acme-notes; say the id." in done.stderr
    done = command(*words, "acme-note", folder=folder)
    assert done.returncode == 64
    assert "Did you mean acme-notes?" in done.stderr
    done = command(*words, "xyz", folder=folder)
    assert done.returncode == 64
    assert "app list" in done.stderr


def test_a_name_that_two_apps_have_names_both(folder: Path) -> None:
    done = command("app", "add", "Acme Notes", "--id", "other", "--json", folder=folder)
    assert json.loads(done.stdout)["appId"] == "other"
    done = command("export", "Acme Notes", folder=folder)
    assert "That is the name of acme-notes and of other; say the id." in done.stderr


def test_the_agents_own_collector_is_named_and_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMING_HOME", str(tmp_path / "a home"))
    agents = tmp_path / "a home" / "data" / "collector"
    assert command("app", "list").stderr == "", "there is none"
    assert command("app", "add", "Kept", "--id", "kept", folder=agents).returncode == 0
    hint = f"; the desktop agent's own is another: --data-dir '{agents}'\n"
    for words, code in ((("status",), 69), (("app", "list"), 0), (("export", "kept"), 64)):
        for _ in range(2):  # the first look makes files in the usual folder
            done = command(*words)
            assert done.returncode == code
            assert hint in done.stderr
            assert "kept" not in done.stdout
    assert hint not in command("app", "list", folder=agents).stderr
    assert command("app", "add", "Mine", "--id", "mine").returncode == 0
    assert command("app", "list").stderr == "", "now there is one of its own"
