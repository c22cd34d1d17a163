"""`app`: which apps may report here, and by which keys."""

from __future__ import annotations

import argparse

from collector.access.accounts import Accounts, AppAccount
from collector.cli.hints import known_app
from collector.cli.parser import OK, PROG, Commands, accounts_of, answers_in_json, now_ms, say


def register(commands: Commands) -> None:
    app = commands.group("app", "the apps that may report here")
    add = app.command(
        "add", "make an app", f'{PROG} app add "Acme Notes" --id acme-notes', _app_add
    )
    add.add_argument("name", metavar="NAME")
    add.add_argument("--id", help="its appId; one is made if left out")
    add.add_argument("--if-missing", action="store_true", help="an app of this id is good enough")
    listing = app.command("list", "list the apps", f"{PROG} app list", _app_list)
    example = f"{PROG} app secret acme-notes"
    secret = app.command(
        "secret", "make a new secret key; the old one is void", example, _app_secret
    )
    secret.add_argument("app_id", metavar="APPID")
    for made in (add, listing, secret):
        answers_in_json(made)


def _app_add(args: argparse.Namespace) -> int:
    with accounts_of(args) as accounts:
        app = accounts.add_app(args.name, now_ms(), app_id=args.id, if_missing=args.if_missing)
        said = _keys(accounts, app)
        secret = accounts.new_secret_key(app.app_id, now_ms(), replace=False)
    return say(said if secret is None else said | {"secretKey": secret})


def _app_list(args: argparse.Namespace) -> int:
    with accounts_of(args) as accounts:
        for app in accounts.apps():
            say(_keys(accounts, app))
    return OK


def _app_secret(args: argparse.Namespace) -> int:
    with accounts_of(args) as accounts:
        known_app(accounts, args.app_id)
        secret = accounts.new_secret_key(args.app_id, now_ms())
    return say({"appId": args.app_id, "secretKey": secret})


def _keys(accounts: Accounts, app: AppAccount) -> dict[str, str]:
    """Return what may be shown of an app at any time."""
    return {
        "appId": app.app_id,
        "name": app.name,
        "trackingKey": app.tracking_key,
        "publishableKey": accounts.publishable_key(app.app_id),
        **({"demo": "made up"} if app.demo else {}),
    }
