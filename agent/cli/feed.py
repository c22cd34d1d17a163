"""`homing import`: report the events of a file, as fast as they can be made durable."""

from __future__ import annotations

import argparse
import asyncio
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from agent.cli.lane import deliver
from agent.cli.ndjson import Bad, Found, Heartbeat, Item, batches, digest, read
from agent.cli.shell import DEGRADED, INTERRUPTED, OK, Shell, UsageFault
from agent.rules.wording import count, events, span, visible
from tracking.errors import Fault, RequestFault

if TYPE_CHECKING:
    from agent.cli.parser import Parser
    from agent.door import Status

KEPT_BAD = 1000  #: Bad lines remembered with their reason; all are counted.
SHOWN_BAD = 20


class BadLine(msgspec.Struct, frozen=True, kw_only=True):
    line: int
    why: str


class Summary(msgspec.Struct, kw_only=True):
    """What an import did; printed as words or as JSON."""

    file: str
    acknowledged: int = 0  #: Events that are safe on this disk, now or since an earlier import.
    bad: int = 0
    bad_lines: list[BadLine] = []
    heartbeats: int = 0  #: Skipped: they are states, not events.
    seconds: float = 0.0
    complete: bool = False

    def leave_out(self, line: int, why: str) -> None:
        """Count a line that cannot be used, and remember the first of them."""
        self.bad += 1
        if len(self.bad_lines) < KEPT_BAD:
            self.bad_lines.append(BadLine(line=line, why=why[:500]))


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `import`."""
    parser.add_argument(
        "file",
        metavar="FILE.ndjson",
        type=Path,
        help='one event, or one frame {"data": [...]}, per line; any size',
    )
    parser.app_option("the app of lines that name none; without it the settings' first")
    parser.json_option()
    parser.set_defaults(run=import_file)


def import_file(args: argparse.Namespace, shell: Shell) -> int:
    """Report a file; degraded if lines were left out."""
    from agent.cli.progress import progress_on

    summary = Summary(file=str(args.file))
    trouble: Fault | None = None
    interrupted = False
    began = time.monotonic()
    with _opened(args.file) as stream:
        status = shell.door().status()
        app_id = args.app or status.default_app
        unheard = _unheard(status)
        if why := unheard(app_id or ""):
            raise RequestFault(why, field="app_id", status=403, advice="See `homing apps`.")
        bytes_in_all = os.fstat(stream.fileno()).st_size
        with progress_on(shell.err, bytes_in_all) or nullcontext() as progress:
            told = read(stream, file_hash=digest(stream), app_id=app_id)
            good = _sorted_out(told, summary, unheard)

            def stored(number: int) -> None:
                summary.acknowledged += number
                if progress is not None:
                    progress.show(stream.tell(), summary.acknowledged, summary.bad)

            def refused(item: Item, why: str) -> None:
                summary.leave_out(item.line, why)

            try:
                asyncio.run(deliver(shell.entrance, batches(good), stored, refused))
                summary.complete = True
            except KeyboardInterrupt:
                interrupted = True
            except Fault as fault:
                trouble = fault
    summary.seconds = round(time.monotonic() - began, 3)
    code = _print(summary, shell, interrupted=interrupted, as_json=args.json)
    if trouble is not None:
        raise trouble
    return code


def _opened(path: Path) -> BinaryIO:
    try:
        stream = path.open("rb")
    except OSError as exc:
        raise UsageFault(f"{path} cannot be read: {exc.strerror}") from exc
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise UsageFault(
            f"{path} is not a file",
            advice="Save what comes out of a pipe first: its hash makes the import repeatable.",
        )
    return stream


def _unheard(status: Status) -> Callable[[str], str]:
    """Return what says why an app's events would be dropped; empty if they would not.

    The agent acknowledges them all the same, for apps; a person is not told that they are safe.
    """
    stilled = {app.app_id: app for app in status.apps if app.consent in ("denied", "paused")}

    def why(app_id: str) -> str:
        if status.every_app is not None:
            return f"nothing is reported: all apps are {status.every_app.consent}"
        app = stilled.get(app_id)
        return "" if app is None else f"nothing is reported for {app_id}: it is {app.consent}"

    return why


def _sorted_out(
    told: Iterator[Found], summary: Summary, unheard: Callable[[str], str]
) -> Iterator[Item]:
    """Pass on what can be reported; count and remember the rest."""
    for item in told:
        match item:
            case Item() if why := unheard(item.app_id):
                summary.leave_out(item.line, why)
            case Item():
                yield item
            case Heartbeat():
                summary.heartbeats += 1
            case Bad(line=line, why=why):
                summary.leave_out(line, why)


def _print(summary: Summary, shell: Shell, *, interrupted: bool, as_json: bool) -> int:
    if as_json:
        shell.json(summary)
    else:
        rate = summary.acknowledged / summary.seconds if summary.seconds > 0 else 0.0
        shell.say(
            f"{events(summary.acknowledged)} safe on this disk, in {span(summary.seconds)}"
            f" ({count(round(rate))} per second)."
        )
        if summary.heartbeats:
            many = (
                "1 heartbeat"
                if summary.heartbeats == 1
                else f"{count(summary.heartbeats)} heartbeats"
            )
            shell.say(f"{many} left out: states, not events.")
        for bad in summary.bad_lines[:SHOWN_BAD]:
            shell.complain(f"line {bad.line}: {visible(bad.why)}")
        if summary.bad > SHOWN_BAD:
            shell.complain(f"{count(summary.bad - SHOWN_BAD)} more lines could not be used")
    if interrupted:
        shell.complain("interrupted", "Import the file again to go on: nothing is stored twice.")
        return INTERRUPTED
    return DEGRADED if summary.bad else OK
