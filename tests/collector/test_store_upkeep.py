"""What is done when nobody asks: sweeping, retention, the log put into the file."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from collectors import DAY, NOW, Collector, row, until

from collector.intake.writer import Writer
from collector.store.duck import DuckStore
from collector.store.duck_file import wal_of
from collector.upkeep import AGAIN_S, IDLE_S, LATEST_S, Upkeep
from tracking.errors import StorageFault

Opened = Callable[..., DuckStore]


class Room:
    """Upkeep with clocks that a test moves."""

    def __init__(self, store: DuckStore) -> None:
        self.store = store
        self.writer = Writer(store, asyncio.get_running_loop())
        self.now_s = 1_000.0
        self.retention: dict[str, int] = {}
        self.reading = False
        self.upkeep = Upkeep(
            store,
            self.writer,
            now_ms=lambda: NOW + int(1_000 * (self.now_s - 1_000)),
            now_s=lambda: self.now_s,
            retention=lambda: self.retention,
            reading=lambda: self.reading,
            checkpoint=store.checkpoint,
        )

    async def pass_s(self, seconds: float, *, busy: bool = False) -> None:
        end = self.now_s + seconds
        while self.now_s < end:
            self.now_s = min(end, self.now_s + 5)
            if busy:
                await self.writer.put([row(event_id=str(self.now_s), device_id="busy")])
            await self.upkeep.turn()


def scene(opened: Opened, act: Callable[[Room], Awaitable[None]]) -> None:
    async def play() -> None:
        room = Room(opened())
        try:
            await act(room)
        finally:
            await asyncio.to_thread(room.writer.close)

    asyncio.run(play())


def told(store: DuckStore) -> bool:
    return any(b"canary" in f.read_bytes() for f in store.path.parent.glob("events*"))


async def erase(room: Room) -> None:
    await room.writer.put([row(user_id="canary", device_id="d")])
    await room.writer.run(lambda: room.store.erase("A", users=["canary"], devices=["d"]))
    assert room.store.unswept > 0


def test_59_what_was_erased_is_swept_after_a_quiet_minute(opened: Opened) -> None:
    async def act(room: Room) -> None:
        await erase(room)
        await room.pass_s(IDLE_S - 5)
        assert told(room.store)
        await room.pass_s(15)
        assert room.store.unswept == 0
        assert not told(room.store)

    scene(opened, act)


def test_59_a_busy_store_is_swept_within_the_hour(opened: Opened) -> None:
    async def act(room: Room) -> None:
        await erase(room)
        await room.pass_s(LATEST_S - 10, busy=True)
        assert room.store.unswept
        await room.pass_s(15, busy=True)
        assert not room.store.unswept
        assert not told(room.store)

    scene(opened, act)


def test_59_the_hour_goes_on_over_a_restart(opened: Opened) -> None:
    async def before(room: Room) -> None:
        await erase(room)

    async def after(room: Room) -> None:
        room.upkeep.owed_ms = lambda: NOW - 3_600_001
        await room.pass_s(10, busy=True)
        assert not room.store.unswept

    scene(opened, before)
    scene(opened, after)


def test_an_export_is_not_cut_off_by_sweeping(opened: Opened) -> None:
    async def act(room: Room) -> None:
        await erase(room)
        room.reading = True
        await room.pass_s(3 * IDLE_S)
        assert room.store.unswept
        room.reading = False
        await room.pass_s(5)
        assert not room.store.unswept

    scene(opened, act)


def test_retention_removes_once_a_day_what_is_too_old(opened: Opened) -> None:
    async def act(room: Room) -> None:
        room.retention = {"A": 30, "B": 0}
        old = NOW - 29 * DAY
        for app in "AB":
            await room.writer.put([row(app_id=app, ts=old, recv_ts=old), row(app_id=app)])
        await room.pass_s(5)
        assert (room.store.count("A"), room.store.count("B")) == (2, 2)
        room.now_s += 2 * 86_400
        await room.pass_s(5)
        assert (room.store.count("A"), room.store.count("B")) == (1, 2)
        assert room.store.unswept
        await room.pass_s(2 * IDLE_S)
        assert room.store.unswept == 0, "its bytes go too"

    scene(opened, act)


def test_the_log_goes_into_the_file_when_it_is_quiet(opened: Opened) -> None:
    async def act(room: Room) -> None:
        await room.writer.put([row()])
        await room.pass_s(IDLE_S - 5)
        assert wal_of(room.store.path).stat().st_size > 0
        await room.pass_s(10)
        assert not wal_of(room.store.path).exists()
        assert room.store.count("A") == 1

    scene(opened, act)


def test_what_fails_is_said_and_tried_again(
    opened: Opened,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    expected_warnings: Callable[..., None],
) -> None:
    expected_warnings("collector.upkeep")

    async def act(room: Room) -> None:
        await erase(room)
        real = room.store.compact
        failures = [StorageFault("no room"), ValueError("a bug")]

        def compact() -> None:
            if failures:
                raise failures.pop(0)
            real()

        monkeypatch.setattr(room.store, "compact", compact)
        await room.pass_s(IDLE_S + 5)
        assert len(failures) == 1
        await room.pass_s(2 * AGAIN_S + 10)
        assert not failures
        assert room.store.unswept == 0

    with caplog.at_level(logging.INFO, "collector.upkeep"):
        scene(opened, act)
    said = [record.getMessage() for record in caplog.records if record.name == "collector.upkeep"]
    assert said[0].endswith("code=storage")
    assert "nobody thought of" in said[1]
    assert "swept erased rows=" in said[2]


def test_the_task_of_a_server_is_wired_and_ends_with_it(tmp_path: Path) -> None:
    """A file with a debt of an hour ago is swept by a server within moments of its start."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    store = DuckStore(folder / "events.duckdb", NOW)
    store.write([row(user_id="canary")])
    store.checkpoint()
    store.erase("A", users=["canary"], devices=[])
    store._file.writer.execute("UPDATE unswept SET since_ms = 1")
    store.close()
    assert told(store)
    far_end = Collector(folder)
    try:
        until(lambda: "swept erased rows=" in Path(far_end.log.name).read_text(), 20)
        assert not told(store)
        assert far_end.stop() == 0
    finally:
        far_end.kill()
