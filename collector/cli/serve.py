"""`serve`: take events in and answer questions about them."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys

from collector.cli.parser import OK, PROG, Commands, folder_of


def register(commands: Commands) -> None:
    serve = commands.command(
        "serve",
        "take events in and answer questions about them",
        f"{PROG} serve --port 7780",
        _serve,
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=_port, default=7780, help="port, 0 for any (7780)")
    serve.add_argument(
        "--stdin-eof", action="store_true", help="end when standard input ends (for a supervisor)"
    )
    serve.add_argument("--json", action="store_true", help="print the ready line as JSON")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is from 0 to 65535, got {text!r}")
    return int(text)


def _serve(args: argparse.Namespace) -> int:
    from collector.server import Serving, serve

    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)

    def ready(port: int) -> None:
        if args.json:
            print(json.dumps({"ready": True, "port": port, "pid": os.getpid()}), flush=True)
        else:
            print(f"Serving on http://{args.host}:{port} (Ctrl-C ends it)", flush=True)

    serving = Serving(host=args.host, port=args.port, stdin_eof=args.stdin_eof)
    asyncio.run(serve(folder_of(args), serving, ready))
    return OK
