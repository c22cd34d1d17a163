"""What the far end asks of a store; two engines answer (DuckDB embedded, ClickHouse distributed).

Times are Unix milliseconds. Text that is absent is the empty string, a number that is absent is 0:
both engines compare them without a special case, and no query needs ``IS NULL``.

A store holds tables of facts that are only ever appended; what is true *now* (a user's attributes,
the first sight of a device) is worked out at reading, by the rule that stands at each class below.
So a repeat, a retry after a doubt, or two collectors on one engine can make a table longer, never
wrong. The classes are the tables: their fields are the columns, in their order.

    write(rows, more)     durable, then counted; ``rows`` are events, ``more`` anything of FACTS
    ask(text, values)     one question in the shared SQL (collector.store.dialect)
    erase, purge          what must be gone
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

CLOCK_NOT_BELIEVED = 1  #: ``Stored.flags``: the time is not the date that the event said.
DATE_AS_NUMBER = 2  #: The date came as a whole number of milliseconds, not as text.
INACTIVE = 4  #: Bucket's ``context.active: false``: nobody was there, last seen stays.
FROM_BUCKET = 8  #: Came over the Bucket API.
NAME_FOLDED = 16  #: Over the cap of event names: ``name`` is :data:`OTHER`, ``raw_name`` the name.
KEYS_DROPPED = 32  #: Over the cap of attribute names: some are in ``payload`` only.

Progress = Callable[[int, int], None]  #: Told how much is done, of how much (0 if nobody knows).

OTHER = "(other)"  #: The name under which events over the cap of names are counted.


def unseen(done: int, of: int) -> None:
    """Tell nobody how far it is."""
    del done, of


class Stored(NamedTuple):
    """One event as it is kept; table ``events``.

    Attributes:
        key_a: First half of the content key (:func:`collector.intake.rows.content_key`), signed.
        key_b: Second half.
        ts: When it happened, as far as its sender can be believed.
        recv_ts: When it arrived.
        said_ts: Its own date, believed or not, 0 if it had none that can be read. A repeat has
            the same, whenever it comes; that cannot be said of ``ts``.
        kind: ``init``, ``event``, ``error``, ``userid``, ``props`` or ``other``.
        type: The wire word.
        event_id: The sender's id as JSON text, empty if it had none.
        device_id: Empty for events that come from no device (Bucket).
        platform: As sent; so is ``locale`` (A17: keep raw). Answers say them as samples do.
        avail_ram: Whole GB, 0 if unknown.
        flags: The constants above, added.
        payload: The sender's JSON object, byte for byte; empty if it had none.
        machine_id: ``machineId`` if it is not the device, else empty.
        company_id: The company of a Bucket event: said, or the user's default at its receipt.
        country: ISO 3166 of the sender's address if the operator gave a GeoIP file.
        raw_date: The date as JSON text if neither ``iso(said_ts)`` nor its number says the same.
        raw_name: See NAME_FOLDED.
        attr_keys: The payload's attributes that are text, finite numbers or booleans, sorted.
        attr_values: Their values as canonical JSON (``2.0`` and ``2e0`` are ``2``), one per key.

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
    machine_id: str = ""
    company_id: str = ""
    country: str = ""
    raw_date: str = ""
    raw_name: str = ""
    attr_keys: Sequence[str] = ()
    attr_values: Sequence[str] = ()


class Seen(NamedTuple):
    """When something was first and last seen; table ``seen``. Rule: min and max over its rows.

    Attributes:
        kind: ``device`` or ``user`` (written by the engine itself from events: ``first_ts`` only),
            ``user`` or ``company`` (written by Bucket calls).
        first_ts: 0 says nothing.
        last_ts: 0 says nothing: events and beats tell it, or ``context.active`` was false.

    """

    app_id: str
    kind: str
    id: str
    first_ts: int
    last_ts: int


class Beat(NamedTuple):
    """A device was there, heard or connected, from ... to; table ``beat``.

    From heartbeats and from open sockets. Rule: both ends lie in the same cell of 30 minutes
    (``first_ts // 1_800_000 == last_ts // 1_800_000``); whoever writes a longer stay cuts it. So a
    session's silences are found by cells alone.

    Attributes:
        session_id: The session that the device was in, empty if none was ever named.
        user_id: Who was last named on it, empty if nobody.

    """

    app_id: str
    device_id: str
    session_id: str
    user_id: str
    first_ts: int
    last_ts: int


class Attribute(NamedTuple):
    """One attribute of a Bucket user or company; table ``attribute``.

    Rule (BUCKET.md §6 row 18): per key the value of the latest ``ts`` wins, then of the latest
    ``recv_ts``, then the greatest ``value``.

    Attributes:
        kind: ``user`` or ``company``.
        value: JSON text, ``null`` included.

    """

    app_id: str
    kind: str
    id: str
    key: str
    value: str
    ts: int
    recv_ts: int


class Membership(NamedTuple):
    """A user was seen in a company; table ``membership``. The latest is the user's default."""

    app_id: str
    user_id: str
    company_id: str
    ts: int
    recv_ts: int


