"""Sentences about what a person may have overlooked."""

from __future__ import annotations

import contextlib
import difflib
import shlex
from collections.abc import Mapping, Sequence

from collector.access.accounts import Accounts, AppAccount
from collector.cli.parser import PROG
from collector.places import Folder, agents_dir, default_dir
from tracking.errors import Fault, RequestFault


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


def elsewhere(env: Mapping[str, str]) -> str:
    """Return a line if only the desktop agent has a collector, not the usual folder; else ""."""
    usual, agents = Folder(default_dir(env)), agents_dir(env)
    if agents is None or not Folder(agents).accounts.is_file() or _in_use(usual):
        return ""
    return (
        f"homing: no collector is in {usual.path}; the desktop agent's own is another:"
        f" --data-dir {shlex.quote(str(agents))}\n"
    )


def _in_use(folder: Folder) -> bool:
    """Whether a collector has stored something here, or has an app; a look alone makes a file."""
    if folder.events.exists() or not folder.accounts.is_file():
        return folder.events.exists()
    try:
        with contextlib.closing(Accounts(folder.accounts)) as accounts:
            return bool(accounts.apps())
    except Fault:
        return True  # there is one, in whatever state


def still_held(folder: Folder) -> list[str]:
    """Return a line for each folder that a restore set aside: erased people may be in it."""
    return [
        f"{path} still holds what was there before the restore; remove it when you no longer"
        " need it.\n"
        for path in folder.set_aside()
    ]
