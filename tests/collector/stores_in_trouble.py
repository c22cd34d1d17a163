"""A store in a process of its own, to be killed or to run out of disk.

Run as ``python stores_in_trouble.py SCENARIO FOLDER``. Says on standard output what it was told is
durable, line by line: what stands there must be found.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from collectors import NOW, row

from collector.store.duck import DuckStore
from collector.store.interface import (
    Attribute,
    Beat,
    Fact,
    Feedback,
    Membership,
    Named,
    RawItem,
    Seen,
    Stored,
)
from tracking.errors import StorageFault

HERE = Path(__file__).resolve().parent
DISK_MIB = 24
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
    "PYTHONWARNINGS": "error",
}


def batch(number: int, size: int = 5, text: str = "") -> tuple[list[Stored], list[Fact]]:
    """Return events and facts that belong together: each of them says the number."""
    word = f"batch {number}"
    payload = json.dumps({"n": number, "text": text})
    rows = [
        row(event_id=f"{number}-{n}", name=word, device_id=word, user_id=word, payload=payload)
        for n in range(size)
    ]
    more: list[Fact] = [
        Seen("A", "company", word, NOW, NOW),
        Beat("A", word, "s", word, NOW, NOW),
        Attribute("A", "user", word, "k", f'"{text[:20]}"', NOW, NOW),
        Membership("A", word, "c", NOW, NOW),
        Feedback("A", word, "F", word, "c", 3.0, "", "", "", "", NOW, NOW, "{}"),
        RawItem("A", NOW, "bucket", "user", word, "", "{}"),
        Named("A", word, ""),
    ]
    return rows, more


#: How often each table names a batch that was written whole.
WHOLE = {
    ("events", "name"): 5,
    ("seen", "id"): 3,
    ("beat", "device_id"): 1,
    ("attribute", "id"): 1,
    ("membership", "user_id"): 1,
    ("feedback", "feedback_id"): 1,
    ("raw_item", "user_id"): 1,
    ("catalogue", "event"): 1,
}


def batches_in(store: DuckStore) -> set[int]:
    """Return which batches a store holds; each must be there whole, in every table."""
    held: list[set[int]] = []
    for (table, column), count in WHOLE.items():
        found = store._read(
            f"SELECT {column}, count(*) FROM {table} WHERE app_id = 'A' GROUP BY ALL"
        )
        assert all(times == count for _, times in found), (table, found)
        held.append({int(word.split()[1]) for word, _ in found})
    assert all(numbers == held[0] for numbers in held), "a batch is in one table, not in another"
    return held[0]


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def write(folder: Path) -> None:
    """Write batches until killed; say the number of each that is durable."""
    store = DuckStore(folder / "events.duckdb", NOW)
    number = max(batches_in(store), default=-1) + 1
    say("go")
    while True:
        store.write(*batch(number))
        say(number)
        number += 1


def sweep(folder: Path) -> None:
    """Write canaries, erase them and compact, until killed; say when none is left."""
    store = DuckStore(folder / "events.duckdb", NOW)
    number = 0
    say("go")
    while True:
        number += 1
        store.write([row(app_id="Z", event_id=f"c{number}", user_id="canary", device_id="canary")])
        store.checkpoint()
        store.erase("Z", users=["canary"], devices=["canary"])
        say("erased")
        store.compact()
        say("swept")


def full(folder: Path) -> None:
    """Fill the disk, make room again; say what was acknowledged and what is there."""
    dice = random.Random(8)
    path = folder / "events.duckdb"
    store = DuckStore(path, NOW)
    acknowledged: list[int] = []
    faults: list[str] = []

    def write_one(number: int) -> None:
        text = dice.randbytes(100_000).hex()
        try:
            store.write(*batch(number, text=text))
            acknowledged.append(number)
        except StorageFault as fault:
            faults.append(str(fault))

    ballast = folder / "ballast"
    ballast.write_bytes(bytes(6 << 20))
    for number in range(40):
        write_one(number)
    refused = len(faults)
    compacting = ""
    try:
        store.compact()
    except StorageFault as fault:
        compacting = str(fault)
    readable = sorted(batches_in(store))
    ballast.unlink()
    write_one(100)
    after_room = 100 in acknowledged
    held = sorted(batches_in(store))
    store.close()
    store = DuckStore(path, NOW)
    say(
        json.dumps(
            {
                "acknowledged": acknowledged,
                "refused": refused,
                "compacting": compacting,
                "readable": readable,
                "after_room": after_room,
                "held": held,
                "reopened": sorted(batches_in(store)),
                "files": sorted(file.name for file in folder.iterdir()),
            }
        )
    )
    store.close()


def read_only(folder: Path) -> None:
    """Have the disk become read-only, and writable again."""
    path = folder / "events.duckdb"
    store = DuckStore(path, NOW)
    store.write(*batch(0))
    store.close()

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True, timeout=20)

    said = []
    remount("ro")
    try:
        DuckStore(path, NOW)
    except StorageFault as fault:
        said.append(str(fault))
    remount("rw")
    store = DuckStore(path, NOW)
    store.write(*batch(1))
    say(json.dumps({"said": said, "held": sorted(batches_in(store))}))
    store.close()


SCENARIOS = {"write": write, "sweep": sweep, "full": full, "read_only": read_only}


def on_small_disk(folder: Path, scenario: str) -> dict[str, object]:
    """Run a scenario on a file system of 24 MiB of its own; return what it said."""
    folder.mkdir(mode=0o700)
    mounted = f'mount -t tmpfs -o size={DISK_MIB}m,mode=0700 tmpfs "$0" && exec "$@"'
    mine = [sys.executable, str(HERE / "stores_in_trouble.py"), scenario, str(folder)]
    problems = ""
    for spaces in (["--mount"], ["--user", "--map-root-user", "--mount"]):
        tried = subprocess.run(
            ["unshare", *spaces, "sh", "-c", mounted, str(folder), *mine],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env=ENVIRONMENT,
        )
        if tried.stdout:
            assert tried.returncode == 0, tried.stderr
            return dict(json.loads(tried.stdout.splitlines()[-1]))
        problems += tried.stderr
    raise AssertionError(problems)


if __name__ == "__main__":
    SCENARIOS[sys.argv[1]](Path(sys.argv[2]))