class Feedback(NamedTuple):
    """A user's word about a feature; table ``feedback``.

    Rule: of one ``feedback_id`` the latest ``recv_ts`` is true, field by field as it stands in
    that row (who writes an update writes the whole).

    Attributes:
        feature: ``featureId`` or ``key``, whichever was said.
        score: 1 to 5, 0 if none was given.
        raw: The call, byte for byte.

    """

    app_id: str
    feedback_id: str
    feature: str
    user_id: str
    company_id: str
    score: float
    comment: str
    source: str
    question: str
    prompt_id: str
    ts: int
    recv_ts: int
    raw: str


class RawItem(NamedTuple):
    """What was taken and is not counted, byte for byte; table ``raw_item``.

    Attributes:
        user_id: Whom it names, so that an erasure finds it; empty if nobody.
        source: ``bucket``.
        type: Its item type; ``quarantined`` with the reason in ``note`` if it was refused.

    """

    app_id: str
    recv_ts: int
    source: str
    type: str
    user_id: str
    note: str
    raw: str


class Once(NamedTuple):
    """A request that must not be done twice (``Idempotency-Key``); table ``once``.

    Attributes:
        key: SHA-256 of the key, hexadecimal.
        reply: What was answered, to be answered again.

    """

    app_id: str
    key: str
    recv_ts: int
    reply: str


class Named(NamedTuple):
    """An event name, or an attribute of it, that is counted; table ``catalogue``.

    Attributes:
        key: The attribute, empty for the event name itself.

    """

    app_id: str
    event: str
    key: str


class Tombstone(NamedTuple):
    """Somebody was erased; table ``tombstone``.

    What a sender still holds of them, dated at or before ``erased_ts``, is acknowledged and not
    stored, until ``until_ts``. What they do later makes them anew (NUCLEUS.md §6, DELETE).

    Attributes:
        kind: ``user`` or ``device``.
        digest: HMAC-SHA-256 of the id under the store's own key, hexadecimal.

    """

    app_id: str
    kind: str
    digest: str
    erased_ts: int
    until_ts: int


Fact = Seen | Beat | Attribute | Membership | Feedback | RawItem | Once | Named | Tombstone

#: Table by class. A table that is not named here may not exist (tests compare with the schema):
#: erasure and retention walk this registry.
TABLES: dict[type, str] = {
    Stored: "events",
    Seen: "seen",
    Beat: "beat",
    Attribute: "attribute",
    Membership: "membership",
    Feedback: "feedback",
    RawItem: "raw_item",
    Once: "once",
    Named: "catalogue",
    Tombstone: "tombstone",
}


class Store(Protocol):
    """One engine. Called from worker threads, never from the event loop's own."""

    def write(self, rows: Sequence[Stored], more: Sequence[Fact] = ()) -> int:
        """Store what is not stored yet, durably and together; return how many events were new.

        Called by one thread only. An event is stored once, by its content key; of facts, repeats
        do no harm.

        Raises:
            StorageFault: It is not certain that anything was stored; the same again is safe.

        """
        ...

    def ask(
        self, text: str, values: Mapping[str, object], *, deadline_s: float = 10.0
    ) -> list[tuple[Any, ...]]:
        """Answer one question in the shared SQL (:mod:`collector.store.dialect`).

        Args:
            text: A template with macros; values are named as ``$name``, never formatted in.
            values: Text, whole numbers, and lists of them (for ``{in|column|name}``).
            deadline_s: After that many seconds the engine is interrupted.

        Raises:
            StorageFault: The engine cannot answer, or took longer than the deadline.

        """
        ...

    def newest(self, app_id: str, since_ms: int, limit: int) -> list[tuple[Stored, bool]]:
        """Return rows received since then, newest first, each with: first of its device."""
        ...

    def export(self, app_id: str) -> Iterator[list[Stored]]:
        """Yield every event of an app in slices, in the order of arrival, as of now."""
        ...

    def count(self, app_id: str) -> int: ...

    def erase(self, app_id: str, *, users: Sequence[str], devices: Sequence[str]) -> int:
        """Erase everything about these users and devices from every table; return how many rows.

        When it returns, no query finds them. Bytes of them may lie in the engine's files until
        :meth:`compact`; :attr:`unswept` says so.
        """
        ...

    def purge(self, app_id: str, before_ms: int) -> int:
        """Remove what an app sent before then (retention); return how many rows."""
        ...

    def drop_app(self, app_id: str) -> None:
        """Remove every row of an app."""
        ...

    def compact(self, progress: Progress = unseen) -> None:
        """Let nothing that was erased be left in the files; the embedded engine blocks writes.

        Args:
            progress: Told how many erased rows have gone, of how many, by an engine that can only
                wait for it; what it raises ends the waiting.

        """
        ...

    @property
    def unswept(self) -> int:
        """Erased rows whose bytes may still lie in a file."""
        ...

    @property
    def dialect(self) -> str:
        """``duckdb`` or ``clickhouse``: which macros :meth:`ask` speaks."""
        ...

    def size_bytes(self) -> int: ...

    def close(self) -> None: ...
