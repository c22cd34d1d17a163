"""When a large backlog waits for a better moment (FIELD.md R35), and what never does.

On a metered connection, or on a battery below 20 %, what has piled up may wait: at most a day, so
that nothing expires for thrift. What happens now goes out now: a page of events is no bulk, so an
app that reports a little stays live, and a heartbeat is asked about nothing at all. Every cause
is kept and shown apart (R9); a person may send anyway for a while.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Cause = Literal["metered", "battery"]

PAGE_EVENTS = 500  #: So many events are sent whatever they cost: one batch.
PAGE_BYTES = 256 * 1024
LOW_PERCENT = 20.0
PATIENCE_MS = 24 * 3600 * 1000  #: Since the oldest event was accepted.

#: What the status calls each, and says of it.
WORDS: dict[Cause, tuple[str, str]] = {
    "metered": ("network.metered", "the connection is metered"),
    "battery": ("network.battery", "the battery is low"),
}


@dataclass(frozen=True, slots=True)
class Power:
    """What the machine says of its connection and its battery; None where it says nothing."""

    metered: bool | None = None
    plugged: bool | None = None
    percent: float | None = None


def causes(power: Power, *, on_metered: str, on_battery: str) -> tuple[Cause, ...]:
    """Return every cause for thrift. What is not known is none: fail open.

    Args:
        power: As the machine says.
        on_metered: The setting: ``send`` or ``defer``.
        on_battery: Likewise.

    """
    found: list[Cause] = []
    if on_metered == "defer" and power.metered:
        found.append("metered")
    low = power.percent is not None and power.percent < LOW_PERCENT
    if on_battery == "defer" and power.plugged is False and low:
        found.append("battery")
    return tuple(found)


def holds_back(
    why: tuple[Cause, ...],
    *,
    events: int,
    size_bytes: int,
    oldest_ms: int | None,
    now_ms: int,
    override_until_ms: int,
) -> bool:
    """Tell whether a stream's backlog waits.

    Args:
        why: The causes in force.
        events: Waiting, on this stream.
        size_bytes: Of them.
        oldest_ms: When the oldest was accepted, Unix milliseconds.
        now_ms: Now.
        override_until_ms: A person wants everything sent until then.

    """
    if not why or now_ms < override_until_ms:
        return False
    if events <= PAGE_EVENTS and size_bytes <= PAGE_BYTES:
        return False
    return oldest_ms is None or now_ms - oldest_ms < PATIENCE_MS
