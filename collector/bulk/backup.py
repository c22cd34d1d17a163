"""A collector in one file, and back: a tar with a manifest, the store, the accounts.

    manifest.json   format, homing, created, engine, schema, counts, and size and sum of each member
    events.duckdb   the store as it was at one moment, erased people and all swept out
    accounts.db     apps, keys and tokens (as digests), as they were a moment later

What is promised: everything that was acknowledged before the backup began is in it; of what came
meanwhile each connection's frames are in it up to some moment, and none after that. The tombstones
are in it, and those that were made after it are replayed when it is restored, so nobody who was
erased comes back (SECURITY.md, "Delete-user").

A restore touches nothing before every sum was right and both files were opened. Then what was
there goes aside, and the new files into its place; a note in the folder says so first, and whoever
takes the folder next finishes what a kill interrupted.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import importlib.metadata
import io
import json
import os
import re
import secrets
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import msgspec

from collector.lasting import sync
from collector.places import RESTORING, Folder
from tracking.dates import iso
from tracking.errors import Damaged, DiskFull, StorageFault

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SNAPSHOT: Final = re.compile(r"snapshot\.[0-9a-f]{12}")
STAGE: Final = re.compile(r"restore\.[0-9a-f]{12}")
PIECE: Final = 1 << 20
SPARE_BYTES: Final = 16 << 20  #: That much stays free on a disk.
_MOST_MANIFEST: Final = 1 << 20

Progress = Callable[[int, int], None]


class Member(msgspec.Struct, frozen=True):
    """One file of a backup."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself."""

    format: int
    homing: str
    created: str
    engine: str
    schema: int
    counts: dict[str, int]
    members: dict[str, Member]


class _Head(msgspec.Struct, frozen=True):
    format: int


# --- making ------------------------------------------------------------------------------------


@contextlib.contextmanager
def snapshot_folder(folder: Folder) -> Iterator[Path]:
    """Make a folder below DIR for copies, and remove it; leftovers of killed ones go first."""
    with _folder_below(folder, "snapshot") as into:
        yield into


@contextlib.contextmanager
def stage_folder(folder: Folder) -> Iterator[Path]:
    """Make a folder below DIR for what is to come into it, and remove what is left of it."""
    with _folder_below(folder, "restore") as into:
        yield into


@contextlib.contextmanager
def _folder_below(folder: Folder, what: str) -> Iterator[Path]:
    for path in folder.path.iterdir():
        if SNAPSHOT.fullmatch(path.name) or STAGE.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
    into = folder.path / f"{what}.{secrets.token_hex(6)}"
    into.mkdir(mode=0o700)
    try:
        yield into
    finally:
        if not (folder.path / RESTORING).exists():  # else it is not finished with
            shutil.rmtree(into, ignore_errors=True)


def copy_accounts(source: Path, target: Path) -> None:
    """Copy the accounts while others use them (SQLite's own way).

    Raises:
        StorageFault: A file cannot be used.

    """
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with (
            contextlib.closing(sqlite3.connect(source)) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            new.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, no log beside it
    except (OSError, sqlite3.DatabaseError) as exc:
        raise StorageFault(f"{source} cannot be copied: {exc}") from exc


def pack(snapshot: Path, to: IO[bytes], head: Mapping[str, Any], progress: Progress) -> Manifest:
    """Write a snapshot's files as one backup.

    Args:
        snapshot: Its folder.
        to: An open file, written from where it stands.
        head: Of the manifest, all but the members.
        progress: Told how many bytes of how many are done; each is read twice.

    """
    files = sorted(path for path in snapshot.iterdir() if path.is_file())
    total = 2 * sum(path.stat().st_size for path in files)
    done = 0
    members = {}
    for path in files:
        whole = hashlib.sha256()
        with path.open("rb") as source:
            while piece := source.read(PIECE):
                whole.update(piece)
                done += len(piece)
                progress(done, total)
        members[path.name] = Member(path.stat().st_size, whole.hexdigest())
    manifest = Manifest(format=FORMAT, members=members, **head)
    with tarfile.open(fileobj=to, mode="w", format=tarfile.PAX_FORMAT) as tar:
        text = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
        tar.addfile(_entry(MANIFEST, len(text)), io.BytesIO(text))
        for path in files:
            with path.open("rb") as source:
                counted = _Counted(source, done, total, progress)
                tar.addfile(_entry(path.name, members[path.name].bytes), counted)  # type: ignore[arg-type]
                done = counted.done
    return manifest


def head_of(snapshot: Path, now_ms: int) -> dict[str, Any]:
    """Return what the manifest of a snapshot says besides the files; opens the copy to count.

    Raises:
        StorageFault: The copy cannot be read.

    """
    import duckdb

    from collector.store.duck_schema import VERSION
    from collector.store.interface import TABLES

    counts = {}
    try:
        path = snapshot / "events.duckdb"
        with contextlib.closing(duckdb.connect(str(path), read_only=True)) as db:
            for table in TABLES.values():
                (counts[table],) = db.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)  # noqa: S608
    except duckdb.Error as exc:
        raise StorageFault(f"the copy cannot be read: {str(exc).splitlines()[0]}") from exc
    return {
        "homing": importlib.metadata.version("homing"),
        "created": iso(now_ms),
        "engine": "duckdb",
        "schema": VERSION,
        "counts": counts,
    }


