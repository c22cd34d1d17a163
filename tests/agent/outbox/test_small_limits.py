"""Limits of a process and of a disk that is full when damage shows."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from yard import append, events, settle, whole

from agent.adapters.outbox import Outbox
from tracking.errors import DiskFull

LIMITED = """
import resource, sys
from pathlib import Path
from agent.adapters.outbox import Bounds, Outbox
from tracking.errors import DiskFull

box = Outbox.open(Path(sys.argv[1]), Bounds(), 0)
stream = box.stream("acme", "nucleus")
resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, resource.RLIM_INFINITY))
taken = 0
try:
    while True:
        with box.turn():
            box.append(stream, [b'{"id":"e%d","x":"%s"}' % (n, b"x" * 200)
                for n in range(taken, taken + 100)], 1)
        taken += 100
except DiskFull as fault:
    print(taken, fault.code, box.account(stream).accepted)
seen = 0
while (batch := box.lease(stream, 0, 500, 65536)) is not None:
    with box.turn():
        seen += box.settle(batch, set(batch.ids))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with box.turn():
    box.append(stream, [b'{"id":"again"}'], 1)
print(seen, [one for one in box.check() if one])
box.close()
"""


def test_a_limit_of_file_size_is_a_full_disk_and_heals(path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True
    )
    first, second = child.stdout.splitlines()
    taken, code, accepted = first.split()
    assert code == "storage.full"
    assert taken == accepted
    assert second == f"{taken} []"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB; without the right to mount one, a test of it proves nothing."""
    where = tmp_path / "disk"
    where.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(where)], check=True)
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_damage_on_a_full_disk_leaves_the_old_file_in_place_until_there_is_room(
    small_disk: Path, open_box: Callable[..., Outbox], expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.outbox")
    path = small_disk / "data" / "outbox.db"
    box = open_box(path)
    stream = box.stream("acme", "nucleus")
    for start in range(0, 40_000, 100):
        append(box, stream, events(start, 100, size=200))
    box.tidy()
    box._db.execute("PRAGMA shrink_memory")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 8192 * 4096)
        file.write(bytes(8192))
    size = path.stat().st_size
    for number in range(2):  # again, and by name: the connection is still there
        fill(small_disk / f"hog-{number}")  # the second one takes what the reserve gave back
        with pytest.raises(DiskFull):
            drain(box, stream)
    assert path.stat().st_size == size
    assert not list(path.parent.glob("*.damaged-*"))
    subprocess.run(["mount", "-o", "remount,size=80m", str(small_disk)], check=True)
    waiting = box.account(stream).pending
    assert waiting - 400 <= drain(box, stream) <= waiting
    assert box.account(stream).balanced


def fill(hog: Path) -> None:
    """Take all room that is left."""
    with hog.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def drain(box: Outbox, stream: int) -> int:
    seen = 0
    while box.lease(stream, 0, 500, 64 * 1024) is not None:
        batch = whole(box, stream)
        seen += settle(box, batch)
    return seen
