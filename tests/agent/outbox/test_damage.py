"""A damaged file never stops the outbox: what can be read is kept, what cannot is counted."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from yard import NOW_MS, append, crash, event, events, findings, ids_in, settle, whole

from agent.adapters.outbox.outbox import Outbox
from agent.rules.ledger import Account, Loss
from tracking.errors import Damaged

PAGE = 4096
EVENTS = 6000
Expect = Callable[..., None]


def zeros(raw: bytes) -> bytes:
    return bytes(len(raw))


def flipped(raw: bytes) -> bytes:
    return bytes(byte ^ 0xA5 for byte in raw)


def strike(path: Path, at: int, how: Callable[[bytes], bytes], size: int = PAGE) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        raw = file.read(size)
        file.seek(at)
        file.write(how(raw))


def fill(box: Outbox) -> None:
    """Two apps, small and large rows, some delivered, some dead."""
    stream, other = box.stream("acme", "nucleus"), box.stream("other", "nucleus")
    for first in range(0, EVENTS, 10):
        append(box, stream if first % 100 else other, events(first, 10, size=40))
    append(box, stream, [event(90_000 + n, "big" * 9000) for n in range(5)])
    settle(box, whole(box, stream))
    with box.turn():
        batch = whole(box, stream)
        for id_ in batch.ids[:7]:
            box.bury(batch, id_, "refused", "no", NOW_MS)
        box.keep_profile("acme", b"{}")
        box.remember([bytes([n]) * 16 for n in range(200)], NOW_MS)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a life behind it, closed."""
    path = tmp_path_factory.mktemp("original") / "outbox.db"
    box = Outbox.open(path, box_bounds(), NOW_MS)
    fill(box)
    box.close()
    return path


def box_bounds() -> object:
    from agent.adapters.outbox.outbox import Bounds

    return Bounds()


@pytest.fixture
def copy(original: Path, path: Path) -> Path:
    path.parent.mkdir(mode=0o700)
    shutil.copy(original, path)
    return path


def totals(box: Outbox) -> tuple[int, int]:
    """How many events were ever accepted, and how many are counted as damaged."""
    accounts = box.accounts().values()
    assert all(account.balanced for account in accounts)
    return (
        sum(account.accepted for account in accounts),
        sum(account.lost.get(Loss.DAMAGED, 0) for account in accounts),
    )


def goes_on(box: Outbox) -> None:
    """New events are accepted, lent and settled; the books fit."""
    stream = box.stream("new", "nucleus")
    append(box, stream, events(1_000_000, 3))
    assert settle(box, whole(box, stream)) == 3
    for app, upstream in box.accounts():
        after, seen = 0, 0
        while (batch := box.lease(box.stream(app, upstream), after, 500, 1 << 18)) is not None:
            after, seen = batch.last, seen + batch.count
        assert seen == box.accounts()[app, upstream].pending
    assert findings(box) == []


@pytest.mark.parametrize("how", [zeros, flipped])
@pytest.mark.parametrize("part", [n / 16 for n in range(16)])
def test_four_kilobytes_anywhere_cost_what_lay_there_and_no_more(
    copy: Path,
    open_box: Callable[..., Outbox],
    expected_warnings: Expect,
    part: float,
    how: Callable[[bytes], bytes],
) -> None:
    expected_warnings("agent.outbox")
    pages = copy.stat().st_size // PAGE
    before = ids_of_file(copy)
    strike(copy, int(pages * part) * PAGE, how)
    box = open_box()
    kept = ids_in(box)
    assert set(kept) <= before
    if box.opening.set_aside is None:  # a free page was hit
        assert set(kept) == before
    else:
        assert box.opening.set_aside.exists()
    lost = len(before) - len(kept)
    assert lost <= 60, "one page holds no more"
    accepted, damaged = totals(box)
    assert damaged == box.opening.damaged
    assert lost <= damaged + 7 or accepted < EVENTS
    goes_on(box)


def ids_of_file(path: Path) -> set[str]:
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    bodies = [row[0] for row in db.execute("SELECT body FROM segment")]
    db.close()
    from agent.adapters.outbox.segments import ids_of

    return {id_ for body in bodies for id_ in ids_of(body)}


