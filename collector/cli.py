"""`homing collector`: serve, make apps and tokens, export. All of it also while it serves."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from collector.accounts import SCOPES, Accounts
from collector.places import Folder, connect_admin, default_dir
from tracking.errors import AgentRunning, Fault, RequestFault, SettingsFault, StorageFault

OK, USAGE, UNAVAILABLE, BUG, RUNNING, SETTINGS = 0, 64, 69, 70, 75, 78
FAILED = 1
PROG = "homing collector"


class _Parser(argparse.ArgumentParser):
    """Exits with 64 on a wrong word, as promised."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: {message}\nSee `{self.prog} --help`.\n")
        raise SystemExit(USAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a fault becomes a sentence and an exit code."""
    os.umask(0o077)  # whatever an engine writes beside its files is nobody else's
    try:
        args = _parser().parse_args(argv)
        code: int = args.run(args)
        sys.stdout.flush()
    except Fault as fault:
        sys.stderr.write(f"homing: {fault}\n")
        if fault.advice:
            sys.stderr.write(f"        {fault.advice}\n")
        return exit_code(fault)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else USAGE
    return code


def exit_code(fault: Fault) -> int:
    """Return the promise that belongs to a fault (ARCHITECTURE.md §7)."""
    match fault:
        case AgentRunning():
            return RUNNING
        case SettingsFault():
            return SETTINGS
        case RequestFault():
            return USAGE
    return FAILED


def _parser() -> argparse.ArgumentParser:
    top = _Parser(prog=PROG, description="The self-hosted far end: your events on your machine.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, what: str, example: str) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name,
            help=what,
            description=what,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        return _with_dir(made)

    serve = command(
        "serve",
        "take events in and answer questions about them",
        f"{PROG} serve --port 7780",
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=_port, default=7780, help="port, 0 for any (7780)")
    serve.add_argument(
        "--stdin-eof", action="store_true", help="end when standard input ends (for a supervisor)"
    )
    serve.add_argument("--json", action="store_true", help="print the ready line as JSON")
    serve.set_defaults(run=_serve)

    app = commands.add_parser("app", help="the apps that may report here")
    words = app.add_subparsers(required=True, metavar="WORD")
    add = _sub(words, "add", "make an app", f'{PROG} app add "Acme Notes" --id acme-notes')
    add.add_argument("name", metavar="NAME")
    add.add_argument("--id", help="its appId; one is made if left out")
    add.add_argument("--if-missing", action="store_true", help="an app of this id is good enough")
    add.set_defaults(run=_app_add)
    _sub(words, "list", "list the apps", f"{PROG} app list").set_defaults(run=_app_list)

    token = commands.add_parser("token", help="who may ask the Data API")
    words = token.add_subparsers(required=True, metavar="WORD")
    add = _sub(words, "add", "make a token", f"{PROG} token add acme-notes --scope stats:read")
    add.add_argument("app_id", metavar="APPID")
    add.add_argument("--scope", action="append", default=[], help=f"one of {', '.join(SCOPES)}")
    add.add_argument("--days", type=int, help="days until it ends; for ever if left out")
    add.set_defaults(run=_token_add)
    listing = _sub(words, "list", "list tokens by their prefix", f"{PROG} token list")
    listing.add_argument("app_id", metavar="APPID", nargs="?")
    listing.set_defaults(run=_token_list)
    revoke = _sub(words, "revoke", "take a token back", f"{PROG} token revoke Ab3dEf6h")
    revoke.add_argument("prefix", metavar="PREFIX")
    revoke.set_defaults(run=_token_revoke)

    export = command(
        "export",
        "write every event of an app to a file",
        f"{PROG} export acme-notes --format ndjson --output events.ndjson",
    )
    export.add_argument("app_id", metavar="APPID")
    export.add_argument("--format", choices=["ndjson"], default="ndjson")
    export.add_argument("--output", default="-", metavar="FILE", help="a file, or - for stdout")
    export.set_defaults(run=_export)

    status = command("status", "what the running server is doing", f"{PROG} status --json")
    status.add_argument("--json", action="store_true", help="one line of JSON")
    status.set_defaults(run=_status)
    return top


def _sub(words: Any, name: str, what: str, example: str) -> argparse.ArgumentParser:
    return _with_dir(
        words.add_parser(
            name,
            help=what,
            description=what,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )


def _with_dir(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where its data lies")
    return parser


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is from 0 to 65535, got {text!r}")
    return int(text)


def _folder(args: argparse.Namespace, env: Mapping[str, str] = os.environ) -> Folder:
    return Folder((args.data_dir or default_dir(env)).expanduser().absolute()).prepare()


@contextlib.contextmanager
def _accounts(args: argparse.Namespace) -> Iterator[Accounts]:
    accounts = Accounts(_folder(args).accounts)
    try:
        yield accounts
    finally:
        accounts.close()


def _say(facts: object) -> int:
    print(json.dumps(facts, ensure_ascii=False))
    return OK


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


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
    asyncio.run(serve(_folder(args), serving, ready))
    return OK


def _app_add(args: argparse.Namespace) -> int:
    with _accounts(args) as accounts:
        app = accounts.add_app(args.name, _now_ms(), app_id=args.id, if_missing=args.if_missing)
    return _say({"appId": app.app_id, "name": app.name, "trackingKey": app.tracking_key})


def _app_list(args: argparse.Namespace) -> int:
    with _accounts(args) as accounts:
        for app in accounts.apps():
            _say({"appId": app.app_id, "name": app.name, "trackingKey": app.tracking_key})
    return OK


def _token_add(args: argparse.Namespace) -> int:
    with _accounts(args) as accounts:
        text = accounts.add_token(args.app_id, args.scope, _now_ms(), days=args.days)
        grant = accounts.grant(text, _now_ms())
    scopes = sorted(grant.scopes) if grant is not None else []
    return _say({"token": text, "appId": args.app_id, "scopes": scopes})


def _token_list(args: argparse.Namespace) -> int:
    with _accounts(args) as accounts:
        for grant in accounts.tokens(args.app_id):
            _say(
                {
                    "prefix": grant.prefix,
                    "appId": grant.app_id,
                    "scopes": sorted(grant.scopes),
                    "createdMs": grant.created_ms,
                    "expiresMs": grant.expires_ms,
                }
            )
    return OK


def _token_revoke(args: argparse.Namespace) -> int:
    with _accounts(args) as accounts:
        gone = accounts.revoke(args.prefix)
    if not gone:
        raise RequestFault(f"no token begins with {args.prefix[:40]!r}")
    return _say({"revoked": gone})


def _export(args: argparse.Namespace) -> int:
    folder = _folder(args)
    with _accounts(args) as accounts:
        if accounts.app(args.app_id) is None:
            raise RequestFault(
                f"there is no app {args.app_id[:64]!r} here", advice=f"See `{PROG} app list`."
            )
    with contextlib.ExitStack() as ends:
        total, parts = _parts(folder, args.app_id, ends)
        if args.output == "-":
            count = sum(_write(sys.stdout.buffer, part) for part in parts)
        else:
            file = ends.enter_context(_fresh_file(args.output))
            count = sum(_write(file, part) for part in _with_progress(parts, total))
    if count < total:
        raise Fault(f"only {count} of {total} events came", advice="Try again.")
    sys.stderr.write(f"{count} event{'' if count == 1 else 's'} exported\n")
    return OK


def _fresh_file(path: str) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        return os.fdopen(os.open(path, flags, 0o600), "wb")
    except OSError as exc:
        raise StorageFault(f"{path} cannot be written: {exc.strerror}") from exc


def _write(file: BinaryIO, part: bytes) -> int:
    try:
        file.write(part)
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise StorageFault(f"the export cannot be written: {exc.strerror}") from exc
    return part.count(b"\n")


def _parts(folder: Folder, app_id: str, ends: contextlib.ExitStack) -> tuple[int, Iterator[bytes]]:
    """Return how many events there are, and their lines: from the server if one runs."""
    sock = connect_admin(folder, 600.0)
    if sock is not None:
        response = _ask(ends.enter_context(sock), f"/export/{app_id}")
        return int(response.headers.get("X-Total", "0")), _lines(response)
    from collector.places import ServerLock
    from collector.rows import exported
    from collector.store.duck import DuckStore

    lock = ServerLock.take(folder)
    ends.callback(lock.release)
    store = ends.enter_context(contextlib.closing(DuckStore(folder.events, _now_ms())))
    slices = store.export(app_id)
    return store.count(app_id), (b"".join(map(exported, rows)) for rows in slices)


def _ask(sock: socket.socket, path: str) -> http.client.HTTPResponse:
    """Ask the running server of this folder."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = sock
    try:
        connection.request("GET", path)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as exc:
        raise Fault(f"the server does not answer: {exc}") from exc
    if response.status != 200:
        raise Fault(f"the server answered {response.status}")
    return response


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while part := response.read(256 * 1024):
            yield part
    except (OSError, http.client.HTTPException):
        return  # its end is missed by who counts


def _with_progress(parts: Iterator[bytes], total: int) -> Iterator[bytes]:
    """Show a bar on standard error where a person looks."""
    if not sys.stderr.isatty():
        yield from parts
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("exporting", total=total or None)
        for part in parts:
            yield part
            progress.advance(task, part.count(b"\n"))


def _status(args: argparse.Namespace) -> int:
    sock = connect_admin(_folder(args), 15.0)
    if sock is None:
        sys.stderr.write("homing: no collector serves this folder\n")
        return UNAVAILABLE
    with sock:
        said = json.loads(_ask(sock, "/status").read())
    if args.json:
        return _say(said)
    print(f"Serving on port {said['port']}, process {said['pid']}.")
    print(f"{said['written']:,} events stored since the start, {said['repeats']:,} repeats.")
    for app_id, count in said["apps"].items():
        print(f"  {app_id}: {count:,} events")
    return OK
