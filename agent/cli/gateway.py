"""`homing apps token`, `tokens` and `revoke`: who may report through the gateway.

The token is printed once, in the very lines that each official SDK needs; afterwards nobody has
it but the app (docs/gateway.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli.shell import DEGRADED, OK, Shell, UsageFault
from agent.cli.table import clock, rows
from agent.door.gateway import GiveToken, ListTokens, RevokeTokens
from agent.rules.wording import visible

if TYPE_CHECKING:
    import argparse

    from agent.door.gateway import NewToken


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `token` takes besides the app's id."""
    parser.add_argument(
        "--gateway", action="store_true", help="token: for the gateway on 127.0.0.1"
    )
    parser.add_argument(
        "--origin",
        metavar="ORIGIN",
        action="append",
        default=[],
        help="token: a page of the app that may use it, as tauri://localhost; may be repeated",
    )


def give_token(args: argparse.Namespace, shell: Shell) -> int:
    """Give an app a token and print how to use it; degraded if nobody can reach the gateway.

    Raises:
        UsageFault: It does not say what the token is for.

    """
    if not args.gateway:
        raise UsageFault(
            "a token is for the gateway; programs that speak to the local socket need none",
            advice=f"As in `homing apps token {visible(args.app, 64)} --gateway`.",
        )
    asked = GiveToken(app_id=args.app, origins=tuple(args.origin), new=args.new)
    given = shell.door().ask(asked)
    if args.json:
        shell.json(given)
    else:
        _print(given, shell)
    return OK if given.listening else DEGRADED


def _print(given: NewToken, shell: Shell) -> None:
    shell.say(
        f"This token is shown once. It lets {given.app_id} report through "
        f"127.0.0.1:{given.port}, and nobody else."
    )
    for one in given.lines:
        shell.say()
        shell.say(one.sdk)
        shell.say(f"  {one.line}")
    shell.say()
    if given.origins:
        shell.say(f"Pages that may use it: {', '.join(given.origins)}")
    shell.say(f"To take it back: homing apps revoke {given.app_id} {given.prefix}")
    for warning in given.warnings:
        shell.complain(visible(warning, 500))
    if given.consent != "allowed":
        shell.complain(
            f"{given.app_id} may not report yet, it is {given.consent}",
            f"A token does not replace your consent: homing apps allow {given.app_id}",
        )
    if not given.listening:
        shell.complain(f"nobody can reach the gateway now: {visible(given.why, 500)}")


def list_tokens(shell: Shell, app_id: str | None, *, as_json: bool) -> int:
    """Print the tokens as far as they are kept; degraded if nobody can reach the gateway."""
    known = shell.door().ask(ListTokens(app_id=app_id))
    if as_json:
        shell.json(known)
    elif known.tokens:
        head = ("APP", "TOKEN", "GIVEN", "LAST USED", "PAGES")
        body = (
            (
                one.app_id,
                f"{one.prefix}…",
                clock(one.created_ms),
                one.last_used or "never",
                ", ".join(one.origins),
            )
            for one in known.tokens
        )
        for line in rows(head, body):
            shell.say(line)
        if known.listening:
            shell.say()
            shell.say(f"The gateway listens on 127.0.0.1:{known.port} and [::1]:{known.port}.")
    else:
        whose = "" if app_id is None else f" of {visible(app_id, 64)}"
        shell.say(f"No gateway token{whose}. `homing apps token ID --gateway` gives one.")
    if known.why:
        shell.complain(f"nobody can reach the gateway now: {visible(known.why, 500)}")
    return DEGRADED if known.why else OK


def revoke_tokens(shell: Shell, app_id: str, prefix: str | None, *, as_json: bool) -> int:
    """Take back the tokens of an app, or the one that begins with ``prefix``."""
    wanted = None if prefix is None else prefix.removesuffix("…")
    gone = shell.door().ask(RevokeTokens(app_id=app_id, prefix=wanted))
    if as_json:
        shell.json(gone)
        return OK
    for one in gone.prefixes:
        shell.say(f"{one}… of {visible(app_id, 64)} opens nothing any more.")
    if not gone.listening:
        shell.say("That was the last token: the gateway is closed.")
    return OK
