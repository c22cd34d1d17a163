"""Whatever is done to an outbox, no event is lost without a name, and order is kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from yard import NOW_MS, append, crash, event, events, fail, findings, ids_in, settle, whole

from agent.adapters.outbox.outbox import Bounds, Outbox
from agent.adapters.outbox.segments import Batch
from agent.rules.ledger import Account, Loss
from tracking.errors import StorageFault

APPS = ("acme", "other")
DAY_MS = 86_400_000
FEW = Bounds(events=40, bytes=1 << 20, age_days=3.0)


class Model:
    """What an outbox of one app should hold, as lists."""

    def __init__(self) -> None:
        self.segments: list[tuple[int, list[str]]] = []  # when accepted, and the ids
        self.dead: list[str] = []
        self.account = Account()

    @property
    def waiting(self) -> list[str]:
        return [id_ for _, ids in self.segments for id_ in ids]

    def take_out(self, ids: set[str]) -> int:
        before = len(self.waiting)
        self.segments = [
            (at_ms, kept)
            for at_ms, held in self.segments
            if (kept := [id_ for id_ in held if id_ not in ids])
        ]
        return before - len(self.waiting)


class Story(RuleBasedStateMachine):
    """Random lives of an outbox, each step compared with a plain model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="outbox-"))
        self.moves = 0
        self.path = self.folder / "0" / "outbox.db"
        self.box = Outbox.open(self.path, FEW, NOW_MS)
        self.now_ms = NOW_MS
        self.number = 0
        self.model = {app: Model() for app in APPS}
        self.stream = {app: self.box.stream(app, "nucleus") for app in APPS}
        self.lent: list[tuple[str, Batch]] = []

    def teardown(self) -> None:
        self.box.close()
        shutil.rmtree(self.folder)

    apps = st.sampled_from(APPS)

    @rule(app=apps, counts=st.lists(st.integers(1, 6), min_size=1, max_size=3))
    def appends(self, app: str, counts: list[int]) -> None:
        model = self.model[app]
        with self.box.turn():
            for count in counts:
                self.box.append(self.stream[app], events(self.number, count), self.now_ms)
                ids = [f"e{n}" for n in range(self.number, self.number + count)]
                model.segments.append((self.now_ms, ids))
                model.account.accepted += count
                self.number += count

    @rule(app=apps, count=st.integers(1, 4))
    def a_turn_fails(self, app: str, count: int) -> None:
        with pytest.raises(StorageFault, match="cut"):
            fail(self.box, self.stream[app], events(10_000, count))

    @rule(app=apps, most=st.integers(1, 12))
    def lends(self, app: str, most: int) -> None:
        lent = [batch.last for owner, batch in self.lent if owner == app]
        batch = self.box.lease(self.stream[app], max(lent, default=0), most, 1 << 16)
        if batch is not None:
            assert batch.ids
            assert all(id_ in self.model[app].waiting for id_ in batch.ids)
            self.lent.append((app, batch))

    @rule(app=apps)
    def the_connection_ends(self, app: str) -> None:
        self.lent = [(owner, batch) for owner, batch in self.lent if owner != app]

    @precondition(lambda self: self.lent)
    @rule(data=st.data(), keep=st.booleans())
    def settles(self, data: st.DataObject, keep: bool) -> None:
        at = data.draw(st.integers(0, len(self.lent) - 1))
        app, batch = self.lent[at]
        chosen = set(data.draw(st.lists(st.sampled_from(batch.ids), unique=True)))
        if data.draw(st.booleans()):
            chosen = set(batch.ids)
        with self.box.turn():
            gone = self.box.settle(batch, frozenset(chosen | {"stranger", "e999999"}))
        self._delivered(app, chosen, gone)
        if not keep:
            del self.lent[at]

    def _delivered(self, app: str, ids: set[str], gone: int) -> None:
        expected = self.model[app].take_out(ids)
        assert gone == expected
        self.model[app].account.delivered += expected

    @precondition(lambda self: self.lent)
    @rule(data=st.data())
    def buries(self, data: st.DataObject) -> None:
        app, batch = data.draw(st.sampled_from(self.lent))
        id_ = data.draw(st.sampled_from(batch.ids))
        model = self.model[app]
        there = id_ in model.waiting and id_ not in model.dead
        with self.box.turn():
            assert self.box.bury(batch, id_, "refused", "no such app", self.now_ms) is there
        if there:
            model.take_out({id_})
            model.dead.append(id_)

    @rule(some=st.booleans())
    def revives(self, some: bool) -> None:
        self.lent.clear()  # what is revived is appended again: the lists below would not know
        chosen = [m.dead[0] for m in self.model.values() if m.dead] if some else None
        with self.box.turn():
            revived = self.box.revive(chosen, self.now_ms)
        expected = 0
        for model in self.model.values():
            back = [id_ for id_ in model.dead if chosen is None or id_ in chosen]
            model.dead = [id_ for id_ in model.dead if id_ not in back]
            model.segments.extend((self.now_ms, [id_]) for id_ in back)
            expected += len(back)
        assert revived == expected

    @rule()
    def drops_the_letters(self) -> None:
        with self.box.turn():
            dropped = self.box.drop_letters(None)
        assert dropped == sum(len(model.dead) for model in self.model.values())
        for model in self.model.values():
            if model.dead:
                model.account.lose(Loss.DROPPED, len(model.dead))
            model.dead.clear()

    @rule(days=st.sampled_from((0, 1, 4)))
    def trims(self, days: int) -> None:
        self.now_ms += days * DAY_MS
        lost = {(one.app_id, one.reason): one.events for one in self.box.trim(self.now_ms)}
        expected: dict[tuple[str, Loss], int] = {}
        for app, model in self.model.items():
            old = [ids for at, ids in model.segments if at < self.now_ms - 3 * DAY_MS]
            model.segments = [s for s in model.segments if s[0] >= self.now_ms - 3 * DAY_MS]
            self._lose(expected, app, Loss.EXPIRED, sum(map(len, old)))
        kept_back = 0
        for app, model in self.model.items():
            gone = lost.get((app, Loss.EVICTED), 0)
            kept_back += gone
            model.take_out(set(model.waiting[:gone]))  # its oldest
            self._lose(expected, app, Loss.EVICTED, gone)
        assert lost == expected
        held = sum(len(model.waiting) for model in self.model.values())
        assert held <= FEW.events
        assert not kept_back or held + 6 > FEW.events  # one segment at most too many

    def _lose(self, told: dict[tuple[str, Loss], int], app: str, reason: Loss, count: int) -> None:
        if count:
            told[app, reason] = told.get((app, reason), 0) + count
            self.model[app].account.lose(reason, count)

    @rule(app=apps)
    def purges(self, app: str) -> None:
        model = self.model[app]
        gone = len(model.waiting) + len(model.dead)
        assert self.box.purge(app) == gone
        if gone:
            model.account.lose(Loss.PURGED, gone)
        model.segments.clear()
        model.dead.clear()

    @rule()
    def restarts(self) -> None:
        self.box.close()
        self._reopen()

    @rule()
    def crashes(self) -> None:
        self.moves += 1
        self.path = crash(self.box, self.folder / str(self.moves))
        self.box.close()
        self._reopen()

    def _reopen(self) -> None:
        self.lent.clear()
        self.box = Outbox.open(self.path, FEW, self.now_ms)
        assert self.box.opening.notices == []
        self.stream = {app: self.box.stream(app, "nucleus") for app in APPS}

    @invariant()
    def the_ledger_balances_and_order_is_kept(self) -> None:
        assert findings(self.box) == []
        for app, model in self.model.items():
            account = self.box.account(self.stream[app])
            assert account.balanced
            model.account.pending, model.account.dead = len(model.waiting), len(model.dead)
            assert account == model.account
            assert ids_in(self.box, app) == model.waiting
            assert {letter.id for letter in self.box.letters(app, 1000)} == set(model.dead)


