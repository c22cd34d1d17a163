"""What every way out is to the core, whatever its language and transport.

:class:`agent.runtime.ways.delivery.Delivery` carries Nucleus over a WebSocket,
:class:`agent.runtime.ways.posting.Posting` Bucket over HTTP. Both are made by a :data:`Make` with a
:class:`Dock`, and from then on :mod:`agent.runtime.ways.departures` and
:mod:`agent.runtime.counter.commits` know them only as a :class:`Leaving`.

Invariants that each keeps:
    1. Rows are lent in the order of acceptance (``outbox.lease``), each to at most one batch at a
       time; leases live in memory and die with the attempt they were made for.
    2. What the far end has confirmed is ``owed`` until a commit holds it, what it will never
       take is ``condemned``; after either, :attr:`Dock.plan_settle` is called. The core empties
       both lists when the commit is durable. Nothing of them is lent again before.
    3. :meth:`Dock.waiters` hears of what was confirmed.
    4. Whatever waits for the world waits on a thread of its own, which speaks only through the
       ``post`` it was given; nothing here blocks the loop.
    5. A way that has nothing to send and never had is ``idle`` without a reason: it neither
       dials nor asks a keyring, and is no cause for worry.
    6. Between :meth:`Leaving.stop` and the end of the process nothing is posted that matters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from agent.adapters.machine.secrets import Secrets
from agent.adapters.outbox.outbox import Outbox
from agent.adapters.outbox.segments import Batch
from agent.adapters.roads.atlas import Atlas
from agent.door import LinkStatus
from agent.rules.ways import Way
from agent.runtime.counter.desk import Desk
from agent.runtime.counter.waiting import Waiters
from agent.runtime.means import Means
from agent.runtime.wire import WireLog
from agent.settings.declared import LinkSettings
from tracking.errors import StorageFault

UNACKNOWLEDGED = "unacknowledged"  #: The reason of a dead letter that nobody refused in words.
REFUSED = "refused"  #: The reason of one that the far end refused; its words are the detail.


@dataclass(frozen=True, slots=True)
class Owed:
    """An acknowledgement that is not written yet."""

    batch: Batch
    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Condemned:
    """An event that the far end will never acknowledge, not buried yet.

    Attributes:
        detail: The far end's words, or ours.
        reason: :data:`UNACKNOWLEDGED` or :data:`REFUSED`.

    """

    batch: Batch
    id: str
    detail: str
    reason: str = UNACKNOWLEDGED


@dataclass(frozen=True, slots=True, kw_only=True)
class Dock:
    """What the ways out share.

    Attributes:
        outbox: Lends. Touched on the loop's thread only.
        link: Deadlines, heartbeat and trust.
        means: Clocks and chance.
        wire: Keeps what was sent and received.
        secrets: Keys of far ends; may block, so asked off the loop.
        waiters: Those who wait for a far end's word.
        plan_settle: Writes what is owed, soon.
        settle_now: Writes what is owed, at once: before anything is lent again.
        storage_failed: Hears why nothing could be lent; offers again later.
        beat: Hears of each sign of life that is given: the agent is awake, a far end is there.
        atlas: Which hosts, through which proxies, with which logins.
        holds_back: Whether a stream's backlog waits for a better moment; asked before a lease.

    """

    outbox: Outbox
    link: LinkSettings
    means: Means
    wire: WireLog
    secrets: Secrets
    waiters: Waiters
    plan_settle: Callable[[], None]
    settle_now: Callable[[], None]
    storage_failed: Callable[[StorageFault], None]
    atlas: Atlas
    holds_back: Callable[[int], bool]
    beat: Callable[[], None] = lambda: None


class Leaving(Protocol):
    """One way out of one app. Owned by the core's thread."""

    @property
    def desk(self) -> Desk: ...
    @property
    def way(self) -> Way: ...

    @property
    def stream(self) -> int:
        """The outbox's number of what it carries."""
        ...

    @property
    def owed(self) -> list[Owed]: ...
    @property
    def condemned(self) -> list[Condemned]: ...

    @property
    def owes(self) -> bool:
        """Whether the next commit has something to write of this stream."""
        ...

    @property
    def deadline(self) -> float | None:
        """When ``Tick`` is next wanted, monotonic seconds; None if never."""
        ...

    @property
    def endpoint(self) -> str:
        """Where it goes now: the way's, or where :meth:`aim` sent it."""
        ...

    def start(self) -> None:
        """Start the thread that sends."""
        ...

    def begin(self, now_s: float) -> None:
        """Go for the first time since the program's start, when what was kept allows it."""
        ...

    def feed(self, notice: Any, now_s: float) -> None:
        """Take a notice of the core's (``Start``, ``Stop``, ``Slept``, ``Tick`` of
        :mod:`agent.rules.notices`), or a letter of its own thread."""
        ...

    def offer(self, now_s: float) -> None:
        """Hear that there is something to send."""
        ...

    def named(self) -> None:
        """Hear that the app has its identity now."""
        ...

    def aim(self, endpoint: str, now_s: float) -> None:
        """Go somewhere else from now on; ``Start`` follows unless a pause is in force."""
        ...

    def status(self, now_ms: int, now_s: float) -> LinkStatus:
        """Return what the window shows of this way; ``upstream`` is the way's name."""
        ...

    def stop(self) -> None:
        """End the thread; may take a moment, so not on the loop's."""
        ...


Post = Callable[[Any], None]  #: From any thread; what is posted comes back by ``feed``.
Make = Callable[[Desk, Way, int, Dock, Post], Leaving]  #: Desk, way, stream, dock, post.
