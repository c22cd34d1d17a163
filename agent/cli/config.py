"""`homing config`: the settings, where each came from, and whether they are possible."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from agent.adapters.machine.places import Places
from agent.cli.parser import one_of, text
from agent.cli.shell import BAD_SETTINGS, OK, Shell, UsageFault
from agent.cli.table import rows
from agent.settings import load, set_value
from tracking.errors import SettingsFault

if TYPE_CHECKING:
    from agent.cli.parser import Parser

WORDS_AFTER = {"show": 0, "check": 0, "path": 0, "set": 2}


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `config`."""
    parser.add_argument(
        "action",
        nargs="?",
        default="show",
        type=one_of(*WORDS_AFTER),
        help="show (default), check, path, or set KEY VALUE",
    )
    parser.add_argument("words", nargs="*", metavar="KEY VALUE", type=text, help="of set")
    parser.json_option()
    parser.set_defaults(run=config)


def config(args: argparse.Namespace, shell: Shell) -> int:
    """Carry out one action on the settings; needs no running agent."""
    if len(args.words) != WORDS_AFTER[args.action]:
        wanted = "KEY and VALUE" if args.action == "set" else "nothing more"
        raise UsageFault(
            f"`homing config {args.action}` takes {wanted}",
            advice="As in `homing config set log.level debug`.",
        )
    file = Places.find(shell.env).settings_file
    match args.action:
        case "path":
            if args.json:
                shell.json({"file": str(file), "exists": file.exists()})
            else:
                shell.say(str(file))
        case "check":
            return _check(file, shell, as_json=args.json)
        case "set":
            key, value = args.words
            set_value(file, key, value)
            _tell_one(key, shell, as_json=args.json)
        case _:
            _show(shell, as_json=args.json)
    return OK


def _check(file: Path, shell: Shell, *, as_json: bool) -> int:
    """Say whether the settings are possible; every mistake is named at once."""
    apps, problems = 0, []
    try:
        apps = len(load(file, shell.env).apps)
    except SettingsFault as fault:
        if not as_json:
            raise
        problems = str(fault).splitlines()
    if as_json:
        shell.json({"file": str(file), "apps": apps, "problems": problems})
        return BAD_SETTINGS if problems else OK
    there = str(file) if file.exists() else f"{file} does not exist, which is fine"
    shell.say(f"Every setting is possible. {there}")
    return OK


def _show(shell: Shell, *, as_json: bool) -> None:
    table = load(Places.find(shell.env).settings_file, shell.env).describe()
    if as_json:
        shell.json([row._asdict() for row in table])
        return
    for line in rows(
        ("SETTING", "VALUE", "FROM"),
        ((row.key, json.dumps(row.value, ensure_ascii=False), row.origin) for row in table),
    ):
        shell.say(line)


def _tell_one(key: str, shell: Shell, *, as_json: bool) -> None:
    """Say what a setting is after a change; a variable may still win over the file."""
    now = load(Places.find(shell.env).settings_file, shell.env)
    row = next(row for row in now.describe() if row.key == key)
    if as_json:
        shell.json(row._asdict())
        return
    shell.say(f"{key} = {json.dumps(row.value, ensure_ascii=False)} ({row.origin})")
    shell.say("The agent reads it at its next start.")
