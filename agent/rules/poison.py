"""Which events will the far end never acknowledge? What overtook them tells [R27].

A far end of this kind refuses no single event in words. One that it cannot take is just never
acknowledged while its neighbours are; so the link ends by its deadline, is dialled again and
offers the same event for ever: stuck, as in the libraries that [R27] names. After ``STRIKES``
dials such an event is given up as a dead letter, which a person can look at and offer again.

Evidence is being *overtaken*: something that was sent after the event, on the same dial, was
acknowledged, and the event itself had a fair time. So these are no evidence:

* nothing was acknowledged: that is an outage;
* only what stood before it was: a far end that takes so much and then stops (a quota, a crash)
  will get to it, and would otherwise make dead letters of a whole backlog;
* the dial ended a moment after it was sent.

Such dials count neither for nor against. An acknowledgement acquits; what stands last in the
queue is judged when something comes behind it, and until then it holds nobody up.

Nobody else waits for a suspect, by the simplest means that keep the order: it stays at its place.
Acknowledgements are by id, so its neighbours leave the queue on every dial, and of the window it
takes one batch, with all the other suspects, which by then stand together at the front. Far ends
may refuse a whole frame for one bad event; so from the second strike on a suspect travels in a
frame of its own between its neighbours' (:func:`frames`), and the innocent are acquitted. What
remains is the road. A dial that ends for nothing but suspects is not waited for when something
new comes (:attr:`Doubts.only_suspects`), and after one on which others were acknowledged the
waits are short (``agent.rules.link``, invariant 8). On the dial on which they first show, suspects
from four batches at once fill the window, which costs that dial its rest.

Strikes live in memory: after a restart an event is given its five dials again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

STRIKES = 5  #: Dials on which an event must have been overtaken.
ALONE_FROM = 2  #: From so many on it travels in a frame of its own.
MOST_SUSPECTS = 10_000  #: Events with a strike that are remembered; more, and the oldest go free.


@dataclass(frozen=True, slots=True)
class Culprit:
    """An event that is given up.

    Attributes:
        batch: In which it was lent for the last time.
        id: Its wire id.
        strikes: On how many dials it was overtaken.

    """

    batch: int
    id: str
    strikes: int


@dataclass(slots=True)
class _Lent:
    ids: tuple[str, ...]
    left: set[str]
    at_s: float


@dataclass(slots=True)
class Doubts:
    """Counts for one stream; told of each batch, each acknowledgement, each end of a dial.

    Attributes:
        fair_s: An event must have been out for so long before its silence says anything.
        only_suspects: The last dial ended after a fair time for nothing but suspects.

    """

    fair_s: float
    only_suspects: bool = False
    _strikes: dict[str, int] = field(default_factory=dict)  # the oldest first
    _lent: dict[int, _Lent] = field(default_factory=dict)  # batches number upwards
    _furthest: int = 0  # the newest batch of this dial of which anything was acknowledged

    def dialled(self) -> None:
        """A new dial begins: what was learnt of the road is old."""
        self.only_suspects = False

    def lent(self, batch: int, ids: tuple[str, ...], now_s: float) -> None:
        """These were sent, in this order."""
        self._lent[batch] = _Lent(ids, set(ids), now_s)

    def acknowledged(self, batch: int, ids: Set[str], *, whole: bool) -> None:
        """The far end has these; ``whole``: nothing of the batch is left."""
        self._furthest = max(self._furthest, batch)
        if whole:
            del self._lent[batch]
        else:
            self._lent[batch].left -= ids
        if self._strikes:
            for acquitted in self._strikes.keys() & ids:
                del self._strikes[acquitted]

    def alone(self, ids: Sequence[str]) -> frozenset[str]:
        """Return which of these must travel in a frame of their own."""
        if not self._strikes:
            return frozenset()
        return frozenset(one for one in ids if self._strikes.get(one, 0) >= ALONE_FROM)

    def ended(self, now_s: float) -> list[Culprit]:
        """The dial has ended: strike what was overtaken on it, return what is given up."""
        lent, self._lent = self._lent, {}
        furthest, self._furthest = self._furthest, 0
        fair = {number: one for number, one in lent.items() if now_s - one.at_s >= self.fair_s}
        culprits: list[Culprit] = []
        for number, one in fair.items():
            for id_ in one.ids[: _overtaken(number, one, furthest)]:
                if id_ not in one.left:
                    continue
                strikes = self._strikes.pop(id_, 0) + 1
                if strikes >= STRIKES:
                    culprits.append(Culprit(number, id_, strikes))
                else:
                    self._strikes[id_] = strikes
        given_up = {culprit.id for culprit in culprits}
        self.only_suspects = bool(lent) and all(
            number in fair and one.left <= self._strikes.keys() | given_up
            for number, one in lent.items()
        )
        while len(self._strikes) > MOST_SUSPECTS:
            del self._strikes[next(iter(self._strikes))]
        return culprits


def _overtaken(number: int, lent: _Lent, furthest: int) -> int:
    """Return how many of a batch's events, from its first, were sent before an acknowledged one."""
    if number < furthest:
        return len(lent.ids)
    if number > furthest:
        return 0
    return max(at for at, id_ in enumerate(lent.ids) if id_ not in lent.left)


def frames(ids: Sequence[str], alone: Set[str]) -> Iterator[slice]:
    """Cut a batch into frames, in order: each of ``alone`` by itself, the others together."""
    start = 0
    for at, id_ in enumerate(ids):
        if id_ in alone:
            if at > start:
                yield slice(start, at)
            yield slice(at, at + 1)
            start = at + 1
    if start < len(ids):
        yield slice(start, len(ids))
