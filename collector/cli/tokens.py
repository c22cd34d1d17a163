"""`token`: who may ask the Data API, what, and until when."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence

from collector.access.accounts import DAY_MS, MOST_DAYS, SCOPES, Grant
from collector.cli.hints import known_app
from collector.cli.parser import OK, PROG, Commands, accounts_of, answers_in_json, now_ms, say
from tracking.errors import RequestFault

UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": DAY_MS}


def register(commands: Commands) -> None:
    token = commands.group("token", "who may ask the Data API")
    example = f"{PROG} token add acme-notes --scope stats:read"
    add = token.command("add", "make a token", example, _add)
    add.add_argument("app_id", metavar="APPID")
    add.add_argument("--scope", action="append", default=[], help=f"one of {', '.join(SCOPES)}")
    add.add_argument("--days", type=int, help="days until it ends; for ever if left out")
    example = f"{PROG} token list"
    listing = token.command("list", "list tokens by their prefix", example, _list)
    listing.add_argument("app_id", metavar="APPID", nargs="?")
    listing.add_argument("--json", action="store_true", help="one line of JSON per token")
    example = f"{PROG} token rotate Ab3dEf6h --overlap 1d"
    rotate = token.command("rotate", "put a new token in the place of one", example, _rotate)
    rotate.add_argument("prefix", metavar="PREFIX")
    rotate.add_argument(
        "--overlap",
        type=_span_ms,
        default=0,
        metavar="TIME",
        help="how long the old one works beside it: 30m, 12h, 7d (0)",
    )
    example = f"{PROG} token revoke Ab3dEf6h"
    revoke = token.command("revoke", "take a token back", example, _revoke)
    revoke.add_argument("prefix", metavar="PREFIX")
    for made in (add, rotate, revoke):
        answers_in_json(made)


def _span_ms(said: str) -> int:
    found = re.fullmatch(r"([0-9]{1,6})([smhd])|0", said)
    span_ms = int(found[1]) * UNITS_MS[found[2]] if found and found[2] else 0
    if not found or span_ms > MOST_DAYS * DAY_MS:
        raise argparse.ArgumentTypeError(f"a time is like 30m, 12h or 7d, got {said[:40]!r}")
    return span_ms


def _add(args: argparse.Namespace) -> int:
    with accounts_of(args) as accounts:
        known_app(accounts, args.app_id)
        text = accounts.add_token(args.app_id, args.scope, now_ms(), days=args.days)
        grant = accounts.grant(text, now_ms())
    scopes = sorted(grant.scopes) if grant is not None else []
    return say({"token": text, "appId": args.app_id, "scopes": scopes})


def _list(args: argparse.Namespace) -> int:
    with accounts_of(args) as accounts:
        if args.app_id is not None:
            known_app(accounts, args.app_id)
        grants = accounts.tokens(args.app_id)
    if args.json:
        for grant in grants:
            say(_facts(grant))
    elif grants:
        now = now_ms()
        head = ("PREFIX", "APP", "SCOPES", "MADE", "ENDS", "LAST USED")
        print(*_table([head, *(_cells(grant, now) for grant in grants)]), sep="\n")
    return OK


def _rotate(args: argparse.Namespace) -> int:
    with accounts_of(args) as accounts:
        text, old = accounts.rotate(args.prefix, now_ms(), overlap_ms=args.overlap)
    return say(
        {"token": text, "appId": old.app_id, "scopes": sorted(old.scopes), "old": _facts(old)}
    )


def _revoke(args: argparse.Namespace) -> int:
    with accounts_of(args) as accounts:
        gone = accounts.revoke(args.prefix)
    if not gone:
        raise RequestFault(f"no token begins with {args.prefix[:40]!r}")
    return say({"revoked": gone})


def _facts(grant: Grant) -> dict[str, object]:
    return {
        "prefix": grant.prefix,
        "appId": grant.app_id,
        "scopes": sorted(grant.scopes),
        "createdMs": grant.created_ms,
        "expiresMs": grant.expires_ms,
        "lastUsedDay": None if grant.used_day is None else _day(grant.used_day * DAY_MS),
    }


def _cells(grant: Grant, now: int) -> tuple[str, ...]:
    ends = "never" if grant.expires_ms is None else _minute(grant.expires_ms)
    if grant.expires_ms is not None and grant.expires_ms <= now:
        ends = "ended"
    used = "never" if grant.used_day is None else _day(grant.used_day * DAY_MS)
    scopes = ",".join(sorted(grant.scopes))
    return grant.prefix, grant.app_id, scopes, _day(grant.created_ms), ends, used


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _day(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at_ms / 1000))


def _minute(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(at_ms / 1000))
