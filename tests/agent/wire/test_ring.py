"""The record of the wire on disk: real files, bounds, damage, and what is forgotten."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.adapters.records.wire_log import DAY_MS, Room, WireRing
from agent.adapters.records.wire_segments import Record
from tracking.errors import Fault, SettingsFault

MIB = 1024 * 1024
NOW_MS = 1_795_225_140_000
ROOM = Room(bytes=MIB, days=14, records=100_000)


def record(n: int, body: bytes = b"{}", *, app: str = "acme", at_ms: int = NOW_MS) -> Record:
    return Record(n, at_ms, app, "main", "sent", "frame", "", len(body), "", "", 0, body)


def numbers(ring: WireRing) -> list[int]:
    return [one.n for one in ring.newest_first()]


def test_what_was_written_is_read_newest_first_also_by_the_next_process(tmp_path: Path) -> None:
    ring = WireRing(tmp_path / "wire", ROOM)
    ring.append([record(1, b"one"), record(2, b"two")], NOW_MS)
    ring.append([record(3, b"three")], NOW_MS)
    assert [one.body for one in ring.newest_first()] == [b"three", b"two", b"one"]
    ring.close()
    again = WireRing(tmp_path / "wire", ROOM)
    assert again.last_n == 3
    assert numbers(again) == [3, 2, 1]
    assert again.healed_bytes == 0


def test_a_ring_that_nobody_wrote_to_makes_no_folder(tmp_path: Path) -> None:
    ring = WireRing(tmp_path / "wire", ROOM)
    assert numbers(ring) == []
    assert ring.held() == (0, 0, None)
    assert ring.forget(None) == 0
    assert not (tmp_path / "wire").exists()


def test_the_disk_it_takes_stays_within_the_bound_and_the_newest_stay(tmp_path: Path) -> None:
    ring = WireRing(tmp_path / "wire", ROOM)
    for n in range(1, 81):
        ring.append([record(n, os.urandom(32 * 1024))], NOW_MS)
        assert sum(file.stat().st_size for file in ring.folder.iterdir()) <= MIB
    kept = numbers(ring)
    assert kept[0] == 80
    assert kept == list(range(80, 80 - len(kept), -1))
    assert len(kept) * 32 * 1024 >= MIB * 14 // 16


def test_no_more_records_than_the_bound(tmp_path: Path) -> None:
    ring = WireRing(tmp_path / "wire", Room(bytes=MIB, days=14, records=64))
    for n in range(1, 201):
        ring.append([record(n)], NOW_MS)
    assert 60 <= len(numbers(ring)) <= 64
    assert ring.held()[0] == len(numbers(ring))


def test_what_is_too_old_goes_with_the_next_writing(tmp_path: Path) -> None:
    ring = WireRing(tmp_path / "wire", Room(bytes=MIB, days=2, records=1_000))
    for day in range(6):
        at_ms = NOW_MS + day * DAY_MS
        ring.append([record(day + 1, at_ms=at_ms)], at_ms)
    assert numbers(ring) == [6, 5, 4]


@pytest.mark.parametrize("cut", [1, 20, 50])
def test_a_torn_end_is_cut_off_and_what_came_before_stays(tmp_path: Path, cut: int) -> None:
    ring = WireRing(tmp_path / "wire", ROOM)
    ring.append([record(1, b"kept")], NOW_MS)
    ring.append([record(2, b"torn" * 30)], NOW_MS)
    ring.close()
    (file,) = ring.folder.iterdir()
    with file.open("rb+") as torn:
        torn.truncate(file.stat().st_size - cut)
    again = WireRing(ring.folder, ROOM)
    assert [one.body for one in again.newest_first()] == [b"kept"]
    assert again.healed_bytes > 0
    again.append([record(again.last_n + 1, b"new")], NOW_MS)
    assert [one.body for one in again.newest_first()] == [b"new", b"kept"]
    assert WireRing(ring.folder, ROOM).healed_bytes == 0


def test_a_damaged_middle_costs_its_own_block_only(tmp_path: Path) -> None:
    ring = WireRing(tmp_path / "wire", ROOM)
    for n in range(1, 4):
        ring.append([record(n, b"body %d" % n)], NOW_MS)
    size = ring.held()[1] // 3
    ring.close()
    (file,) = ring.folder.iterdir()
    with file.open("rb+") as damaged:
        damaged.seek(size + size // 2)
        damaged.write(b"\0\0\0\0")
    again = WireRing(ring.folder, ROOM)
    assert numbers(again) == [3, 1]
    assert 0 < again.healed_bytes <= size + 8


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ring = WireRing(tmp_path / "wire", ROOM)
        ring.append([record(1)], NOW_MS)
        ring.forget("other")
        ring.append([record(2)], NOW_MS)
    finally:
        os.umask(before)
    assert stat.S_IMODE(ring.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in ring.folder.iterdir()} == {0o600}


def test_a_link_in_a_files_place_is_refused_and_its_target_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "wire"
    folder.mkdir(mode=0o700)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (folder / f"{1:016d}.wire").symlink_to(victim)
    with pytest.raises(Fault):
        WireRing(folder, ROOM).append([record(1)], NOW_MS)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("planted", ["pipe", "second name"])
def test_what_is_no_file_of_ours_alone_is_refused(tmp_path: Path, planted: str) -> None:
    folder = tmp_path / "wire"
    folder.mkdir(mode=0o700)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    name = folder / f"{1:016d}.wire"
    if planted == "pipe":
        os.mkfifo(name)
    else:
        name.hardlink_to(victim)
    with pytest.raises(Fault):
        WireRing(folder, ROOM).append([record(1)], NOW_MS)
    assert victim.read_text() == "mine"


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "wire").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsFault):
        WireRing(tmp_path / "wire", ROOM).append([record(1)], NOW_MS)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def everything(folder: Path) -> bytes:
    """All bytes of a ring's files, and what they unpack to."""
    raw = b"".join(file.read_bytes() for file in folder.iterdir())
    return raw + b"".join(one.body for one in WireRing(folder, ROOM).newest_first())


