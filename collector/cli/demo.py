"""`demo`: an app full of made-up data, for trying things out, and its removal."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from collector.access.accounts import Accounts
from collector.cli.asking import ask
from collector.cli.parser import (
    OK,
    PROG,
    UNAVAILABLE,
    Commands,
    accounts_of,
    folder_of,
    now_ms,
    say,
)
from collector.cli.progress import bar
from collector.cli.reach import one_at_a_time, within_reach
from collector.cli.whole_file import ended_softly
from collector.places import Folder, connect_admin
from tracking.errors import RequestFault

if TYPE_CHECKING:
    from collector.demo.live import Trickle
    from collector.demo.record import Plan

DAYS, USERS = 90, 5_000


def register(commands: Commands) -> None:
    example = f"{PROG} demo --days 90 --users 5000"
    demo = commands.command("demo", "fill an app with made-up data", example, _demo)
    demo.add_argument("--app", default="demo", metavar="APPID", help="an app of its own (demo)")
    demo.add_argument("--days", type=_within(2, 3_650), default=DAYS, help=f"({DAYS})")
    demo.add_argument("--users", type=_within(1, 1_000_000), default=USERS, help=f"({USERS})")
    demo.add_argument("--seed", type=int, default=1, help="another one, other people (1)")
    demo.add_argument(
        "--live", action="store_true", help="then send events over WebSockets until Ctrl-C"
    )
    demo.add_argument(
        "--rate", type=_within(1, 1_000), default=5, metavar="N", help="of --live, a second (5)"
    )
    demo.add_argument("--remove", action="store_true", help="remove the app and all its data")
    demo.add_argument("--json", action="store_true", help="one line of JSON")
    demo.set_defaults(left="nothing was changed")


def _within(low: int, high: int):  # type: ignore[no-untyped-def]
    def read(text: str) -> int:
        if not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{low} to {high}, got {text!r}")
        return int(text)

    return read


def _demo(args: argparse.Namespace) -> int:
    from collector.demo.record import Plan

    folder = folder_of(args)
    plan = Plan(app_id=args.app, days=args.days, users=args.users, seed=args.seed, end_ms=now_ms())
    with accounts_of(args) as accounts:
        app = accounts.app(args.app)
        if app is not None and not app.demo:
            raise RequestFault(
                f"the app {args.app!r} is no demo", advice="Its data is somebody's; say --app."
            )
        with one_at_a_time(folder, "demo"):
            if args.remove:
                return _remove(args, folder, found=app is not None)
            if args.live and connect_admin_at(folder) is None:
                sys.stderr.write(
                    "homing: no collector serves this folder\n"
                    f"        Start it with `{PROG} serve`; --live talks to it.\n"
                )
                return UNAVAILABLE
            if app is None:
                _fill(args, folder, accounts, plan)
            elif not args.live:
                raise RequestFault(
                    f"there is a demo {args.app!r} already",
                    advice=f"`{PROG} demo --app {args.app} --remove` takes it away.",
                )
    return _go_on(args, folder, plan) if args.live else OK


def _fill(args: argparse.Namespace, folder: Folder, accounts: Accounts, plan: Plan) -> None:
    from collector.demo.making import APP_NAME, tell

    began_s = time.monotonic()
    with ended_softly(), bar("making it up, day by day") as progress, within_reach(folder) as reach:
        away = f"`{PROG} demo --app {args.app} --remove` takes it away"
        args.left = f"the demo {args.app!r} is not whole; {away}"
        accounts.add_app(APP_NAME, now_ms(), app_id=args.app, demo=True)
        try:
            count = tell(plan, reach.write, progress)
            token = accounts.add_token(args.app, ["stats:read", "users:read"], now_ms())
        except BaseException:
            reach.drop(args.app)  # half a demo would be believed
            args.left = f"what was made of {args.app!r} is gone again"
            raise
        args.left = f"the demo {args.app!r} is whole; {away}"
    seconds = time.monotonic() - began_s
    if args.json:
        said = {"appId": args.app, "events": count, "token": token, "demo": True}
        say(said | {"seconds": round(seconds, 3)})
        return
    print(f"{count:,} events of {args.users:,} people over {args.days} days are in {args.app!r}.")
    print(f"A token to ask about them: {token}")
    print(f"`{PROG} demo --app {args.app} --remove` takes them away.")


def _remove(args: argparse.Namespace, folder: Folder, *, found: bool) -> int:
    if not found:
        raise RequestFault(f"there is no demo {args.app!r} here")
    with within_reach(folder) as reach:
        ((count,),) = reach.ask("count", app=args.app)
        args.left = f"some of {args.app!r} may be left; run it again"
        reach.drop(args.app)
        args.left = f"{args.app!r} is gone"
    if args.json:
        return say({"appId": args.app, "removed": count})
    print(f"{args.app!r} and its {count:,} events are gone.")
    return OK


# --- live --------------------------------------------------------------------------------------


def connect_admin_at(folder: Folder) -> str | None:
    """Return where the server of a folder takes events, None if none runs."""
    from collector.settings_reading import load

    sock = connect_admin(folder, 15.0)
    if sock is None:
        return None
    with sock:
        port = json.loads(ask(sock, "/status").read())["port"]
    host = load(folder.path, os.environ, {}).settings.host
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"


def _go_on(args: argparse.Namespace, folder: Folder, plan: Plan) -> int:
    from collector.demo.making import is_around, newcomers

    around = [person for person in newcomers(plan) if is_around(person, plan.end_ms)]
    url = f"{connect_admin_at(folder)}/app/{args.app}/track"
    if not args.json:
        print(f"Sending about {args.rate} events a second to {args.app!r} (Ctrl-C ends it)")
        sys.stdout.flush()
    done = asyncio.run(_until_told(url, around or newcomers(plan), args.rate))
    if args.json:
        return say({"appId": args.app, "acknowledged": done.acknowledged, "failed": done.failed})
    print(f"{done.acknowledged:,} events were acknowledged.")
    return OK


async def _until_told(url: str, people: list, rate: float) -> Trickle:  # type: ignore[type-arg]
    from collector.demo.live import trickle

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    watched = sys.stderr.isatty()

    def seen(so_far: Trickle) -> None:
        if watched:
            text = f"{so_far.here} people here, {so_far.acknowledged:,} events acknowledged"
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    try:
        return await trickle(url, people, rate, stop, seen)
    finally:
        if watched:
            with contextlib.suppress(OSError):
                sys.stderr.write("\r\x1b[K")
