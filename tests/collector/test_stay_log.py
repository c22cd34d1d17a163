"""Stays on the disk: written seldom and together, and lost by no end but a kill."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest
from collectors import DAY, NOW, AppOf, Collector, now_ms, until

from collector.intake.stays import MOST_A_WRITE, StayLog, Who
from collector.store.duck import DuckStore
from collector.store.interface import Beat
from tracking.dates import iso
from tracking.errors import StorageFault

D = Who("A", "d", "1", "u")
MINUTE = 60_000


class Notebook:
    """Stands in for the writer."""

    def __init__(self) -> None:
        self.writes: list[list[Beat]] = []
        self.full = False

    async def write(self, rows: Sequence[object], more: Sequence[Beat]) -> int:
        assert not rows
        await asyncio.sleep(0)
        if self.full:
            raise StorageFault("the disk is full")
        self.writes.append(list(more))
        return 0


class Timers:
    """The loop's timers, run by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set: list[tuple[float, Callable[[], object]]] = []
        self.loop = asyncio.get_running_loop()
        monkeypatch.setattr(self.loop, "call_later", self.call_later)

    def call_later(self, s: float, do: Callable[..., object], *args: Any) -> Any:
        self.set.append((s, lambda: do(*args)))
        return self.loop.call_at(self.loop.time() + 3600, lambda: None)

    async def run(self, seconds: float) -> None:
        due = [do for s, do in self.set if s == seconds]
        self.set = [(s, do) for s, do in self.set if s != seconds]
        for do in due:
            do()
        for _ in range(10):
            await asyncio.sleep(0)


def test_ten_thousand_idle_agents_wake_nobody_and_are_written_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> None:
        book, timers = Notebook(), Timers(monkeypatch)
        log = StayLog(book, lambda: NOW)
        for n in range(10_000):
            log.opened(D._replace(device_id=f"d{n}"))
        assert [s for s, _ in timers.set] == [300.0]
        await timers.run(300.0)
        assert [len(beats) for beats in book.writes] == [MOST_A_WRITE]
        assert [s for s, _ in timers.set] == [300.0]
        for n in range(10_000):
            log.closed(D._replace(device_id=f"d{n}"))
        await timers.run(1.0)
        assert len(book.writes) == 1  # no time has passed since: there is nothing new to say
        await timers.run(300.0)
        assert timers.set == []  # nobody is there: nothing wakes up

    asyncio.run(scene())


def test_a_stay_that_could_not_be_written_is_written_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> None:
        book, timers = Notebook(), Timers(monkeypatch)
        log = StayLog(book, lambda: NOW)
        book.full = True
        log.opened(D)
        log.closed(D)
        await timers.run(1.0)
        assert book.writes == []
        assert {s for s, _ in timers.set} >= {30.0}  # and not once a second
        book.full = False
        await timers.run(30.0)
        assert book.writes == [[Beat(*D, NOW, NOW)]]

    asyncio.run(scene())


def test_an_end_with_a_full_disk_says_what_is_lost(expected_warnings: Callable[..., None]) -> None:
    expected_warnings("collector.intake.stays")

    async def scene() -> None:
        book = Notebook()
        book.full = True
        log = StayLog(book, lambda: NOW)
        log.opened(D)
        await log.finish()
        assert book.writes == []

    asyncio.run(scene())


# --- in a real server --------------------------------------------------------------------------


def kept(far_end: Collector) -> list[Beat]:
    """Return the beats in the file of a server that has ended."""
    store = DuckStore(far_end.folder.events, now_ms())
    with contextlib.closing(store):
        return sorted(Beat(*row) for row in store._read("SELECT * FROM beat"))


def test_a_socket_that_closed_and_one_that_a_drain_closes_have_left_their_stay(
    run: Callable[..., Collector],
) -> None:
    far_end = run()
    far_end.app("A")
    began = now_ms()
    gone, stays = far_end.ws(), far_end.ws()
    init = {"type": "init", "date": began, "sessionId": 7, "userId": "u"}
    for ws, device in ((gone, "gone"), (stays, "stays")):
        ws.send(json.dumps({"data": [{**init, "deviceId": device}]}))
        ws.recv()
    gone.close()
    frame = {"data": [{"type": "heartbeat", "machineId": "web", "sessionId": 9}]}
    assert far_end.request("POST", "/app/A/track", frame)[0] == 200
    assert far_end.stop() == 0
    beats = kept(far_end)
    whos = {beat[:4] for beat in beats}
    assert whos == {
        ("A", "gone", "7", "u"),
        ("A", "stays", "7", "u"),
        ("A", "web", "9", ""),
    }
    assert all(began <= b.first_ts <= b.last_ts <= now_ms() for b in beats)


def test_the_close_of_a_socket_is_the_last_that_was_seen_and_ends_the_session(app: AppOf) -> None:
    at = now_ms() - 5 * MINUTE
    init = {"type": "init", "date": at, "sessionId": 7, "userId": "u", "deviceId": "d"}
    app.say({"data": [init]})
    closed = now_ms()
    path = f"/api/v1/apps/{app.id}/users/u"

    def said() -> Any:
        return app.far_end.request("GET", path, headers={"Authorization": app.token})[1]

    def last_seen() -> float:
        return datetime.fromisoformat(said()["user"]["lastSeen"]).timestamp() * 1000

    until(lambda: last_seen() >= closed - 1000)
    (session,) = said()["sessions"]
    assert (session["start"], session["end"]) == (iso(at), iso(at))  # of its events alone
    span = f"start={at - DAY}&end={at + DAY}"
    (seconds,) = app.ask(f"/analytics?{span}")["avgSessionDuration"].values()
    assert 300 <= seconds < 320


def test_a_kill_loses_no_stay_that_ended_before(run: Callable[..., Collector]) -> None:
    far_end = run()
    far_end.app("A")
    other = {"data": [{"type": "event", "name": "E", "deviceId": "e"}]}
    far_end.say(other)
    log = far_end.folder.events.with_name("events.duckdb.wal")
    before = log.stat().st_size
    far_end.say({"data": [{"type": "heartbeat", "deviceId": "d", "sessionId": 7}]})
    until(lambda: log.stat().st_size > before)
    far_end.say(other)  # what is committed after it makes sure that it was
    far_end.kill()
    assert ("A", "d", "7", "") in {beat[:4] for beat in kept(far_end)}


def test_a_socket_that_closes_while_the_end_is_written_was_told_already() -> None:
    """Its task may come last of all; nobody is there any more to write another row."""

    async def scene() -> tuple[list[list[Beat]], int]:
        book, now = Notebook(), NOW
        log = StayLog(book, lambda: now)
        log.opened(D)
        now += 1_000
        ending = asyncio.get_running_loop().create_task(log.finish())
        await asyncio.sleep(0)
        now += 5
        log.closed(D)
        await ending
        return book.writes, len(log.stays.ended)

    writes, left = asyncio.run(scene())
    assert writes == [[Beat(*D, NOW, NOW + 1_000)]]
    assert left == 0
