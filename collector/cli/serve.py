"""`serve`: take events in and answer questions about them."""

from __future__ import annotations

import argparse
import asyncio
import json
import os

from collector.cli.flags import settings_of, with_settings
from collector.cli.parser import OK, PROG, Commands, folder_of


def register(commands: Commands) -> None:
    serve = commands.command(
        "serve",
        "take events in and answer questions about them",
        f"{PROG} serve --port 7780",
        _serve,
    )
    with_settings(serve)
    serve.add_argument(
        "--stdin-eof", action="store_true", help="end when standard input ends (for a supervisor)"
    )
    serve.add_argument("--json", action="store_true", help="print the ready line as JSON")


def _serve(args: argparse.Namespace) -> int:
    settings = settings_of(args).settings
    from collector import logs
    from collector.server import serve

    logs.begin(settings.log, settings.log_level)

    def ready(port: int) -> None:
        if args.json:
            print(json.dumps({"ready": True, "port": port, "pid": os.getpid()}), flush=True)
        else:
            print(f"Serving on http://{settings.host}:{port} (Ctrl-C ends it)", flush=True)

    asyncio.run(serve(folder_of(args), settings, ready, stdin_eof=args.stdin_eof))
    return OK
