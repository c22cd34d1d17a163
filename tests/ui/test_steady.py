"""When the icon changes and when a person is told; the clock is a number."""

from __future__ import annotations

from scripted_door import snapshot

from agent.door import Notice, Sentence, Status
from ui.steady import NOTIFY_AFTER_S, QUIET_S, SteadyState, Urgent


def test_a_link_that_flaps_does_not_flap_the_icon() -> None:
    steady = SteadyState()
    assert steady.feed("live", 0.0) == "live"
    for second in range(1, 60):
        assert steady.feed("offline" if second % 2 else "live", float(second)) == "live"


def test_a_loss_that_lasts_is_shown_and_the_way_back_is_quick() -> None:
    steady = SteadyState()
    steady.feed("live", 0.0)
    assert steady.feed("offline", 10.0) == "live"
    assert steady.due_s(10.0) == 5.0
    assert steady.feed("offline", 15.0) == "offline"
    assert steady.due_s(15.0) is None
    assert steady.feed("live", 20.0) == "offline"
    assert steady.feed("live", 21.0) == "live"


def test_what_a_person_did_is_shown_at_once() -> None:
    steady = SteadyState()
    steady.feed("live", 0.0)
    assert steady.feed("paused", 1.0) == "paused"


def troubled(code: str = "link.refused") -> Status:
    return snapshot(sentence=Sentence(state="attention", text="The far end refuses us.", code=code))


def test_a_lasting_refusal_is_told_once() -> None:
    urgent = Urgent()
    assert urgent.feed(troubled(), 0.0) == []
    assert urgent.due_s(0.0) == NOTIFY_AFTER_S
    assert urgent.feed(troubled(), NOTIFY_AFTER_S) == ["The far end refuses us."]
    assert urgent.feed(troubled(), 9_999.0) == []
    assert urgent.due_s(9_999.0) is None


def test_what_heals_itself_is_never_told() -> None:
    urgent = Urgent()
    urgent.feed(troubled(), 0.0)
    urgent.feed(snapshot(), 5.0)
    assert urgent.feed(snapshot(), 60.0) == []


def test_a_cause_that_comes_and_goes_is_told_once_an_hour() -> None:
    urgent, told = Urgent(), []
    for minute in range(60):
        urgent.feed(snapshot(), minute * 60.0)
        urgent.feed(troubled(), minute * 60.0 + 1)
        told += urgent.feed(troubled(), minute * 60.0 + 40)
    assert len(told) == 1
    urgent.feed(snapshot(), QUIET_S + 60)
    urgent.feed(troubled(), QUIET_S + 61)
    assert len(urgent.feed(troubled(), QUIET_S + 100)) == 1


def test_only_errors_among_the_notices_are_told() -> None:
    urgent = Urgent()
    notices = tuple(
        Notice(code=severity, text=severity, severity=severity, since_ms=0)
        for severity in ("info", "warning", "error")
    )
    urgent.feed(snapshot(notices=notices), 0.0)
    assert urgent.feed(snapshot(notices=notices), 60.0) == ["error"]


def test_being_offline_is_not_told() -> None:
    urgent = Urgent()
    offline = snapshot(sentence=Sentence(state="offline", text="Offline.", code="link.unreachable"))
    urgent.feed(offline, 0.0)
    assert urgent.feed(offline, 600.0) == []
