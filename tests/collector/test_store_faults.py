"""Kills, full disks, readers in the way: what was said to be durable is there, whole, once."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import stores_in_trouble as trouble
from collectors import NOW, row

from collector.store import duck_file, duck_rewrite
from collector.store.duck import DuckStore
from tracking.errors import StorageFault

Opened = Callable[..., DuckStore]


def killed(scenario: str, folder: Path, wait_s: float) -> list[str]:
    """Run a scenario and kill it at some moment after it began; return what it said."""
    process = subprocess.Popen(
        [sys.executable, str(trouble.HERE / "stores_in_trouble.py"), scenario, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=trouble.ENVIRONMENT,
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            assert process.stdout.readline() == "go\n"
            time.sleep(wait_s)  # not a wait: the moment of death is the dice's
        finally:
            process.kill()
            process.wait(20)
        return process.stdout.read().split()


@pytest.mark.timeout(240)
def test_s33_twenty_kills_leave_all_rows_of_one_write_or_none(tmp_path: Path) -> None:
    dice = random.Random(20)
    durable: set[int] = set()
    for _ in range(20):
        said = killed("write", tmp_path, dice.uniform(0.01, 0.4))
        durable |= {int(word) for word in said}
        with closing(DuckStore(tmp_path / "events.duckdb", NOW)) as store:
            held = trouble.batches_in(store)
            assert durable <= held
            assert len(held - durable) <= 1, "one may have died before it was said"
            durable |= held
            if held:
                assert store.write(trouble.batch(max(held))[0]) == 0
    assert len(durable) > 100


@pytest.mark.timeout(240)
def test_59_a_kill_while_compacting_leaves_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "events.duckdb"
    store = DuckStore(path, NOW)
    for number in range(100):
        store.write(*trouble.batch(number, text="x" * 3_000))
    store.close()
    dice = random.Random(59)
    interrupted = 0
    for _ in range(12):
        killed("sweep", tmp_path, dice.uniform(0.01, 0.5))
        interrupted += duck_rewrite.new_of(path).exists()
        with closing(DuckStore(path, NOW)) as store:
            assert trouble.batches_in(store) >= set(range(100))
            shown = store._read("SELECT count(*) FROM events WHERE user_id = 'canary'")[0][0]
            owed = store.unswept
        assert [f.name for f in tmp_path.glob("events*") if ".wal" not in f.name] == [path.name]
        if not shown and not owed:
            assert not any(b"canary" in file.read_bytes() for file in tmp_path.glob("events*"))
        with closing(DuckStore(path, NOW)) as store:
            store.erase("Z", users=["canary"], devices=["canary"])
            store.compact()
        assert not any(b"canary" in file.read_bytes() for file in tmp_path.glob("events*"))
    assert interrupted, "some died while the new file was made"


def test_a_full_disk_refuses_loses_nothing_and_is_forgiven(tmp_path: Path) -> None:
    said = trouble.on_small_disk(tmp_path / "disk", "full")
    acknowledged = said["acknowledged"]
    assert isinstance(said["refused"], int)
    assert said["refused"] > 10
    assert "MB free, and a copy of the store needs" in str(said["compacting"])
    assert said["after_room"] is True
    assert said["held"] == said["reopened"]
    assert set(acknowledged) <= set(said["held"])  # type: ignore[call-overload]
    assert set(acknowledged) - {100} <= set(said["readable"])  # type: ignore[call-overload]
    assert said["files"] == ["events.duckdb"] or said["files"] == [
        "events.duckdb",
        "events.duckdb.wal",
    ]


def test_a_read_only_disk_is_said_in_a_sentence(tmp_path: Path) -> None:
    said = trouble.on_small_disk(tmp_path / "disk", "read_only")
    assert str(said["said"]).startswith("['the store cannot be used: ")
    assert said["held"] == [0, 1]


def test_readers_see_whole_commits_while_one_writes_and_sweeps(opened: Opened) -> None:
    store = opened()
    store.write(*trouble.batch(0))
    stop = threading.Event()
    wrong: list[object] = []
    looks = [0, 0, 0]

    def look(which: int) -> None:
        while not stop.is_set():
            try:
                ((events, beats, first),) = store._read(
                    "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM beat),"
                    " (SELECT count(*) FROM seen WHERE kind = 'user')"
                )
                exported = sum(len(part) for part in store.export("A"))
            except StorageFault as fault:
                if "rewritten" not in str(fault):
                    wrong.append(fault)
                continue
            except BaseException as exc:
                wrong.append(exc)
                return
            if events != 5 * beats or beats != first or exported % 5:
                wrong.append((events, beats, first, exported))
            looks[which] += 1

    readers = [threading.Thread(target=look, args=(n,)) for n in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 120):
            assert store.write(*trouble.batch(number)) == 5
            if number % 40 == 0:
                store.compact()
    finally:
        stop.set()
        for reader in readers:
            reader.join(30)
    assert not wrong
    assert min(looks) > 3
    assert trouble.batches_in(store) == set(range(120))


def test_a_reader_that_does_not_end_is_interrupted_for_a_compaction(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duck_file, "PATIENCE_S", 0.2)
    store = opened()
    store.write(*trouble.batch(0))
    heard: list[BaseException] = []
    inside = threading.Event()

    def ask() -> None:
        inside.set()
        try:
            store.ask("SELECT count(*) FROM range(100000000) a, range(100000) b", {}, deadline_s=60)
        except BaseException as exc:
            heard.append(exc)

    reader = threading.Thread(target=ask)
    reader.start()
    assert inside.wait(5)
    while not store._file._inside:
        time.sleep(0.001)
    store.compact()
    reader.join(20)
    assert [type(exc) for exc in heard] == [StorageFault]
    assert trouble.batches_in(store) == {0}


def test_an_export_that_the_file_was_rewritten_under_says_so(opened: Opened) -> None:
    store = opened()
    for number in range(3):
        store.write([row(event_id=f"{number}-{n}") for n in range(3_000)])
    parts = store.export("A")
    assert len(next(parts)) == 5_000
    assert store.exporting == 1
    store.compact()
    with pytest.raises(StorageFault, match="rewritten meanwhile"):
        next(parts)
    assert store.exporting == 0
    assert sum(len(part) for part in store.export("A")) == 9_000
    assert [one.event_id for part in store.export("A") for one in part][::3000] == [
        "0-0",
        "1-0",
        "2-0",
    ], "in the order of arrival still"


def test_a_commit_in_doubt_is_looked_up_before_anything_else_is_written(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit was made, and its answer lost: as when the disk fails after the sync."""
    store = opened()
    store.write(*trouble.batch(0))
    real = store._writer

    class Lossy:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def execute(self, words: str, *values: object) -> object:
            done = real.execute(words, *values)
            if words == "COMMIT":
                raise OSError("the answer was lost")
            return done

    monkeypatch.setattr(store, "_writer", Lossy())
    with pytest.raises(StorageFault):
        store.write(*trouble.batch(1))
    monkeypatch.undo()
    assert store.write(trouble.batch(1)[0]) == 0, "they are there"
    assert trouble.batches_in(store) == {0, 1}
    assert store.write(*trouble.batch(2)) == 5


