"""What may be asked of the record of the wire (docs/wire.md)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from agent.door import WireEntry
from agent.door.asking import Request

Verdict = Literal["acknowledged", "refused", "not answered", "retried", "not sent"]
MOST_ENTRIES = 10_000
MOST_WAIT_S = 30.0


class WirePage(Struct, frozen=True, kw_only=True):
    """Some of what was said on the wires.

    Attributes:
        entries: Newest first; with ``after`` oldest first.
        newest: The number of the newest record there is: the ``after`` of the next question.
        more: There is more that fits: ask with ``before``, or again with ``after``.
        held: Records on disk.
        held_bytes: What they take there, compressed.
        oldest_ms: From when the oldest is.
        dropped: Records that were not kept since the start, because they came too fast or the
            disk refused.

    """

    entries: tuple[WireEntry, ...] = ()
    newest: int = 0
    more: bool = False
    held: int = 0
    held_bytes: int = 0
    oldest_ms: int | None = None
    dropped: int = 0


class ReadWire(Request[WirePage], frozen=True):
    """Look into the record.

    Attributes:
        app_id: Of this app only.
        upstream: Of this way out only.
        direction: What was sent, or what was received.
        verdict: What became of it, by its first words.
        search: Stands in the bytes, the head, the peer or the verdict; case makes no difference.
        since_ms: From then on.
        until_ms: Before then.
        after: Records with a greater number, oldest first: how a follower goes on.
        before: Records with a smaller number, newest first: how a reader pages back.
        limit: How many at most.
        wait_s: With ``after``: wait so long for something new if there is nothing.

    """

    timeout_s: ClassVar[float] = 60.0

    app_id: str | None = None
    upstream: str | None = None
    direction: Literal["sent", "received"] | None = None
    verdict: Verdict | None = None
    search: Annotated[str, Meta(max_length=1_000)] = ""
    since_ms: int = 0
    until_ms: int | None = None
    after: Annotated[int, Meta(ge=0)] | None = None
    before: Annotated[int, Meta(ge=1)] | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_ENTRIES)] = 100
    wait_s: Annotated[float, Meta(ge=0, le=MOST_WAIT_S)] = 0.0
