"""The rule for posting, walked through everything that can happen in any order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.rules.notices import Moved, Offered, Restarted, Slept, Start, State, Stop, Tick
from tests.agent.rules.clerk import RESET, Clerk
from tracking.errors import Fault, Refused, SecretFault, Throttled

FAULTS = (
    RESET,
    Throttled("busy", retry_after_s=3.0),
    Refused("key", status=401),
    Refused("path", status=404),
    SecretFault("locked"),
)


class Walk(RuleBasedStateMachine):
    """Everything that can happen, in any order; the far end keeps what it was told."""

    @initialize(most=st.sampled_from([1, 3, 100]), items=st.integers(0, 8))
    def begin(self, most: int, items: int) -> None:
        self.clerk = Clerk(items, most)
        self.by_person: set[str] = set()
        self.taken: set[str] = set()
        self.refused_alone: set[str] = set()
        self.rejected: set[str] = set()
        self.unanswered: tuple[str, ...] = ()

    def _question(self) -> tuple[str, ...]:
        assert self.clerk.under_way is not None
        return self.clerk.under_way[1]

    @rule()
    def start(self) -> None:
        held, asked = self.clerk.rule.held(self.clerk.now), len(self.clerk.asked)
        idle = self.clerk.under_way is None
        self.clerk.feed(Start())
        assert not (held and idle and len(self.clerk.asked) > asked), "a named delay cut short"

    @rule(attempt=st.integers(0, 9), wait_s=st.floats(0, 50), named=st.booleans())
    @precondition(lambda self: self.clerk.rule.state is State.IDLE and not self.clerk.asked)
    def restarted(self, attempt: int, wait_s: float, named: bool) -> None:
        self.clerk.feed(Restarted(attempt, wait_s, named))

    @rule()
    def stop(self) -> None:
        self.clerk.feed(Stop())
        assert self.clerk.under_way is None

    @rule(count=st.integers(1, 5))
    def offer(self, count: int) -> None:
        self.clerk.add(count)
        self.clerk.feed(Offered())

    @rule(passed=st.floats(0.0, 4000.0))
    def tick(self, passed: float) -> None:
        self.clerk.now += passed
        self.clerk.feed(Tick())

    @rule(passed=st.floats(30.0, 4000.0))
    def sleep(self, passed: float) -> None:
        self.clerk.now += passed
        self.clerk.feed(Slept(passed))

    @rule()
    def move(self) -> None:
        self.clerk.feed(Moved())

    @rule(at=st.integers(0, 100))
    @precondition(lambda self: bool(self.clerk.kept) and self.clerk.under_way is None)
    def person_deletes(self, at: int) -> None:
        one = self.clerk.kept.pop(at % len(self.clerk.kept))
        self.by_person.add(one)

    @rule(rejected=st.sets(st.integers(-1, 8), max_size=3))
    @precondition(lambda self: self.clerk.under_way is not None)
    def taken_(self, rejected: set[int]) -> None:
        question = self._question()
        ours = {at for at in rejected if 0 <= at < len(question)}
        self.rejected |= {question[at] for at in ours}
        self.taken |= {one for at, one in enumerate(question) if at not in ours}
        self.clerk.take(*sorted(rejected))

    @rule()
    @precondition(lambda self: self.clerk.under_way is not None)
    def unfit(self) -> None:
        question, before = self._question(), len(self.clerk.buried)
        if len(question) == 1:
            self.refused_alone.add(question[0])
        self.clerk.refuse_items()
        assert len(self.clerk.buried) - before <= (len(question) == 1)

    @rule(fault=st.sampled_from(FAULTS))
    @precondition(lambda self: self.clerk.under_way is not None)
    def lost(self, fault: Fault) -> None:
        before = (list(self.clerk.kept), dict(self.clerk.buried))
        self.clerk.lose(fault)
        assert (self.clerk.kept, self.clerk.buried) == before, "a lost question moved an item"

    @invariant()
    def nothing_leaves_but_by_the_far_end_or_a_person(self) -> None:
        clerk = self.clerk
        assert set(clerk.settled) == self.taken
        assert set(clerk.buried) <= self.rejected | self.refused_alone
        gone = [*clerk.settled, *clerk.buried, *self.by_person]
        assert len(gone) == len(set(gone)), "something left twice"
        assert set(gone) | set(clerk.kept) == {f"i{n}" for n in range(clerk.made)}

    @invariant()
    def items_are_asked_in_order(self) -> None:
        for items in self.clerk.asked[-2:]:
            numbers = [int(one[1:]) for one in items]
            assert numbers == sorted(numbers)
            assert len(numbers) <= self.clerk.rule.most

    @invariant()
    def every_state_that_waits_has_a_deadline(self) -> None:
        rule_ = self.clerk.rule
        if rule_.state is State.WAITING or self.clerk.under_way is not None:
            assert rule_.deadline is not None
        if rule_.state is State.DIALING:
            assert self.clerk.under_way is not None
        if rule_.state in (State.WAITING, State.PARKED):
            assert self.clerk.under_way is None
            assert rule_.reason is not None or rule_.state is State.WAITING


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
