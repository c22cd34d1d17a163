"""Limits of a process and of a disk that is full when damage shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LIMITED = """
import resource, sys
from pathlib import Path
from agent.adapters.outbox.outbox import Bounds, Outbox
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


MENDING = """
import resource, sys
from pathlib import Path
from agent.adapters.outbox.outbox import Bounds, Outbox
from tracking.errors import Damaged, DiskFull

path = Path(sys.argv[1])
box = Outbox.open(path, Bounds(), 0)
stream = box.stream("acme", "nucleus")
for first in range(0, 40000, 100):
    with box.turn():
        box.append(stream, [b'{"id":"e%d","x":"%s"}' % (n, b"x" * 200)
            for n in range(first, first + 100)], 1)
box.tidy()
box._db.execute("PRAGMA shrink_memory")
size = path.stat().st_size
with path.open("r+b") as file:
    file.seek(size // 8192 * 4096)
    file.write(bytes(8192))

def drain():
    seen = 0
    while (batch := box.lease(stream, 0, 500, 65536)) is not None:
        try:
            with box.turn():
                gone = box.settle(batch, set(batch.ids))
        except Damaged:  # mended by now: it is lent and settled once more
            continue
        seen += gone
    return seen

resource.setrlimit(resource.RLIMIT_FSIZE, (5 << 20, resource.RLIM_INFINITY))
for _ in range(2):  # again, and by name: the connection is still there
    try:
        drain()
    except DiskFull as fault:
        print(fault.code, path.stat().st_size == size, len(list(path.parent.glob("*.damaged-*"))))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
waiting = box.account(stream).pending
print(waiting - drain(), box.account(stream).balanced, [one for one in box.check() if one])
box.close()
"""


def test_damage_without_room_for_a_new_file_leaves_the_old_one_until_there_is_some(
    path: Path,
) -> None:
    child = subprocess.run(
        [sys.executable, "-c", MENDING, str(path)], capture_output=True, text=True, check=True
    )
    first, second, last = child.stdout.splitlines()
    assert first == second == "storage.full True 0"
    missing, balanced, findings = last.split()
    assert 0 < int(missing) <= 400
    assert (balanced, findings) == ("True", "[]")
