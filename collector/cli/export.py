"""`export`: what is stored of an app as NDJSON or Parquet, from the server or from the files."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from collector.cli.hints import known_app
from collector.cli.parser import OK, PROG, Commands, accounts_of, folder_of, say
from collector.cli.progress import Progress, bar
from collector.cli.reach import Reach, within_reach
from collector.cli.whole_file import ended_softly, part_of, refuse_existing, whole_file
from tracking.dates import LAST_MS, parse_ms
from tracking.errors import DiskFull, RequestFault, StorageFault

if TYPE_CHECKING:
    from collector.store.interface import Stored

KINDS = ("events", "users", "companies", "feedback", "stays")
LEAST_LINE, LEAST_ROW = 150, 10  #: Bytes that an event takes at the very least: NDJSON, Parquet.
SPARE_BYTES = 16 << 20


def register(commands: Commands) -> None:
    export = commands.command(
        "export",
        "write what is stored of an app to a file",
        f"{PROG} export acme-notes --format ndjson --output events.ndjson",
        _export,
    )
    export.set_defaults(left="nothing was written")
    export.add_argument("app_id", metavar="APPID")
    export.add_argument("--format", choices=["ndjson", "parquet"], default="ndjson")
    export.add_argument("--output", default="-", metavar="FILE", help="a file, or - for stdout")
    export.add_argument("--what", choices=[*KINDS, "all"], default="events", help="(events)")
    for flag, sense in (("--since", "from then on"), ("--until", "before then")):
        export.add_argument(
            flag, type=_moment, metavar="DATE", help=f"events that happened {sense}"
        )
    export.add_argument("--force", action="store_true", help="replace FILE if it exists")
    export.add_argument("--json", action="store_true", help="one line of JSON at the end")


def _moment(text: str) -> int:
    at = parse_ms(text)
    if at is None:
        raise argparse.ArgumentTypeError(f"a date such as 2026-11-21 or its ISO form, got {text!r}")
    return at


def _export(args: argparse.Namespace) -> int:
    folder = folder_of(args)
    to_stdout = args.output == "-"
    if args.format == "parquet" and (to_stdout or args.what == "all"):
        raise RequestFault(
            "a Parquet file has one table and a name",
            advice="Say --output FILE, and one of --what " + ", ".join(KINDS) + ".",
        )
    if args.json and to_stdout:
        raise RequestFault("--json and the export would share standard output")
    if args.what != "events" and (args.since or args.until):
        raise RequestFault("--since and --until are about events alone")
    target = Path(args.output).expanduser().absolute()
    if not to_stdout:
        refuse_existing(target, force=args.force)
    with accounts_of(args) as accounts:
        known_app(accounts, args.app_id)
    wanted = KINDS if args.what == "all" else (args.what,)
    with contextlib.ExitStack() as ends:
        reach = ends.enter_context(within_reach(folder))
        total = reach.ask("count", app=args.app_id)[0][0] if "events" in wanted else 0
        parts = _Parts(args, reach, total)
        if to_stdout:
            args.left = "what was written so far is not everything"
            for part in parts.lines(wanted, lambda _done, _of: None):
                _write(sys.stdout.buffer, part)
        else:
            _require_room(target, total * (LEAST_LINE if args.format == "ndjson" else LEAST_ROW))
            progress = ends.enter_context(bar(f"exporting {args.what}"))
            if args.format == "parquet":
                _parquet(target, parts, args, progress)
            else:
                with whole_file(target, force=args.force) as file:
                    for part in parts.lines(wanted, progress):
                        file.write(part)
            args.left = f"the export is whole: {target}"
    if args.json:
        return say({"file": str(target), "exported": parts.counts})
    for what, count in parts.counts.items():
        noun = {"events": "event", "users": "user", "companies": "company", "stays": "stay"}
        one = noun.get(what, what)
        sys.stderr.write(f"{count:,} {one if count == 1 else what} exported\n")
    return OK


class _Parts:
    """What is stored, part by part, counted."""

    def __init__(self, args: argparse.Namespace, reach: Reach, total: int) -> None:
        self.app_id: str = args.app_id
        self.since_ms: int = args.since or 0
        self.until_ms: int = args.until or LAST_MS + 1
        self.reach = reach
        self.total = total
        self.counts: dict[str, int] = {}

    def events(self, progress: Progress) -> Iterator[list[Stored]]:
        """Yield the wanted events, in the order of arrival."""
        self.counts["events"] = read = 0
        every = self.since_ms == 0 and self.until_ms > LAST_MS
        for rows in self.reach.rows(self.app_id):
            read += len(rows)
            wanted = rows
            if not every:
                wanted = [row for row in rows if self.since_ms <= row.ts < self.until_ms]
            self.counts["events"] += len(wanted)
            yield wanted
            progress(read, max(read, self.total))

    def lines(self, wanted: tuple[str, ...], progress: Progress) -> Iterator[bytes]:
        """Yield everything that is wanted as lines of JSON."""
        import msgspec

        from collector.bulk.fact_lines import lines_of
        from collector.intake.rows import exported

        for what in wanted:
            if what == "events":
                yield from (b"".join(map(exported, rows)) for rows in self.events(progress))
                continue
            self.counts[what] = 0
            for page in lines_of(self.reach, self.app_id, what):
                self.counts[what] += len(page)
                yield b"".join(msgspec.json.encode(line) + b"\n" for line in page)
                progress(self.counts[what], 0)


def _parquet(target: Path, parts: _Parts, args: argparse.Namespace, progress: Progress) -> None:
    from collector.bulk.parquet import EVENTS, FACTS, encoded_facts, encoded_rows, write

    shape = EVENTS if args.what == "events" else FACTS[args.what]
    lines: Iterator[bytes]
    if args.what == "events":
        lines = map(encoded_rows, parts.events(progress))
    else:
        lines = encoded_facts(parts.lines((args.what,), progress))
    part = part_of(target)
    with ended_softly():
        try:
            write(part, shape, lines)
            part.replace(target)
            from collector.lasting import sync

            sync(target.parent)
        except OSError as exc:
            raise StorageFault(f"{target} cannot be written: {exc.strerror or exc}") from exc
        finally:
            part.unlink(missing_ok=True)


def _write(file: BinaryIO, part: bytes) -> None:
    left = memoryview(part)
    try:
        while left:
            left = left[file.write(left) :]  # PYTHONUNBUFFERED: a pipe takes only as much as it has
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise StorageFault(f"the export cannot be written: {exc.strerror}") from exc


def _require_room(target: Path, needed_bytes: int) -> None:
    """Refuse what cannot fit, before anything is written.

    Raises:
        DiskFull: It cannot.
        StorageFault: There is no such folder.

    """
    try:
        free = shutil.disk_usage(target.parent).free
    except OSError as exc:
        raise StorageFault(f"{target} cannot be written: {exc.strerror}") from exc
    if free < needed_bytes + SPARE_BYTES:
        raise DiskFull(
            f"the disk of {target.parent} has {free >> 20} MB free, and the export needs more than"
            f" {(needed_bytes + SPARE_BYTES) >> 20} MB"
        )
