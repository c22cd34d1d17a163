"""Places: who gets one, who gives one up, and who never has to."""

from __future__ import annotations

from tracking.places import Places


class Guest:
    """A connection that was silent since ``last``."""

    def __init__(self, name: str, last: float = 0.0, *, idle: bool = True) -> None:
        self.name = name
        self.last = last
        self.idle = idle
        self.gone = False

    def dismiss(self) -> None:
        self.gone = True


def _seat(places: Places, holder: str, many: int, *, idle: bool = True) -> list[Guest]:
    guests = [Guest(holder, last=float(number), idle=idle) for number in range(many)]
    assert all(places.arrive(guest, holder) for guest in guests)
    return guests


def test_a_holder_at_its_share_is_told_of_once_until_it_has_given_half_back() -> None:
    told: list[str] = []
    places = Places(
        64,
        share=4,
        side=2,
        crowded=lambda holder, held: told.append(f"{holder} {held}"),
        calm=lambda holder: told.append(f"{holder} is calm"),
    )
    held = _seat(places, "hog", 4)
    for _ in range(3):
        assert not places.arrive(Guest("hog"), "hog")
    assert told == ["hog 4"]
    assert places.arrive(Guest("other"), "other")
    for guest in held[:3]:
        places.leave(guest)
        places.leave(guest)  # twice is harmless
    assert told == ["hog 4", "hog is calm"]
    assert places.held["hog"] == 1
    assert places.arrive(Guest("hog"), "hog")


def test_who_is_uncounted_or_unknown_has_no_share() -> None:
    places = Places(8, share=1)
    assert all(places.arrive(Guest("proxy"), "proxy", counted=False) for _ in range(3))
    assert all(places.arrive(Guest(""), "") for _ in range(3))


def test_the_greediest_holders_longest_idle_place_goes_to_a_newcomer() -> None:
    places = Places(6, fair=True)
    hog, modest = _seat(places, "hog", 4), _seat(places, "modest", 2)
    hog[0].idle = False
    assert places.arrive(Guest("new"), "new")
    assert [guest.gone for guest in hog] == [False, True, False, False]
    assert not any(guest.gone for guest in modest)
    assert len(places.seated) == 6


def test_two_never_push_each_other_out_in_turns() -> None:
    places = Places(4, fair=True)
    guests = [Guest(str(number)) for number in range(4)]
    assert all(places.arrive(guest, guest.name) for guest in guests)
    assert not places.arrive(Guest("fifth"), "fifth")
    assert not any(guest.gone for guest in guests)


def test_who_is_busy_keeps_its_place() -> None:
    places = Places(4, fair=True)
    hog = _seat(places, "hog", 4, idle=False)
    assert not places.arrive(Guest("new"), "new")
    assert not any(guest.gone for guest in hog)


def test_the_side_room_is_for_who_steers_and_its_silent_ones_go_oldest_first() -> None:
    places = Places(2, side=2, fair=True)
    seated = _seat(places, "hog", 2, idle=False)
    tool = Guest("tool", idle=False)
    assert places.arrive(tool, "tool")
    assert places.waits(tool)
    places.steers(tool)
    silent = Guest("a")
    assert places.arrive(silent, "a")
    assert places.arrive(Guest("b"), "b")
    assert silent.gone
    assert not tool.gone
    assert not any(guest.gone for guest in seated)
    later = Guest("c")
    assert places.arrive(later, "c")
    places.steers(later)
    later.idle = False
    assert not places.arrive(Guest("d"), "d")  # both steer


def test_where_everybody_has_to_show_who_it_is_nobody_takes_the_place_of_who_did() -> None:
    places = Places(2, side=3, fair=True, all_wait=True)
    passed = [Guest("app", idle=False) for _ in range(2)]
    for guest in passed:
        assert places.arrive(guest, "127.0.0.1")
        assert places.waits(guest)
        assert places.admit(guest, "app")
        assert not places.waits(guest)
        assert places.admit(guest, "app")  # its second request
    flood = [Guest(str(number)) for number in range(200)]
    assert all(places.arrive(guest, "127.0.0.1") for guest in flood)
    assert [guest.gone for guest in flood] == [True] * 197 + [False] * 3
    assert not any(guest.gone for guest in passed)
    assert not places.admit(flood[-1], "another")  # no place is free, and none is idle
    passed[0].idle = True
    assert places.admit(flood[-1], "another")
    assert passed[0].gone
