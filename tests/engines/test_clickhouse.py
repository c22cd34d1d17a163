"""The distributed engine by itself: where it is, what it does when its server is hurt."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from clickhouse_driver.errors import ServerException
from collectors import DAY, NOW, row
from servers import ClickHouse

from collector.store.clickhouse import EVENT_COLUMNS, ClickHouseStore, day_of
from collector.store.clickhouse_address import PASSWORD, PASSWORD_FILE, Address, address
from collector.store.clickhouse_door import Door
from collector.store.interface import CLOCK_NOT_BELIEVED, Stored
from tracking.errors import SettingsFault, StorageFault

HERE = "clickhouse://ann@db.example:9001/homing"


# --- where it is -------------------------------------------------------------------------------


def test_an_address_says_where_and_the_environment_says_the_password(tmp_path: Path) -> None:
    there = address(HERE, {PASSWORD: "s3cret"})
    assert there == Address(
        hosts=(("db.example", 9001),), user="ann", database="homing", password="s3cret"
    )
    assert "s3cret" not in repr(there) + there.shown
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text("from a file\n")
    assert address(HERE, {PASSWORD_FILE: str(file)}).password == "from a file"
    file.chmod(0o644)
    with pytest.raises(SettingsFault, match="read by others"):
        address(HERE, {PASSWORD_FILE: str(file)})
    with pytest.raises(SettingsFault, match="cannot be read"):
        address(HERE, {PASSWORD_FILE: str(tmp_path / "none")})


def test_an_address_may_name_a_cluster() -> None:
    said = "clickhouse://u@a,b:9001/h?cluster=homing&quorum=2&secure=1"
    assert address(said, {}) == Address(
        hosts=(("a", 9440), ("b", 9001)),
        user="u",
        database="h",
        cluster="homing",
        quorum=2,
        secure=True,
    )


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsFault) as refused:
        address("clickhouse://ann:hush@h/d", {})
    assert "hush" not in str(refused.value) + refused.value.advice
    assert PASSWORD in refused.value.advice


@pytest.mark.parametrize(
    "said",
    [
        "",
        "clickhouse",
        "clickhouse://h",
        "clickhouse://h/",
        "clickhouse:///d",
        "clickhouse://h:x/d",
        "clickhouse://h:0/d",
        "clickhouse://h:70000/d",
        "clickhouse://h/d;DROP",
        "clickhouse://h/d?quorum=-1",
        "clickhouse://h/d?cluster=a b",
        "clickhouse://h/d?colour=red",
        "clickhouse://h/d?secure=yes",
        "clickhouse://a b/d",
        "http://h/d",
    ],
)
def test_an_address_that_is_none_is_refused_in_a_sentence(said: str) -> None:
    with pytest.raises(SettingsFault, match="clickhouse://USER@HOST:PORT/DATABASE"):
        address(said, {})


def test_a_collector_with_a_file_needs_no_driver() -> None:
    probe = "import sys, collector.server, collector.cli.parser; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", probe], text=True, timeout=60).split()
    assert "collector.engines" in loaded
    assert not {"clickhouse_driver", "collector.store.clickhouse"} & set(loaded)


# --- what is stored ----------------------------------------------------------------------------


def test_a_row_lies_under_the_day_that_it_says_only_if_that_is_believed() -> None:
    assert day_of(row(ts=NOW)) == NOW // DAY
    assert day_of(row(ts=NOW, said_ts=NOW - 90 * DAY, flags=CLOCK_NOT_BELIEVED)) == 0
    assert day_of(row(ts=NOW, said_ts=0)) == 0


def test_what_collectors_write_at_once_is_answered_once_and_the_first_is_kept(
    where: Address,
) -> None:
    dice = random.Random(3)
    events = [row(name=f"e{n}", device_id=f"d{n % 50}", ts=NOW - n) for n in range(2_000)]
    stores = [ClickHouseStore(where) for _ in range(3)]
    together = threading.Barrier(3)
    broken: list[BaseException] = []

    def write(store: ClickHouseStore, late_ms: int, mine: list[Stored]) -> None:
        try:
            for at in range(0, len(mine), 200):
                together.wait(30)
                store.write([e._replace(recv_ts=NOW + late_ms) for e in mine[at : at + 200]])
        except BaseException as exc:
            broken.append(exc)

    threads = []
    for late_ms, store in enumerate(stores):
        mine = [*events[:1_000], *dice.sample(events[1_000:], 1_000)]
        threads.append(threading.Thread(target=write, args=(store, late_ms, mine)))
        threads[-1].start()
    for thread in threads:
        thread.join(60)
    assert not broken
    total = "SELECT count(*), count(DISTINCT (key_a, key_b)), count(DISTINCT name) FROM {events}"
    for store in stores:
        assert store.ask(total, {}) == [(2_000, 2_000, 2_000)]
    ((rows,),) = stores[0].door.ask("SELECT count(*) FROM events")
    assert rows > 2_000, "they never wrote the same at once, so this showed nothing"
    kept_is_first = (
        "SELECT count(*) FROM"
        " (SELECT key_a, min(recv_ts) AS first FROM events GROUP BY key_a) AS f"
        " JOIN (SELECT key_a, recv_ts AS kept FROM events FINAL) AS e USING (key_a)"
        " WHERE first = kept"
    )
    assert stores[0].door.ask(kept_is_first) == [(2_000,)]
    stores[0].door.ask("OPTIMIZE TABLE events FINAL")
    assert stores[1].ask(total, {}) == [(2_000, 2_000, 2_000)]
    for store in stores:
        store.close()


def test_a_repeat_that_names_another_does_not_come_out_when_its_original_is_erased(
    where: Address,
) -> None:
    store = ClickHouseStore(where)
    first = row(user_id="ann")
    store.write([first, row(name="other", user_id="bob")])
    late = (*first._replace(user_id="bob", recv_ts=NOW + 9), NOW // DAY, 1)
    names = (*EVENT_COLUMNS, "day", "precedence")
    store.door.insert("events", names, [[value] for value in late], wait_s=5)
    store.erase("A", users=["ann"], devices=[])
    assert [one.name for rows in store.export("A") for one in rows] == ["other"]
    store.close()


def test_questions_about_a_day_find_rows_whose_clock_was_wrong(where: Address) -> None:
    store = ClickHouseStore(where)
    store.write(
        [
            row(name="right"),
            row(name="wrong", said_ts=NOW - 400 * DAY, ts=NOW, flags=CLOCK_NOT_BELIEVED),
            row(name="none", said_ts=0, ts=NOW),
            row(name="older", ts=NOW - 2 * DAY),
        ]
    )
    names = "SELECT name FROM {events} WHERE {range} ORDER BY name"
    today = {"app": "A", "start": NOW - DAY, "end": NOW + 1}
    assert store.ask(names, today) == [("none",), ("right",), ("wrong",)]
    store.close()


# --- when its server is hurt -------------------------------------------------------------------


@pytest.mark.system
def test_whatever_was_acknowledged_survives_kills_of_the_server(
    another_clickhouse: Callable[[], ClickHouse],
) -> None:
    server = another_clickhouse()
    store = ClickHouseStore(address(server.engine("homing"), {PASSWORD: server.password}))
    acknowledged: list[str] = []
    refused: list[StorageFault] = []
    ending = threading.Event()

    def write() -> None:
        batch = 0
        while not ending.is_set():
            events = [row(name=f"{batch}-{n}", device_id=f"d{n}") for n in range(20)]
            try:
                store.write(events)
            except StorageFault as fault:
                refused.append(fault)
                time.sleep(0.01)  # its sender repeats it
                continue
            acknowledged.extend(one.name for one in events)
            batch += 1

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(4):
        time.sleep(0.4)
        server.kill()
        time.sleep(0.1)
        server.start()
    time.sleep(0.3)
    ending.set()
    writer.join(30)
    stored = [str(name) for (name,) in store.ask("SELECT name FROM {events}", {})]
    assert len(acknowledged) > 100
    assert refused
    assert sorted(set(stored)) == sorted(stored)
    assert not set(acknowledged) - set(stored)
    store.close()


def test_a_server_that_is_away_is_a_fault_and_its_return_is_noticed(
    another_clickhouse: Callable[[], ClickHouse],
) -> None:
    server = another_clickhouse()
    store = ClickHouseStore(address(server.engine("homing"), {PASSWORD: server.password}))
    assert store.write([row(name="a")]) == 1
    server.kill()
    with pytest.raises(StorageFault, match="does not answer"):
        store.write([row(name="b")])
    with pytest.raises(StorageFault, match="does not answer"):
        store.count("A")
    server.start()
    assert store.count("A") == 1
    assert store.write([row(name="a"), row(name="b")]) == 1
    store.close()


def test_a_wrong_password_and_a_silent_port_are_told_in_a_sentence(
    clickhouse: ClickHouse, database: str
) -> None:
    with pytest.raises(StorageFault, match="Wrong password") as fault:
        ClickHouseStore(address(clickhouse.engine(database), {PASSWORD: "guess"}))
    assert "libclickhouse" not in str(fault.value)
    with pytest.raises(StorageFault, match="does not answer"):
        ClickHouseStore(address("clickhouse://u@127.0.0.1:1/d", {}))


def test_a_question_that_takes_too_long_is_given_up_and_the_next_is_answered(
    where: Address,
) -> None:
    store = ClickHouseStore(where)
    slow = "SELECT count(*) FROM system.numbers WHERE number % 7 = 9"
    started = time.monotonic()
    with pytest.raises(StorageFault, match="too long"):
        store.ask(slow, {}, deadline_s=1)
    assert time.monotonic() - started < 10
    assert store.count("A") == 0
    store.close()


def test_a_question_that_is_wrong_is_our_bug_and_not_the_worlds(where: Address) -> None:
    store = ClickHouseStore(where)
    for wrong in ("SELECT no_such_column FROM {events}", "SELEKT 1", "SELECT no_such(1)"):
        with pytest.raises(ServerException):
            store.ask(wrong, {})
    assert store.count("A") == 0
    store.close()


def test_many_threads_ask_at_once(where: Address) -> None:
    store = ClickHouseStore(where)
    store.write([row(name=f"e{n}") for n in range(100)])
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(store.count("A"))) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [100] * 30
    store.close()


# --- formats -----------------------------------------------------------------------------------


def test_collectors_that_start_together_make_one_database(
    clickhouse: ClickHouse, database: str
) -> None:
    there = address(clickhouse.engine(f"{database}_new"), {PASSWORD: clickhouse.password})
    opened: list[ClickHouseStore] = []
    threads = [
        threading.Thread(target=lambda: opened.append(ClickHouseStore(there))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(opened) == 6
    assert sum(store.write([row(name=f"e{n}")]) for n, store in enumerate(opened)) == 6
    for store in opened:
        assert store.count("A") == 6
        store.close()
    clickhouse.ask(f"DROP DATABASE {there.database}")


def test_a_database_of_a_newer_homing_is_refused_and_left(where: Address) -> None:
    ClickHouseStore(where).close()
    door = Door(where)
    door.insert("schema_version", ["version"], [[99]], wait_s=5)
    with pytest.raises(StorageFault, match="newer Homing"):
        ClickHouseStore(where)
    door.close()
