"""The life of one upstream connection, without a socket or a clock.

Notices in, orders out: the core says what happened and when, and carries out what the rule
answers. The rule never waits, never sends and never reads the time.

              Start                 Opened
    IDLE ─────────────► DIALING ─────────────► LIVE
     ▲                   ▲  │ ▲ 404: the other  │
     │ Stop (from        │  │ └─ form, at once  │ Lost, no acknowledgement,
     │ anywhere)         │  │ Lost              │ no sign of life, Slept
                         │  ▼                   ▼
                         ├── WAITING ◄──────────┘   backed off; Tick or Start dials
                         └── PARKED                 refused; Start or a late Tick dials

PARKED is for a person, but what may be put right at the other end is asked again: an app that is
unknown under both endpoint forms (404) every 15 minutes at most, one that is refused (401, 403)
once an hour (``agent.rules.verdict``). A program that was started again while it had to wait
enters by ``Restarted`` into WAITING (``agent.rules.endurance``).

Invariants:
    1. At most one socket: a dial ends in ``Lost`` or ``HangUp`` before the next ``Dial``.
    2. A notice from the link names its dial; one from a dial that has ended is ignored, so a
       dying socket cannot end its successor.
    3. Every state that waits for someone else has a deadline.
    4. A heartbeat is a state, not an event: one after opening, one a minute, however long the
       machine slept; none is ever kept for later.
    5. Whatever the far end does is a ``Fault``; only we can commit a ``Bug``.
    6. An event is settled only if it was lent to this very dial and the far end named it, each
       at most once. Ids of anything else are counted as strangers, and change nothing.
    7. At most ``WINDOW`` batches are lent. They die with their dial: ``Release`` follows.
    8. The far end cannot make us dial as fast as it likes. Failures are forgotten when a link
       has lived a minute. One that acknowledged but ended sooner brings the waits down to
       8 s, no further; one that accepts and then closes has proved nothing, nor has one that
       stops acknowledging, unless it lived longer than the longest wait. Leaving one event out
       and acknowledging those behind it is not stopping (``agent.rules.poison``).
    9. A delay that the far end named is never cut short, not even by a person.
    10. A network that changes brings the next dial near and the waits down to 4 s, but at most
        once in ``MOVE_S``, however fast it changes.
    11. Over HTTP (``agent.rules.fallback``) all of this holds as well. Before the WebSocket is
        tried again nothing more is lent, and what is lent is waited for.

(More than 400 lines, because one ``match`` holds every transition and the methods below it are
its arms; what stands apart is elsewhere: words in ``notices``, faults in ``verdict``.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.rules.backoff import Backoff
from agent.rules.batching import WINDOW
from agent.rules.endpoints import OTHER, Form
from agent.rules.fallback import Fallback, Transport
from agent.rules.notices import (
    Dial,
    Drained,
    HangUp,
    Heard,
    Lease,
    Leased,
    Lost,
    Moved,
    Notice,
    Offered,
    Opened,
    Order,
    Probe,
    Received,
    Release,
    Remember,
    Restarted,
    SendHeartbeat,
    Settle,
    Slept,
    Start,
    State,
    Stop,
    Tick,
)
from agent.rules.verdict import ELSEWHERE, Elsewhere, Park, verdict
from tracking.errors import (
    Blocked,
    Bug,
    Fault,
    LoginWanted,
    Refused,
    Silent,
    Throttled,
    Unreachable,
)

MOVE_S = 5.0  #: Changes of the network cause at most one dial in so long.
MOVED_ATTEMPT = 2  #: To which a change of the network brings us back: waits of at most 4 s.
SHORT_LIVED = 3  #: Attempt to which an acknowledgement brings us back: waits of at most 8 s.


@dataclass(slots=True)
class LinkRule:
    """Decides; the module docstring gives the states and the invariants.

    Attributes:
        rng: Source of uniform numbers in [0, 1).
        remembered: The endpoint form that worked before, or an empty string.
        reason: Why the last dial ended; ``None`` while all is well.
        next_try: When WAITING or PARKED ends by itself, monotonic seconds.
        strangers: Acknowledged ids that were not in flight, since the start.
        attempt: Failures in a row.
        fallback: Decides by which transport a dial goes.
        over: By which the last one went.

    """

    rng: Callable[[], float]
    remembered: str = ""
    backoff: Backoff = field(default_factory=Backoff)
    fallback: Fallback = field(default_factory=Fallback)
    heartbeat_s: float = 60.0
    dial_s: float = (
        15.0  #: How long a dial may take; the link knows it too, and says where it hung.
    )
    grace_s: float = 1.0  #: So much later the rule gives up a link that did not.
    ack_s: float = 30.0  #: How long the oldest batch may stay unacknowledged.
    answer_s: float = 30.0  #: How long a heartbeat's ping may stay unanswered.
    proof_s: float = 60.0  #: Having lived so long proves a link.
    wake_s: float = 5.0  #: After a sleep, dial within so long.
    alive_s: float = 5.0  #: After a change of the network, a link answers within so long.

    state: State = State.IDLE
    dial: int = 0
    attempt: int = 0
    reason: Fault | None = None
    strangers: int = 0
    form: Form = "seed"
    over: Transport = "websocket"
    next_try: float | None = None
    _remembered_over: Transport = "websocket"
    _tried: set[Form] = field(default_factory=set)
    _may_move: float = float("-inf")  # not sooner does a change of the network count again
    _told: float = 0.0  # until when the far end asked us to stay away (invariant 9)
    _dial_by: float = 0.0
    _opened: float = 0.0
    _beat: float = 0.0  # when the next heartbeat is due
    _answer_by: float | None = None
    _ack_by: float | None = None
    _heard: bool = False  # anything, on this dial
    _acknowledged: bool = False  # on this dial
    _overtaken: bool = False  # the oldest batch: something behind it was acknowledged
    _good: Form | None = None  # the form on which something was ever acknowledged
    _flight: dict[int, frozenset[str]] = field(default_factory=dict)  # in order of lending
    _lending: bool = False  # a Lease was ordered and not answered
    _drained: bool = False

    def __post_init__(self) -> None:
        self.form = "track" if self.remembered == "track" else "seed"
        self._remembered_over = "http" if self.fallback.suspected else "websocket"

    @property
    def deadline(self) -> float | None:
        """When ``Tick`` is next wanted, monotonic seconds; ``None`` if never."""
        match self.state:
            case State.DIALING:
                return self._dial_by
            case State.LIVE:
                over_http = self.over == "http" and not self._flight
                again_at = self.fallback.again_at if over_http else None
                limits = (self._beat, self._answer_by, self._ack_by, again_at)
                return min(limit for limit in limits if limit is not None)
            case State.WAITING | State.PARKED:
                return self.next_try
            case State.IDLE:
                return None

    def held(self, now: float) -> bool:
        """Tell whether the far end asked us to stay away (invariant 9)."""
        return now < self._told

    def proven(self, now: float) -> bool:
        """Tell whether the link has lived long enough to forget failures (invariant 8)."""
        return self.state is State.LIVE and now - self._opened >= self.proof_s

    @property
    def in_flight(self) -> int:
        """How many events are lent to the connection."""
        return sum(len(ids) for ids in self._flight.values())

    def feed(self, notice: Notice, now: float) -> list[Order]:
        """Take one notice at monotonic time ``now``; return the orders it causes.

        Each ``Lease`` must be answered by one ``Leased`` or ``Drained`` before any other notice.

        Raises:
            Bug: A notice that cannot be, such as a lease that was not ordered.

        """
        if isinstance(notice, (Opened, Received, Heard, Lost)) and (
            self.state not in (State.DIALING, State.LIVE) or notice.dial != self.dial
        ):
            return []  # invariant 2
        due = self.deadline is not None and now >= self.deadline
        match self.state, notice:
            case (State.LIVE, Received(ids=ids)):
                self._hear()
                return self._acknowledge(ids, now)
            case (State.LIVE, Leased(batch=batch, ids=ids)):
                return self._lent(batch, ids, now)
            case (State.LIVE, Drained()):
                self._lending, self._drained = False, True
                return []
            case (State.LIVE, Offered()):
                self._drained = False
                return self._lend(now)
            case (State.LIVE, Heard()):
                self._hear()
                return []
            case (State.LIVE, Tick()):
                return self._live_tick(now) if due else []
            case (State.DIALING, Opened()):
                return self._open(now)
            case (State.DIALING, Tick()) if due:
                orders: list[Order] = [HangUp(self.dial)]
                return orders + self._end(Silent(f"no answer in {self.dial_s:g} s"), now)
            case (State.WAITING | State.PARKED, Tick()) if due:
                return self._dial(now)
            case (_, Lost(fault=fault)):
                return self._end(fault, now)
            case (State.IDLE | State.WAITING | State.PARKED, Start()):
                return self._start(now)
            case (State.IDLE, Restarted()):
                return self._go_on_waiting(notice, now)
            case (_, Stop()):
                return self._stop()
            case (_, Slept()):
                return self._wake(now)
            case (_, Moved()):
                return self._move(now)
            case (_, Leased()):
                return [Release()]  # the dial that it was for has ended
            case (_, Start() | Restarted() | Tick() | Offered() | Drained() | Heard() | Received()):
                return []
        raise Bug(f"{type(notice).__name__} cannot happen in {self.state}")

    def _start(self, now: float) -> list[Order]:
        self.attempt = 0  # a person asked
        self.fallback.hurry(now)
        if now < self._told:  # invariant 9
            self.state, self.next_try = State.WAITING, self._told
            return []
        return self._dial(now)

    def _go_on_waiting(self, before: Restarted, now: float) -> list[Order]:
        self.attempt = before.attempt
        if before.wait_s <= 0:
            return self._dial(now)
        self.state, self.next_try = State.WAITING, now + before.wait_s
        said = "the far end was not reached before this start"
        if before.named:
            self._told = self.next_try
            self.reason = Throttled(said, retry_after_s=before.wait_s)
        else:
            self.reason = Unreachable(said)
        return []

    def _stop(self) -> list[Order]:
        orders = self._cut()
        self.state, self.reason, self.next_try = State.IDLE, None, None
        return orders

    def _wake(self, now: float) -> list[Order]:
        """The road may have changed while we slept: dial again soon, without alarm."""
        if self.state is State.IDLE or self.state is State.PARKED:
            return []
        if self.state is State.LIVE:
            self._judge(now, silent=False)
        orders = self._cut()
        self.fallback.hurry(now)
        soon = max(self._told, now + self.rng() * self.wake_s)
        if self.state is State.WAITING and self.next_try is not None:
            soon = min(soon, self.next_try)
        self.state, self.next_try = State.WAITING, soon
        return orders

    def _move(self, now: float) -> list[Order]:
        """The road is another one: try it soon, or ask whether the old one still leads there."""
        if self.state is State.IDLE or (
            self.state is State.PARKED and not isinstance(self.reason, LoginWanted)
        ):
            return []
        at = max(now, self._may_move)  # invariant 10
        self.fallback.hurry(now)
        if self.state is State.LIVE:
            if now < self._may_move:
                return []
            self._may_move = now + MOVE_S
            answer_by = now + self.alive_s
            held = self._answer_by
            self._answer_by = answer_by if held is None else min(held, answer_by)
            return [Probe(self.dial)]
        if now >= self._may_move:
            self.attempt = min(self.attempt, MOVED_ATTEMPT)
            self._may_move = now + MOVE_S
        soon = max(self._told, at + self.rng())
        if self.state is State.WAITING and self.next_try is not None:
            soon = min(soon, self.next_try)
        orders = self._cut()
        self.state, self.next_try = State.WAITING, soon
        return orders

    def _cut(self) -> list[Order]:
        """End the dial under way, if any, from our side."""
        self._tried.clear()
        if self.state not in (State.DIALING, State.LIVE):
            return []
        orders: list[Order] = [HangUp(self.dial)]
        return orders + self._release()

    def _dial(self, now: float) -> list[Order]:
        self.state, self.dial, self.next_try = State.DIALING, self.dial + 1, None
        self._dial_by = now + self.dial_s + self.grace_s
        self.over = self.fallback.choose(now)
        if self.over == "http":
            return [Dial(self.dial, "track", "http")]
        self._tried.add(self.form)
        return [Dial(self.dial, self.form)]

    def _open(self, now: float) -> list[Order]:
        self.state, self.reason = State.LIVE, None
        self._opened, self._acknowledged, self._overtaken = now, False, False
        self._lending = self._drained = False
        self._answer_by, self._heard = None, False
        orders = self._beat_now(now)
        if self.over == "http":
            self.fallback.http_opened(now)
        if self.remembered != self.form or self._remembered_over != self.over:
            self.remembered, self._remembered_over = self.form, self.over
            orders.append(Remember(self.form, self.over))
        return orders + self._lend(now)

    def _hear(self) -> None:
        self._answer_by, self._heard = None, True
        if self.over == "websocket":
            self.fallback.works()

    def _beat_now(self, now: float) -> list[Order]:
        self._beat = now + self.heartbeat_s  # invariant 4: from now, not from then
        if self._answer_by is None:  # an answer overdue is not forgiven by asking again
            self._answer_by = now + self.answer_s
        return [SendHeartbeat(self.dial)]

    def _live_tick(self, now: float) -> list[Order]:
        said_nothing = Unreachable if self._heard or self.over == "http" else Blocked
        if self._ack_by is not None and now >= self._ack_by:
            fault: Fault = said_nothing(f"nothing was acknowledged for {self.ack_s:g} s")
            orders: list[Order] = [HangUp(self.dial)]
            if self.over == "websocket" and self._good != self.form:
                self.form = OTHER[self.form]  # perhaps a door that opens, but not the right one
            return orders + self._end(fault, now, silent=not self._overtaken)
        if self._answer_by is not None and now >= self._answer_by:
            fault = said_nothing(f"no sign of life for {self.answer_s:g} s")
            orders = [HangUp(self.dial)]
            return orders + self._end(fault, now)
        if self._may_go_back(now):
            return self._go_back(now)
        return self._beat_now(now)

    def _may_go_back(self, now: float) -> bool:
        return self.over == "http" and not self._flight and self.fallback.due(now)

    def _go_back(self, now: float) -> list[Order]:
        """Try the WebSocket again: between two batches, so nothing is lent twice."""
        self._judge(now, silent=False)
        return [*self._cut(), *self._dial(now)]

    def _lend(self, now: float) -> list[Order]:
        if self.over == "http" and self.fallback.due(now):
            return self._go_back(now) if self._may_go_back(now) and not self._lending else []
        if self._lending or self._drained or len(self._flight) >= WINDOW:
            return []
        self._lending = True
        return [Lease(self.dial)]

    def _lent(self, batch: int, ids: frozenset[str], now: float) -> list[Order]:
        if not self._lending:
            raise Bug(f"batch {batch} was lent without an order")
        if batch in self._flight or not ids:
            raise Bug(f"batch {batch} was lent twice, or empty")
        self._lending = False
        if not self._flight:
            self._ack_by = now + self.ack_s
        self._flight[batch] = ids
        return self._lend(now)

    def _acknowledge(self, ids: tuple[str, ...], now: float) -> list[Order]:
        """Settle what was named and is in flight (invariant 6)."""
        orders: list[Order] = []
        named, known = set(ids), 0
        oldest = next(iter(self._flight), None)
        for batch, lent in list(self._flight.items()):
            hit = lent & named
            if not hit:
                continue
            known += len(hit)
            whole = len(hit) == len(lent)
            if whole:
                del self._flight[batch]
            else:
                self._flight[batch] = lent - hit
            orders.append(Settle(batch, hit, whole))
        self.strangers += len(ids) - known
        if not orders:
            return []
        self._acknowledged = True
        if self.over == "websocket":
            self._good = self.form
        if not self._flight:
            self._ack_by = None
        elif oldest not in self._flight:  # the far end works in order: the next one's turn now
            self._ack_by, self._overtaken = now + self.ack_s, False
        elif any(order.batch != oldest for order in orders if isinstance(order, Settle)):
            self._overtaken = True
        return orders + self._lend(now)

    def _release(self) -> list[Order]:
        self._ack_by = None
        if not self._flight:
            return []
        self._flight.clear()
        return [Release()]

    def _end(self, fault: Fault, now: float, *, silent: bool = False) -> list[Order]:
        """The dial has ended: decide when to come back.

        Args:
            fault: Why it ended.
            now: Monotonic seconds.
            silent: It was alive but did not acknowledge (invariant 8).

        """
        dialing = self.state is State.DIALING
        orders = self._release()
        if not dialing:
            self._judge(now, silent=silent)
        self.reason = fault
        if self._by_http_instead(fault, now, dialing=dialing):
            self._tried.clear()
            return orders + self._dial(now)
        match verdict(fault, dialing=dialing):
            case Elsewhere() if self.over == "websocket" and OTHER[self.form] not in self._tried:
                self.form = OTHER[self.form]
                return orders + self._dial(now)
            case Elsewhere(floor_s=floor_s):
                if self.over == "websocket":
                    self.form = OTHER[self.form]
                self._park(now, floor_s)
                return orders
            case Park(floor_s=park_s):
                self._park(now, park_s)
                return orders
            case wait:
                if wait.named:
                    self._told = now + wait.floor_s
        self._tried.clear()
        wait_s = wait.next_s(self.backoff, self.attempt, self.rng)
        self.state, self.next_try = State.WAITING, now + wait_s
        self.attempt += not wait.steady
        return orders

    def _by_http_instead(self, fault: Fault, now: float, *, dialing: bool) -> bool:
        """Tell the fallback how a dial ended; tell whether to dial by HTTP at once."""
        if self.over == "http":
            if dialing:
                self.fallback.http_failed()
            return False
        if isinstance(fault, Blocked):
            return self.fallback.blocked(fault, now)
        if isinstance(fault, Refused) and fault.status in ELSEWHERE and dialing:
            self.fallback.refused(fault)
            if OTHER[self.form] not in self._tried:
                return False
            if self.fallback.refused_by_all(fault, now):
                return True
        self.fallback.missed(now)
        return False

    def _judge(self, now: float, *, silent: bool) -> None:
        """Forget failures as far as the link that just ended has proved itself (invariant 8)."""
        if now - self._opened >= (self.backoff.cap_s if silent else self.proof_s):
            self.attempt = 0
        elif self._acknowledged and not silent:
            self.attempt = min(self.attempt, SHORT_LIVED)

    def _park(self, now: float, floor_s: float | None) -> None:
        self._tried.clear()
        self.state, self.next_try = State.PARKED, None
        if floor_s is not None:
            self.next_try = now + self.backoff.wait_s(32, self.rng, floor_s=floor_s)
