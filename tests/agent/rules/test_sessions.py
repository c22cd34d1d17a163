"""Sessions: thirty minutes, one init each, and the app's own word respected."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.rules.sessions import REMEMBERED, SILENCE_MS, Session, decide, fresh_id

NOW = 1_795_225_318_886
MINUTE = 60_000


def plain(session: Session | None, now_ms: int, fresh: Callable[[], int]) -> tuple[Session, bool]:
    """An app's event that names no session and is no init."""
    return decide(session, now_ms, own_init=False, own_session=False, fresh=fresh)


def never() -> int:
    raise AssertionError("no new session was expected")


def test_the_first_event_of_an_app_starts_a_session_with_an_init() -> None:
    session, due = plain(None, NOW, lambda: 4711)
    assert (session.session_id, session.started_ms, session.last_ms) == (4711, NOW, NOW)
    assert due


def test_half_an_hour_of_silence_is_still_the_same_session_and_a_moment_more_is_not() -> None:
    first, _ = plain(None, NOW, lambda: 1111)
    same, due = plain(first, NOW + SILENCE_MS, never)
    assert same.session_id == 1111
    assert not due
    after, due = plain(same, NOW + 2 * SILENCE_MS + 1, lambda: 2222)
    assert (after.session_id, due) == (2222, True)


def test_a_chatty_app_keeps_its_session_all_day() -> None:
    session, _ = plain(None, NOW, lambda: 1111)
    for n in range(1, 24 * 4):
        session, due = plain(session, NOW + n * 15 * MINUTE, never)
        assert not due
    assert session.started_ms == NOW


def test_a_machine_that_slept_eight_hours_wakes_to_a_new_session() -> None:
    session, _ = plain(None, NOW, lambda: 1111)
    woken, due = plain(session, NOW + 8 * 60 * MINUTE, lambda: 2222)
    assert (woken.session_id, due) == (2222, True)


def test_a_clock_that_is_set_back_does_not_end_the_session_now_or_later() -> None:
    session, _ = plain(None, NOW, lambda: 1111)
    session, due = plain(session, NOW - 120 * MINUTE, never)
    assert not due
    session, due = plain(session, NOW - 100 * MINUTE, never)
    assert not due
    _, due = plain(session, NOW - 60 * MINUTE, lambda: 2222)  # 40 silent minutes by the new clock
    assert due


def test_an_app_that_sends_its_own_init_is_not_doubled() -> None:
    session, due = decide(None, NOW, own_init=True, own_session=False, fresh=lambda: 1111)
    assert not due
    _, due = plain(session, NOW + MINUTE, never)
    assert not due


def test_an_app_that_starts_again_within_the_half_hour_begins_a_session_of_its_own() -> None:
    session, _ = decide(None, NOW, own_init=True, own_session=False, fresh=lambda: 1111)
    again, due = decide(session, NOW + MINUTE, own_init=True, own_session=False, fresh=lambda: 2222)
    assert (again.session_id, again.started_ms, due) == (2222, NOW + MINUTE, False)


def test_an_app_that_names_its_own_sessions_gets_no_init_from_us() -> None:
    session, due = decide(None, NOW, own_init=False, own_session=True, fresh=lambda: 1111)
    assert not due
    session, due = decide(session, NOW + MINUTE, own_init=True, own_session=True, fresh=never)
    assert not due
    assert not session.opened


def test_the_first_event_without_a_session_after_many_with_one_opens_ours() -> None:
    session, _ = decide(None, NOW, own_init=True, own_session=True, fresh=lambda: 1111)
    session, due = plain(session, NOW + MINUTE, never)
    assert (session.session_id, due) == (1111, True)
    _, due = plain(session, NOW + 2 * MINUTE, never)
    assert not due


def test_a_session_survives_a_restart_of_the_agent() -> None:
    session, _ = decide(None, NOW, own_init=False, own_session=True, fresh=lambda: 1111)
    kept = msgspec.json.decode(msgspec.json.encode(session), type=Session)
    assert kept == session


class Wire(RuleBasedStateMachine):
    """What the far end sees of our session ids, whatever an app does."""

    def __init__(self) -> None:
        super().__init__()
        self.chance = random.Random(7)
        self.now_ms = NOW
        self.session: Session | None = None
        self.inits: dict[int, int] = {}
        self.used: list[int] = []

    @rule(
        wait_ms=st.integers(-SILENCE_MS, 3 * SILENCE_MS),
        init=st.booleans(),
        named=st.booleans(),
    )
    def events_arrive(self, wait_ms: int, init: bool, named: bool) -> None:
        self.now_ms += wait_ms
        session, due = decide(
            self.session,
            self.now_ms,
            own_init=init,
            own_session=named,
            fresh=lambda: fresh_id(self.used, self.chance.randrange),
        )
        if self.session is None or session.session_id != self.session.session_id:
            assert session.session_id not in self.used
            self.used.append(session.session_id)
        self.session = session
        if not named:
            self.inits[session.session_id] = self.inits.get(session.session_id, 0) + due + init

    @invariant()
    def every_id_of_ours_that_was_used_has_exactly_one_init(self) -> None:
        assert set(self.inits.values()) <= {1}


TestWire = Wire.TestCase


@given(
    st.lists(st.integers(1000, 9999), max_size=600),
    st.randoms(use_true_random=False),
)
def test_a_new_id_has_four_digits_and_is_none_of_the_last_five_hundred(
    recent: list[int], chance: random.Random
) -> None:
    made = fresh_id(recent, chance.randrange)
    assert 1000 <= made <= 9999
    assert made not in recent[-REMEMBERED:]


def test_every_free_id_can_come_and_none_twice_as_often() -> None:
    recent = list(range(1000, 1400)) + list(range(9900, 10_000))
    chosen = [fresh_id(recent, lambda _, n=n: n) for n in range(8500)]
    assert chosen == list(range(1400, 9900))
    assert fresh_id([*recent, *recent], lambda n: n - 1) == 9899
