"""Who is erased is gone from every table, and from the bytes of the file (threats 59 and 32)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from collectors import DAY, HOUR, NOW, row

from collector.store.duck import DuckStore
from collector.store.duck_erasure import OLD, WHOSE
from collector.store.duck_schema import OWN_TABLES
from collector.store.interface import (
    TABLES,
    Attribute,
    Beat,
    Fact,
    Feedback,
    Membership,
    Named,
    Once,
    RawItem,
    Seen,
    Stored,
    Tombstone,
)

Opened = Callable[..., DuckStore]
CANARY = "canary-ü-4711@example.com"
ESCAPED = '{"x":"canary-\\u00fc-4711@example.com"}'
CAGE = "cage-0815"  #: Their device.


def canaries() -> tuple[list[Stored], list[Fact]]:
    """Return one fact of every class that is about the canary, and says so in some column."""
    rows = [
        row(user_id=CANARY, device_id=CAGE, name=f"of {CANARY}", payload=f'{{"who":"{CANARY}"}}'),
        row(user_id=CANARY, device_id="shared", event_id="1", attr_keys=[f"key {CANARY}"])._replace(
            attr_values=[f'"{CANARY}"']
        ),
        row(device_id=CAGE, event_id="2", anon_id=f"anon of {CAGE}"),
        row(device_id="other", machine_id=CAGE, event_id="3"),
        row(device_id="", user_id=CANARY, event_id="4", company_id="c", session_id="s"),
    ]
    more: list[Fact] = [
        Seen("A", "user", CANARY, NOW, NOW),
        Seen("A", "device", CAGE, NOW, 0),
        Beat("A", CAGE, "s", "", NOW, NOW),
        Beat("A", "shared", "s", CANARY, NOW, NOW),
        Attribute("A", "user", CANARY, "mail", f'"{CANARY}"', NOW, NOW),
        Membership("A", CANARY, "c", NOW, NOW),
        Feedback("A", "f", "F", CANARY, "c", 4.0, CANARY, "", "", "", NOW, NOW, f'"{CANARY}"'),
        RawItem("A", NOW, "bucket", "user", CANARY, CANARY, f'{{"userId":"{CANARY}"}}'),
        RawItem("A", NOW, "bucket", "quarantined", "", "no id", f'{{"user":"{CANARY}"}}'),
        RawItem(
            "A", NOW, "bucket", "quarantined", "", "", '{"x":"canary-\\u00fc-4711@example.com"}'
        ),
        Once("A", "0" * 64, NOW, f'{{"user":"{CANARY}"}}'),
        Named("A", f"of {CANARY}", ""),
        Named("A", "E", f"key {CANARY}"),
    ]
    return rows, more


def bystanders() -> tuple[list[Stored], list[Fact]]:
    """Return one fact of every class about somebody else, in the same app and in another."""
    rows = [
        row(
            user_id="bob", device_id="shared", ts=NOW + 1, event_id="5", attr_keys=["plan"]
        )._replace(attr_values=['"pro"']),
        row(app_id="B", user_id=CANARY, device_id=CAGE),
    ]
    more: list[Fact] = [
        Beat("A", "shared", "s", "bob", NOW, NOW),
        Attribute("A", "user", "bob", "mail", '"b"', NOW, NOW),
        Attribute("A", "company", "c", "plan", '"pro"', NOW, NOW),
        Membership("A", "bob", "c", NOW, NOW),
        Feedback("A", "g", "F", "bob", "c", 4.0, "", "", "", "", NOW, NOW, "{}"),
        RawItem("A", NOW, "bucket", "user", "bob", "", "{}"),
        Once("A", "1" * 64, NOW, "{}"),
        Named("A", "E", ""),
        Named("A", "E", "plan"),
        Tombstone("A", "user", "2" * 64, NOW, NOW + 30 * DAY),
    ]
    return rows, more


def contents(store: DuckStore, app: str = "A") -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table that the file really has."""
    names = store._read("SELECT table_name FROM information_schema.tables")
    assert {name for (name,) in names} == {*TABLES.values(), *OWN_TABLES}
    return {
        table: sorted(store._read(f"SELECT * FROM {table} WHERE app_id = $app", app=app))
        for table in TABLES.values()
    }


