"""`backup` and `restore`: a collector in one file, and back (:mod:`collector.bulk.backup`)."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from collector.cli.parser import OK, PROG, Commands, folder_of, now_ms, say
from collector.cli.progress import bar
from collector.cli.reach import one_at_a_time, within_reach
from collector.cli.whole_file import Late, ended_softly, refuse_existing, whole_file
from tracking.dates import parse_ms
from tracking.errors import StorageFault

if TYPE_CHECKING:
    from collector.bulk.backup import Manifest
    from collector.cli.restoring import Restored
    from collector.places import Folder

DAY_MS = 86_400_000
REMEMBERED_DAYS = 30  #: So long tombstones are kept (SECURITY.md, "Delete-user").


def register(commands: Commands) -> None:
    example = f"{PROG} backup /backups/monday.homing"
    backup = commands.command("backup", "write everything into one file", example, _backup)
    backup.set_defaults(left="no backup was written, and nothing was changed")
    backup.add_argument("file", metavar="FILE", type=Path)
    backup.add_argument("--force", action="store_true", help="replace FILE if it exists")
    backup.add_argument("--json", action="store_true", help="one line of JSON")
    example = f"{PROG} restore /backups/monday.homing"
    restore = commands.command("restore", "put a backup into place", example, _restore)
    restore.set_defaults(left="nothing was changed")
    restore.add_argument("file", metavar="FILE", type=Path)
    restore.add_argument(
        "--lose-erasures",
        action="store_true",
        help="go on if nobody can tell any more who was erased after the backup",
    )
    restore.add_argument("--json", action="store_true", help="one line of JSON")


def _backup(args: argparse.Namespace) -> int:
    from collector.bulk import backup
    from collector.store.duck_file import wal_of

    folder, file = folder_of(args), args.file.expanduser().absolute()
    refuse_existing(file, force=args.force)
    if not file.parent.is_dir():
        raise StorageFault(f"there is no folder {file.parent}")
    sizes = [
        path.stat().st_size for path in (folder.events, wal_of(folder.events)) if path.exists()
    ]
    needed = sum(sizes)
    beside = file.parent.stat().st_dev == folder.path.stat().st_dev
    backup.require_room(folder.path, needed * (2 if beside else 1), "the copies of the store")
    backup.require_room(file.parent, needed, "the backup")
    began_s = time.monotonic()
    with (
        one_at_a_time(folder, "backup"),
        ended_softly(),
        bar("backing up", in_bytes=True) as progress,
        within_reach(folder) as reach,
        backup.snapshot_folder(folder) as snapshot,
    ):
        reach.snapshot(snapshot, lambda done, of: progress(done, 3 * of))
        copied = sum(path.stat().st_size for path in snapshot.iterdir())
        with whole_file(file, force=args.force) as to:
            head = backup.head_of(snapshot, now_ms())
            manifest = backup.pack(
                snapshot, to, head, lambda done, of: progress(copied + done, copied + of)
            )
        args.left = f"the backup is whole: {file}"
    size = file.stat().st_size
    if args.json:
        return say(
            {
                "file": str(file),
                "bytes": size,
                "seconds": round(time.monotonic() - began_s, 3),
                "counts": manifest.counts,
            }
        )
    print(f"{manifest.counts['events']:,} events are in {file} ({size / 1e6:,.1f} MB).")
    return OK


def _restore(args: argparse.Namespace) -> int:
    from collector.bulk import backup
    from collector.cli.restoring import restore
    from collector.places import ServerLock

    folder, file = folder_of(args), args.file.expanduser().absolute()
    manifest = backup.read_manifest(file)
    with contextlib.ExitStack() as ends:
        ends.enter_context(one_at_a_time(folder, "restore"))
        ends.enter_context(ended_softly())
        late = Late()
        with bar("restoring", in_bytes=True) as progress:
            lock = ServerLock.take(folder)
            try:
                done = restore(
                    folder,
                    file,
                    progress,
                    now_ms(),
                    lose_erasures=args.lose_erasures,
                    no_way_back=lambda: ends.enter_context(late),
                )
            finally:
                lock.release()
        code = _told(args, folder, file, manifest, done)
        if late.came:
            sys.stderr.write("homing: it was too late to stop: the backup is in place\n")
        return code


def _told(
    args: argparse.Namespace, folder: Folder, file: Path, manifest: Manifest, done: Restored
) -> int:
    days = (now_ms() - (parse_ms(manifest.created) or 0)) // DAY_MS
    if days > REMEMBERED_DAYS:
        sys.stderr.write(
            f"homing: the backup is {days} days old, and erasures are remembered for"
            f" {REMEMBERED_DAYS}: who was erased before that may be back\n"
        )
    if done.unreadable:
        sys.stderr.write(
            f"homing: the backup remembers {done.unreadable} erasures by a key that is not here\n"
            f"        Bring tombstones.key from the old folder to {folder.path} before you serve,"
            " or a client that was offline brings these people back.\n"
        )
    if args.json:
        return say(
            {
                "file": str(file),
                "created": manifest.created,
                "counts": manifest.counts,
                "aside": None if done.aside is None else str(done.aside),
                "erasedAgain": done.erased,
                "erasuresUnreadable": done.unreadable,
            }
        )
    print(f"{manifest.counts['events']:,} events of {manifest.created} are in {folder.path}.")
    if done.aside is not None:
        print(f"What was there is in {done.aside}; remove it when you do not need it any more.")
    if done.erased:
        print(f"{done.erased} who were erased after the backup were erased again.")
    return OK
