"""What is erased is gone from every table, and nobody else's is (SECURITY.md, "Delete-user")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from collectors import DAY, NOW, row

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
    Store,
    Stored,
    Tombstone,
)

Opened = Callable[..., Store]
ODD = 'Zoë "\\"'


def everything_about(
    app: str, user: str, device: str, at: int = NOW
) -> tuple[list[Stored], list[Fact]]:
    """Return one row of every class that names somebody."""
    rows = [row(app_id=app, user_id=user, device_id=device, name=f"by {user}", ts=at, recv_ts=at)]
    raw = f'{{"userId":"{user}"}}'
    facts: list[Fact] = [
        Seen(app, "user", user, at, at),
        Beat(app, device, "s", user, at, at + 1),
        Attribute(app, "user", user, "plan", '"pro"', at, at),
        Membership(app, user, "acme", at, at),
        Feedback(app, f"f-{user}", "k", user, "", 3.0, "hm", "", "", "", at, at, raw),
        RawItem(app, at, "bucket", "track", user, "", raw),
        RawItem(app, at, "bucket", "quarantined", "", "odd", raw),
        Once(app, f"once-{user}", at, raw),
        Named(app, f"by {user}", ""),
        Tombstone(app, "user", f"digest of {user}", at, at + DAY),
    ]
    return rows, facts


def counts(store: Store, app: str = "A") -> dict[str, int]:
    """Return how many rows of an app each table has."""
    found = {}
    for table in TABLES.values():
        name = "{events}" if table == "events" else table
        ((found[table],),) = store.ask(
            f"SELECT count(*) FROM {name} WHERE app_id = $app", {"app": app}
        )
    return found


def mentions(store: Store, who: str) -> list[str]:
    """Return the tables in which some text mentions somebody."""
    found = []
    for shape, table in TABLES.items():
        fields: tuple[str, ...] = shape._fields  # type: ignore[attr-defined]
        texts = [f for f in fields if f not in {"app_id", "attr_keys", "attr_values", "score"}]
        wanted = " OR ".join(f"{{text|{name}}} LIKE $like" for name in texts)
        if store.ask(f"SELECT count(*) FROM {table} WHERE {wanted}", {"like": f"%{who}%"})[0][0]:
            found.append(table)
    return found


def test_a_user_is_erased_from_every_table_and_nobody_else_is(opened: Opened) -> None:
    store = opened()
    store.write(*everything_about("A", "ann@x", "d1"))
    store.write(*everything_about("A", "bob@x", "d2"))
    store.write(*everything_about("B", "ann@x", "d1"))
    bob, other_app = counts(store), counts(store, "B")
    assert store.erase("A", users=["ann@x"], devices=["d1"]) >= 9
    left = mentions(store, "ann@x")
    assert counts(store, "B") == other_app
    store.drop_app("B")
    assert counts(store, "B") == dict.fromkeys(other_app, 0)
    assert mentions(store, "ann@x") == ["tombstone"]  # the digest of this test says the name
    assert set(left) >= {"events", "tombstone"}
    alone = {table: count // 2 for table, count in bob.items()}
    assert counts(store) == {**alone, "tombstone": 2}
    assert store.erase("A", users=["ann@x"], devices=["d1"]) == 0


def test_an_id_with_quotes_and_letters_is_erased_as_it_is(opened: Opened) -> None:
    store = opened()
    rows, _ = everything_about("A", "x", "d")
    rows = [one._replace(user_id=ODD) for one in rows]
    note = RawItem("A", NOW, "bucket", "track", "", "", '{"userId":"Zo\\u00eb \\"\\\\\\""}')
    store.write(rows, [note, Seen("A", "user", ODD, NOW, 0), Seen("A", "user", "Zoë", NOW, 0)])
    store.erase("A", users=[ODD], devices=[])
    said = counts(store)
    assert (said["events"], said["raw_item"]) == (0, 0)
    assert store.ask("SELECT id FROM seen WHERE kind = 'user'", {}) == [("Zoë",)]


def test_who_shared_a_device_keeps_a_first_sight_of_their_own(opened: Opened) -> None:
    store = opened()
    store.write([row(user_id="gone", ts=NOW - 5 * DAY), row(user_id="stays", ts=NOW - DAY)])
    store.erase("A", users=["gone"], devices=[])
    first = "SELECT kind, id, min(first_ts) FROM seen GROUP BY kind, id ORDER BY kind, id"
    assert store.ask(first, {}) == [("device", "d", NOW - DAY), ("user", "stays", NOW - DAY)]
    store.write([row(user_id="gone", ts=NOW)])
    assert ("user", "gone", NOW) in store.ask(first, {})


def test_a_name_that_only_they_used_leaves_the_catalogue(opened: Opened) -> None:
    store = opened()
    mine = row(user_id="u", name="Paul's file", attr_keys=["mine"], attr_values=["1"])
    shared = row(user_id="u", name="saved", attr_keys=["size", "odd"], attr_values=["1", "2"])
    others = shared._replace(user_id="w", key_a=9, attr_keys=["size"], attr_values=["1"])
    names = [
        ("Paul's file", ""),
        ("Paul's file", "mine"),
        ("saved", ""),
        ("saved", "size"),
        ("saved", "odd"),
    ]
    store.write([mine, shared, others], [Named("A", *name) for name in names])
    store.erase("A", users=["u"], devices=[])
    listed = "SELECT DISTINCT event, key FROM catalogue ORDER BY event, key"
    assert store.ask(listed, {}) == [("saved", ""), ("saved", "size")]


@pytest.mark.parametrize("keep", [0, 1])
def test_retention_removes_what_came_before_and_keeps_who_is_still_here(
    opened: Opened, keep: int
) -> None:
    store = opened()
    old, new = NOW - 40 * DAY, NOW - DAY
    store.write(*everything_about("A", "ann", "d1", old))
    store.write(*everything_about("A", "bob", "d2", new))
    store.write(
        [row(user_id="bob", device_id="d1" if keep else "d2", ts=new, name="again", recv_ts=new)]
    )
    before = counts(store)
    assert store.purge("A", NOW - 30 * DAY) > 6
    after = counts(store)
    assert after["events"] == before["events"] - 1
    assert after["tombstone"] == 1
    assert "ann" not in str(store.ask("SELECT * FROM seen", {}))
    left: list[Any] = store.ask(
        "SELECT DISTINCT id FROM seen WHERE kind = 'device' ORDER BY id", {}
    )
    assert left == ([("d1",), ("d2",)] if keep else [("d2",)])
    assert store.purge("A", NOW - 30 * DAY) == 0


def test_what_was_erased_is_swept_from_the_files(opened: Opened) -> None:
    store = opened()
    store.write([row(name=f"n{n}", user_id="u") for n in range(100)])
    store.write([row(name="kept", user_id="w")])
    store.erase("A", users=["u"], devices=[])
    assert store.unswept > 0
    store.compact()
    assert store.unswept == 0
    assert store.count("A") == 1
    assert store.size_bytes() > 0
