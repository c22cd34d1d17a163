"""How calls are posted to a far end over HTTP, without a socket or a clock.

Notices in, orders out, as in ``agent.rules.link``. There is no connection to keep open here; what
lives is a *question*: one POST of a *piece* of the lent batch, and what was answered.

               Start, Offered: Lease
    IDLE ─────────────────────────────► DIALING ───Taken───► LIVE ◄─┐
     ▲      nothing to send: stays idle  │   ▲                │ └────┘ Taken, Unfit: next piece
     │ Stop (from anywhere)              │   │ Tick, Start    │
                                    Lost │   │                │ Lost
                                         ▼   │                ▼
                                      WAITING, PARKED ◄────────
                                      backed off; refused: a person, or asked again much later

    Taken    2xx: the items are settled, but for those that the far end rejected by their index
    Unfit    a 4xx that speaks of the items: the piece is cut in halves; alone, the culprit is
             buried with the far end's words
    Lost     no answer, 408, 425, 429, 5xx: wait · 401, 403, 404 and their like: park

Invariants:
    1. One question at a time, and items in the order of acceptance: what waits holds up what is
       behind it in this way, and nothing else.
    2. A notice names its question; one about a question that is over changes nothing.
    3. Every state that waits for someone else has a deadline.
    4. An item leaves only because the far end took it, because it rejected it by name, or because
       it refused it alone. Each leaves once.
    5. A question that was not answered is asked again as it was: the same items, so the same
       bytes under the same key (``agent.rules.calls``). Its end is the ``mark``, which outlives
       the program; only a refusal cuts a piece.
    6. A delay that the far end named is never cut short, not even by a person.
    7. A far end that refuses everything cannot bury the queue: after ``STREAK`` culprits with
       nothing taken between them the way is parked, and the next one stays where it is.
    8. A network that changes brings the next question near, as in ``agent.rules.link``.
    9. Leases die with the wait: before the next question everything is read again from the
       outbox, so what a person deleted meanwhile is not sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.rules.backoff import Backoff
from agent.rules.link import MOVE_S, MOVED_ATTEMPT
from agent.rules.notices import (
    Drained,
    Lease,
    Lost,
    Moved,
    Offered,
    Release,
    Restarted,
    Settle,
    Slept,
    Start,
    State,
    Stop,
    Tick,
)
from agent.rules.questions import Ask, Bury, Cancel, Lent, Notice, Order, Taken, Unfit
from agent.rules.verdict import Wait, verdict
from tracking.errors import Bug, Fault, LoginWanted, Refused, Throttled, Unreachable

STREAK = 20  #: Culprits in a row with nothing taken between them.


@dataclass(slots=True)
class _Batch:
    number: int
    ids: tuple[str, ...]
    pieces: list[tuple[int, int]]  # what is left to ask, in order
    left: int  # items that have not left


@dataclass(slots=True)
class PostingRule:
    """Decides; the module docstring gives the states and the invariants.

    Attributes:
        rng: Source of uniform numbers in [0, 1).
        most: Items of one question.
        answer_s: How long a question may take; the thread knows it too, and says where it hung.
        reason: Why nothing is sent; ``None`` while all is well.
        odd: What was strange about the last answer, although the items count as taken.
        next_try: When WAITING or PARKED ends by itself, monotonic seconds.
        attempt: Failures in a row.
        asked: Questions so far.

    """

    rng: Callable[[], float]
    most: int
    backoff: Backoff = field(default_factory=Backoff)
    answer_s: float = 45.0
    grace_s: float = 1.0
    wake_s: float = 5.0  #: After a sleep, ask again within so long.

    state: State = State.IDLE
    attempt: int = 0
    asked: int = 0
    reason: Fault | None = None
    odd: str = ""
    next_try: float | None = None
    _running: bool = False
    _may_move: float = float("-inf")  # not sooner does a change of the network count again
    _told: float = 0.0  # until when the far end asked us to stay away (invariant 6)
    _leasing: bool = False  # a Lease was ordered and not answered
    _batch: _Batch | None = None
    _piece: tuple[int, int] | None = None  # under way, as question ``asked``
    _answer_by: float = 0.0
    _streak: int = 0

    @property
    def deadline(self) -> float | None:
        """When ``Tick`` is next wanted, monotonic seconds; ``None`` if never."""
        if self._piece is not None:
            return self._answer_by
        return self.next_try

    @property
    def in_flight(self) -> int:
        """How many items are under way."""
        return 0 if self._piece is None else self._piece[1] - self._piece[0]

    def held(self, now: float) -> bool:
        """Tell whether the far end asked us to stay away (invariant 6)."""
        return now < self._told

    def feed(self, notice: Notice, now: float) -> list[Order]:
        """Take one notice at monotonic time ``now``; return the orders it causes.

        Each ``Lease`` must be answered by one ``Lent`` or ``Drained`` before any other notice.

        Raises:
            Bug: A notice that cannot be, such as a lease that was not ordered.

        """
        match notice:
            case Taken(question=question) if self._under_way(question):
                return self._taken(notice, now)
            case Unfit(question=question) if self._under_way(question):
                return self._unfit(notice, now)
            case Lost(dial=question, fault=fault) if self._under_way(question):
                return self._end(fault, now)
            case Taken() | Unfit() | Lost():
                return []  # invariant 2
            case Lent():
                return self._lent(notice, now)
            case Drained():
                self._leasing = False
                if self.state is State.IDLE:
                    self.reason = None
                return []
            case Offered():
                return self._go_on(now) if self.state in (State.IDLE, State.LIVE) else []
            case Start():
                return self._start(now)
            case Restarted():
                return self._go_on_waiting(notice, now)
            case Stop():
                orders = self._cut()
                self._running, self.state = False, State.IDLE
                self.reason, self.next_try = None, None
                return orders
            case Slept():
                return self._wake(now)
            case Moved():
                return self._move(now)
            case Tick():
                return self._tick(now)

    def _under_way(self, question: int) -> bool:
        return self._piece is not None and question == self.asked

    # --- beginning and waiting ------------------------------------------------------------------

    def _start(self, now: float) -> list[Order]:
        self._running = True
        if self.state in (State.DIALING, State.LIVE):
            return self._go_on(now)
        self.attempt = 0  # a person asked
        if now < self._told:  # invariant 6
            self.state, self.next_try = State.WAITING, self._told
            return []
        return self._try(now)

    def _go_on_waiting(self, before: Restarted, now: float) -> list[Order]:
        self._running = True
        self.attempt = before.attempt
        if before.wait_s <= 0:
            return self._try(now)
        self.state, self.next_try = State.WAITING, now + before.wait_s
        said = "the far end was not reached before this start"
        if before.named:
            self._told = self.next_try
            self.reason = Throttled(said, retry_after_s=before.wait_s)
        else:
            self.reason = Unreachable(said)
        return []

    def _try(self, now: float) -> list[Order]:
        """Ask for what there is; with nothing to send there is nothing to find out."""
        self.state, self.next_try = State.IDLE, None
        return self._go_on(now)

    def _tick(self, now: float) -> list[Order]:
        if self.deadline is None or now < self.deadline:
            return []
        if self._piece is None:
            return self._try(now)
        late = Unreachable(f"no answer in {self.answer_s:g} s")
        orders: list[Order] = [Cancel(self.asked)]
        return orders + self._end(late, now)

    def _wake(self, now: float) -> list[Order]:
        """The road may have changed while we slept: ask again soon, without alarm."""
        if self.state is State.WAITING:
            soon = max(self._told, now + self.rng() * self.wake_s)
            self.next_try = soon if self.next_try is None else min(soon, self.next_try)
            return []
        orders = self._cut()
        if not orders:  # nothing is under way, but the connection kept open is a dead one
            return [Cancel(self.asked)] if self.state is State.LIVE else []
        self.state, self.next_try = State.WAITING, now + self.rng() * self.wake_s
        return orders

    def _move(self, now: float) -> list[Order]:
        """The road is another one: ask soon, and over a new connection."""
        login = self.state is State.PARKED and isinstance(self.reason, LoginWanted)
        if self.state is State.LIVE:  # a question under way has a deadline of its own
            return [] if self._piece is not None else [Cancel(self.asked)]
        if self.state is State.IDLE or (self.state is State.PARKED and not login):
            return []
        at = max(now, self._may_move)
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
        """End the question under way, if any, from our side."""
        orders: list[Order] = [] if self._piece is None else [Cancel(self.asked)]
        return orders + self._release()

    def _release(self) -> list[Order]:
        held, self._batch, self._piece = self._batch, None, None
        return [] if held is None else [Release()]

    # --- asking ---------------------------------------------------------------------------------

    def _go_on(self, now: float) -> list[Order]:
        """Ask the next piece, or have a batch lent."""
        if self._leasing or self._piece is not None or not self._running:
            return []
        if self._batch is None:
            self._leasing = True
            return [Lease(self.asked + 1)]
        self._piece = self._batch.pieces.pop(0)
        self.asked += 1
        self._answer_by = now + self.answer_s + self.grace_s
        if self.state is not State.LIVE:
            self.state = State.DIALING
        return [Ask(self.asked, self._batch.number, *self._piece)]

    def _lent(self, lent: Lent, now: float) -> list[Order]:
        if not self._leasing or self._batch is not None:
            raise Bug(f"batch {lent.batch} was lent without an order")
        if not lent.ids:
            raise Bug(f"batch {lent.batch} was lent empty")
        self._leasing = False
        if not self._running:
            return [Release()]
        count = len(lent.ids)
        first = min(lent.mark, self.most, count)
        starts = [0, *range(first, count, self.most)] if first else range(0, count, self.most)
        ends = [*starts[1:], count]
        pieces = list(zip(starts, ends, strict=True))
        self._batch = _Batch(lent.batch, lent.ids, pieces, count)
        return self._go_on(now)

    # --- answers --------------------------------------------------------------------------------

    def _taken(self, taken: Taken, now: float) -> list[Order]:
        batch, (start, end) = self._asked_of()
        self.state, self.reason, self.attempt, self.odd = State.LIVE, None, 0, taken.odd
        words = {start + at: said for at, said in taken.rejected if 0 <= at < end - start}
        ids = frozenset(batch.ids[at] for at in range(start, end) if at not in words)
        if ids:
            self._streak = 0
        orders: list[Order] = [Bury(batch.number, batch.ids[at], words[at]) for at in sorted(words)]
        batch.left -= end - start
        if ids:
            orders.append(Settle(batch.number, ids, whole=batch.left == 0))
        return self._next(orders, now)

    def _unfit(self, unfit: Unfit, now: float) -> list[Order]:
        batch, (start, end) = self._asked_of()
        if end - start > 1:
            middle = (start + end) // 2
            batch.pieces[:0] = [(start, middle), (middle, end)]
            return self._go_on(now)
        if self._streak >= STREAK:  # invariant 7
            fault = Refused(
                f"the far end refuses everything: {unfit.words}",
                status=unfit.status,
                advice="Look at the dead letters, put it right, then try again.",
            )
            return self._end(fault, now)
        self._streak += 1
        self.state, self.reason, self.attempt = State.LIVE, None, 0  # it listens, and says why
        batch.left -= 1
        return self._next([Bury(batch.number, batch.ids[start], unfit.words)], now)

    def _asked_of(self) -> tuple[_Batch, tuple[int, int]]:
        """Return the batch and the piece of the question under way, which is over with this."""
        batch, piece = self._batch, self._piece
        assert batch is not None
        assert piece is not None
        self._piece = None
        return batch, piece

    def _next(self, orders: list[Order], now: float) -> list[Order]:
        assert self._batch is not None
        if not self._batch.pieces:
            self._batch = None
        return orders + self._go_on(now)

    def _end(self, fault: Fault, now: float) -> list[Order]:
        """A question has failed: decide when to come back."""
        orders = self._release()
        self.reason = fault
        match verdict(fault, dialing=True):
            case Wait() as wait:
                if wait.named:
                    self._told = now + wait.floor_s
                wait_s = wait.next_s(self.backoff, self.attempt, self.rng)
                self.state, self.next_try = State.WAITING, now + wait_s
                self.attempt += not wait.steady
            case park:
                self.state, self.next_try = State.PARKED, None
                if park.floor_s is not None:
                    wait_s = self.backoff.wait_s(32, self.rng, floor_s=park.floor_s)
                    self.next_try = now + wait_s
        return orders
