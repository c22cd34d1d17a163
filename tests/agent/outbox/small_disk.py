"""A disk with little room, in a process of its own.

Run as ``python small_disk.py FOLDER SCENARIO``, on a file system of 24 MiB where that can be had
(``unshare`` and ``mount``), else under a limit on the size of files. Prints what happened as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from agent.adapters.outbox.outbox import Batch, Bounds, Outbox
from tracking.errors import StorageFault

SIZE = "24m"
BURST = 100


def run(folder: Path, scenario: str) -> dict[str, object]:
    """Run a scenario of this module on a small disk at ``folder``; return what it printed."""
    folder.mkdir(mode=0o700)
    mounted = f'mount -t tmpfs -o size={SIZE},mode=0700 tmpfs "$0" && exec "$@"'
    mine = [sys.executable, str(Path(__file__).resolve()), str(folder), scenario]
    for spaces in (["--mount"], ["--user", "--map-root-user", "--mount"]):
        tried = subprocess.run(
            ["unshare", *spaces, "sh", "-c", mounted, str(folder), *mine],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        if tried.stdout:
            return answered(tried)
    # Without its capabilities root is stopped by permissions like anybody else.
    weak = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    words = [*weak, *mine, "limited"]
    return answered(subprocess.run(words, capture_output=True, text=True, timeout=100, check=False))


def answered(child: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """Return what a scenario printed."""
    assert child.returncode == 0, child.stderr
    return dict(json.loads(child.stdout))


class Disk:
    """The outbox of a scenario, and what else takes room on its disk."""

    def __init__(self, folder: Path, *, limited: bool) -> None:
        self.folder = folder
        self.limited = limited
        self.path = folder / "data" / "outbox.db"
        self.ballast = folder / "ballast"
        self.number = 0
        self.open()

    def open(self) -> None:
        self.box = Outbox.open(self.path, Bounds(), 1)
        self.stream = self.box.stream("acme", "nucleus")

    def accept(self, bursts: int) -> str:
        """Append bursts until one is refused; return the fault's code, or an empty string."""
        for _ in range(bursts):
            some = range(self.number, self.number + BURST)
            events = [b'{"id":"e%d","payload":"%s"}' % (n, b"x" * 230) for n in some]
            try:
                with self.box.turn():
                    self.box.append(self.stream, events, 1)
            except StorageFault as fault:
                return fault.code
            self.number += BURST
        return ""

    def fill(self) -> None:
        """Let somebody else take all the room there is."""
        if self.limited:
            import resource

            size = self.path.with_name("outbox.db-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            return
        with self.ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                return

    def empty(self) -> None:
        """And give it back."""
        if self.limited:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        self.ballast.unlink(missing_ok=True)

    def drain(self) -> int:
        """Deliver everything, each batch tried twice as the core does; return how many events."""
        delivered = 0
        while (batch := self.box.lease(self.stream, 0, 500, 256 * 1024)) is not None:
            try:
                delivered += self.settle(batch)
            except StorageFault:
                delivered += self.settle(batch)
        return delivered

    def settle(self, batch: Batch) -> int:
        with self.box.turn():
            return self.box.settle(batch, frozenset(batch.ids))

    def findings(self) -> list[str]:
        return [finding for finding in self.box.check() if finding]

    def pending(self) -> int:
        return self.box.account(self.stream).pending


def filled_by_us(disk: Disk) -> dict[str, object]:
    code = disk.accept(1_000 if not disk.limited else 10)
    if disk.limited:
        disk.fill()
        code = disk.accept(1_000)
    at_once = (disk.pending(), disk.number, disk.findings())
    if disk.limited:
        disk.empty()
    delivered = disk.drain()
    return {
        "code": code,
        "kept": at_once[0],
        "accepted": at_once[1],
        "findings": at_once[2] + disk.findings(),
        "delivered": delivered,
        "later": disk.accept(3),
        "balanced": disk.box.account(disk.stream).balanced,
    }


def filled_by_others(disk: Disk) -> dict[str, object]:
    disk.accept(100)
    disk.fill()
    code = disk.accept(100_000)
    kept = disk.pending()
    if disk.limited:
        disk.empty()
    accepted, delivered = disk.number, disk.drain()
    disk.empty()
    return {
        "code": code,
        "kept": kept,
        "accepted": accepted,
        "findings": disk.findings(),
        "delivered": delivered,
        "later": disk.accept(3),
        "balanced": disk.box.account(disk.stream).balanced,
    }


def opened_when_full(disk: Disk) -> dict[str, object]:
    disk.accept(20)
    disk.box.close()
    if not disk.limited:
        disk.fill()
    disk.open()
    if disk.limited:
        disk.fill()
    code = disk.accept(100_000)
    kept = disk.pending()
    disk.empty()
    return {
        "code": code,
        "kept": kept,
        "accepted": disk.number,
        "findings": disk.findings() + disk.box.opening.notices,
        "delivered": disk.drain(),
        "later": disk.accept(3),
        "balanced": disk.box.account(disk.stream).balanced,
    }


def read_only(disk: Disk) -> dict[str, object]:
    disk.accept(5)
    disk.box.close()
    if disk.limited:  # not root then: permissions hold
        disk.path.parent.chmod(0o500)
        disk.path.chmod(0o400)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True)
    try:
        disk.open()
        told = ("", "", "")
    except StorageFault as fault:
        told = (type(fault).__name__, fault.code, str(fault))
    if disk.limited:
        disk.path.parent.chmod(0o700)
        disk.path.chmod(0o600)
    else:
        subprocess.run(["mount", "-o", "remount,rw", str(disk.folder)], check=True)
    disk.open()
    return {"told": told, "kept": disk.pending(), "accepted": disk.number}


SCENARIOS: dict[str, Callable[[Disk], dict[str, object]]] = {
    "filled_by_us": filled_by_us,
    "filled_by_others": filled_by_others,
    "opened_when_full": opened_when_full,
    "read_only": read_only,
}

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    os.umask(0)
    where = Disk(Path(sys.argv[1]), limited=sys.argv[3:] == ["limited"])
    print(json.dumps(SCENARIOS[sys.argv[2]](where)))
