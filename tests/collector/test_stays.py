"""How long a device was there: nothing of a stay is lost, and no row is longer than a cell."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from collectors import DAY, HOUR, NOW
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from collector.access.limits import Limiter
from collector.intake.ingest import Ingest
from collector.intake.presence import MOST_A_SOCKET, Presence
from collector.intake.stays import CELL_MS, UNSEEN_MS, Stays, Who
from collector.intake.tombstones import Tombstones
from collector.store.interface import Beat
from tracking.events import Event, Kind
from tracking.nucleus import normal_platform, parse_frame
from tracking.sink import Origin, Receipt

D = Who("A", "d", "1", "u")
CELL = NOW // CELL_MS * CELL_MS  #: The beginning of a cell.
MINUTE = 60_000


def spans(beats: Sequence[Beat]) -> list[tuple[int, int]]:
    return [(beat.first_ts, beat.last_ts) for beat in beats]


# --- the pure part -----------------------------------------------------------------------------


def test_an_open_socket_is_a_stay_that_is_told_again_as_it_grows() -> None:
    stays = Stays()
    stays.opened(D, CELL)
    assert spans(stays.take(CELL + 5 * MINUTE)) == [(CELL, CELL + 5 * MINUTE)]
    assert spans(stays.take(CELL + 10 * MINUTE)) == [(CELL, CELL + 10 * MINUTE)]
    assert stays.take(CELL + 10 * MINUTE) == []  # nothing new to say
    stays.closed(D, CELL + 12 * MINUTE)
    assert stays.take_ended() == [Beat(*D, CELL, CELL + 12 * MINUTE)]
    assert stays.take(CELL + 20 * MINUTE) == []
    assert len(stays) == 0


def test_a_stay_over_the_edge_of_a_cell_is_cut_there_and_leaves_no_gap() -> None:
    stays = Stays()
    edge = CELL + CELL_MS
    stays.opened(D, edge - MINUTE)
    stays.closed(D, edge + MINUTE)
    assert spans(stays.take_ended()) == [(edge - MINUTE, edge - 1), (edge, edge + MINUTE)]


def test_two_sockets_of_one_device_are_one_stay_until_the_second_closes() -> None:
    stays = Stays()
    for at in (CELL, CELL + MINUTE):
        stays.opened(D, at)
    stays.closed(D, CELL + 2 * MINUTE)
    assert stays.take_ended() == []
    stays.closed(D, CELL + 3 * MINUTE)
    assert spans(stays.take_ended()) == [(CELL, CELL + 3 * MINUTE)]


def test_heartbeats_without_a_socket_in_one_cell_are_one_row_and_over_an_edge_two() -> None:
    stays = Stays()
    for minute in (1, 2, 25, 31, 32):
        stays.heard(D, CELL + minute * MINUTE)
    assert spans(stays.take(CELL + 50 * MINUTE)) == [
        (CELL + 1 * MINUTE, CELL + 25 * MINUTE),
        (CELL + 31 * MINUTE, CELL + 32 * MINUTE),
    ]
    assert len(stays) == 0


def test_nobody_stays_while_the_machine_sleeps_or_through_a_clock_that_was_set() -> None:
    stays = Stays()
    stays.opened(D, CELL)
    woke = CELL + 8 * HOUR
    assert spans(stays.take(woke)) == [(CELL, CELL), (woke, woke)]
    back = woke - DAY
    stays.closed(D, back)
    assert spans(stays.take_ended()) == [(back, back)]


def test_stays_beyond_the_bound_are_dropped_and_counted() -> None:
    stays = Stays(most=3)
    for n in range(5):
        stays.opened(D._replace(device_id=str(n)), CELL)
    assert (len(stays), stays.dropped) == (3, 2)
    stays.give_back([Beat(*D, CELL, CELL + n) for n in range(5)])
    assert (len(stays.ended), stays.dropped) == (3, 4)
    for n in range(5):
        stays.closed(D._replace(device_id=str(n)), CELL + 1)
    assert len(stays) == 0


def test_who_was_erased_and_stays_connected_is_told_of_no_more_until_they_come_back() -> None:
    stones = Tombstones(b"k" * 32)
    stays = Stays(buried=lambda beat: not stones.facts([beat], beat.last_ts))
    other = D._replace(device_id="e", user_id="v")
    for who in (D, other):
        stays.opened(who, CELL + 28 * MINUTE)
    stones.bury("A", ["u"], [], CELL + 29 * MINUTE)
    for minute in (31, 36):
        assert {beat.user_id for beat in stays.take(CELL + minute * MINUTE)} == {"v"}
    stays.closed(D, CELL + 37 * MINUTE)
    assert stays.take_ended() == []
    stays.opened(D, CELL + 38 * MINUTE)
    stays.closed(D, CELL + 39 * MINUTE)
    assert stays.take_ended() == [Beat(*D, CELL + 38 * MINUTE, CELL + 39 * MINUTE)]


class History(RuleBasedStateMachine):
    """Sockets and heartbeats at random, and every moment that a later row must tell."""

    WHOS = st.sampled_from([D, D._replace(session_id="2"), D._replace(device_id="e")])

    @initialize()
    def begin(self) -> None:
        self.stays = Stays()
        self.now = CELL
        self.open: defaultdict[Who, int] = defaultdict(int)
        self.moments: list[tuple[Who, int]] = []
        self.looked: set[int] = set()
        self.taken: list[Beat] = []

    @rule(ms=st.one_of(st.integers(0, UNSEEN_MS), st.integers(-DAY, DAY)))
    def time_passes(self, ms: int) -> None:
        self.now += ms

    @rule(who=WHOS)
    def heartbeat(self, who: Who) -> None:
        self.stays.heard(who, self.now)
        self.moments.append((who, self.now))

    @rule(who=WHOS)
    def open_socket(self, who: Who) -> None:
        self.stays.opened(who, self.now)
        self.open[who] += 1
        self.moments.append((who, self.now))

    @rule(who=WHOS)
    def close_socket(self, who: Who) -> None:
        if self.open[who]:
            self.stays.closed(who, self.now)
            self.open[who] -= 1
            self.moments.append((who, self.now))

    @rule(give_back=st.booleans())
    def take(self, give_back: bool) -> None:
        beats = self.stays.take(self.now)
        self.looked.add(self.now)
        if give_back:
            self.stays.give_back(beats)
        else:
            self.taken += beats
            self.moments += [(who, self.now) for who, count in self.open.items() if count]

    @invariant()
    def every_row_is_in_one_cell(self) -> None:
        assert all(b.first_ts <= b.last_ts for b in self.taken)
        assert all(b.first_ts // CELL_MS == b.last_ts // CELL_MS for b in self.taken)

    def teardown(self) -> None:
        self.taken += self.stays.take(self.now)
        self.every_row_is_in_one_cell()
        told = defaultdict(list)
        for beat in self.taken:
            told[Who(*beat[:4])].append((beat.first_ts, beat.last_ts))
        for who, at in self.moments:
            assert any(first <= at <= last for first, last in told[who])
        sure = {at for _, at in self.moments} | self.looked | {self.now}
        edges = {e for first, last in spans(self.taken) for e in (first, last)}
        assert all(e in sure or e % CELL_MS in (0, CELL_MS - 1) for e in edges)  # nothing invented


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


# --- who tells it ------------------------------------------------------------------------------


class Told:
    """Notes what Presence says, with a clock that a test holds."""

    def __init__(self) -> None:
        self.ms = NOW
        self.stays = Stays()
        self.presence = Presence(lambda: self.ms, normal_platform, self)

    def heard(self, who: Who) -> None:
        self.stays.heard(who, self.ms)

    def opened(self, who: Who) -> None:
        self.stays.opened(who, self.ms)

    def closed(self, who: Who) -> None:
        self.stays.closed(who, self.ms)

    def say(
        self, *, socket: int = 1, device: str = "d", kind: Kind = Kind.EVENT, **more: Any
    ) -> None:
        self.presence.seen("A", socket, device, [Event(kind=kind, type=kind.value, **more)])

    def beats(self) -> list[tuple[Any, ...]]:
        return [beat[1:] for beat in self.stays.take(self.ms)]


def test_a_heartbeat_without_a_session_is_of_the_last_one_on_that_connection() -> None:
    told = Told()
    told.presence.joined(1)
    told.say(session_id="7", date_ms=NOW, user_id="u")
    told.ms += 5 * MINUTE
    told.say(kind=Kind.HEARTBEAT)
    assert told.beats() == [("d", "7", "u", NOW, NOW + 5 * MINUTE)]


def test_a_change_of_session_or_of_user_ends_a_stay_and_begins_another() -> None:
    told = Told()
    told.presence.joined(1)
    told.say(session_id="7", date_ms=NOW)
    told.ms += MINUTE
    told.say(session_id="8", date_ms=told.ms)
    told.ms += MINUTE
    told.say(kind=Kind.USERID, user_id="u", date_ms=told.ms)
    told.ms += MINUTE
    told.presence.left(1)
    assert told.beats() == [
        ("d", "7", "", NOW, NOW + MINUTE),
        ("d", "8", "", NOW + MINUTE, NOW + 2 * MINUTE),
        ("d", "8", "u", NOW + 2 * MINUTE, NOW + 3 * MINUTE),
    ]


def test_an_old_session_that_a_queue_brings_later_takes_the_stay_from_no_other() -> None:
    told = Told()
    told.presence.joined(1)
    told.say(session_id="8", date_ms=NOW)
    told.say(session_id="7", date_ms=NOW - 20 * MINUTE)
    told.ms += MINUTE
    told.presence.left(1)
    assert told.beats() == [("d", "8", "", NOW, NOW + MINUTE)]


def test_a_clock_that_is_ahead_does_not_hold_its_session_for_ever() -> None:
    told = Told()
    told.presence.joined(1)
    told.say(session_id="7", date_ms=NOW + DAY)
    told.ms += MINUTE
    told.say(session_id="8", date_ms=told.ms)
    assert [beat[1] for beat in told.beats()] == ["7", "8"]


def test_a_device_that_its_socket_no_longer_speaks_for_has_left() -> None:
    told = Told()
    told.presence.joined(1)
    for n in range(MOST_A_SOCKET + 5):
        told.say(device=f"d{n}")
    assert len(told.stays.take_ended()) == 5
    told.presence.left(1)
    assert len(told.stays.take_ended()) == MOST_A_SOCKET


@pytest.mark.parametrize("transport", ["ws", "http"])
def test_a_flood_of_heartbeats_is_held_to_the_quota_of_events(transport: Any) -> None:
    """They leave rows too. One that was not noted costs nothing: the next says the same."""
    told = Told()
    told.presence.joined(1)
    limits: Any = {"per_peer": Limiter(1.0, 10.0), "per_app": Limiter(1e9, 1e9)}
    nobody: Any = None
    ingest = Ingest(nobody, nobody, told.presence, now_ms=lambda: NOW, now_s=lambda: 0.0, **limits)
    origin = Origin(transport=transport, connection=1, peer="192.0.2.1", received_ms=NOW)
    for name in "def":
        beats = [{"type": "heartbeat", "deviceId": f"{name}{n}"} for n in range(8)]
        frame = parse_frame(json.dumps({"data": beats}))
        assert asyncio.run(ingest.accept("A", frame, origin)) == Receipt()
    assert {beat[0] for beat in told.beats()} == {f"d{n}" for n in range(8)}
    assert ingest.counts["over_quota"] == 16
