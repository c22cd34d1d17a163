"""The words of the command line, and what every command shares.

A new command: a module with ``register(commands)`` that calls :meth:`Commands.command`, its name in
``build`` below, a row in docs/collector.md.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from collector.access.accounts import Accounts
from collector.places import Folder, default_dir

OK, FAILED, USAGE, UNAVAILABLE, BUG, RUNNING, SETTINGS = 0, 1, 64, 69, 70, 75, 78
PROG = "homing collector"

Run = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """Exits with 64 on a wrong word, as promised."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: {_short(message)}\nSee `{self.prog} --help`.\n")
        raise SystemExit(USAGE)


#: How argparse says that a word is none of those there are.
_NONE_OF_THEM = re.compile(r"argument [^:]+: invalid choice: (.+) \(choose from (.+)\)", re.DOTALL)


def _short(message: str) -> str:
    """Name the word that was meant where argparse names all of them."""
    found = _NONE_OF_THEM.fullmatch(message)
    if found is None:
        return message
    known = re.findall(r"'([^']*)'", found[2])
    near = difflib.get_close_matches(found[1].strip("'\""), known, n=1, cutoff=0.5)
    hint = f", did you mean {near[0]}?" if near else f"; it is one of {', '.join(known)}"
    return f"{found[1]} is not known{hint}"


@dataclass(frozen=True, slots=True)
class Commands:
    """Where commands are added; each gets ``--data-dir`` and an example in its help."""

    within: Any  #: What ``add_subparsers`` returned.

    def command(self, name: str, what: str, example: str, run: Run) -> argparse.ArgumentParser:
        """Add a command and return its parser, for its own arguments."""
        made: argparse.ArgumentParser = self.within.add_parser(
            name,
            help=what,
            description=what,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.add_argument("--data-dir", type=Path, metavar="DIR", help="where its data lies")
        made.set_defaults(run=run)
        return made

    def group(self, name: str, what: str) -> Commands:
        """Add a word that other words come after: ``token add``."""
        made = self.within.add_parser(name, help=what)
        return Commands(made.add_subparsers(required=True, metavar="WORD"))


def build() -> argparse.ArgumentParser:
    """Return the parser of everything after ``homing collector``."""
    from collector.cli import (
        accounts,
        backup,
        config,
        data,
        demo,
        export,
        receipts,
        serve,
        status,
        tokens,
    )

    top = Parser(prog=PROG, description="The self-hosted far end: your events on your machine.")
    commands = Commands(top.add_subparsers(dest="command", required=True, metavar="COMMAND"))
    families = (serve, config, accounts, tokens, export, data, backup, demo, receipts, status)
    for family in families:
        family.register(commands)
    return top


def answers_in_json(made: argparse.ArgumentParser) -> None:
    """Take the flag of the others where the answer is JSON with it and without it."""
    made.add_argument("--json", action="store_true", help="nothing changes: it is one line of JSON")


def folder_of(args: argparse.Namespace, env: Mapping[str, str] = os.environ) -> Folder:
    """Return the folder that a command is about, made and checked."""
    return Folder((args.data_dir or default_dir(env)).expanduser().absolute()).prepare()


@contextlib.contextmanager
def accounts_of(args: argparse.Namespace) -> Iterator[Accounts]:
    """Open the accounts of that folder."""
    accounts = Accounts(folder_of(args).accounts)
    try:
        yield accounts
    finally:
        accounts.close()


def say(facts: object) -> int:
    """Print one line of JSON."""
    print(json.dumps(facts, ensure_ascii=False))
    return OK


def now_ms() -> int:
    """Return the time, Unix milliseconds."""
    return time.time_ns() // 1_000_000
