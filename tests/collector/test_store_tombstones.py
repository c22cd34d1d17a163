"""Who was erased stays erased, though a queue somewhere still knows them (threat 60)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from collectors import DAY, HOUR, NOW, Collector, now_ms, row

from collector.forgetting import Forgetting, Forgotten
from collector.intake.catalogue import Catalogue
from collector.intake.tombstones import KEPT_MS, WHOM, Tombstones, key_of
from collector.intake.writer import Writer, Written
from collector.store.duck import DuckStore
from collector.store.interface import (
    Attribute,
    Beat,
    Feedback,
    Membership,
    RawItem,
    Seen,
    Stored,
)
from tracking.errors import StorageFault

Opened = Callable[..., DuckStore]


class Room:
    """A writer over a store, with a clock that a test moves."""

    def __init__(self, store: DuckStore, folder: Path) -> None:
        self.now = NOW
        self.gone: list[str] = []
        self.store = store
        self.tombstones = Tombstones(key_of(folder / "tombstones.key"))
        self.writer = Writer(
            store,
            asyncio.get_running_loop(),
            tombstones=self.tombstones,
            catalogue=Catalogue(),
            now_ms=lambda: self.now,
        )
        self.writer.remember()
        self.forgetting = Forgetting(store, self.writer, self.tombstones, lambda: self.now)

    async def forget(self, user: str) -> Forgotten:
        """Erase a user as the Data API does."""

        def task() -> Forgotten:
            self.gone = self.forgetting.devices_of("A", user)
            return self.forgetting.erase("A", [user], self.gone)

        return await self.writer.run(task)

    async def put(self, *rows: Stored, more: Any = ()) -> Written:
        return await self.writer.put(rows, more)


def scene(opened: Opened, tmp_path: Path, *acts: Callable[[Room], Awaitable[None]]) -> None:
    """Play acts, with a restart between them."""

    async def play(act: Callable[[Room], Awaitable[None]]) -> None:
        room = Room(opened(), tmp_path)
        try:
            await act(room)
        finally:
            await asyncio.to_thread(room.writer.close)

    for act in acts:
        asyncio.run(play(act))


def queued(n: int = 0, **more: Any) -> Stored:
    """Return an event of yesterday that is still in somebody's queue."""
    said = {"user_id": "ann", "device_id": "d", "ts": NOW - DAY + n, "event_id": str(n)}
    return row(**said | more)


def test_60_a_replay_after_the_erasure_is_taken_and_not_stored(
    opened: Opened, tmp_path: Path
) -> None:
    old = [queued(n) for n in range(5)]

    async def erased(room: Room) -> None:
        assert await room.put(*old[:3], queued(9, user_id="")) == Written(4, 0)
        done = await room.forget("ann")
        assert (room.gone, done.at_ms) == (["d"], NOW)
        assert done.rows == 4 + 2
        room.now += 1
        assert await room.put(*old) == Written(0, 5)
        assert await room.put(queued(10, user_id="")) == Written(0, 1), "her device is she"
        assert await room.put(queued(11, device_id="other")) == Written(0, 1), "she on another"
        assert await room.put(queued(12, device_id="x", machine_id="d", user_id="")) == (0, 1)
        assert await room.put(queued(13, user_id="bob", device_id="e")) == Written(1, 0)
        assert await room.put(queued(14, app_id="B")) == Written(1, 0), "another app"

    async def later(room: Room) -> None:
        room.now += HOUR
        assert await room.put(*old) == Written(0, 5), "a restart forgets nothing"
        assert room.store.count("A") == 1
        assert await room.put(queued(ts=NOW, said_ts=NOW)) == Written(0, 1)
        back = queued(ts=NOW + 1, recv_ts=NOW + HOUR)
        assert await room.put(back, back, *old) == Written(1, 5), "she came back"

    async def long_after(room: Room) -> None:
        room.now += KEPT_MS
        assert await room.put(*old) == Written(5, 0)

    scene(opened, tmp_path, erased, later, long_after)


