"""Which engine stores, and what comes with it: one setting decides.

``duckdb``                one file in the data folder, one collector
``clickhouse://…``        a database that any number of collectors share (:mod:`collector.sharing`)
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from collector.intake.tombstones import key_of
from collector.places import Folder
from collector.store.clickhouse_address import Address, address
from collector.store.interface import Store
from tracking.errors import RequestFault, SettingsFault

if TYPE_CHECKING:
    from collector.access.accounts import Accounts
    from collector.access.limits import Limiter
    from collector.intake.shared_presence import SharedPresence
    from collector.sharing import Sharing
    from collector.store.duck import DuckStore

EMBEDDED = "duckdb"


def open_store(engine: str, folder: Folder, now_ms: int, env: Mapping[str, str]) -> Store:
    """Open the store that a setting names. Blocks.

    Args:
        engine: The setting.
        folder: The data folder.
        now_ms: Unix milliseconds.
        env: May have the engine's password.

    Raises:
        SettingsFault: There is no such engine, or its driver is not installed.
        StorageFault: It cannot be used.

    """
    if engine == EMBEDDED:
        from collector.store.duck import DuckStore

        return DuckStore(folder.events, now_ms)
    where = address(engine, env)
    try:
        from collector.store.clickhouse import ClickHouseStore
    except ImportError as exc:
        raise SettingsFault(
            f"the driver of {where.shown} is not installed ({exc.name})",
            advice="Install it: pip install 'homing[clickhouse]'",
        ) from exc
    return ClickHouseStore(where)


def embedded(store: Store) -> DuckStore:
    """Return the embedded engine, for what it alone can do: copy itself into a file.

    Raises:
        RequestFault: Another engine stores here.

    """
    from collector.store.duck import DuckStore

    if not isinstance(store, DuckStore):
        raise RequestFault(
            "a backup is made of the embedded engine",
            advice="ClickHouse makes its own (BACKUP DATABASE); `homing collector export` works.",
        )
    return store


def tombstone_key(engine: str, folder: Folder, env: Mapping[str, str]) -> bytes:
    """Return the key under which erased people are remembered (:mod:`collector.intake.tombstones`).

    Collectors that share an engine must have the same, and it must not lie beside the tombstones:
    it is made from the engine's password, which all of them know.

    Raises:
        StorageFault: The file of the embedded engine's key cannot be used.

    """
    if engine == EMBEDDED:
        return key_of(folder.path / "tombstones.key")
    where: Address = address(engine, env)
    said = f"homing tombstones {where.database}".encode()
    return hmac.digest(where.password.encode(), said, hashlib.sha256)


def sharing_of(
    store: Store,
    folder: Folder,
    accounts: Accounts,
    presence: SharedPresence,
    limits: Iterable[Limiter],
    erased: Callable[[], Awaitable[object]],
) -> Sharing | None:
    """Return what keeps this collector and others on the same engine equal; None without others."""
    if store.dialect == EMBEDDED:
        return None
    from collector.access.shared_accounts import AccountSync
    from collector.sharing import Sharing
    from collector.store.clickhouse import ClickHouseStore
    from collector.store.clickhouse_shared import Shared

    assert isinstance(store, ClickHouseStore)
    shared = Shared(store.door)
    sync = AccountSync(folder.accounts, shared, accounts.forget)
    sharing = Sharing(shared, sync, presence, limits, erased)
    store.collector = sharing.id
    return sharing
