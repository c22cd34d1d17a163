"""A store that is slow, full or broken: what waits is bounded, and nothing untrue is said."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from collectors import NOW

from collector.access.accounts import Accounts
from collector.access.limits import Limiter
from collector.intake.ingest import Ingest
from collector.intake.presence import Presence
from collector.intake.writer import MOST_A_COMMIT, MOST_WAITING, Writer
from collector.store.interface import Fact, Stored
from tracking.errors import OverQuota, StorageFault
from tracking.events import Frame
from tracking.nucleus import normal_platform, parse_frame
from tracking.sink import Origin, Receipt

FREE = Limiter(1e9, 1e9)


class SlowStore:
    """Stands in for an engine: waits for ``go``, or raises, and keeps what it was given."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.entered = threading.Event()
        self.faults: list[Exception] = []
        self.poison: set[str] = set()
        self.commits: list[list[Stored]] = []

    def write(self, rows: Sequence[Stored], more: Sequence[Fact] = ()) -> int:
        self.entered.set()
        assert self.go.wait(30)
        if self.faults:
            raise self.faults.pop()
        if any(row.name in self.poison for row in rows):
            raise ValueError("nobody thought of this")
        self.commits.append(list(rows))
        return len(rows)


class Room:
    """An Ingest over a store that a test holds."""

    def __init__(self, accounts: Accounts, store: Any, **limits: Limiter) -> None:
        self.store = store
        self.writer = Writer(store, asyncio.get_running_loop())
        self.ingest = Ingest(
            accounts,
            self.writer,
            Presence(lambda: NOW, normal_platform),
            per_peer=limits.get("per_peer", FREE),
            per_app=limits.get("per_app", FREE),
            now_ms=lambda: NOW,
            now_s=lambda: 0.0,
        )

    def send(self, frame: Frame, peer: str = "192.0.2.1", app: str = "A") -> Awaitable[Receipt]:
        origin = Origin(transport="http", connection=1, peer=peer, received_ms=NOW)
        return asyncio.create_task(self.ingest.accept(app, frame, origin))


def frame_of(count: int, name: str = "E", start: int = 0) -> Frame:
    events = ",".join(
        f'{{"type":"event","name":"{name}","id":{n},"date":{NOW},"deviceId":"d"}}'
        for n in range(start, start + count)
    )
    return parse_frame(f'{{"data":[{events}]}}', require_ids=True)


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Run a scene on a loop, with a slow store, and end its thread afterwards."""
    accounts = Accounts(tmp_path / "accounts.db")
    accounts.add_app("Acme", NOW, app_id="A")

    def run(scene: Callable[[Room], Awaitable[Any]], **limits: Limiter) -> Any:
        async def whole() -> Any:
            room = Room(accounts, SlowStore(), **limits)
            try:
                return await asyncio.wait_for(scene(room), 60)
            finally:
                room.store.go.set()
                await asyncio.to_thread(room.writer.close)

        return asyncio.run(whole())

    yield run
    accounts.close()


def test_a_slow_store_bounds_what_waits_and_then_recovers(play: Callable[..., Any]) -> None:
    frame = frame_of(500)

    async def scene(room: Room) -> None:
        sent = [room.send(frame) for _ in range(3 * MOST_WAITING // 500)]
        refused = sent[MOST_WAITING // 500 :]
        receipts = await asyncio.gather(*refused)
        assert room.writer.waiting == MOST_WAITING
        for receipt in receipts:
            assert isinstance(receipt.fault, OverQuota)
            assert receipt.fault.retry_after_s >= 1
            assert len(receipt.unsafe(frame)) == 500  # none of it is acknowledged
        kept = sent[: MOST_WAITING // 500]
        assert not any(task.done() for task in kept)  # type: ignore[attr-defined]
        room.store.go.set()
        assert all(receipt.fault is None for receipt in await asyncio.gather(*kept))
        assert room.writer.waiting == 0
        assert (await room.send(frame)).fault is None
        assert max(map(len, room.store.commits)) <= MOST_A_COMMIT
        assert room.ingest.counts["behind"] == len(refused) * 500

    play(scene)


def test_alone_a_frame_of_any_size_finds_room(play: Callable[..., Any]) -> None:
    async def scene(room: Room) -> None:
        room.store.go.set()
        receipt = await room.send(frame_of(MOST_WAITING + 1))
        assert receipt.fault is None
        assert sum(map(len, room.store.commits)) == MOST_WAITING + 1

    play(scene)


def test_a_refused_flood_builds_no_rows(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(room: Room) -> None:
        first = room.send(frame_of(MOST_WAITING))
        await asyncio.to_thread(room.store.entered.wait, 30)
        monkeypatch.setattr(room.ingest, "rows", None)
        assert (await room.send(frame_of(10))).fault is not None
        room.store.go.set()
        assert (await first).fault is None

    play(scene)


def test_a_store_that_cannot_write_acknowledges_nothing_and_is_asked_again(
    play: Callable[..., Any], expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("collector.intake.writer")
    frame = frame_of(5)

    async def scene(room: Room) -> None:
        room.store.go.set()
        room.store.faults.append(StorageFault("the disk is full"))
        receipt = await room.send(frame)
        assert isinstance(receipt.fault, StorageFault)
        assert receipt.unsafe(frame) == (0, 1, 2, 3, 4)
        assert (await room.send(frame)).fault is None
        assert room.writer.written == 5

    play(scene)


def test_an_event_that_nobody_thought_of_harms_its_own_frame_only(
    play: Callable[..., Any], expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("collector.intake.writer")

    async def scene(room: Room) -> None:
        room.store.poison = {"BAD"}
        first = room.send(frame_of(1))
        await asyncio.to_thread(room.store.entered.wait, 30)
        good, bad, more = (room.send(frame_of(2, name)) for name in ("A", "BAD", "B"))
        await asyncio.sleep(0)  # they wait together, so they share a commit
        room.store.go.set()
        receipts = await asyncio.gather(first, good, bad, more)
        assert [receipt.fault is None for receipt in receipts] == [True, True, False, True]
        assert [row.name for rows in room.store.commits for row in rows] == list("EAABB")

    play(scene)


def test_a_sender_that_leaves_is_stored_all_the_same(play: Callable[..., Any]) -> None:
    async def scene(room: Room) -> None:
        task = asyncio.ensure_future(room.send(frame_of(3)))
        await asyncio.to_thread(room.store.entered.wait, 30)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        room.store.go.set()
        assert (await room.send(frame_of(1))).fault is None
        assert sum(map(len, room.store.commits)) == 4
        assert room.writer.waiting == 0

    play(scene)


def test_53_quotas_are_of_an_address_and_of_an_app(play: Callable[..., Any]) -> None:
    async def scene(room: Room) -> list[bool]:
        room.store.go.set()
        answers = [
            await room.send(frame_of(6), peer)
            for peer in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3")
        ]
        assert all(len(a.unsafe(frame_of(6))) in (0, 6) for a in answers)
        return [a.fault is None for a in answers]

    ten = {"per_peer": Limiter(1, 10), "per_app": Limiter(1, 14)}
    assert play(scene, **ten) == [True, False, True, False]


def test_53_a_household_of_ipv6_is_one_address(play: Callable[..., Any]) -> None:
    async def scene(room: Room) -> list[bool]:
        room.store.go.set()
        peers = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "::ffff:192.0.2.1", "192.0.2.1"]
        return [(await room.send(frame_of(6), peer)).fault is None for peer in peers]

    assert play(scene, per_peer=Limiter(1, 6)) == [True, False, True, True, False]