@pytest.mark.parametrize("part", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_keeps_what_is_left_of_it(
    copy: Path, open_box: Callable[..., Outbox], expected_warnings: Expect, part: float
) -> None:
    expected_warnings("agent.outbox")
    before = ids_of_file(copy)
    size = copy.stat().st_size
    with copy.open("r+b") as file:
        file.truncate(int(size * part))
    box = open_box()
    kept = ids_in(box)
    assert set(kept) <= before
    assert len(kept) >= (part - 0.2) * len(before)
    totals(box)
    goes_on(box)


@pytest.mark.parametrize("size", [16, 100, PAGE])
def test_a_file_with_a_garbage_header_is_read_all_the_same(
    copy: Path, open_box: Callable[..., Outbox], expected_warnings: Expect, size: int
) -> None:
    expected_warnings("agent.outbox")
    before = ids_of_file(copy)
    strike(copy, 0, flipped, size)
    box = open_box()
    assert set(ids_in(box)) == before
    goes_on(box)


def test_what_is_no_database_at_all_is_set_aside(
    path: Path, open_box: Callable[..., Outbox], expected_warnings: Expect
) -> None:
    expected_warnings("agent.outbox")
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"\x00\xff garbage" * 3000)
    path.chmod(0o600)
    box = open_box()
    assert box.opening.set_aside is not None
    assert box.opening.set_aside.read_bytes() == b"\x00\xff garbage" * 3000
    goes_on(box)


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.99])
def test_garbage_in_the_log_costs_what_lay_there(
    path: Path,
    tmp_path: Path,
    open_box: Callable[..., Outbox],
    expected_warnings: Expect,
    part: float,
) -> None:
    expected_warnings("agent.outbox")
    box = open_box()
    stream = box.stream("acme", "nucleus")
    for first in range(0, 300, 10):
        append(box, stream, events(first, 10, size=40))
    where = crash(box, tmp_path / "crash")
    log = where.with_name(f"{where.name}-wal")
    strike(log, int(log.stat().st_size * part) // 32 * 32, flipped, 64)
    again = open_box(where)
    kept = ids_in(again)
    assert kept == sorted(kept, key=lambda id_: int(id_[1:]))
    assert len(kept) >= 250
    assert kept[-1] == "e299" or part > 0.9
    assert len(kept) == 300 or again.opening.notices or part > 0.9  # a torn end is no damage
    totals(again)
    goes_on(again)


def test_a_ledger_that_does_not_fit_is_booked_as_damage_and_told(
    copy: Path, open_box: Callable[..., Outbox], expected_warnings: Expect
) -> None:
    expected_warnings("agent.outbox")
    db = sqlite3.connect(copy)
    (seq, gone) = db.execute("SELECT seq, events FROM segment ORDER BY seq LIMIT 1").fetchone()
    db.execute("DELETE FROM segment WHERE seq = ?", (seq,))
    db.commit()
    db.close()
    box = open_box()
    assert box.opening.damaged == gone
    assert any("damage" in said for said in box.opening.notices)
    assert totals(box)[1] == gone
    box.close()
    assert open_box().opening.notices == []


def test_a_ledger_that_knows_too_little_is_put_right_and_told(
    copy: Path, open_box: Callable[..., Outbox], expected_warnings: Expect
) -> None:
    expected_warnings("agent.outbox")
    db = sqlite3.connect(copy)
    db.execute("UPDATE stream SET accepted = accepted - 5 WHERE app_id = 'other'")
    db.commit()
    db.close()
    box = open_box()
    assert len(box.opening.notices) == 1
    totals(box)
    box.close()
    assert open_box().opening.notices == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE loss SET reason = 'x'",
        "UPDATE stream SET accepted = 'many'",
        "UPDATE stream SET accepted = NULL",
        "UPDATE stream SET id = 77 WHERE app_id = 'acme'",
        "DELETE FROM stream",
        "UPDATE segment SET stream = 99",
        "UPDATE dead_letter SET stream = 99",
        "UPDATE segment SET events = -4",
        "UPDATE segment SET bytes = 'x'",
        "UPDATE segment SET body = 'x'",
        "DROP TABLE seen",
        "DROP TABLE segment",
        "DROP TABLE stream",
        "DROP INDEX segment_by_stream",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = 1",
        "UPDATE seen_day SET n = 'x'",
        "UPDATE segment SET seq = 9223372036854775807 WHERE seq = (SELECT max(seq) FROM segment)",
    ],
)
def test_content_that_nobody_wrote_does_not_stop_it(
    copy: Path, open_box: Callable[..., Outbox], expected_warnings: Expect, change: str
) -> None:
    expected_warnings("agent.outbox")
    db = sqlite3.connect(copy, isolation_level=None)
    db.execute("PRAGMA writable_schema = OFF")
    if change.startswith("UPDATE loss"):
        db.execute("INSERT INTO loss VALUES (1, 'expired', 3)")
    db.execute(change.replace("NULL", "-1"))
    db.close()
    box = open_box()
    totals(box)
    goes_on(box)


def test_damage_found_while_running_is_mended_in_place(
    path: Path, open_box: Callable[..., Outbox], expected_warnings: Expect
) -> None:
    expected_warnings("agent.outbox")
    box = open_box()
    told: list[str] = []
    box.on_notice = told.append
    fill(box)
    stream, other = box.stream("acme", "nucleus"), box.stream("other", "nucleus")
    before = box.account(stream).copy()
    while box.tidy():
        pass
    lent = whole(box, stream)
    box._db.execute("PRAGMA shrink_memory")
    pages = path.stat().st_size // PAGE
    for page in range(pages // 3, pages // 3 + 4):
        strike(path, page * PAGE, zeros)
    seen, after = list(lent.ids), lent.last
    while (batch := box.lease(stream, after, 500, 1 << 18)) is not None:
        seen, after = [*seen, *batch.ids], batch.last
    assert told
    assert settle(box, lent) == lent.count  # what was lent before is settled after
    append(box, stream, events(2_000_000, 2))
    assert whole(box, stream, after).ids == ("e2000000", "e2000001")  # the cursor stayed valid
    now = box.account(stream)
    assert now.accepted == before.accepted + 2
    assert now.delivered == before.delivered + lent.count
    assert 0 <= totals(box)[1] <= 300
    assert len(seen) == len(set(seen))
    assert box.account(other).balanced
    goes_on(box)


def test_a_turn_on_a_damaged_file_fails_by_name_and_the_next_one_works(
    path: Path, open_box: Callable[..., Outbox], expected_warnings: Expect
) -> None:
    expected_warnings("agent.outbox")
    box = open_box()
    fill(box)
    box.tidy()
    stream = box.stream("acme", "nucleus")
    before = box.account(stream).copy()
    for page in range(1, path.stat().st_size // PAGE):  # all but the first
        strike(path, page * PAGE, flipped)
    box._db.execute("PRAGMA shrink_memory")
    with pytest.raises(Damaged):
        append(box, stream, events(2_000_000, 2))
    append(box, stream, events(2_000_000, 2))
    now = box.account(stream)
    assert now.accepted == before.accepted + 2
    assert now == Account(
        accepted=before.accepted + 2,
        delivered=before.delivered,
        pending=2,
        dead=0,
        lost={Loss.DAMAGED: before.pending + before.dead},
    )
    goes_on(box)
