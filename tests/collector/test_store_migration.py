"""A file of an older Homing becomes one of today, whole, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from collectors import DAY, NOW, row

from collector.intake.attributes import attributes_of
from collector.store import duck_migration, duck_rewrite
from collector.store.duck import DuckStore
from collector.store.interface import KEYS_DROPPED, TABLES, Stored
from tracking.errors import StorageFault

Opened = Callable[..., DuckStore]

# Word for word what the collector of format 2 made (collector/store/duck.py before Bucket).
OLD_FIELDS = (
    *("app_id", "key_a", "key_b", "ts", "recv_ts", "said_ts", "kind", "type", "name", "event_id"),
    *("user_id", "anon_id", "device_id", "session_id", "platform", "os_version", "avail_ram"),
    *("version", "locale", "client", "module_version", "arch", "process", "flags", "payload"),
)
NUMBERS = {"key_a", "key_b", "ts", "recv_ts", "said_ts", "avail_ram", "flags"}
SCHEMA_2 = (
    "CREATE TABLE schema_version (version INTEGER NOT NULL)",
    "CREATE TABLE events ({columns})",
    "CREATE TABLE device (app_id VARCHAR NOT NULL, device_id VARCHAR NOT NULL,"
    " first_ts BIGINT NOT NULL)",
    "INSERT INTO schema_version VALUES ({version})",
)


def old_file(path: Path, rows: list[Stored], version: int = 2) -> list[tuple[object, ...]]:
    """Make a file as the older collector left it, killed: its last events are in the log."""
    fields = [name for name in OLD_FIELDS if version > 1 or name != "said_ts"]
    columns = ", ".join(
        f"{name} {'BIGINT' if name in NUMBERS else 'VARCHAR'} NOT NULL" for name in fields
    )
    old = [tuple(getattr(one, name) for name in fields) for one in rows]
    script = (
        "import duckdb, pickle, sys, os\n"
        "path, statements, rows, devices = pickle.load(sys.stdin.buffer)\n"
        "db = duckdb.connect(path)\n"
        "for statement in statements: db.execute(statement)\n"
        "half = len(rows) // 2\n"
        "events, device = db.appender('events'), db.appender('device')\n"
        "for part in (rows[:half], rows[half:]):\n"
        "    if part: events.append_rows(part); events.flush()\n"
        "    if part is not rows and devices: device.append_rows(devices); device.flush()\n"
        "    devices = []\n"
        "    if half and part == rows[:half]: db.execute('CHECKPOINT')\n"
        "os._exit(0)\n"
    )
    firsts: dict[tuple[str, str], int] = {}
    for one in rows:
        who = (one.app_id, one.device_id)
        firsts[who] = min(one.ts, firsts.get(who, one.ts))
    devices = [(*who, ts) for who, ts in firsts.items()]
    devices += [(app, device, ts + 5) for app, device, ts in devices]  # found earlier, later
    statements = [line.format(columns=columns, version=version) for line in SCHEMA_2]
    import pickle

    subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps((str(path), statements, old, devices)),
        timeout=60,
        check=True,
    )
    assert path.with_name(f"{path.name}.wal").exists()
    return old


def history(count: int) -> list[Stored]:
    dice = random.Random(count)
    rows = []
    for n in range(count):
        payload = json.dumps(
            {"plan": dice.choice(["pro", "free"]), "n": n, "x": 2.0, "deep": {"a": 1}, "no": None}
        )
        rows.append(
            row(
                event_id=str(n),
                name=f"N{n % 7}",
                ts=NOW - n * 1_000,
                user_id=f"u{n % 5}" if n % 3 else "",
                device_id=f"d{n % 11}",
                payload=payload if n % 2 else "",
                flags=0,
            )
        )
    return rows


def events_of(path: Path, fields: tuple[str, ...] = OLD_FIELDS) -> list[tuple[object, ...]]:
    with duckdb.connect(str(path), read_only=True) as db:
        return db.execute(f"SELECT {', '.join(fields)} FROM events").fetchall()


def test_a_file_of_format_2_keeps_every_event_and_gets_its_attributes(
    opened: Opened, tmp_path: Path
) -> None:
    path = tmp_path / "events.duckdb"
    rows = history(1_001)
    old = old_file(path, rows)
    store = opened()
    found = [one for part in store.export("A") for one in part]
    assert [one[:25] for one in found] == old, "every column of old, in its order"
    for one in found:
        keys, values = attributes_of(one.payload) if one.payload else ([], [])
        assert (one.attr_keys, one.attr_values) == (keys, values)
        assert not any(one[25:30])
    assert found[1].attr_keys == ["n", "plan", "x"]
    assert found[1].attr_values[2] == "2"
    seen = {(kind, id_): ts for kind, id_, ts in store._read("SELECT kind, id, first_ts FROM seen")}
    for kind, field in (("device", "device_id"), ("user", "user_id")):
        for id_ in {getattr(one, field) for one in rows} - {""}:
            least = min(one.ts for one in rows if getattr(one, field) == id_)
            assert seen.pop((kind, id_)) == least
    assert not seen
    names = store._read("SELECT event, key FROM catalogue")
    assert set(names) == {(f"N{n}", key) for n in range(7) for key in ("", "plan", "n", "x")}
    assert sorted(file.name for file in tmp_path.glob("events*")) == ["events.duckdb"]
    assert store.write(rows) == 0, "a repeat of what the old file had is one"
    assert store.write([row(event_id="new", device_id="d1", ts=NOW - DAY)]) == 1
    assert opened().count("A") == 1_002


def test_a_file_of_format_1_knows_the_dates_that_it_can(opened: Opened, tmp_path: Path) -> None:
    rows = [
        row(event_id="dated", ts=NOW - 9_000),
        row(event_id="undated", ts=NOW, recv_ts=NOW, said_ts=0),
        row(event_id="not believed", ts=NOW, said_ts=1, flags=1),
    ]
    old_file(tmp_path / "events.duckdb", rows, version=1)
    store = opened()
    found = [one for part in store.export("A") for one in part]
    assert [(one.event_id, one.ts, one.said_ts) for one in found] == [
        ("dated", NOW - 9_000, NOW - 9_000),
        ("undated", NOW, 0),
        ("not believed", NOW, 0),
    ]
    assert store.write(rows[:2]) == 0
    assert len(store._read("SELECT * FROM seen")) == 1


def test_an_empty_file_of_format_2_is_migrated_too(opened: Opened, tmp_path: Path) -> None:
    old_file(tmp_path / "events.duckdb", [])
    store = opened()
    assert store.count("A") == 0
    assert store.write([row()]) == 1


def test_a_flood_of_names_in_an_old_file_is_bounded(opened: Opened, tmp_path: Path) -> None:
    payload = json.dumps({f"k{n}": n for n in range(300)})
    old_file(tmp_path / "events.duckdb", [row(payload=payload)])
    (one,) = next(iter(opened().export("A")))
    assert (len(one.attr_keys), one.flags, one.payload) == (200, KEYS_DROPPED, payload)


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "events.duckdb"
    old_file(path, history(12_000))
    told: list[tuple[int, int]] = []
    DuckStore(path, NOW, lambda done, total: told.append((done, total))).close()
    assert told == [(5_000, 12_000), (10_000, 12_000), (12_000, 12_000)]


def test_a_kill_in_the_midst_of_a_migration_costs_nothing(tmp_path: Path) -> None:
    """Kill it at moments by chance, more and more late, until one start comes through."""
    path = tmp_path / "events.duckdb"
    old = old_file(path, history(30_000))
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from collector.store.duck import DuckStore\n"
        "print('go', flush=True)\n"
        f"DuckStore(Path(sys.argv[1]), {NOW}).close()\n"
        "print('done', flush=True)\n"
    )
    kills, leftovers, delay = 0, 0, 0.02
    while True:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == b"go\n"
            time.sleep(delay)  # not a wait: the moment of death
            process.send_signal(signal.SIGKILL)
            process.wait(20)
            if process.stdout.read():
                break
        kills += 1
        leftovers += duck_rewrite.new_of(path).exists()
        delay *= 1.4
    assert kills > 5
    assert leftovers, "some died while the new file was made"
    store = DuckStore(path, NOW)
    try:
        assert [one[:25] for part in store.export("A") for one in part] == old
        assert len(store._read("SELECT * FROM seen")) == 11 + 5
    finally:
        store.close()
    assert [file.name for file in tmp_path.glob("events*")] == ["events.duckdb"]


def test_a_disk_without_room_leaves_the_old_file_for_the_old_homing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.duckdb"
    old = old_file(path, history(1_000))
    free = os.statvfs(tmp_path)
    monkeypatch.setattr(duck_rewrite, "SPARE_BYTES", free.f_bavail * free.f_frsize + (1 << 40))
    with pytest.raises(StorageFault, match="MB free, and a copy of the store needs"):
        DuckStore(path, NOW)
    assert events_of(path) == old


def test_a_step_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.duckdb"
    old = old_file(path, history(1_000))

    def fails(payload: str) -> tuple[list[str], list[str]]:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(duck_migration, "attributes_of", fails)
        with pytest.raises(MemoryError):
            DuckStore(path, NOW)
    assert events_of(path) == old
    assert [file.name for file in tmp_path.glob("events*")] == ["events.duckdb"]
    DuckStore(path, NOW).close()
    assert events_of(path) == old


def test_a_newer_file_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "events.duckdb"
    DuckStore(path, NOW).close()
    with duckdb.connect(str(path)) as db:
        db.execute("UPDATE schema_version SET version = 4")
        db.execute("CREATE TABLE later (a INTEGER)")
    before = path.read_bytes()
    with pytest.raises(StorageFault, match=r"newer Homing \(format 4\)"):
        DuckStore(path, NOW)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.glob("events*")] == ["events.duckdb"]


def test_a_database_of_something_else_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "events.duckdb"
    with duckdb.connect(str(path)) as db:
        db.execute("CREATE TABLE invoices (a INTEGER)")
    before = path.read_bytes()
    with pytest.raises(StorageFault, match="something else"):
        DuckStore(path, NOW)
    assert path.read_bytes() == before


def test_today_s_file_has_the_tables_of_the_registry_and_nothing_else(opened: Opened) -> None:
    columns = opened()._read("SELECT table_name, column_name FROM information_schema.columns")
    for shape, table in TABLES.items():
        assert [column for name, column in columns if name == table] == list(shape._fields)
