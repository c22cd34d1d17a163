"""`homing outbox`: what waits to be sent, and what the far end refused for good.

An export is read again by `homing import`: each line is a frame with its app and one event as
it goes on the wire. What waits is streamed, so a full outbox needs no more memory than an empty
one. Retry and drop act on dead letters only; what is pending is promised.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import msgspec

from agent.cli.parser import at_least_one, one_of
from agent.cli.shell import DEGRADED, OK, Shell, UsageFault
from agent.cli.streaming import stream_events
from agent.cli.table import clock
from agent.rules.wording import count, events, visible

if TYPE_CHECKING:
    from agent.cli.parser import Parser
    from agent.door import Door, QueuedEvent

CALL = re.compile(rb'\{"id":"[^"]*","at":[0-9]+,"type":')  #: How a stored call begins.
#: What became of a dead letter, as a person reads it.
WHY = {"refused": "refused", "unacknowledged": "never acknowledged"}
MOST = 10_000  #: Rows that one listing of the agent answers at most.


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
        whose = visible(event.app_id) + (f"/{visible(event.upstream)}" if event.upstream else "")
        shell.say(f"{clock(event.accepted_ms)} {whose} {visible(event.id)}")
        if event.reason:
            detail = f": {visible(event.detail)}" if event.detail else ""
            shell.say(f"  {WHY.get(event.reason) or visible(event.reason)}{detail}")
        shell.say(f"  {visible(event.body, 2000)}")
    return OK


def _export(args: argparse.Namespace, shell: Shell) -> int:
    door = shell.door()
    status = door.status()
    apps = [app.app_id for app in status.apps] if args.app is None else [args.app]
    waiting = sum(
        app.dead if args.dead else app.pending for app in status.apps if app.app_id in apps
    )
    frames: Iterable[str]
    if args.dead:
        letters = _queued(door, args, min(args.limit or MOST, MOST))
        frames = (_frame(letter.app_id, letter.body.encode()) for letter in letters)
    else:
        frames = (_frame(app, raw) for app in apps for raw in stream_events(shell.entrance(), app))
    frames = itertools.islice(frames, args.limit)
    if args.file == "-":
        number = _write(frames, shell.out)
    else:
        number = _write_file(frames, Path(args.file))
    if args.json and args.file != "-":
        shell.json({"exported": number, "there": waiting})
    else:
        where = "" if args.file == "-" else f" to {args.file}"
        shell.err.write(f"{events(number)} exported{where}\n")
    missed = number < min(waiting, args.limit or waiting)
    if missed:
        shell.complain(
            f"{count(waiting)} were there when it began, {count(number)} were exported",
            "The others were delivered meanwhile, or are more than one listing holds.",
        )
    return DEGRADED if missed else OK


def _frame(app_id: str, event: bytes) -> str:
    """Return a line of an export; a Bucket call as an item of ``bulk``, which no import reads."""
    frame: dict[str, object] = {"appId": app_id, "data": [msgspec.Raw(event)]}
    if CALL.match(event):
        from agent.rules.calls import posted, stored_of

        (call,) = stored_of(event)
        frame = {"appId": app_id, "calls": [msgspec.Raw(posted(call, "front"))]}
    return msgspec.json.encode(frame).decode() + "\n"


def _write(frames: Iterable[str], out: TextIO) -> int:
    number = 0
    for frame in frames:
        out.write(frame)
        number += 1
    return number


def _write_file(frames: Iterable[str], path: Path) -> int:
    """Write a file that did not exist, for its owner alone; a half one does not stay."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            try:
                return _write(frames, file)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
    except OSError as exc:
        raise UsageFault(f"{path} cannot be written: {exc.strerror or exc}") from exc


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
    letters = door.dead_letters(app_id=args.app, limit=args.limit or MOST)
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
