"""What `restore` does between the file and the folder."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from collector.access.accounts import Accounts
from collector.bulk import backup, holdings
from collector.engines import EMBEDDED
from collector.intake.tombstones import TOMBSTONES, Tombstones, key_of
from collector.places import ASIDE, Folder
from collector.settings_reading import load
from collector.store.duck import DuckStore
from collector.store.interface import Seen, Tombstone
from tracking.errors import Fault, SettingsFault, StorageFault

Progress = Callable[[int, int], None]


class Restored(NamedTuple):
    """What came of it.

    Attributes:
        aside: Where what was there lies now, None if there was nothing.
        erased: How many people and devices were erased again.
        unreadable: How many erasures of the backup nobody can recognise without a key.

    """

    aside: Path | None
    erased: int
    unreadable: int


def restore(
    folder: Folder,
    file: Path,
    progress: Progress,
    now_ms: int,
    *,
    lose_erasures: bool,
    no_way_back: Callable[[], object] = lambda: None,
) -> Restored:
    """Put a backup into place; the caller holds the folder's lock.

    Args:
        folder: Whose files are set aside.
        file: The backup.
        progress: Told how many bytes of how many are unpacked.
        now_ms: Unix milliseconds.
        lose_erasures: Go on if nobody can tell who was erased since.
        no_way_back: Called before the first file is moved.

    Raises:
        Damaged: The backup is; nothing was changed.
        StorageFault: A newer Homing made it, a disk is full, or who was erased since cannot be
            read; nothing was changed.

    """
    engine = load(folder.path, os.environ, {}).settings.engine
    if engine != EMBEDDED:
        raise SettingsFault(
            f"a backup is restored into the embedded engine, and {folder.path} is set to another",
            advice="Restore it into another --data-dir, and `export` and `import` from there.",
        )
    there = folder.events.exists() or folder.accounts.exists()
    with backup.stage_folder(folder) as stage:
        backup.unpack(file, stage, progress)
        graves = _graves(folder, now_ms, lose_erasures=lose_erasures)
        with (
            contextlib.closing(DuckStore(stage / folder.events.name, now_ms)) as store,
            contextlib.closing(Accounts(stage / folder.accounts.name)),
        ):
            erased = bury_again(store, graves, folder.path, lose_erasures=lose_erasures)
            store.checkpoint()
            unreadable = 0 if (folder.path / "tombstones.key").exists() else len(_stones(store))
        aside = folder.path / time.strftime(f"{ASIDE}%Y%m%d-%H%M%S", time.localtime(now_ms / 1000))
        while aside.exists():
            aside = aside.with_name(f"{aside.name}-2")
        no_way_back()
        backup.put_into_place(folder, stage, aside)
    return Restored(aside if there else None, erased, unreadable)


def _graves(folder: Folder, now_ms: int, *, lose_erasures: bool) -> list[Tombstone]:
    """Return the tombstones of what is there now."""
    if not folder.events.exists():
        return []
    try:
        with contextlib.closing(DuckStore(folder.events, now_ms)) as store:
            return _stones(store)
    except Fault as fault:
        if lose_erasures:
            return []
        raise StorageFault(
            f"who was erased since the backup cannot be told: {fault}",
            advice="With --lose-erasures whoever was erased since then comes back.",
        ) from fault


def _stones(store: DuckStore) -> list[Tombstone]:
    return [Tombstone(*row) for row in store.ask(TOMBSTONES, {})]


def bury_again(
    store: DuckStore, graves: list[Tombstone], folder: Path, *, lose_erasures: bool = False
) -> int:
    """Erase from a restored store who was erased after its backup; return how many.

    Args:
        store: The restored one; it gets the tombstones too.
        graves: Of what is in the folder now.
        folder: Has the key under which they were made.
        lose_erasures: Erase nobody if that key is missing.

    """
    known = {(stone.app_id, stone.digest): stone.erased_ts for stone in _stones(store)}
    since = [
        stone for stone in graves if stone.erased_ts > known.get((stone.app_id, stone.digest), 0)
    ]
    if not since:
        return 0
    key = folder / "tombstones.key"
    if not key.exists():
        if lose_erasures:
            return 0
        raise StorageFault(
            f"{key} is missing, so nobody can tell who was erased since the backup",
            advice="Put it back; or, with --lose-erasures, whoever was erased comes back.",
        )
    tombstones = Tombstones(key_of(key))
    erased = 0
    for app_id in sorted({stone.app_id for stone in since}):
        tombstones.load(stone for stone in since if stone.app_id == app_id)
        gone: dict[str, list[str]] = {"user": [], "device": []}
        for kind, found in gone.items():
            for page in _ids(store, app_id, kind):
                sights = [Seen(app_id, kind, id_, 0, 0) for id_ in page]
                left = {
                    sight.id for sight in tombstones.facts(sights, 0) if isinstance(sight, Seen)
                }
                found += [id_ for id_ in page if id_ not in left]
        store.erase(app_id, users=gone["user"], devices=gone["device"])
        erased += len(gone["user"]) + len(gone["device"])
    store.write([], since)
    if erased:
        store.compact()
    return erased


def _ids(store: DuckStore, app_id: str, kind: str) -> Iterator[list[str]]:
    after = ""
    while page := holdings.ask(store, "seen", {"app": app_id, "kind": kind, "after": after}):
        yield [id_ for id_, _, _ in page]
        after = page[-1][0]
