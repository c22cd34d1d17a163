"""Taking an app away, wholly or not at all."""

from __future__ import annotations

from collector.access.accounts import Accounts
from collector.store.interface import Store


def drop(accounts: Accounts, store: Store, app_id: str) -> None:
    """Remove an app and everything that is stored of it.

    The app goes first, so that nobody reports to it any more. If its rows cannot be removed (a
    full disk), it comes back, with new keys, for rows without an app could not be removed again.

    Raises:
        StorageFault: Something of it is left; doing it again is safe.

    """
    app = accounts.app(app_id)
    accounts.remove_app(app_id)
    try:
        store.drop_app(app_id)
    except BaseException:
        if app is not None:
            accounts.add_app(
                app.name, app.created_ms, app_id=app_id, if_missing=True, demo=bool(app.demo)
            )
        raise
