"""`status`: what the running server is doing."""

from __future__ import annotations

import argparse
import json
import sys

from collector.cli.asking import ask
from collector.cli.hints import still_held
from collector.cli.parser import OK, PROG, UNAVAILABLE, Commands, folder_of, say
from collector.places import connect_admin


def register(commands: Commands) -> None:
    example = f"{PROG} status --json"
    status = commands.command("status", "what the running server is doing", example, _status)
    status.add_argument("--json", action="store_true", help="one line of JSON")


def _status(args: argparse.Namespace) -> int:
    folder = folder_of(args)
    sock = connect_admin(folder, 15.0)
    if sock is None:
        sys.stderr.write("homing: no collector serves this folder\n")
        return UNAVAILABLE
    with sock:
        said = json.loads(ask(sock, "/status").read())
    if args.json:
        return say(said | {"setAside": [str(path) for path in folder.set_aside()]})
    print(f"Serving on port {said['port']}, process {said['pid']}.")
    print(f"{said['written']:,} events stored since the start, {said['repeats']:,} repeats.")
    for app_id, count in said["apps"].items():
        print(f"  {app_id}: {count:,} events")
    print(*still_held(folder), sep="", end="")
    return OK
