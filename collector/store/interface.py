"""What the far end asks of a store; two engines answer (the embedded one here, ClickHouse later).

Times are Unix milliseconds. Text that is absent is the empty string: both engines compare it
without a special case, and no query needs ``IS NULL``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


class Stored(NamedTuple):
    """One event as it is kept; the columns of table ``events``, in their order.

    Attributes:
        key_a: First half of the content key (:func:`collector.ingest.content_key`), signed.
        key_b: Second half.
        ts: When it happened, as far as its sender can be believed.
        recv_ts: When it arrived.
        said_ts: Its own date, believed or not, 0 if it had none that can be read. A repeat has
            the same, whenever it comes; that cannot be said of ``ts``.
        kind: ``init``, ``event``, ``error``, ``userid``, ``props`` or ``other``.
        type: The wire word.
        event_id: The sender's id as JSON text, empty if it had none.
        platform: As sent; so is ``locale`` (A17: keep raw). Answers say them as samples do.
        avail_ram: Whole GB, 0 if unknown.
        flags: 1: the date was not believed.

    """

    app_id: str
    key_a: int
    key_b: int
    ts: int
    recv_ts: int
    said_ts: int
    kind: str
    type: str
    name: str
    event_id: str
    user_id: str
    anon_id: str
    device_id: str
    session_id: str
    platform: str
    os_version: str
    avail_ram: int
    version: str
    locale: str
    client: str
    module_version: str
    arch: str
    process: str
    flags: int
    payload: str


class Glance(NamedTuple):
    """The last 24 hours and the 24 before, as quickglance answers them (NUCLEUS.md §6)."""

    installs: int
    users: int
    app_starts: int
    errors: int
    previous_installs: int
    previous_users: int
    previous_app_starts: int
    previous_errors: int


class Store(Protocol):
    """One engine. Called from worker threads, never from the event loop's own."""

    def write(self, rows: Sequence[Stored]) -> int:
        """Store what is not stored yet, durably; return how many rows were new.

        Called by one thread only.

        Raises:
            StorageFault: Nothing of it was stored.

        """
        ...

    def quickglance(self, app_id: str, now_ms: int) -> Glance: ...

    def newest(self, app_id: str, since_ms: int, limit: int) -> list[tuple[Stored, bool]]:
        """Return rows received since then, newest first, each with: first of its device."""
        ...

    def export(self, app_id: str) -> Iterator[list[Stored]]:
        """Yield every event of an app in slices, in the order of arrival, as of now."""
        ...

    def count(self, app_id: str) -> int: ...

    def close(self) -> None: ...
