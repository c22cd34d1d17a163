"""What was said, from the moment it is noted until a person reads it: real threads, real files."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.adapters.records.wire_log import Room, WireRing
from agent.door.wire import ReadWire
from agent.runtime import wire as wire_module
from agent.runtime.wire import WireLog

MIB = 1024 * 1024
NOW_MS = 1_795_225_140_000
ROOM = Room(bytes=4 * MIB, days=14, records=100_000)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[WireLog]:
    log = WireLog(WireRing(tmp_path / "wire", ROOM))
    yield log
    log.close()


def texts(log: WireLog, **wanted: object) -> list[str]:
    return [entry.text for entry in log.page(ReadWire(**wanted)).entries]  # type: ignore[arg-type]


def test_what_is_noted_is_read_at_once_newest_first(log: WireLog) -> None:
    log.add(NOW_MS, "acme", "sent", b'{"data":[]}', upstream="main", peer="none (loopback)")
    log.add(NOW_MS + 1, "acme", "received", b"\xff")
    page = log.page(ReadWire())
    assert [(one.direction, one.text, one.size) for one in page.entries] == [
        ("received", "\ufffd", 1),
        ("sent", '{"data":[]}', 11),
    ]
    assert (page.entries[1].upstream, page.entries[1].peer) == ("main", "none (loopback)")
    assert (page.newest, page.held, page.dropped) == (2, 2, 0)
    assert page.oldest_ms == NOW_MS


def test_what_was_noted_reaches_the_disk_by_itself(log: WireLog, tmp_path: Path) -> None:
    log.add(NOW_MS, "acme", "sent", b"soon")
    until = time.monotonic() + 10
    while not (tmp_path / "wire").is_dir() or not list((tmp_path / "wire").iterdir()):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert [one.body for one in WireRing(tmp_path / "wire", ROOM).newest_first()] == [b"soon"]


@pytest.fixture
def conversation(log: WireLog) -> WireLog:
    """Two apps, two ways out, a request that was refused."""
    log.add(
        1_000, "acme", "sent", b'{"name":"Alpha"}', upstream="main", verdict="acknowledged 1 of 1"
    )
    log.add(2_000, "acme", "received", b"reply to alpha", upstream="main")
    log.add(
        3_000, "other", "sent", b"beta", upstream="bucket", kind="http", head="POST /bulk",
        peer="CN=far.example", verdict="refused: 400 no such feature",
    )  # fmt: skip
    return log


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"app_id": "acme"}, ["reply to alpha", '{"name":"Alpha"}']),
        ({"upstream": "bucket"}, ["beta"]),
        ({"direction": "received"}, ["reply to alpha"]),
        ({"verdict": "refused"}, ["beta"]),
        ({"verdict": "retried"}, []),
        ({"search": "ALPHA"}, ["reply to alpha", '{"name":"Alpha"}']),
        ({"search": "post /bulk"}, ["beta"]),
        ({"search": "far.example"}, ["beta"]),
        ({"search": "no such feature"}, ["beta"]),
        ({"search": "gamma"}, []),
        ({"since_ms": 2_000}, ["beta", "reply to alpha"]),
        ({"since_ms": 2_000, "until_ms": 3_000}, ["reply to alpha"]),
        ({"limit": 1}, ["beta"]),
        ({"before": 3, "limit": 1}, ["reply to alpha"]),
        ({"after": 1}, ["reply to alpha", "beta"]),
        ({"after": 1, "limit": 1}, ["reply to alpha"]),
        ({"after": 3}, []),
    ],
)
def test_the_record_can_be_searched(
    conversation: WireLog, wanted: dict[str, object], found: list[str]
) -> None:
    assert texts(conversation, **wanted) == found


def test_a_page_that_is_not_all_says_so(conversation: WireLog) -> None:
    assert conversation.page(ReadWire(limit=2)).more
    assert not conversation.page(ReadWire(limit=3)).more
    first = conversation.page(ReadWire(after=0, limit=2))
    assert (first.more, first.newest) == (True, 2)
    rest = conversation.page(ReadWire(after=first.newest, limit=2))
    assert ([one.text for one in rest.entries], rest.more) == (["beta"], False)


def test_a_verdict_that_comes_later_is_shown_with_what_it_is_about(log: WireLog) -> None:
    number = log.add(NOW_MS, "acme", "sent", b"frame", upstream="main")
    log.write()
    log.judge(number, NOW_MS + 5, "acme", "not answered", upstream="main")
    log.judge(number, NOW_MS + 9, "acme", "acknowledged 2 of 2", upstream="main")
    (entry,) = log.page(ReadWire()).entries
    assert entry.verdict == "acknowledged 2 of 2"
    assert texts(log, verdict="acknowledged") == ["frame"]
    assert texts(log, verdict="not answered") == []


def test_a_follower_who_saw_the_frame_is_told_the_verdict(log: WireLog) -> None:
    number = log.add(NOW_MS, "acme", "sent", b"frame")
    page = log.page(ReadWire(after=0))
    assert [(one.kind, one.verdict) for one in page.entries] == [("frame", "")]
    log.judge(number, NOW_MS, "acme", "acknowledged 1 of 1")
    page = log.page(ReadWire(after=page.newest))
    assert [(one.kind, one.of, one.verdict) for one in page.entries] == [
        ("verdict", 1, "acknowledged 1 of 1")
    ]


def test_a_follower_waits_for_something_to_happen(log: WireLog) -> None:
    asyncio.run(_follow(log))


async def _follow(log: WireLog) -> None:
    log.add(NOW_MS, "acme", "sent", b"before")
    newest = (await log.read(ReadWire())).newest
    waiting = asyncio.create_task(log.read(ReadWire(after=newest, wait_s=20)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    threading.Thread(target=log.add, args=(NOW_MS, "acme", "sent", b"now")).start()
    page = await asyncio.wait_for(waiting, 10)
    assert [entry.text for entry in page.entries] == ["now"]
    empty = await log.read(ReadWire(after=page.newest, wait_s=0.05))
    assert (empty.entries, empty.newest) == ((), page.newest)
    waiting = asyncio.create_task(log.read(ReadWire(after=page.newest, wait_s=20)))
    await asyncio.sleep(0.05)
    log.rest()  # the agent stops: nobody is cut off in the midst of an answer
    assert (await asyncio.wait_for(waiting, 2)).entries == ()


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    for life in (1, 2):
        log = WireLog(WireRing(tmp_path / "wire", ROOM))
        log.add(NOW_MS, "acme", "sent", b"life %d" % life)
        log.close()
    log = WireLog(WireRing(tmp_path / "wire", ROOM))
    assert [(one.n, one.text) for one in log.page(ReadWire()).entries] == [
        (2, "life 2"),
        (1, "life 1"),
    ]
    log.close()


def test_what_comes_faster_than_the_disk_is_dropped_and_counted(
    log: WireLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_module, "MOST_PENDING_BYTES", 10_000)
    with log._writing:  # a disk that does not answer
        numbers = [log.add(NOW_MS, "acme", "sent", b"x" * 1_000) for _ in range(20)]
    assert numbers.count(0) == log.dropped
    assert 0 < log.dropped < 20
    page = log.page(ReadWire())
    assert (len(page.entries), page.dropped) == (20 - log.dropped, log.dropped)


def test_a_disk_that_refuses_is_told_once_and_told_when_it_is_well_again(
    tmp_path: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.wire")
    told: list[str] = []
    log = WireLog(WireRing(tmp_path / "wire", ROOM), told.append)
    (tmp_path / "wire").write_text("a file in the folder's place")
    for _ in range(2):
        log.add(NOW_MS, "acme", "sent", b"lost")
        log.write()
    assert log.dropped == 2
    assert all("wire" in sentence for sentence in told)
    (tmp_path / "wire").unlink()
    log.add(NOW_MS, "acme", "sent", b"kept")
    assert texts(log) == ["kept"]
    assert told[-1] == ""
    log.close()


@pytest.mark.parametrize("room", [Room(0, 1, 1), Room(1, 0, 1), Room(1, 1, 0)])
def test_any_bound_of_nothing_keeps_nothing_and_forgets_what_was_kept(
    tmp_path: Path, room: Room
) -> None:
    before = WireLog(WireRing(tmp_path / "wire", ROOM))
    before.add(NOW_MS, "acme", "sent", b"kept before")
    before.close()
    log = WireLog(WireRing(tmp_path / "wire", room))
    log.open()
    assert log.add(NOW_MS, "acme", "sent", b"x") == 0
    assert texts(log) == []
    assert list((tmp_path / "wire").iterdir()) == []
    log.close()


def test_a_secret_never_reaches_the_disk(log: WireLog, tmp_path: Path) -> None:
    canary = "cAnArY-0123456789"
    log.masks.add("known-" + canary)
    log.add(NOW_MS, "a", "sent", f"Authorization: Bearer {canary}\r\n".encode(), kind="handshake")
    log.add(NOW_MS, "a", "sent", b"{}", kind="http", head=f"POST /{canary}/event")
    log.add(NOW_MS, "a", "sent", f'{{"x":"known-{canary}"}}'.encode())
    log.add(NOW_MS, "a", "received", b"", verdict=f"refused: token={canary}")
    number = log.add(NOW_MS, "a", "sent", b"{}")
    log.judge(number, NOW_MS, "a", f"refused: no app at /t/{canary}/")
    log.write()
    assert len(texts(log)) == 5
    said = "".join(
        f"{one.head}{one.verdict}{one.body!r}"
        for one in WireRing(tmp_path / "wire", ROOM).newest_first()
    )
    assert "cAnArY" not in said
    assert said.count("***") == 5


def test_an_app_that_is_purged_is_gone_from_what_is_pending_too(log: WireLog) -> None:
    log.add(NOW_MS, "acme", "sent", b"pending")
    log.add(NOW_MS, "other", "sent", b"stays")
    assert log.forget("acme") == 1
    assert texts(log) == ["stays"]


def test_many_threads_may_note_at_once(log: WireLog) -> None:
    def say(app: str) -> None:
        for n in range(500):
            log.add(NOW_MS, app, "sent", b"%d" % n)

    threads = [threading.Thread(target=say, args=(f"app-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(4):
        said = texts(log, app_id=f"app-{n}", limit=1_000)
        assert said == [str(n) for n in range(499, -1, -1)]


CHILD = """
import sys, time
from pathlib import Path
from agent.adapters.records.wire_log import Room, WireRing
from agent.runtime.wire import WireLog
log = WireLog(WireRing(Path(sys.argv[1]), Room(4 << 20, 14, 100_000)))
n = 0
while True:
    n += 1
    log.add(time.time_ns() // 1_000_000, "acme", "sent", b"%d" % n)
    if n % 100 == 0:
        print(n, flush=True)
    time.sleep(0.0005)
"""


def test_a_killed_process_loses_at_most_its_newest_second(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "wire")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    until_s, noted = time.monotonic() + 1.5, 0
    while time.monotonic() < until_s:
        noted = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    killed_ms = time.time_ns() // 1_000_000
    child.wait()
    child.stdout.close()
    kept = list(WireRing(tmp_path / "wire", ROOM).newest_first())
    assert [int(one.body) for one in kept] == list(range(len(kept), 0, -1))
    assert len(kept) > 0
    assert killed_ms - kept[0].at_ms < 1_000, (noted, len(kept))
    assert os.listdir(tmp_path / "wire")
