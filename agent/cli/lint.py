"""`homing lint`: what apps report, and what in it is new, odd or looks personal."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agent.cli.parser import at_least_one, one_of, text
from agent.cli.shell import DEGRADED, OK, Shell, UsageFault
from agent.cli.table import clock, rows
from agent.door.lint import ForgetShapes, ListShapes, Marked, ReadMarks, ShapeOf
from agent.rules.wording import count, some, visible

if TYPE_CHECKING:
    from agent.cli.parser import Parser


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `lint`."""
    parser.add_argument(
        "action",
        nargs="?",
        default="marks",
        type=one_of("marks", "shapes", "stubs", "forget"),
        help="marks (default), shapes, stubs for a language, or forget what was learned of an app",
    )
    parser.app_option("this app only; stubs and forget need it")
    parser.add_argument(
        "--language",
        metavar="LANGUAGE",
        type=one_of("python", "typescript"),
        help="stubs: python or typescript",
    )
    parser.add_argument(
        "--event", metavar="NAME", type=text, help="shapes and stubs: of this event only"
    )
    parser.add_argument(
        "--limit", metavar="N", type=at_least_one, default=100, help="marks: newest (100)"
    )
    parser.json_option()
    parser.set_defaults(run=lint)


def lint(args: argparse.Namespace, shell: Shell) -> int:
    """Carry out one action; marks of personal data are exit code 1, for scripts."""
    match args.action:
        case "shapes":
            return _shapes(args, shell)
        case "stubs":
            return _stubs(args, shell)
        case "forget":
            return _forget(args, shell)
    found = shell.door().ask(ReadMarks(app_id=args.app, limit=min(args.limit, 10_000)))
    if args.json:
        shell.json(found)
    elif not found.marks:
        shell.say("Nothing is new, odd or looks personal in what was reported so far.")
    else:
        head = ("APP", "EVENT", "MARK", "WHERE", "SEEN", "LAST")
        body = [
            (
                mark.app_id,
                mark.name or f"({mark.type})",
                f"{mark.what}: {mark.detail}" if mark.detail else mark.what,
                mark.path,
                count(mark.count),
                clock(mark.last_ms),
            )
            for mark in found.marks
        ]
        for line in rows(head, body, right="    >"):
            shell.say(line)
        if found.in_all > len(found.marks):
            shell.say(f"{count(found.in_all - len(found.marks))} more; see --limit.")
        _advise(found.marks, shell)
    return DEGRADED if any(mark.what == "personal" for mark in found.marks) else OK


def _advise(marks: tuple[Marked, ...], shell: Shell) -> None:
    """Show how what looks personal is kept from leaving, with the first of it as an example."""
    for mark in marks:
        plain = mark.path.replace("[]", "[*]")
        if mark.what == "personal" and mark.path and "*." not in mark.path and "(" not in plain:
            shell.complain(
                f"{visible(mark.app_id)} reports what looks personal",
                f"To keep it here: homing redact add --app {visible(mark.app_id)}"
                f" --path '$.{visible(plain, 200)}' --action mask …",
            )
            return


def _shapes(args: argparse.Namespace, shell: Shell) -> int:
    found = shell.door().ask(ListShapes(app_id=args.app))
    listed = [shape for shape in found.shapes if args.event in (None, shape.name)]
    if args.json:
        shell.json(listed)
        return OK
    for shape in listed:
        name = visible(shape.name) if shape.name else f"({visible(shape.type)})"
        shell.say(f"{visible(shape.app_id)} {name}: seen {some(shape.seen, 'time')}")
        for one in shape.properties:
            kinds = ", ".join(f"{kind} {count(n)}" for kind, n in one.kinds.items())
            marks = f"  [{', '.join(map(visible, one.marks))}]" if one.marks else ""
            shell.say(f"  {visible(one.path, 200)}: {kinds}{marks}")
    if not listed:
        shell.say("Nothing was learned yet.")
    if found.passed > found.seen:
        shell.say(f"{count(found.seen)} of {count(found.passed)} events were looked at.")
    if found.unlearned:
        shell.say(f"{some(found.unlearned, 'time')} a name or a property found no room.")
    return OK


def _stubs(args: argparse.Namespace, shell: Shell) -> int:
    from agent.cli.stubs import stubs

    if args.app is None or args.language is None:
        raise UsageFault(
            "`homing lint stubs` needs an app and a language",
            advice="As in `homing lint stubs --app acme-notes --language typescript`.",
        )
    found = _of_app(args.app, shell)
    listed = [shape for shape in found if args.event in (None, shape.name)]
    module = stubs(args.app, listed, args.language)
    if args.json:
        shell.json({"app_id": args.app, "language": args.language, "text": module})
    else:
        shell.out.write(module)
    return OK


def _of_app(app_id: str, shell: Shell) -> tuple[ShapeOf, ...]:
    found = shell.door().ask(ListShapes(app_id=app_id)).shapes
    if not found:
        raise UsageFault(
            f"nothing was learned of {visible(app_id)}", advice="See `homing lint shapes`."
        )
    return found


def _forget(args: argparse.Namespace, shell: Shell) -> int:
    if args.app is None:
        raise UsageFault("`homing lint forget` needs an app", advice="As in --app acme-notes.")
    left = shell.door().ask(ForgetShapes(app_id=args.app))
    if args.json:
        shell.json(left)
    else:
        shell.say(f"What was learned of {visible(args.app)} is forgotten.")
    return OK