def told(path: Path) -> bool:
    """Whether the bytes of the store's files tell of the canary."""
    spoken = [word.encode() for word in (CANARY, CAGE, "4711@example", "canary-")]
    files = [file for file in path.parent.rglob("events.duckdb*") if file.is_file()]
    return any(word in file.read_bytes() for word in spoken for file in files)


def test_59_every_table_of_the_file_is_in_the_registry(opened: Opened) -> None:
    contents(opened())
    assert WHOSE.keys() == OLD.keys() == TABLES.keys()


def test_59_a_table_that_nobody_registered_is_noticed(opened: Opened) -> None:
    store = opened()
    store._file.writer.execute("CREATE TABLE rollup (app_id VARCHAR, user_id VARCHAR)")
    with pytest.raises(AssertionError):
        contents(store)


def test_59_no_column_of_any_table_tells_of_who_was_erased(opened: Opened) -> None:
    store = opened()
    store.write(*bystanders())
    before = contents(store), contents(store, "B")
    store.write(*canaries())
    full = contents(store)
    for shape, table in TABLES.items():
        if shape is not Tombstone:  # a digest under a key: it tells nothing
            assert CANARY in str(full[table]) or CAGE in str(full[table]), table
    done = store.erase("A", users=[CANARY], devices=[CAGE])
    assert done == 5 + 11 + 2  # events, facts but the names, first sights that the events made
    after = contents(store), contents(store, "B")
    assert CANARY not in str(after[0])
    assert CAGE not in str(after[0])
    assert after == before
    assert store.erase("A", users=[CANARY], devices=[CAGE]) == 0
    assert (contents(opened()), contents(opened(), "B")) == before


def test_59_compacting_leaves_no_byte_of_who_was_erased(opened: Opened, tmp_path: Path) -> None:
    store = opened()
    store.write(*bystanders())
    store.write(*canaries())
    store.drop_app("B")
    store.checkpoint()
    assert told(store.path)
    store.erase("A", users=[CANARY], devices=[CAGE])
    before = contents(store)
    owed = store.unswept
    assert owed > 0
    assert opened().unswept == owed, "the debt outlives a restart"
    store = opened()
    store.compact()
    assert not told(store.path)
    assert store.unswept == opened().unswept == 0
    store = opened()
    assert contents(store) == before
    assert store.write([row(name="goes on")]) == 1
    assert sorted(file.name for file in tmp_path.glob("events*")) == [
        "events.duckdb",
        "events.duckdb.wal",
    ]


def test_59_the_first_sight_of_a_shared_device_is_that_of_who_remains(opened: Opened) -> None:
    store = opened()
    store.write([row(user_id=CANARY, device_id="shared", ts=NOW - 3 * HOUR)])
    store.write([row(user_id="bob", device_id="shared", ts=NOW - HOUR)])
    store.erase("A", users=[CANARY], devices=[])
    for _ in range(2):
        firsts = store._read("SELECT kind, id, min(first_ts) FROM seen GROUP BY ALL ORDER BY ALL")
        assert firsts == [("device", "shared", NOW - HOUR), ("user", "bob", NOW - HOUR)]
        store = opened()
    store.write([row(user_id="bob", device_id="shared", ts=NOW - 2 * HOUR)])
    assert store._read("SELECT min(first_ts) FROM seen WHERE id = 'shared'") == [(NOW - 2 * HOUR,)]