def test_60_a_clock_that_is_not_believed_brings_nobody_back(opened: Opened, tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        await room.put(queued())
        await room.forget("ann")
        room.now += HOUR
        ancient = queued(1, ts=room.now, said_ts=NOW - 900 * DAY, recv_ts=room.now)
        assert await room.put(ancient) == Written(0, 1)

    scene(opened, tmp_path, act)


def test_60_a_device_that_others_use_stays_theirs(opened: Opened, tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        await room.put(queued(), queued(1, user_id="bob"), queued(2, device_id="hers"))
        await room.put(more=[Beat("A", "beaten", "s", "ann", NOW - DAY, NOW - DAY)])
        await room.forget("ann")
        assert room.gone == ["beaten", "hers"]
        assert [one.user_id for rows in room.store.export("A") for one in rows] == ["bob"]
        assert await room.put(queued(3, user_id="bob"), queued(4, user_id="")) == Written(2, 0)

    scene(opened, tmp_path, act)


def test_60_no_fact_of_any_kind_brings_her_back(opened: Opened, tmp_path: Path) -> None:
    old, new = NOW - HOUR, NOW + HOUR

    def facts(at: int) -> list[Any]:
        return [
            Seen("A", "user", "ann", at, at),
            Beat("A", "d", "s", "", at, at),
            Attribute("A", "user", "ann", "k", "1", at, at),
            Membership("A", "ann", "c", at, at),
            Feedback("A", "f", "F", "ann", "c", 1.0, "", "", "", "", at, at, "{}"),
            RawItem("A", at, "bucket", "user", "ann", "", "{}"),
        ]

    async def act(room: Room) -> None:
        await room.put(queued())
        await room.forget("ann")
        await room.put(more=[*facts(old), Seen("A", "company", "ann", old, old)])
        for fact in facts(old):
            table = type(fact).__name__.lower().replace("rawitem", "raw_item")
            rows = room.store._read(f"SELECT * FROM {table} WHERE app_id = 'A'")
            assert [one for one in rows if "company" not in one] == [], table
        assert room.tombstones.dropped == len(facts(old))
        await room.put(more=facts(new))
        assert room.tombstones.dropped == len(facts(old)), "she came back"

    scene(opened, tmp_path, act)
    assert {type(fact) for fact in facts(0)} | {Stored} == set(WHOM)


def test_60_what_waits_for_its_commit_does_not_slip_past_the_erasure(
    opened: Opened, tmp_path: Path
) -> None:
    async def act(room: Room) -> None:
        go = threading.Event()
        held = asyncio.ensure_future(room.writer.run(lambda: go.wait(20)))
        before = [asyncio.ensure_future(room.put(queued(n))) for n in range(20)]
        done = asyncio.ensure_future(room.forget("ann"))
        after = [asyncio.ensure_future(room.put(queued(n))) for n in range(20, 40)]
        await asyncio.sleep(0)
        go.set()
        assert await held
        assert [await one for one in before] == [Written(1, 0)] * 20
        assert (await done).rows == 20 + 2
        assert [await one for one in after] == [Written(0, 1)] * 20
        assert room.store.count("A") == 0

    scene(opened, tmp_path, act)


def test_60_a_crash_before_the_erasure_leaves_her_whole_and_asking_again_ends_it(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(room: Room) -> None:
        await room.put(queued())

        def fails(*_: object, **__: object) -> int:
            raise StorageFault("the disk went away")

        monkeypatch.setattr(room.store, "erase", fails)
        with pytest.raises(StorageFault):
            await room.forget("ann")
        assert room.store.count("A") == 1

    async def again(room: Room) -> None:
        room.now += HOUR
        assert (await room.forget("ann")).rows == 3
        assert await room.put(queued(1, ts=NOW + HOUR // 2)) == Written(0, 1)

    scene(opened, tmp_path, broken, again)


def test_60_a_tombstone_does_not_say_who_it_was(opened: Opened, tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        await room.put(queued(user_id="ann@example.com", device_id="device-4711"))
        await room.forget("ann@example.com")
        await asyncio.to_thread(room.store.compact)

    scene(opened, tmp_path, act)
    assert len(opened()._read("SELECT * FROM tombstone")) == 2
    opened().close()
    said = b"".join(file.read_bytes() for file in tmp_path.glob("*") if file.is_file())
    assert b"ann@example.com" not in said
    assert b"device-4711" not in said
    one, other = Tombstones(b"1" * 32), Tombstones(b"2" * 32)
    digests = {s.bury("A", ["ann"], [], NOW)[0].digest for s in (one, other)}
    digests |= {one.bury(*more, NOW)[0].digest for more in (("B", ["ann"], []), ("A", [], ["ann"]))}
    assert len(digests) == 4, "the key, the app and the kind are in it"


def test_60_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "tombstones.key"
    path.with_name("tombstones.key.new").write_bytes(b"half")
    key = key_of(path)
    assert len(key) == 32
    assert key_of(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"short")
    with pytest.raises(StorageFault, match="not a key"):
        key_of(path)
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(b"e" * 32)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageFault):
        key_of(path)


def test_60_deleted_over_the_api_and_replayed_after_a_kill_she_stays_away(
    run: Callable[..., Collector], tmp_path: Path
) -> None:
    at = now_ms() - HOUR
    frame = {
        "data": [
            {"name": "E", "id": n, "date": at + n, "userId": "canary-ann", "deviceId": "canary-d"}
            for n in range(20)
        ]
    }
    far_end = run()
    token = far_end.app("A", "admin")
    assert len(far_end.say(frame)["reportedIds"]) == 20
    path = "/api/v1/apps/A/users/canary-ann"
    status, _, _ = far_end.request("DELETE", path, headers={"Authorization": token})
    assert status == 204
    for _ in range(2):
        assert len(far_end.say(frame)["reportedIds"]) == 20, "acknowledged, or it comes for ever"
        assert far_end.export() == []
        assert far_end.status()["counts"]["erased"] == 20
        far_end.kill()
        far_end = run()
    fresh = {
        "name": "E",
        "id": 99,
        "date": now_ms(),
        "userId": "canary-ann",
        "deviceId": "canary-d",
    }
    assert far_end.say({"data": [*frame["data"], fresh]})["reportedIds"]
    assert [one["id"] for one in far_end.export()] == [99]
    assert far_end.request("DELETE", path, headers={"Authorization": token})[0] == 204
    assert far_end.stop() == 0
    store = DuckStore(tmp_path / "data" / "events.duckdb", now_ms())
    store.compact()
    store.close()
    for file in (tmp_path / "data").rglob("*"):
        if file.is_file():
            assert b"canary-" not in file.read_bytes(), file.name
