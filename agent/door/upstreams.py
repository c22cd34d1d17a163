"""What may be asked about upstreams (docs/upstreams.md): the dual run, and what was left behind.

Which upstreams there are, how they are and what each has is in the status
(``AppStatus.upstreams``, ``Status.links``).
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from agent.door.asking import Request


class UpstreamDay(msgspec.Struct, frozen=True, kw_only=True):
    """What one upstream was given and got rid of on one day.

    What is confirmed today may have been accepted yesterday; ``waiting`` says what was left.
    """

    day: str  #: ``2026-11-21``, by this computer's clock.
    upstream: str
    accepted: int
    confirmed: int
    dead: int  #: Newly refused; below 0 if more were taken up again.
    lost: int
    waiting: int  #: Accepted and neither confirmed, dead nor lost when the day ended.


class UpstreamSum(msgspec.Struct, frozen=True, kw_only=True):
    """The same over all the days that were compared."""

    upstream: str
    accepted: int
    confirmed: int
    dead: int
    lost: int
    waiting: int  #: Now.
    safe: bool  #: Whether the app can be switched to it alone.
    why: str  #: Why, or why not, as a sentence.


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """An app's upstreams side by side."""

    app_id: str
    since: str  #: The first day compared; empty if nothing was counted yet.
    days: tuple[UpstreamDay, ...] = ()  #: Oldest first.
    sums: tuple[UpstreamSum, ...] = ()  #: First upstream first.


class CompareUpstreams(Request[Comparison], frozen=True):
    """Compare what the upstreams of an app were given and have confirmed, day by day."""

    app_id: str
    days: int = 7


class Emptied(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a queue that had no upstream any more."""

    events: int  #: Deleted and counted as lost, or moved.
    left: int  #: Dead letters that are still there.


class DropUpstream(Request[Emptied], frozen=True):
    """Delete what still waits for an upstream that the settings no longer name."""

    timeout_s: ClassVar[float] = 600.0

    app_id: str
    name: str


class MoveUpstream(Request[Emptied], frozen=True):
    """Hand over what still waits for such an upstream to another of the app."""

    timeout_s: ClassVar[float] = 600.0

    app_id: str
    name: str
    to: str