def test_60_who_comes_back_is_seen_for_the_first_time(opened: Opened) -> None:
    store = opened()
    store.write([row(user_id=CANARY, device_id=CAGE, ts=NOW - DAY)])
    store.erase("A", users=[CANARY], devices=[CAGE])
    again = row(user_id=CANARY, device_id=CAGE, ts=NOW)
    assert store.write([again]) == 1
    assert store._read("SELECT kind, id, first_ts FROM seen ORDER BY kind") == [
        ("device", CAGE, NOW),
        ("user", CANARY, NOW),
    ]
    same = row(user_id=CANARY, device_id=CAGE, ts=NOW - DAY)
    assert store.write([same]) == 1, "what was erased is no repeat of anything"


def test_59_nobody_is_not_everybody(opened: Opened) -> None:
    store = opened()
    store.write([row(device_id="", user_id="x"), row(device_id="d", user_id="")])
    assert store.erase("A", users=[""], devices=["", ""]) == 0
    assert store.erase("A", users=[], devices=[]) == 0
    assert store.count("A") == 2


def test_59_an_id_is_data(opened: Opened) -> None:
    store = opened()
    odd = ["' OR 1=1 --", "%", "_", "$users", "\\", '"', "a\0b"]
    store.write([row(user_id=id_, event_id=str(n), device_id="d") for n, id_ in enumerate(odd)])
    for left, id_ in enumerate(reversed(odd)):
        assert store.erase("A", users=[id_], devices=[]) == 2
        assert store.count("A") == len(odd) - left - 1


def test_retention_removes_what_came_before_and_keeps_who_is_still_here(opened: Opened) -> None:
    store = opened()
    old = NOW - 100 * DAY
    store.write(
        [
            row(device_id="loyal", user_id="u", ts=old, recv_ts=old, name="old name"),
            row(device_id="gone", ts=old, recv_ts=old, event_id="2"),
            row(device_id="late", ts=NOW - 59 * DAY, recv_ts=NOW, event_id="3"),
            row(device_id="loyal", user_id="u", event_id="4"),
        ],
        [
            Beat("A", "gone", "s", "", old, old),
            Attribute("A", "user", "x", "k", "1", old, old),
            Membership("A", "x", "c", old, old),
            Feedback("A", "f", "F", "x", "c", 1.0, "", "", "", "", old, old, "{}"),
            RawItem("A", old, "bucket", "user", "x", "", "{}"),
            Once("A", "0" * 64, old, "{}"),
            Named("A", "old name", ""),
            Named("A", "E", ""),
            Seen("A", "company", "old", old, old),
            Seen("A", "company", "new", old, NOW),
            Tombstone("A", "user", "1", old, old + DAY),
            Tombstone("A", "user", "2", old, NOW),
            *canaries()[1],
        ],
    )
    assert store.purge("A", NOW - 90 * DAY) > 0
    kept = contents(store)
    assert sorted(one[12] for one in kept["events"]) == ["late", "loyal"]
    seen = {(one[1], one[2]): one[3] for one in kept["seen"]}
    assert seen[("device", "loyal")] == old, "the first sight is of all time"
    assert ("device", "gone") not in seen
    assert ("company", "old") not in seen
    assert ("company", "new") in seen
    assert [one[1] for one in kept["catalogue"] if one[1] == "old name"] == []
    assert [one[2] for one in kept["tombstone"]] == ["2"]
    assert str(old) not in str([kept[t] for t in TABLES.values() if t not in ("seen", "tombstone")])
    assert store.purge("A", NOW - 90 * DAY) == 0
    assert store.write([row(device_id="gone", event_id="9")]) == 1
    assert store._read("SELECT first_ts FROM seen WHERE id = 'gone'") == [(NOW,)]


def test_an_app_that_is_dropped_takes_no_other_with_it(opened: Opened) -> None:
    store = opened()
    store.write(*canaries())
    store.write(*bystanders())
    other = contents(store, "B")
    store.drop_app("A")
    assert not any(contents(store).values())
    assert contents(store, "B") == other
    store.compact()
    assert contents(store, "B") == other
