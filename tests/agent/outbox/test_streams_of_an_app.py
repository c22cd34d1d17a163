"""Several queues of one app in one outbox: counted by day, handed over, given up, salvaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from yard import NOW_MS, append, event, events, fail, findings, ids_in, settle, whole

from agent.adapters.outbox.daily import KEPT_DAYS, Day
from agent.adapters.outbox.migrations import V2, VERSION
from agent.adapters.outbox.outbox import Bounds, Outbox
from agent.rules.ledger import Loss
from tracking.errors import StorageFault

Open = Callable[..., Outbox]


def counted(box: Outbox, *names: str, day: str = "2026-11-20") -> list[int]:
    """Make streams of an app whose days are counted."""
    streams = [box.stream("acme", name) for name in names]
    box.counting.streams.update(streams)
    box.counting.today = lambda: day
    return streams


def test_what_a_queue_was_given_and_got_rid_of_is_counted_by_day(box: Outbox) -> None:
    a, b = counted(box, "a", "b")
    with box.turn():
        box.append(a, events(0, 10), NOW_MS)
        box.append(b, events(0, 10), NOW_MS)
    batch = whole(box, a)
    with box.turn():
        box.settle(batch, batch.ids[:7])
        box.bury(batch, batch.ids[7], "refused", "no", NOW_MS)
    assert box.days(a) == [Day("2026-11-20", a, accepted=10, delivered=7, dead=1)]
    box.counting.today = lambda: "2026-11-21"
    settle(box, whole(box, a))
    with box.turn():
        box.drop_letters(None)
    assert box.days(a)[1] == Day("2026-11-21", a, delivered=2, dead=-1, lost=1)
    assert box.days(b) == [Day("2026-11-20", b, accepted=10)]


def test_a_turn_that_fails_counts_nothing(box: Outbox) -> None:
    (a,) = counted(box, "a")
    with pytest.raises(StorageFault):
        fail(box, a, events(0, 3))
    assert box.days(a) == []


def test_a_queue_that_nobody_compares_is_not_counted(box: Outbox) -> None:
    stream = box.stream("acme", "nucleus")
    append(box, stream, events(0, 3))
    assert box.days(stream) == []


def test_days_are_there_after_a_restart_and_old_ones_go(open_box: Open) -> None:
    box = open_box()
    (a,) = counted(box, "a", day="2025-01-01")
    append(box, a, events(0, 1))
    box.close()
    box = open_box()
    for n in range(KEPT_DAYS):
        counted(box, "a", day=f"2026-{n // 28 + 1:02}-{n % 28 + 1:02}")
        append(box, a, [event(f"d{n}")])
    box.trim(NOW_MS)
    days = box.days(a)
    assert (len(days), days[0].day) == (KEPT_DAYS, "2026-01-01")


def test_days_survive_a_file_whose_header_is_garbage(
    path: Path, open_box: Open, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.outbox")
    box = open_box()
    a, b = counted(box, "a", "b")
    with box.turn():
        box.append(a, events(0, 10), NOW_MS)
        box.append(b, events(0, 10), NOW_MS)
    settle(box, whole(box, a))
    before = (box.days(a), box.days(b))
    box.close()
    with path.open("r+b") as file:
        file.write(b"\xff" * 16)
    box = open_box()
    assert box.opening.salvaged == 10
    assert (box.days(box.stream("acme", "a")), box.days(box.stream("acme", "b"))) == before
    assert all(one.balanced for one in box.accounts().values())


def test_a_queue_is_handed_over_in_order_and_both_ledgers_balance(box: Outbox) -> None:
    old, new = box.stream("acme", "old"), box.stream("acme", "new")
    append(box, old, events(0, 2500))
    settle(box, whole(box, old))
    append(box, new, [event("first")])
    slices = list(box.moving(old, new))
    assert sum(slices) == 2000
    assert len(slices) > 1, "others are served in between"
    assert ids_in(box) == ["efirst", *(f"e{n}" for n in range(500, 2500))]
    assert box.account(old).accepted == box.account(old).delivered == 500
    assert (box.account(new).accepted, box.account(new).pending) == (2001, 2001)
    assert findings(box) == []
    assert whole(box, new).ids == ("efirst",)


def test_what_was_handed_over_keeps_its_age(box: Outbox) -> None:
    old, new = box.stream("acme", "old"), box.stream("acme", "new")
    append(box, old, events(0, 2), NOW_MS - 5000)
    assert list(box.moving(old, new)) == [2]
    assert box.pending(new).oldest_ms == NOW_MS - 5000


def test_half_a_handing_over_is_gone_on_with_after_a_crash(open_box: Open) -> None:
    box = open_box()
    old, new = box.stream("acme", "old"), box.stream("acme", "new")
    append(box, old, events(0, 3000))
    next(box.moving(old, new))
    box.close()
    box = open_box()
    assert box.account(old).pending + box.account(new).pending == 3000
    for _ in box.moving(old, new):
        pass
    assert ids_in(box) == [f"e{n}" for n in range(3000)]
    assert findings(box) == []


def test_a_dropped_queue_is_lost_by_name_and_its_neighbour_untouched(box: Outbox) -> None:
    gone, kept = box.stream("acme", "gone"), box.stream("acme", "kept")
    for stream in (gone, kept):
        append(box, stream, events(0, 40))
    batch = whole(box, gone)
    with box.turn():
        box.bury(batch, batch.ids[0], "refused", "no", NOW_MS)
    assert sum(box.dropping(gone)) == 40
    account = box.account(gone)
    assert (account.pending, account.dead, account.lost) == (0, 0, {Loss.PURGED: 40})
    assert account.balanced
    assert box.account(kept).pending == 40
    assert b"e39" in b"".join(row.body for row in box.export("acme"))
    assert findings(box) == []


def test_two_queues_of_the_greediest_app_are_cut_before_another_apps(open_box: Open) -> None:
    box = open_box(bounds=Bounds(events=1000))
    a, b = box.stream("greedy", "a"), box.stream("greedy", "b")
    quiet = box.stream("quiet", "nucleus")
    with box.turn():
        for n in range(60):
            box.append(a, events(n * 10, 10), NOW_MS)
            box.append(b, events(n * 10, 10), NOW_MS)
        box.append(quiet, events(0, 300), NOW_MS)
    box.trim(NOW_MS)
    assert box.account(quiet).pending == 300
    assert box.account(a).pending + box.account(b).pending <= 700
    assert box.account(a).balanced
    assert box.account(b).balanced


def test_a_file_of_version_2_is_upgraded_with_every_event(path: Path, open_box: Open) -> None:
    box = open_box()
    stream = box.stream("acme", "nucleus")
    append(box, stream, events(0, 1500))
    settle(box, whole(box, stream))
    box.close()
    db = sqlite3.connect(path)
    tables = {words.split()[2] for words in V2.split(";") if words.split()[:2][1:] == ["TABLE"]}
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        if name not in tables:
            db.execute(f"DROP TABLE {name}")
    db.execute("PRAGMA user_version = 2")
    db.commit()
    db.close()
    box = open_box()
    assert box.opening.upgraded_from == 2
    assert box.opening.notices == [f"The outbox was upgraded from format 2 to {VERSION}."]
    stream = box.stream("acme", "nucleus")
    assert ids_in(box) == [f"e{n}" for n in range(500, 1500)]
    account = box.account(stream)
    assert (account.accepted, account.delivered, account.pending) == (1500, 500, 1000)
    (other,) = counted(box, "nucleus")
    append(box, other, [event("new")])
    assert box.days(stream) == [Day("2026-11-20", stream, accepted=1)]


def test_an_event_on_two_queues_is_listed_and_exported_once_in_order(box: Outbox) -> None:
    a, b = box.stream("acme", "a"), box.stream("acme", "b")
    other = box.stream("other", "nucleus")
    for n in range(30):
        with box.turn():
            for stream in (a, b, other):
                box.append(stream, events(n * 100, 100), NOW_MS + n)
    settle(box, whole(box, a))
    assert [row.id for row in box.export("acme")] == [f"e{n}" for n in range(3000)]
    assert [row.id for row in box.queued("acme", 2)] == ["e0", "e1"]
    assert [row.app_id for row in box.export(None)] == ["acme"] * 3000 + ["other"] * 3000
