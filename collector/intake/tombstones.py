"""Who was erased stays erased, though somebody's queue still knows them (threat 60).

At an erasure a tombstone is written for the user, and for each device that was linked to nobody
else. For 30 days, what is dated at or before the erasure and names one of them is acknowledged and
not stored. What they do later makes them anew: they came back (NUCLEUS.md §6, DELETE).

A tombstone does not say who it was: it is an HMAC of app, kind and id under a key that lies in a
0600 file beside the store and in no backup of it. Without that file a tombstone matches nobody.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from collector.store.interface import (
    Attribute,
    Beat,
    Fact,
    Feedback,
    Membership,
    RawItem,
    Seen,
    Stored,
    Tombstone,
)
from tracking.errors import StorageFault

KEPT_MS: Final = 30 * 86_400_000
KEY_BYTES: Final = 32
TOMBSTONES: Final = (
    "SELECT app_id, kind, digest, max(erased_ts), max(until_ts) FROM tombstone"
    " GROUP BY app_id, kind, digest"
)

Named = tuple[int, list[tuple[str, str]]]
#: When a fact was true, and whom it names.
WHOM: Final[dict[type, Callable[[Any], Named]]] = {
    Stored: lambda e: (
        e.said_ts or e.ts,  # a clock too far back is not believed, and still says: before
        [("user", e.user_id), ("device", e.device_id), ("device", e.machine_id)],
    ),
    Seen: lambda f: (max(f.first_ts, f.last_ts), [(f.kind, f.id)]),
    Beat: lambda f: (f.last_ts, [("user", f.user_id), ("device", f.device_id)]),
    Attribute: lambda f: (f.ts, [(f.kind, f.id)]),
    Membership: lambda f: (f.ts, [("user", f.user_id)]),
    Feedback: lambda f: (f.ts, [("user", f.user_id)]),
    RawItem: lambda f: (f.recv_ts, [("user", f.user_id)]),
}


def key_of(path: Path) -> bytes:
    """Return the store's key, made by chance at its first use.

    Raises:
        StorageFault: The file cannot be used, or is not a key.

    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        if not path.exists():
            made = path.with_name(f"{path.name}.new")
            made.unlink(missing_ok=True)
            write = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(made, write, 0o600), "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            made.replace(path)
        with os.fdopen(os.open(path, flags), "rb") as file:
            key = file.read(KEY_BYTES + 1)
    except OSError as exc:
        raise StorageFault(f"{path} cannot be used: {exc.strerror or exc}") from exc
    if len(key) != KEY_BYTES:
        raise StorageFault(
            f"{path} is not a key of {KEY_BYTES} bytes",
            advice="Put it back from where it was; without it erased people can come back.",
        )
    return key


class Tombstones:
    """Those who were erased in the last 30 days.

    Args:
        key: Of the store.

    Attributes:
        dropped: How many events and facts were not stored for them.

    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._apps: dict[str, dict[bytes, tuple[int, int]]] = {}
        self.dropped = 0

    def load(self, stones: Iterable[Sequence[Any]]) -> None:
        """Know these, as the table has them, and no others."""
        apps: dict[str, dict[bytes, tuple[int, int]]] = {}
        for app_id, _, digest, erased_ts, until_ts in stones:
            apps.setdefault(app_id, {})[bytes.fromhex(digest)] = (erased_ts, until_ts)
        self._apps = apps

    def bury(
        self, app_id: str, users: Iterable[str], devices: Iterable[str], now_ms: int
    ) -> list[Tombstone]:
        """Make tombstones and heed them from now on; they are still to be written.

        Args:
            app_id: Of whom.
            users: By id.
            devices: Linked to nobody else.
            now_ms: The moment of the erasure, Unix milliseconds.

        """
        stones = []
        for kind, ids in (("user", users), ("device", devices)):
            for id_ in ids:
                digest = self._digest(app_id, kind, id_)
                self._apps.setdefault(app_id, {})[digest] = (now_ms, now_ms + KEPT_MS)
                stones.append(Tombstone(app_id, kind, digest.hex(), now_ms, now_ms + KEPT_MS))
        return stones

    def expire(self, now_ms: int) -> None:
        """Forget those whose time is over."""
        for app_id, stones in list(self._apps.items()):
            left = {digest: times for digest, times in stones.items() if times[1] > now_ms}
            if left:
                self._apps[app_id] = left
            else:
                del self._apps[app_id]

    def rows(self, rows: Sequence[Stored], now_ms: int) -> Sequence[Stored]:
        """Return the events that may be stored."""
        if not self._apps:
            return rows
        left = [row for row in rows if not self._buried(row, now_ms)]
        self.dropped += len(rows) - len(left)
        return left

    def facts(self, facts: Sequence[Fact], now_ms: int) -> Sequence[Fact]:
        """Return the facts that may be stored."""
        if not self._apps:
            return facts
        left = [fact for fact in facts if type(fact) not in WHOM or not self._buried(fact, now_ms)]
        self.dropped += len(facts) - len(left)
        return left

    def _buried(self, fact: Stored | Fact, now_ms: int) -> bool:
        stones = self._apps.get(fact.app_id)
        if stones is None:
            return False
        at_ms, whom = WHOM[type(fact)](fact)
        for kind, id_ in whom:
            if id_:
                erased_ms, until_ms = stones.get(self._digest(fact.app_id, kind, id_), (0, 0))
                if at_ms <= erased_ms and now_ms < until_ms:
                    return True
        return False

    def _digest(self, app_id: str, kind: str, id_: str) -> bytes:
        said = f"{app_id}\0{kind}\0{id_}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, said, "sha256")