def test_a_forgotten_apps_bytes_are_gone_and_the_others_stay(tmp_path: Path) -> None:
    ring = WireRing(tmp_path / "wire", ROOM)
    canary = os.urandom(40)  # random bytes are stored as they are, so a residue would be seen
    for n in range(1, 101):
        mine = record(n, canary, app="acme") if n % 2 else record(n, b"theirs", app="other")
        ring.append([mine], NOW_MS)
    held = [os.open(file, os.O_RDONLY) for file in ring.folder.iterdir()]
    assert canary in everything(ring.folder)
    assert ring.forget("acme") == 50
    assert canary not in everything(ring.folder)
    for descriptor in held:  # also what somebody who had the old file open can still read
        assert canary not in os.read(descriptor, MIB)
        os.close(descriptor)
    assert numbers(ring) == list(range(100, 0, -2))
    ring.append([record(101)], NOW_MS)
    assert numbers(WireRing(ring.folder, ROOM))[:2] == [101, 100]


def test_everything_can_be_forgotten(tmp_path: Path) -> None:
    ring = WireRing(tmp_path / "wire", ROOM)
    ring.append([record(1), record(2)], NOW_MS)
    assert ring.forget(None) == 2
    assert list(ring.folder.iterdir()) == []
    ring.append([record(3)], NOW_MS)
    assert numbers(ring) == [3]


def test_a_forgetting_that_was_killed_leaves_the_old_file_whole(tmp_path: Path) -> None:
    ring = WireRing(tmp_path / "wire", ROOM)
    ring.append([record(1)], NOW_MS)
    ring.close()
    (file,) = ring.folder.iterdir()
    (ring.folder / f".{file.name}.new").write_bytes(b"half of it")
    again = WireRing(ring.folder, ROOM)
    assert numbers(again) == [1]
    assert list(ring.folder.iterdir()) == [file]


def test_a_frame_larger_than_the_whole_ring_is_refused_and_the_ring_goes_on(
    tmp_path: Path, expected_warnings: Callable[..., None]
) -> None:
    del expected_warnings
    ring = WireRing(tmp_path / "wire", ROOM)
    with pytest.raises(Fault, match="max_mib"):
        ring.append([record(1, os.urandom(2 * MIB))], NOW_MS)
    ring.append([record(2)], NOW_MS)
    assert numbers(ring) == [2]
