"""`homing data`: all that is held of a person, exported, deleted, and deleted far away.

export     one NDJSON file: a manifest, a line per thing that is held, a line that counts them
delete     here; with --remote the far ends are asked, too, until they have
requests   what was asked of far ends, and what became of it
receipt    what a far end signed
retry      ask again now
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.outbox import confirmed
from agent.cli.parser import one_of, text
from agent.cli.shell import DEGRADED, OK, Shell, UsageFault
from agent.cli.table import clock
from agent.door.your_data import (
    DeleteData,
    ReadDeletions,
    ReadHeld,
    ReadReceipts,
    RetryDeletion,
)
from agent.rules.wording import count, events, visible

if TYPE_CHECKING:
    from agent.cli.parser import Parser
    from agent.door.your_data import Deleted, Deletion, HeldApp

SHOWN_PERSONS = 5  #: Of a request; --json has them all.
TAKES = {"export": "FILE", "receipt": "ID", "retry": "ID"}


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `data`."""
    parser.add_argument(
        "action",
        type=one_of("export", "delete", "requests", "receipt", "retry"),
        help="export FILE, delete, requests, receipt ID, retry [ID]",
    )
    parser.add_argument("what", nargs="?", type=text, metavar="FILE|ID", help="- is the output")
    parser.app_option("of this app only")
    parser.add_argument("--remote", action="store_true", help="delete: ask the far ends, too")
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    parser.json_option()
    parser.set_defaults(run=data)


def data(args: argparse.Namespace, shell: Shell) -> int:
    """Carry out one action on a person's own data."""
    wanted = TAKES.get(args.action)
    if args.what is not None and wanted is None:
        raise UsageFault(f"`homing data {args.action}` takes no {visible(args.what, 40)!r}")
    if args.what is None and wanted is not None and args.action != "retry":
        raise UsageFault(f"`homing data {args.action}` takes a {wanted}")
    match args.action:
        case "export":
            from agent.cli.data_export import export

            return export(args.app, Path(args.what), shell, to_output=args.what == "-")
        case "delete":
            return _delete(args, shell)
        case "receipt":
            return _receipt(args.what, shell)
        case "retry":
            shell.door().ask(RetryDeletion(id=args.what))
    return _requests(args, shell)


def _delete(args: argparse.Namespace, shell: Shell) -> int:
    door = shell.door()
    held = door.ask(ReadHeld(app_id=args.app)).apps
    if not args.yes:
        _explain(held, shell, remote=args.remote)
        whose = "of every app" if args.app is None else f"of {visible(args.app, 60)}"
        if not confirmed(shell, f"Delete everything that is held {whose}? [y/N] "):
            shell.complain("nothing was deleted")
            return DEGRADED
    gone = door.ask(DeleteData(app_id=args.app, remote=args.remote))
    if args.json:
        shell.json(gone)
    else:
        _tell(gone, shell)
    return DEGRADED if gone.left or (args.remote and gone.not_asked) else OK


def _explain(held: tuple[HeldApp, ...], shell: Shell, *, remote: bool) -> None:
    """Say before it happens what will be deleted, and what cannot be."""
    for app in held:
        waiting = sum(stream.pending + stream.dead for stream in app.streams)
        shell.err.write(
            f"  {visible(app.app_id, 60)}: {events(waiting)} not delivered, ids and session,"
            " tallies, learned shapes, spool files, the record of the wire\n"
        )
        for far_end in app.far_ends if remote else ():
            name = visible(far_end.upstream or "the far end on this computer", 60)
            if far_end.why_not:
                shell.err.write(f"    {name} is not asked: {visible(far_end.why_not)}\n")
            else:
                shell.err.write(
                    f"    {name} is asked to delete this person, on all devices,"
                    f" and everybody the app named: {visible(far_end.origin)}\n"
                )
    if not remote and any(not one.why_not for app in held for one in app.far_ends):
        shell.err.write("  What far ends hold stays there; --remote asks them to delete it.\n")


def _tell(gone: Deleted, shell: Shell) -> None:
    for app_id in gone.apps:
        shell.say(f"deleted what was held of {visible(app_id, 60)}")
    shell.say(f"{events(gone.events)} not delivered, {count(gone.records)} records of the wire")
    for request in gone.requests:
        shell.say(f"asked {visible(request.origin)} to delete: request {request.id}")
    for far_end in gone.not_asked:
        name = visible(far_end.upstream or "the far end", 60)
        shell.complain(f"{name} was not asked: {visible(far_end.why_not)}")
    for what in gone.left:
        shell.complain(f"still there: {visible(what, 500)}")


def _requests(args: argparse.Namespace, shell: Shell) -> int:
    requests = shell.door().ask(ReadDeletions()).requests
    requests = tuple(one for one in requests if args.app in (None, one.app_id))
    if args.json:
        shell.json(requests)
    elif not requests:
        shell.say("No far end was asked to delete anything.")
    else:
        for request in requests:
            _print(request, shell)
    return DEGRADED if any(one.state == "parked" for one in requests) else OK


def _print(request: Deletion, shell: Shell) -> None:
    asked = f"{clock(request.made_ms)} {visible(request.app_id, 60)} at {visible(request.origin)}"
    shell.say(f"{request.id} {request.state}: {asked}")
    if request.state == "done":
        kept = f"{request.receipts} receipt{'' if request.receipts == 1 else 's'} kept"
        shell.say(f"  {count(request.answered)} answered, {kept}")
    else:
        left = ", ".join(visible(person, 60) for person in request.persons[:SHOWN_PERSONS])
        more = len(request.persons) - SHOWN_PERSONS
        shell.say(f"  still to be deleted: {left}" + (f" and {count(more)} more" * (more > 0)))
    if request.reason:
        shell.say(f"  {visible(request.reason, 500)}")
    if request.next_ms is not None and request.attempts:
        shell.say(f"  next try {clock(request.next_ms)}, after {count(request.attempts)}")


def _receipt(id_: str, shell: Shell) -> int:
    """Print the receipts byte for byte, one a line, as `verify-receipt` reads them."""
    receipts = shell.door().ask(ReadReceipts(id=id_)).receipts
    for receipt in receipts:
        shell.say(visible(receipt, 100_000))
    if not receipts:
        shell.complain("there is no receipt: the far end held nothing, or gives none")
        return DEGRADED
    return OK
