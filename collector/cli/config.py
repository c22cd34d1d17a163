"""`config`: every setting with its value and where it came from."""

from __future__ import annotations

import argparse

from collector.cli.flags import settings_of, with_settings
from collector.cli.parser import OK, PROG, Commands, say


def register(commands: Commands) -> None:
    example = f"{PROG} config --json"
    config = commands.command("config", "every setting, and where it comes from", example, _config)
    with_settings(config)
    config.add_argument("--json", action="store_true", help="one line of JSON per setting")


def _config(args: argparse.Namespace) -> int:
    for row in settings_of(args).rows():
        if args.json:
            say(row._asdict())
        else:
            value = ", ".join(row.value) if isinstance(row.value, tuple) else row.value
            shown = value if value != "" else "(none)"
            print(f"{row.key:<22} {shown!s:<14} {row.origin}")
    return OK