TestStory = Story.TestCase
TestStory.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.fuzz
class TestLongStory(Story.TestCase):  # type: ignore[misc,name-defined]
    """The same for minutes."""

    settings = settings(max_examples=1500, stateful_step_count=60, deadline=None)


def test_a_cursor_stays_valid_when_the_newest_row_was_deleted_and_another_appended(
    box: Outbox,
) -> None:
    stream = box.stream("acme", "nucleus")
    append(box, stream, [event(1)])
    first = whole(box, stream)
    assert settle(box, first) == 1
    append(box, stream, [event(2)])
    assert whole(box, stream, first.last).ids == ("e2",)


def test_a_batch_that_is_settled_twice_counts_once(box: Outbox) -> None:
    stream = box.stream("acme", "nucleus")
    append(box, stream, events(0, 5))
    batch = whole(box, stream)
    assert settle(box, batch) == 5
    assert settle(box, batch) == 0
    append(box, stream, events(5, 2))
    assert settle(box, batch) == 0
    assert box.account(stream) == Account(accepted=7, delivered=5, pending=2)


def test_strangers_ids_settle_nothing(box: Outbox) -> None:
    mine, other = box.stream("acme", "nucleus"), box.stream("other", "nucleus")
    append(box, mine, events(0, 3))
    append(box, other, events(3, 3))
    batch = whole(box, mine)
    assert settle(box, batch, ["e3", "e4", "e5", "e99"]) == 0
    assert ids_in(box) == [f"e{n}" for n in range(6)]


def test_rows_that_were_evicted_while_lent_are_not_delivered_as_well(
    open_box: Callable[..., Outbox],
) -> None:
    box = open_box(bounds=FEW)
    stream = box.stream("acme", "nucleus")
    append(box, stream, events(0, 10))
    batch = whole(box, stream)
    append(box, stream, events(10, 40))
    assert [(one.reason, one.events) for one in box.trim(NOW_MS)] == [(Loss.EVICTED, 10)]
    assert settle(box, batch) == 0
    assert box.account(stream) == Account(accepted=50, pending=40, lost={Loss.EVICTED: 10})


def test_a_flood_of_small_events_does_not_push_out_an_app_with_a_few_large_ones(
    open_box: Callable[..., Outbox],
) -> None:
    box = open_box(bounds=FEW)
    quiet, loud = box.stream("quiet", "nucleus"), box.stream("loud", "nucleus")
    append(box, quiet, events(0, 5, size=20_000))
    for first in range(100, 300, 5):
        append(box, loud, events(first, 5))
    box.trim(NOW_MS)
    assert box.account(quiet).pending == 5


def test_a_stream_that_was_made_in_a_turn_that_failed_is_empty(box: Outbox) -> None:
    with pytest.raises(StorageFault, match="cut"):
        fail(box, box.stream("acme", "nucleus"), events(0, 2))
    assert [account.accepted for account in box.accounts().values()] in ([], [0])
    stream = box.stream("acme", "nucleus")
    append(box, stream, events(0, 2))
    assert findings(box) == []
