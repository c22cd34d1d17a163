"""`retention`, `compact`, `import`: what is kept, how small, and what comes in from files."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from collector.access.accounts import DAY_MS
from collector.cli.hints import known_app, still_held
from collector.cli.parser import FAILED, OK, PROG, Commands, accounts_of, folder_of, now_ms, say
from collector.cli.progress import bar
from collector.cli.reach import Reach, one_at_a_time, within_reach
from collector.cli.whole_file import ended_softly, refuse_existing, whole_file
from collector.engines import EMBEDDED
from collector.settings_reading import load
from tracking.dates import iso
from tracking.errors import DiskFull, StorageFault

SHOWN = 20  #: Refused lines that are shown; `--errors` has all.


def register(commands: Commands) -> None:
    example = f"{PROG} retention acme-notes --days 365"
    retention = commands.command(
        "retention", "how long an app's events are kept", example, _retention
    )
    retention.add_argument("app_id", metavar="APPID")
    retention.add_argument(
        "--days", type=_days, metavar="N", help="a number, forever, or default: as the settings say"
    )
    retention.add_argument("--now", action="store_true", help="remove what is older at once")
    retention.add_argument("--dry-run", action="store_true", help="only count what would go")
    retention.add_argument("--json", action="store_true", help="one line of JSON")

    example = f"{PROG} compact"
    compact = commands.command("compact", "rewrite the store without its gaps", example, _compact)
    compact.add_argument("--json", action="store_true", help="one line of JSON")
    compact.set_defaults(left="nothing was changed")

    example = f"{PROG} import events.ndjson --app acme-notes"
    import_ = commands.command("import", "read events from a file", example, _import)
    import_.set_defaults(left="what is imported already is recognised. Run it again.")
    import_.add_argument("file", metavar="FILE", help="a file, or - for stdin")
    import_.add_argument("--app", metavar="APPID", help="whose everything becomes")
    import_.add_argument("--errors", type=Path, metavar="FILE", help="where refused lines are told")
    import_.add_argument("--force", action="store_true", help="replace that file if it exists")
    import_.add_argument("--json", action="store_true", help="one line of JSON")


def _days(text: str) -> int | str:
    if text in {"forever", "default"}:
        return text
    if not text.isdigit() or not 1 <= int(text) <= 36_500:
        raise argparse.ArgumentTypeError(f"1 to 36500, forever or default, got {text!r}")
    return int(text)


def _retention(args: argparse.Namespace) -> int:
    folder = folder_of(args)
    with accounts_of(args) as accounts:
        app = known_app(accounts, args.app_id)
        if args.days is not None and not args.dry_run:
            days = {"forever": 0, "default": None}.get(str(args.days), args.days)
            app = accounts.keep_for(args.app_id, days)
    days = app.retention_days
    if args.dry_run and args.days is not None:
        days = {"forever": 0, "default": None}.get(str(args.days), args.days)
    source = "of the app" if days is not None else "of the settings"
    if days is None:
        days = load(folder.path, os.environ, {}).settings.retention_days
    said: dict[str, object] = {"appId": app.app_id, "days": days or None, "source": source}
    if days and (args.now or args.dry_run):
        before_ms = now_ms() - days * DAY_MS
        with contextlib.ExitStack() as ends:
            if args.now and not args.dry_run:
                ends.enter_context(one_at_a_time(folder, "retention --now"))
            reach = ends.enter_context(within_reach(folder))
            ((older, oldest_ms),) = reach.ask("older", app=app.app_id, before=before_ms)
            said |= {"before": iso(before_ms), "older": older}
            said["oldest"] = iso(oldest_ms) if oldest_ms else None
            if args.now and not args.dry_run:
                said["removed"] = reach.purge(app.app_id, before_ms)
    if args.json:
        return say(said)
    kept = f"{days} day{'' if days == 1 else 's'}" if days else "for ever"
    print(f"Events of {app.app_id} are kept {kept} ({source}).")
    if "removed" in said:
        print(f"{said['older']:,} events were received before {said['before']}; they are removed.")
    elif "older" in said:
        print(f"{said['older']:,} events were received before {said['before']} and would go.")
    elif args.now or args.dry_run:
        print("Nothing is too old.")
    return OK


def _compact(args: argparse.Namespace) -> int:
    folder = folder_of(args)
    began_s = time.monotonic()
    settings = load(folder.path, os.environ, {}).settings
    with one_at_a_time(folder, "compact"):
        if settings.engine != EMBEDDED:
            from collector.store.clickhouse_mutations import SWEEP_S

            sys.stderr.write(
                "homing: ClickHouse removes by itself the files that deletions replaced; this"
                f" waits until it has, {SWEEP_S / 60:.0f} minutes at most (Ctrl-C ends the waiting"
                " only)\n"
            )
            args.left = "ClickHouse goes on removing the files by itself; run it again to wait"
        else:
            args.left = "nothing was lost; a server that runs here goes on with it"
        with bar("compacting") as progress, within_reach(folder) as reach:
            before, after = reach.compact(progress)
    if args.json:
        seconds = round(time.monotonic() - began_s, 3)
        aside = [str(path) for path in folder.set_aside()]
        return say({"before": before, "after": after, "seconds": seconds, "setAside": aside})
    print(f"{before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB after.")
    print(*still_held(folder), sep="", end="")
    return OK


# --- import ------------------------------------------------------------------------------------


def _import(args: argparse.Namespace) -> int:
    from collector.bulk.importing import Reader

    folder = folder_of(args)
    with contextlib.ExitStack() as ends:
        accounts = ends.enter_context(accounts_of(args))
        if args.app is not None:
            known_app(accounts, args.app)
        stream, total = ends.enter_context(_opened(args.file))
        ends.enter_context(one_at_a_time(folder, "import"))
        ends.enter_context(ended_softly())
        told = _Told(ends, args.errors, force=args.force, quiet=args.json)
        progress = ends.enter_context(bar("importing", in_bytes=True))
        reach = ends.enter_context(within_reach(folder))
        reader = Reader(stream, lambda id_: accounts.app(id_) is not None, args.app, now_ms())
        new = seen = facts = 0
        for rows, more, refused, read in reader.batches():
            if rows or more:
                new += _write(reach, rows, more, new)
                args.left = f"at least {new:,} events are imported. Run it again for the others."
            seen += len(rows)
            facts += len(more)
            for line, why in refused:
                told.refuse(line, why)
            progress(read, total)
    args.left = f"{new:,} events are imported, all of them"
    told.close()
    counts = {"imported": new, "repeats": seen - new, "facts": facts, "refused": told.count}
    if args.json:
        say(counts | {"errors": told.first})
    else:
        print(
            f"{new:,} events imported, {seen - new:,} were here already, {facts:,} facts,"
            f" {told.count:,} refused."
        )
    return FAILED if told.count else OK


def _write(reach: Reach, rows: list, more: list, done: int) -> int:  # type: ignore[type-arg]
    try:
        return reach.write(rows, more)
    except StorageFault as fault:
        kind = DiskFull if isinstance(fault, DiskFull) else StorageFault
        raise kind(
            f"{fault}; {done:,} events are imported",
            advice="Run it again when that is mended: what is here is recognised.",
        ) from fault


@contextlib.contextmanager
def _opened(name: str) -> Iterator[tuple[BinaryIO, int]]:
    if name == "-":
        yield sys.stdin.buffer, 0
        return
    path = Path(name).expanduser()
    try:
        with path.open("rb") as stream:
            yield stream, path.stat().st_size
    except OSError as exc:
        raise StorageFault(f"{path} cannot be read: {exc.strerror or exc}") from exc


class _Told:
    """What was refused: the first on standard error, all in a file if one is wanted."""

    def __init__(
        self, ends: contextlib.ExitStack, path: Path | None, *, force: bool, quiet: bool
    ) -> None:
        self.count = 0
        self.first: list[dict[str, object]] = []
        self._quiet = quiet
        self._path = path
        self._file: BinaryIO | None = None
        if path is not None:
            refuse_existing(path, force=force)
            self._file = ends.enter_context(whole_file(path, force=force))

    def refuse(self, line: int, why: str) -> None:
        """Count and tell one."""
        self.count += 1
        said = {"line": line, "why": why}
        if len(self.first) < SHOWN:
            self.first.append(said)
        if self._file is not None:
            self._file.write(json.dumps(said, ensure_ascii=False).encode() + b"\n")

    def close(self, err: TextIO | None = None) -> None:
        """Show the first ones."""
        err = err or sys.stderr
        if not self._quiet:
            for said in self.first:
                err.write(f"line {said['line']}: {_visible(str(said['why']))}\n")
            if self.count > SHOWN:
                where = f"; all are in {self._path}" if self._path else "; --errors FILE has all"
                err.write(f"... and {self.count - SHOWN:,} more{where}\n")


def _visible(text: str) -> str:
    """Return a text that cannot move a terminal's cursor: what it quotes came from a file."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:300])
