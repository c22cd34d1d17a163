"""`homing version` and `homing help`."""

from __future__ import annotations

import argparse
import importlib
import platform
from importlib import metadata

from agent.cli import COLLECTOR, COMMANDS, TRAY
from agent.cli.parser import Parser, one_of
from agent.cli.shell import OK, Shell


def declare(name: str, parser: Parser) -> None:
    """Add the options of `version` or `help`."""
    if name == "version":
        parser.json_option()
        parser.set_defaults(run=lambda args, shell: version(shell, as_json=args.json))
    else:
        parser.add_argument(
            "command", nargs="?", type=one_of(*COMMANDS), help="the command to explain"
        )
        parser.set_defaults(run=lambda args, shell: explain(shell, args.command))


def version(shell: Shell, *, as_json: bool) -> int:
    """Print what runs here."""
    number = metadata.version("homing")
    if as_json:
        shell.json({"homing": number, "python": platform.python_version()})
    else:
        shell.say(f"homing {number} (Python {platform.python_version()})")
    return OK


def explain(shell: Shell, name: str | None) -> int:
    """Print the help of one command, or the table of all."""
    if name is not None:
        shell.out.write(parser_of(name).format_help())
        return OK
    width = max(len(name) for name in COMMANDS) + 2
    shell.say("usage: homing [command] [options]\n")
    shell.say(f"{TRAY.summary}\n\ncommands:")
    for command in COMMANDS.values():
        shell.say(f"  {command.name:<{width}}{command.summary}")
    shell.say(f"  {COLLECTOR[0]:<{width}}{COLLECTOR[1]}")
    shell.say("\nexample:")
    for line in TRAY.example.splitlines():
        shell.say(f"  {line}")
    shell.say("\n`homing help COMMAND` or `homing COMMAND --help` explains one of them.")
    return OK


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of one command; the documentation is tested against it."""
    command = TRAY if not name else COMMANDS[name]
    parser = Parser(command.name, command.summary, command.example)
    importlib.import_module(command.module).declare(command.name, parser)
    return parser
