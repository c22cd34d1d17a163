"""Carries out what a rule for posting orders, with a list for an outbox."""

from __future__ import annotations

from agent.rules.backoff import Backoff
from agent.rules.notices import Drained, Lease, Lost, Release, Settle, Start, Tick
from agent.rules.posting import PostingRule
from agent.rules.questions import Ask, Bury, Cancel, Lent, Notice, Order, Taken, Unfit
from tracking.errors import Fault, Unreachable

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
