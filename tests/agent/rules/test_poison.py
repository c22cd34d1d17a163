"""Who is given up as never acknowledged, and above all who is not."""

from __future__ import annotations

import pytest

from agent.rules.poison import ALONE_FROM, MOST_SUSPECTS, STRIKES, Culprit, Doubts, frames

FAIR_S = 10.0


class Dialled:
    """One stream of letters, and a far end that a test speaks for."""

    def __init__(self) -> None:
        self.doubts = Doubts(fair_s=FAIR_S)
        self.batch = 0

    def dial(self, *batches: str, acknowledged: str, lived_s: float = 30.0) -> list[Culprit]:
        """Send each batch, acknowledge these letters in order, end the dial."""
        self.doubts.dialled()
        lent: dict[int, set[str]] = {}
        for batch in batches:
            self.batch += 1
            lent[self.batch] = set(batch)
            self.doubts.lent(self.batch, tuple(batch), 0.0)
        for letter in acknowledged:
            number = next(number for number, left in lent.items() if letter in left)
            lent[number].discard(letter)
            self.doubts.acknowledged(number, {letter}, whole=not lent[number])
        return self.doubts.ended(lived_s)


@pytest.fixture
def stream() -> Dialled:
    return Dialled()


def test_an_event_overtaken_on_five_dials_is_given_up(stream: Dialled) -> None:
    for later in "abcd":
        assert stream.dial(f"x{later}", acknowledged=later) == []
    assert stream.dial("xe", acknowledged="e") == [Culprit(5, "x", STRIKES)]
    assert stream.dial("xf", acknowledged="f") == [], "offered again, it has its five dials again"


def test_a_later_batch_is_evidence_too(stream: Dialled) -> None:
    for _ in range(STRIKES - 1):
        assert stream.dial("x", "ab", acknowledged="a") == []
    assert [one.id for one in stream.dial("x", "ab", acknowledged="a")] == ["x"]


def test_an_outage_convicts_nobody_and_acquits_nobody(stream: Dialled) -> None:
    for _ in range(STRIKES - 1):
        assert stream.dial("xa", acknowledged="a") == []
        assert stream.dial("xb", "cd", acknowledged="") == []
    assert [one.id for one in stream.dial("xa", acknowledged="a")] == ["x"]
    for _ in range(20):
        assert stream.dial("xa", "bc", acknowledged="") == []


def test_a_far_end_that_takes_a_little_and_stops_convicts_nobody(stream: Dialled) -> None:
    waiting = "abcdefghijklmnopqrstuvwxyz"
    while waiting:  # a quota of one event on each dial
        assert stream.dial(waiting[:10], waiting[10:], acknowledged=waiting[0]) == []
        waiting = waiting[1:]
    assert stream.doubts._strikes == {}


def test_what_was_sent_a_moment_ago_is_not_silent(stream: Dialled) -> None:
    for _ in range(20):
        assert stream.dial("xa", acknowledged="a", lived_s=FAIR_S - 0.1) == []


def test_an_acknowledgement_acquits(stream: Dialled) -> None:
    for _ in range(STRIKES - 1):
        stream.dial("xa", acknowledged="a")
    assert stream.dial("xa", acknowledged="xa") == []
    assert stream.dial("xa", acknowledged="a") == []


def test_a_suspect_travels_alone_from_the_second_strike_on(stream: Dialled) -> None:
    for strikes in range(1, STRIKES):
        stream.dial("abxc", acknowledged="abc")
        assert stream.doubts.alone("abxc") == (frozenset("x") if strikes >= ALONE_FROM else set())


@pytest.mark.parametrize(
    ("alone", "cut"),
    [("", ["abcd"]), ("a", ["a", "bcd"]), ("bc", ["a", "b", "c", "d"]), ("d", ["abc", "d"])],
)
def test_frames_keep_the_order(alone: str, cut: list[str]) -> None:
    assert ["abcd"[part] for part in frames("abcd", frozenset(alone))] == cut


def test_a_dial_that_ended_for_suspects_alone_says_so(stream: Dialled) -> None:
    stream.dial("xa", acknowledged="a")
    assert stream.doubts.only_suspects
    stream.dial("x", acknowledged="")
    assert stream.doubts.only_suspects
    stream.dial("x", acknowledged="", lived_s=1.0)
    assert not stream.doubts.only_suspects, "a far end that hangs up at once is not well"
    stream.dial("xb", acknowledged="")
    assert not stream.doubts.only_suspects, "b is no suspect"
    stream.dial("xa", acknowledged="a")
    stream.doubts.dialled()
    assert not stream.doubts.only_suspects


def test_suspects_are_remembered_within_bounds() -> None:
    doubts = Doubts(fair_s=0.0)
    ids = tuple(f"e{n}" for n in range(MOST_SUSPECTS + 50))
    doubts.lent(1, (*ids, "last"), 0.0)
    doubts.acknowledged(1, {"last"}, whole=False)
    assert doubts.ended(1.0) == []
    assert list(doubts._strikes) == list(ids[50:])
