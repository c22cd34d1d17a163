"""`export`: every event of an app as NDJSON, from the running server or from the files."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

from collector.cli.asking import ask, parts_of
from collector.cli.parser import OK, PROG, Commands, accounts_of, folder_of, now_ms
from collector.places import Folder, connect_admin
from tracking.errors import Fault, RequestFault, StorageFault


def register(commands: Commands) -> None:
    export = commands.command(
        "export",
        "write every event of an app to a file",
        f"{PROG} export acme-notes --format ndjson --output events.ndjson",
        _export,
    )
    export.add_argument("app_id", metavar="APPID")
    export.add_argument("--format", choices=["ndjson"], default="ndjson")
    export.add_argument("--output", default="-", metavar="FILE", help="a file, or - for stdout")


def _export(args: argparse.Namespace) -> int:
    folder = folder_of(args)
    with accounts_of(args) as accounts:
        if accounts.app(args.app_id) is None:
            raise RequestFault(
                f"there is no app {args.app_id[:64]!r} here", advice=f"See `{PROG} app list`."
            )
    with contextlib.ExitStack() as ends:
        total, parts = _parts(folder, args.app_id, ends)
        if args.output == "-":
            count = sum(_write(sys.stdout.buffer, part) for part in parts)
        else:
            file = ends.enter_context(_fresh_file(args.output))
            count = sum(_write(file, part) for part in _with_progress(parts, total))
    if count < total:
        raise Fault(f"only {count} of {total} events came", advice="Try again.")
    sys.stderr.write(f"{count} event{'' if count == 1 else 's'} exported\n")
    return OK


def _fresh_file(path: str) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        return os.fdopen(os.open(path, flags, 0o600), "wb")
    except OSError as exc:
        raise StorageFault(f"{path} cannot be written: {exc.strerror}") from exc


def _write(file: BinaryIO, part: bytes) -> int:
    try:
        file.write(part)
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise StorageFault(f"the export cannot be written: {exc.strerror}") from exc
    return part.count(b"\n")


def _parts(folder: Folder, app_id: str, ends: contextlib.ExitStack) -> tuple[int, Iterator[bytes]]:
    """Return how many events there are, and their lines: from the server if one runs."""
    sock = connect_admin(folder, 600.0)
    if sock is not None:
        response = ask(ends.enter_context(sock), f"/export/{app_id}")
        return int(response.headers.get("X-Total", "0")), parts_of(response)
    from collector.places import ServerLock
    from collector.rows import exported
    from collector.store.duck import DuckStore

    lock = ServerLock.take(folder)
    ends.callback(lock.release)
    store = ends.enter_context(contextlib.closing(DuckStore(folder.events, now_ms())))
    slices = store.export(app_id)
    return store.count(app_id), (b"".join(map(exported, rows)) for rows in slices)


def _with_progress(parts: Iterator[bytes], total: int) -> Iterator[bytes]:
    """Show a bar on standard error where a person looks."""
    if not sys.stderr.isatty():
        yield from parts
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("exporting", total=total or None)
        for part in parts:
            yield part
            progress.advance(task, part.count(b"\n"))