class _Counted:
    """A file that tells how far it was read."""

    def __init__(self, source: IO[bytes], done: int, total: int, progress: Progress) -> None:
        self.source = source
        self.done = done
        self.total = total
        self.progress = progress

    def read(self, size: int) -> bytes:
        piece = self.source.read(size)
        self.done += len(piece)
        self.progress(self.done, self.total)
        return piece


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry


# --- reading -----------------------------------------------------------------------------------


def read_manifest(file: Path) -> Manifest:
    """Return what a backup says of itself.

    Raises:
        Damaged: It is none, or cannot be read.
        StorageFault: A newer Homing made it.

    """
    with _tar(file) as tar:
        return _manifest(tar, file)


def unpack(file: Path, into: Path, progress: Progress) -> Manifest:
    """Write a backup's files into a folder, each compared with its sum, and sync them.

    Raises:
        Damaged: Something is not as it was written; what was unpacked is worth nothing.
        DiskFull: The files do not fit.

    """
    with _tar(file) as tar:
        manifest = _manifest(tar, file)
        total = sum(member.bytes for member in manifest.members.values())
        require_room(into, total, "the files of the backup")
        left = dict(manifest.members)
        done = 0
        while (entry := tar.next()) is not None:
            member = left.pop(entry.name, None)
            source = tar.extractfile(entry) if member is not None and entry.isreg() else None
            if member is None or source is None:
                raise Damaged(f"{file} is damaged: {entry.name!r} does not belong into it")
            whole = hashlib.sha256()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(into / entry.name, flags, 0o600), "wb") as target:
                while piece := source.read(PIECE):
                    whole.update(piece)
                    target.write(piece)
                    done += len(piece)
                    progress(done, total)
                target.flush()
                os.fsync(target.fileno())
            if not hmac.compare_digest(whole.hexdigest(), member.sha256):
                raise Damaged(f"{file} is damaged: {entry.name} is not what was written")
    if left:
        raise Damaged(f"{file} is damaged: {', '.join(sorted(left))} is missing")
    return manifest


@contextlib.contextmanager
def _tar(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file, mode="r:") as tar:
            yield tar
    except tarfile.TarError as exc:
        raise Damaged(f"{file} is damaged, or no backup of a collector: {exc}") from exc
    except FileNotFoundError as exc:
        raise StorageFault(f"there is no file {file}") from exc
    except OSError as exc:
        raise StorageFault(f"{file} cannot be read: {exc.strerror or exc}") from exc


def _manifest(tar: tarfile.TarFile, file: Path) -> Manifest:
    entry = tar.next()
    source = None
    if entry is not None and entry.name == MANIFEST and entry.size <= _MOST_MANIFEST:
        source = tar.extractfile(entry)
    if source is None:
        raise Damaged(f"{file} is no backup of a collector")
    text = source.read()
    try:
        format_ = msgspec.json.decode(text, type=_Head).format
        if format_ > FORMAT:
            raise StorageFault(
                f"{file} was made by a newer Homing (format {format_})",
                advice="Restore it with that version.",
            )
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Damaged(f"{file} is damaged: its manifest cannot be read: {exc}") from exc
    if not all(re.fullmatch(r"[a-z]+\.[a-z]+", name) for name in manifest.members):
        raise Damaged(f"{file} is damaged: its manifest names strange files")
    return manifest


def require_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Make sure that something fits on a folder's disk.

    Raises:
        DiskFull: It does not; nothing was written.

    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes + SPARE_BYTES:
        raise DiskFull(
            f"the disk of {folder} has {free >> 20} MB free, and {what} need"
            f" {(needed_bytes + SPARE_BYTES) >> 20} MB",
            advice="Make room there; nothing was changed.",
        )


# --- putting into place ------------------------------------------------------------------------


class _Note(NamedTuple):
    """What is being restored: which folder's files come in, and where the others go."""

    stage: str
    aside: str


def put_into_place(folder: Folder, stage: Path, aside: Path) -> None:
    """Set what is in a collector's folder aside, and put a stage's files into its place.

    Both are folders below DIR. A kill at any moment is made good by :func:`finish`.
    """
    note = folder.path / RESTORING
    part = note.with_name(f"{RESTORING}.new")
    part.write_text(json.dumps([stage.name, aside.name]))
    sync(part)
    sync(stage)
    part.replace(note)
    sync(folder.path)
    finish(folder)


def finish(folder: Folder) -> None:
    """Go on with a restore that was interrupted, if one was; who calls holds the lock.

    Each file is moved once: what is still in the stage has not been put into its place, and as long
    as a member is in the stage, what has its name in the folder is old.
    """
    note = folder.path / RESTORING
    if not note.exists():
        return
    said = _Note(*json.loads(note.read_text()))
    stage, aside = folder.path / said.stage, folder.path / said.aside
    aside.mkdir(mode=0o700, exist_ok=True)
    for path in (folder.events, folder.accounts):
        new = stage / path.name
        if new.exists():
            for old in (path, *(path.with_name(path.name + end) for end in _LOGS[path.name])):
                if old.exists():
                    old.replace(_free(aside / old.name))
            sync(aside)
            sync(folder.path)
            new.replace(path)
            sync(folder.path)
    note.unlink()
    sync(folder.path)
    shutil.rmtree(stage, ignore_errors=True)
    with contextlib.suppress(OSError):
        aside.rmdir()  # if there was nothing to set aside


_LOGS: Final = {"events.duckdb": (".wal",), "accounts.db": ("-wal", "-shm", "-journal")}


def _free(path: Path) -> Path:
    """Return a name that nothing has: a command may have made a new file in the meantime."""
    while path.exists():
        path = path.with_name(f"{path.name}.later")
    return path
