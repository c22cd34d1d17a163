"""Sentences about what a person may have overlooked."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from collector.access.accounts import Accounts, AppAccount
from collector.cli.parser import PROG
from collector.places import Folder
from tracking.errors import RequestFault


def known_app(accounts: Accounts, app_id: str) -> AppAccount:
    """Return an app.

    Raises:
        RequestFault: There is none of that id; the advice names the one that was meant.

    """
    app = accounts.app(app_id)
    if app is None:
        raise RequestFault(
            f"there is no app {app_id[:64]!r} here", advice=_meant(accounts.apps(), app_id)
        )
    return app


def _meant(apps: Sequence[AppAccount], said: str) -> str:
    named = [app.app_id for app in apps if app.name.casefold() == said.strip().casefold()]
    if named:
        return f"That is the name of {' and of '.join(named)}; say the id."
    near = difflib.get_close_matches(said, [app.app_id for app in apps], n=1)
    return f"Did you mean {near[0]}?" if near else f"See `{PROG} app list`."


def still_held(folder: Folder) -> list[str]:
    """Return a line for each folder that a restore set aside: erased people may be in it."""
    return [
        f"{path} still holds what was there before the restore; remove it when you no longer"
        " need it.\n"
        for path in folder.set_aside()
    ]
