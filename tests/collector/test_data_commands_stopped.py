"""Ctrl-C: a data command ends with 130 and says in one sentence what it left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from collectors import command
from filled_folders import counted, fill

from collector.places import Folder

#: Runs the program with one function replaced by itself behind a signal to the process itself.
AT = """
import os, signal, sys, {module} as module
real = module.{name}
def first(*args, **more):
    {before}
    done = real(*args, **more)
    {after}
    return done
module.{name} = first
from collector.cli import main
sys.exit(main(sys.argv[1:]))
"""
STOP = "os.kill(os.getpid(), signal.{0})"


def stopped_at(
    place: str, *words: str, after: bool = False, number: str = "SIGINT"
) -> subprocess.CompletedProcess[str]:
    """Run a command to which the signal comes as it enters, or leaves, a function."""
    module, _, name = place.rpartition(".")
    stop = STOP.format(number)
    said = AT.format(
        module=module,
        name=name,
        before="pass" if after else stop,
        after=stop if after else "pass",
    )
    return subprocess.run(
        [sys.executable, "-c", said, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    return fill(tmp_path / "data", range(300))


def left(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence of a command that was stopped."""
    assert done.returncode == 130, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("homing: stopped; ")
    return line.removeprefix("homing: stopped; ")


def test_a_backup_and_an_export_say_that_nothing_was_written(filled: Path, tmp_path: Path) -> None:
    file, there = tmp_path / "b", ("--data-dir", str(filled))
    assert "no backup was written" in left(
        stopped_at("collector.bulk.backup.pack", "backup", str(file), *there)
    )
    words = ("export", "A", "--output", str(file), *there)
    assert left(stopped_at("collector.intake.rows.exported", *words)) == "nothing was written"
    assert not list(tmp_path.glob("*b*part")) + ([file] if file.exists() else [])


def test_a_compaction_says_that_nothing_was_lost(filled: Path) -> None:
    words = ("compact", "--data-dir", str(filled))
    assert "nothing was lost" in left(stopped_at("collector.store.duck_rewrite.rewrite", *words))
    assert counted(filled) == 300


def test_an_import_says_how_many_are_there(filled: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    assert command("export", "A", "--output", str(lines), folder=filled).returncode == 0
    other = fill(tmp_path / "other", range(0))
    words = ("import", str(lines), "--data-dir", str(other))
    for after in (False, True):
        said = left(stopped_at("collector.cli.data._write", *words, after=after))
        assert said == "what is imported already is recognised. Run it again."
        assert counted(other) == 300 * after
    other = fill(tmp_path / "another", range(0))
    words = ("import", str(lines), "--json", "--data-dir", str(other))
    said = left(stopped_at("collector.cli.data.say", *words))
    assert said == "300 events are imported, all of them"
    assert counted(other) == 300


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_restore_is_stopped_before_the_first_file_moves_or_not_at_all(
    filled: Path, tmp_path: Path, number: str
) -> None:
    file = tmp_path / "b"
    assert command("backup", str(file), folder=filled).returncode == 0
    fill(filled, range(300, 400))
    words = ("restore", str(file), "--data-dir", str(filled))
    early = stopped_at("collector.cli.restoring.bury_again", *words, number=number)
    assert left(early) == "nothing was changed"
    assert counted(filled) == 400
    assert not list(filled.glob("before-restore-*"))
    for after in (False, True):
        late = stopped_at("collector.bulk.backup.finish", *words, after=after, number=number)
        assert late.returncode == 0, late.stderr
        assert late.stderr == "homing: it was too late to stop: the backup is in place\n"
        assert "300 events of" in late.stdout
        assert counted(filled) == 300
        assert not (filled / "restoring.json").exists()


def test_a_demo_that_is_stopped_says_that_it_is_gone_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data").prepare()
    words = ("demo", "--days", "3", "--users", "5", "--data-dir", str(folder.path))
    done = stopped_at("collector.demo.making.tell", *words, after=True)
    assert left(done) == "what was made of 'demo' is gone again"
    assert command("demo", "--days", "3", "--users", "5", folder=folder.path).returncode == 0


def test_an_export_counts_with_separators(tmp_path: Path) -> None:
    folder = fill(tmp_path / "data", range(1_234))
    done = command("export", "A", "--output", str(tmp_path / "lines"), folder=folder)
    assert done.stderr == "1,234 events exported\n"
