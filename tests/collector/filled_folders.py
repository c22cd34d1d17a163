"""Folders with something in them, and what came of a backup: equipment of the data commands."""

from __future__ import annotations

import contextlib
import io
import tarfile
from pathlib import Path

from collectors import NOW, command, row

from collector.access.accounts import Accounts
from collector.places import Folder
from collector.store.duck import DuckStore


def fill(path: Path, numbers: range) -> Path:
    folder = Folder(path).prepare()
    with contextlib.closing(Accounts(folder.accounts)) as accounts:
        accounts.add_app("A", NOW, app_id="A", if_missing=True)
    with contextlib.closing(DuckStore(folder.events, NOW)) as store:
        store.write([row(event_id=str(n), user_id=f"u{n % 7}", ts=NOW + n) for n in numbers])
    return path


def exported(folder: Path) -> list[str]:
    done = command("export", "A", folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def counted(path: Path) -> int:
    """Return how many events of the app a closed folder has."""
    with contextlib.closing(DuckStore(path / "events.duckdb", NOW)) as store:
        return store.count("A")


def entries(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, but for locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def tar_of(parts: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, text in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
    return made.getvalue()