# --- backup ------------------------------------------------------------------------------------


@pytest.fixture
def writing(opened: Opened) -> Iterator[tuple[DuckStore, list[int]]]:
    """A store that somebody writes into all the time, and what was acknowledged."""
    store = opened()
    acknowledged: list[int] = []
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            store.write(*trouble.batch(number))
            acknowledged.append(number)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    yield store, acknowledged
    stop.set()
    writer.join(20)


def test_a_backup_is_a_whole_store_while_another_writes(
    writing: tuple[DuckStore, list[int]], tmp_path: Path
) -> None:
    store, acknowledged = writing
    while len(acknowledged) < 30:
        time.sleep(0.01)
    for n in range(3):
        before = len(acknowledged)
        told: list[tuple[int, int]] = []
        target = tmp_path / f"copy{n}.duckdb"
        store.backup(target, lambda done, total, told=told: told.append((done, total)))
        after = len(acknowledged)
        assert told[-1][0] == told[-1][1] > 0
        assert target.stat().st_mode & 0o777 == 0o600
        with closing(DuckStore(target, NOW)) as copy:
            held = trouble.batches_in(copy)
            assert set(range(before)) <= held <= set(range(after + 1))
            assert held == set(range(len(held)))
            assert copy.write(trouble.batch(0)[0]) == 0


def test_a_backup_has_no_byte_of_who_was_erased(opened: Opened, tmp_path: Path) -> None:
    store = opened()
    store.write([row(user_id="canary"), row(user_id="bob")])
    store.checkpoint()
    store.erase("A", users=["canary"], devices=[])
    store.backup(tmp_path / "copy.duckdb", lambda *_: None)
    assert b"canary" not in (tmp_path / "copy.duckdb").read_bytes()
    assert store.unswept == 0


def test_a_backup_that_fails_leaves_what_was_there(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    store.write(*trouble.batch(0))
    target = tmp_path / "copy.duckdb"
    store.backup(target, lambda *_: None)
    before = target.read_bytes()

    def tired(done: int, total: int) -> None:
        raise StorageFault("whoever asked went away")

    with pytest.raises(StorageFault, match="went away"):
        store.backup(target, tired)
    with monkeypatch.context() as patch:
        patch.setattr(duck_rewrite, "SPARE_BYTES", shutil.disk_usage(tmp_path).free + (1 << 40))
        with pytest.raises(StorageFault, match="MB free"):
            store.backup(target, lambda *_: None)
        with pytest.raises(StorageFault, match="MB free"):
            store.compact()
    with pytest.raises(StorageFault):
        store.backup(tmp_path / "nowhere" / "copy.duckdb", lambda *_: None)
    assert target.read_bytes() == before
    assert store.write(*trouble.batch(1)) == 5
    assert sorted(file.name for file in tmp_path.glob("copy*")) == ["copy.duckdb"]
