"""`homing outbox`: what waits to be sent, and what the far end refused for good.

An export is read again by `homing import`: each line is a frame with its app and one event as
it goes on the wire. Retry and drop act on dead letters only; what is pending is promised.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import msgspec

from agent.cli.parser import at_least_one, one_of
from agent.cli.shell import DEGRADED, OK, Shell, UsageFault
from agent.cli.table import clock
from agent.rules.wording import count, events, visible

if TYPE_CHECKING:
    from agent.cli.parser import Parser
    from agent.door import Door, QueuedEvent

ALL = 1_000_000  #: As many as the outbox may hold.


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `outbox`."""
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        type=one_of("list", "export", "retry", "drop"),
        help="list (default), export FILE, retry or drop the dead letters",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="of an export; - is the output")
    parser.add_argument("--dead", action="store_true", help="the dead letters, not what waits")
    parser.app_option("events of this app only")
    parser.add_argument(
        "--limit", metavar="N", type=at_least_one, help="at most so many (list: 100, export: all)"
    )
    parser.add_argument("--yes", action="store_true", help="drop without asking")
    parser.json_option()
    parser.set_defaults(run=outbox)


def outbox(args: argparse.Namespace, shell: Shell) -> int:
    """Carry out one action on the outbox."""
    if (args.file is not None) != (args.action == "export"):
        raise UsageFault(
            f"`homing outbox {args.action}` takes {'a' if args.action == 'export' else 'no'} FILE"
        )
    match args.action:
        case "list":
            return _list(args, shell)
        case "export":
            return _export(args, shell)
        case "retry":
            number = shell.door().retry_dead(_chosen(args, shell.door()))
            return _done(shell, "offered", number, "offered again", as_json=args.json)
    return _drop(args, shell)


def _list(args: argparse.Namespace, shell: Shell) -> int:
    queued = _queued(shell.door(), args, args.limit or 100)
    if args.json:
        shell.json(queued)
        return OK
    if not queued:
        shell.say("No dead letters." if args.dead else "Nothing waits to be sent.")
    for event in queued:
        shell.say(f"{clock(event.accepted_ms)} {visible(event.app_id)} {visible(event.id)}")
        if event.reason:
            detail = f": {visible(event.detail)}" if event.detail else ""
            shell.say(f"  refused: {visible(event.reason)}{detail}")
        shell.say(f"  {visible(event.body, 2000)}")
    return OK


def _export(args: argparse.Namespace, shell: Shell) -> int:
    door = shell.door()
    depth = door.status().depth
    there = depth.dead if args.dead else depth.events
    queued = _queued(door, args, args.limit or max(1, there))
    if args.file == "-":
        _write(queued, shell.out)
    else:
        with _new_file(Path(args.file)) as file:
            _write(queued, file)
    said = f"exported {events(len(queued))}"
    if args.json and args.file != "-":
        shell.json({"exported": len(queued), "there": there})
    else:
        shell.err.write(f"{said} to {args.file}\n" if args.file != "-" else f"{said}\n")
    missed = args.app is None and args.limit is None and len(queued) < there
    if missed:
        shell.complain(
            f"{count(there)} were there, the agent gave {count(len(queued))}",
            "The newest are missing; export again once these are delivered.",
        )
    return DEGRADED if missed else OK


def _new_file(path: Path) -> TextIO:
    """Open a file that did not exist, for its owner alone."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as exc:
        raise UsageFault(f"{path} cannot be written: {exc.strerror}") from exc
    return os.fdopen(descriptor, "w", encoding="utf-8")


def _write(queued: tuple[QueuedEvent, ...], out: TextIO) -> None:
    for event in queued:
        frame = {"appId": event.app_id, "data": [msgspec.Raw(event.body.encode())]}
        out.write(msgspec.json.encode(frame).decode() + "\n")


def _drop(args: argparse.Namespace, shell: Shell) -> int:
    door = shell.door()
    chosen = _chosen(args, door)
    number = door.status().depth.dead if chosen is None else len(chosen)
    if number == 0:
        return _done(shell, "dropped", 0, "dropped", as_json=args.json)
    question = f"Delete {events(number)} for good? They are then counted as lost. [y/N] "
    if not args.yes and not confirmed(shell, question):
        shell.complain("nothing was dropped")
        return DEGRADED
    return _done(shell, "dropped", door.drop_dead(chosen), "dropped", as_json=args.json)


def confirmed(shell: Shell, question: str) -> bool:
    """Ask a person; where there is none, refuse.

    Raises:
        UsageFault: Standard input is no terminal, so nobody can answer.

    """
    if not shell.inward.isatty():
        raise UsageFault("nobody is here to be asked", advice="Say --yes if you mean it.")
    shell.err.write(question)
    shell.err.flush()
    return shell.inward.readline().strip().lower() in {"y", "yes"}


def _chosen(args: argparse.Namespace, door: Door) -> tuple[str, ...] | None:
    """Return the dead letters of one app, or None for all of them."""
    if args.app is None:
        return None
    letters = door.dead_letters(app_id=args.app, limit=args.limit or ALL)
    return tuple(letter.id for letter in letters)


def _queued(door: Door, args: argparse.Namespace, limit: int) -> tuple[QueuedEvent, ...]:
    ask = door.dead_letters if args.dead else door.outbox
    return ask(app_id=args.app, limit=limit)


def _done(shell: Shell, key: str, number: int, words: str, *, as_json: bool) -> int:
    if as_json:
        shell.json({key: number})
    else:
        shell.say(f"{events(number)} {words}.")
    return OK
