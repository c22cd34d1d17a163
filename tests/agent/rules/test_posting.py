"""The rule for posting, by hand and as a walk through every order of events."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.rules.backoff import Backoff
from agent.rules.notices import (
    Drained,
    Lease,
    Lost,
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
from agent.rules.posting import STREAK, PostingRule
from agent.rules.questions import Ask, Bury, Cancel, Lent, Notice, Order, Taken, Unfit
from tracking.errors import Bug, Fault, Refused, SecretFault, Throttled, Unreachable

RESET = Unreachable("connection reset")


class Clerk:
    """Carries out what a rule orders, with a list for an outbox.

    What it is told to post, to settle and to bury is kept, and checked against the promises.
    """

    def __init__(self, items: int = 0, most: int = 100, chance: float = 0.5) -> None:
        self.rule = PostingRule(rng=lambda: chance, most=most, backoff=Backoff(1.0, 300.0))
        self.now = 0.0
        self.kept: list[str] = []
        self.lent: tuple[str, ...] = ()
        self.batch = 0
        self.asked: list[tuple[str, ...]] = []
        self.under_way: tuple[int, tuple[str, ...]] | None = None
        self.mark = ""
        self.settled: list[str] = []
        self.buried: dict[str, str] = {}
        self.made = 0
        self.add(items)

    def add(self, count: int) -> None:
        self.kept += [f"i{self.made + n}" for n in range(count)]
        self.made += count

    def feed(self, notice: Notice) -> list[Order]:
        orders = self.rule.feed(notice, self.now)
        for order in orders:
            self.obey(order)
        return orders

    def obey(self, order: Order) -> None:
        match order:
            case Lease():
                self.lend()
            case Ask(question=question, batch=batch, start=start, end=end):
                assert batch == self.batch
                assert self.under_way is None, "two questions at a time"
                items = self.lent[start:end]
                assert items, "an empty question"
                self.asked.append(items)
                self.under_way = (question, items)
                self.mark = items[-1]
            case Cancel(question=question):
                assert self.under_way is None or question >= self.under_way[0]
                self.under_way = None
            case Settle(ids=ids, batch=batch):
                assert batch == self.batch
                assert ids
                for one in sorted(ids, key=self.kept.index):
                    self.kept.remove(one)
                    self.settled.append(one)
            case Bury(id=one, words=words, batch=batch):
                assert batch == self.batch
                self.kept.remove(one)
                self.buried[one] = words
            case Release():
                self.lent = ()

    def lend(self) -> None:
        """As the outbox: whole, in order, at most 100; behind what is lent already."""
        items = tuple(self.kept[:100])
        if not items:
            self.feed(Drained())
            return
        self.batch += 1
        self.lent = items
        mark = items.index(self.mark) + 1 if self.mark in items else 0
        self.feed(Lent(self.batch, items, mark))

    # --- what the far end says ---------------------------------------------------------------

    def _answered(self) -> int:
        assert self.under_way is not None
        question, _ = self.under_way
        self.under_way = None
        return question

    def take(self, *rejected: int, odd: str = "") -> None:
        self.feed(Taken(self._answered(), tuple((at, "no") for at in rejected), odd))

    def refuse_items(self, words: str = "bad") -> None:
        self.feed(Unfit(self._answered(), 400, words))

    def lose(self, fault: Fault = RESET) -> None:
        self.feed(Lost(self._answered(), fault))

    def wait(self) -> None:
        """Let the time pass until the rule wants to be asked."""
        assert self.rule.deadline is not None
        self.now = self.rule.deadline
        self.feed(Tick())


def started(items: int, most: int = 100, chance: float = 0.5) -> Clerk:
    clerk = Clerk(items, most, chance)
    clerk.feed(Start())
    return clerk


# --- beginning -----------------------------------------------------------------------------------


def test_with_nothing_to_send_nothing_is_asked_and_nothing_is_wrong() -> None:
    clerk = started(0)
    assert (clerk.rule.state, clerk.rule.reason, clerk.rule.deadline) == (State.IDLE, None, None)
    assert clerk.asked == []
    clerk.add(2)
    clerk.feed(Offered())
    assert clerk.asked == [("i0", "i1")]
    assert clerk.rule.state is State.DIALING


def test_before_it_was_started_an_offer_changes_nothing() -> None:
    clerk = Clerk(3)
    assert clerk.feed(Offered()) == []
    assert clerk.asked == []


def test_bulk_asks_for_all_that_was_lent_and_a_path_for_one_after_the_other() -> None:
    assert started(7).asked == [tuple(f"i{n}" for n in range(7))]
    clerk = started(3, most=1)
    for _ in range(3):
        clerk.take()
    assert clerk.asked == [("i0",), ("i1",), ("i2",)]
    assert clerk.settled == ["i0", "i1", "i2"]


def test_what_is_offered_while_a_question_is_under_way_comes_after_it() -> None:
    clerk = started(1)
    clerk.add(2)
    assert clerk.feed(Offered()) == []
    clerk.take()
    assert clerk.asked == [("i0",), ("i1", "i2")]


def test_a_program_that_was_started_again_goes_on_waiting() -> None:
    clerk = Clerk(2)
    clerk.feed(Restarted(attempt=5, wait_s=40.0))
    assert (clerk.rule.state, clerk.rule.next_try) == (State.WAITING, 40.0)
    clerk.wait()
    clerk.lose()
    assert clerk.rule.next_try == pytest.approx(40 + 16)  # 2⁵ s, half of it


def test_a_delay_that_was_named_before_the_start_is_not_cut_short_by_a_person() -> None:
    clerk = Clerk(2)
    clerk.feed(Restarted(attempt=1, wait_s=40.0, named=True))
    clerk.feed(Start())
    assert clerk.asked == []
    clerk.wait()
    assert len(clerk.asked) == 1


# --- retrying ------------------------------------------------------------------------------------


def test_a_lost_question_is_asked_again_with_the_same_items_and_growing_waits() -> None:
    clerk = started(3)
    waits = []
    for _ in range(12):
        clerk.add(1)  # what came meanwhile is not mixed in
        before = clerk.now
        clerk.lose()
        clerk.wait()
        waits.append(clerk.now - before)
    assert set(clerk.asked) == {("i0", "i1", "i2")}
    assert waits[:5] == [0.5, 1, 2, 4, 8]
    assert waits[-1] == 150
    clerk.take()
    assert clerk.asked[-1] == tuple(f"i{n}" for n in range(3, 15))


def test_waits_are_spread_down_to_nothing() -> None:
    clerk = started(1, chance=0.0)
    clerk.lose()
    assert clerk.rule.next_try == clerk.now


def test_an_answer_that_never_comes_ends_with_a_deadline_of_its_own() -> None:
    clerk = started(1)
    assert clerk.rule.deadline == 46.0
    clerk.wait()
    assert clerk.rule.state is State.WAITING
    assert "no answer in 45 s" in str(clerk.rule.reason)


def test_a_delay_that_the_far_end_named_is_a_floor_even_for_a_person() -> None:
    clerk = started(1)
    clerk.lose(Throttled("busy", retry_after_s=120.0))
    assert clerk.rule.next_try == 120.5
    assert clerk.rule.held(119.0)
    clerk.now = 60.0
    clerk.feed(Start())
    assert len(clerk.asked) == 1
    clerk.wait()
    assert (clerk.now, len(clerk.asked)) == (120.0, 2)


def test_a_delay_longer_than_a_day_is_a_day() -> None:
    clerk = started(1)
    clerk.lose(Throttled("busy", retry_after_s=1e9))
    assert clerk.rule.next_try == 86_400.5


def test_success_forgets_failures() -> None:
    clerk = started(1)
    for _ in range(6):
        clerk.lose()
        clerk.wait()
    clerk.take(odd="strange")
    assert (clerk.rule.attempt, clerk.rule.reason, clerk.rule.odd) == (0, None, "strange")
    assert clerk.rule.state is State.LIVE


def test_a_sleep_ends_the_question_and_asks_soon() -> None:
    clerk = started(1)
    clerk.now = 1000.0
    assert Cancel(1) in clerk.feed(Slept(999.0))
    assert (clerk.rule.state, clerk.rule.next_try) == (State.WAITING, 1002.5)
    clerk.wait()
    assert clerk.asked == [("i0",), ("i0",)]


def test_a_sleep_shortens_a_wait_but_not_a_named_one() -> None:
    clerk = started(1)
    clerk.lose(Throttled("busy", retry_after_s=100.0))
    clerk.now = 50.0
    clerk.feed(Slept(40.0))
    assert clerk.rule.next_try == 100.0
    other = started(1)
    for _ in range(9):
        other.lose()
        other.wait()
    other.lose()
    other.feed(Slept(40.0))
    assert other.rule.next_try == other.now + 2.5


def test_a_connection_that_was_kept_open_over_a_sleep_is_given_up() -> None:
    clerk = started(1)
    clerk.take()
    assert clerk.feed(Slept(60.0)) == [Cancel(1)]
    assert clerk.rule.state is State.LIVE


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "asked_again"),
    [
        (Refused("who are you", status=401), True),
        (Refused("you may not", status=403), True),
        (Refused("nobody here", status=404), True),
        (Refused("moved", status=301), True),
        (SecretFault("the keyring is locked"), False),
    ],
)
def test_a_refusal_of_who_asks_parks_and_buries_nothing(fault: Fault, asked_again: bool) -> None:
    clerk = started(5)
    clerk.lose(fault)
    assert (clerk.rule.state, clerk.rule.reason) == (State.PARKED, fault)
    assert len(clerk.kept) == 5
    assert (clerk.rule.next_try is not None) == asked_again
    if clerk.rule.next_try is not None:
        assert clerk.rule.next_try >= 900
    clerk.feed(Offered())
    assert len(clerk.asked) == 1
    clerk.feed(Start())  # a person
    assert len(clerk.asked) == 2


def test_one_bad_item_of_a_hundred_is_found_by_halves_and_buried_alone() -> None:
    clerk = started(100)
    for _ in range(40):
        if clerk.under_way is None:
            break
        if "i57" in clerk.under_way[1]:
            clerk.refuse_items("i57: userId is missing")
        else:
            clerk.take()
    assert clerk.buried == {"i57": "i57: userId is missing"}
    assert sorted(clerk.settled, key=lambda one: int(one[1:])) == [
        f"i{n}" for n in range(100) if n != 57
    ]
    assert clerk.settled == sorted(clerk.settled, key=lambda one: int(one[1:]))  # in order
    assert len(clerk.asked) <= 2 * 7 + 1
    assert clerk.rule.state is State.LIVE


def test_what_a_collector_rejects_by_its_index_is_buried_and_the_rest_is_settled() -> None:
    clerk = started(4)
    clerk.take(2, 99, -1)
    assert clerk.settled == ["i0", "i1", "i3"]
    assert clerk.buried == {"i2": "no"}


def test_a_far_end_that_refuses_everything_is_parked_before_the_queue_is_buried() -> None:
    clerk = started(100)
    while clerk.under_way is not None:
        clerk.refuse_items("go away")
    assert len(clerk.buried) == STREAK
    assert clerk.rule.state is State.PARKED
    assert "go away" in str(clerk.rule.reason)
    assert len(clerk.kept) == 100 - STREAK
    clerk.wait()  # asked again much later: one by one, it may still refuse
    while clerk.under_way is not None:
        clerk.refuse_items("go away")
    assert len(clerk.buried) == STREAK
    clerk.feed(Start())
    assert clerk.under_way is not None
    taken = clerk.under_way[1]
    clerk.take()  # put right: nothing more is buried, and nothing was lost
    assert clerk.settled == list(taken)
    while clerk.under_way is not None:
        clerk.take()
    assert (len(clerk.settled), len(clerk.buried)) == (100 - STREAK, STREAK)


def test_stopping_ends_everything_and_starting_asks_from_the_oldest() -> None:
    clerk = started(3)
    assert clerk.feed(Stop()) == [Cancel(1), Release()]
    assert (clerk.rule.state, clerk.rule.deadline) == (State.IDLE, None)
    clerk.feed(Offered())
    clerk.feed(Tick())
    assert len(clerk.asked) == 1
    clerk.feed(Start())
    assert clerk.asked == [("i0", "i1", "i2")] * 2


def test_notices_about_a_question_that_is_over_change_nothing() -> None:
    clerk = started(1)
    clerk.feed(Stop())
    clerk.feed(Start())
    for late in (Taken(1), Unfit(1, 400, "x"), Lost(1, RESET)):
        assert clerk.feed(late) == []
    assert clerk.kept == ["i0"]
    assert clerk.rule.state is State.DIALING


def test_a_lease_that_nobody_ordered_is_our_mistake() -> None:
    with pytest.raises(Bug):
        Clerk().feed(Lent(1, ("a",)))


# --- a walk --------------------------------------------------------------------------------------

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
