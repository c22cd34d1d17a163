"""When HTTP is used because WebSockets are blocked, and when it is tried to go back."""

from __future__ import annotations

from agent.rules.fallback import Fallback
from tracking.errors import Blocked, Refused

CUT = Blocked("cut")


def on_http(now: float = 0.0) -> Fallback:
    fallback = Fallback(after=3)
    assert [fallback.blocked(CUT, now) for _ in range(3)] == [False, False, True]
    return fallback


def test_the_third_blocked_dial_in_a_row_leads_to_http() -> None:
    fallback = on_http()
    assert fallback.reason is CUT
    assert fallback.choose(0.0) == "http"
    assert not fallback.due(299.9)


def test_a_websocket_that_is_heard_in_between_starts_the_count_again() -> None:
    fallback = Fallback(after=3)
    fallback.blocked(CUT, 0.0)
    fallback.blocked(CUT, 0.0)
    fallback.works()
    assert not fallback.blocked(CUT, 0.0)
    assert fallback.choose(0.0) == "websocket"


def test_it_can_be_turned_off() -> None:
    fallback = Fallback(after=0)
    assert not any(fallback.blocked(CUT, 0.0) for _ in range(99))
    fallback.refused(Refused("", status=426))
    assert not fallback.refused_by_all(Refused("", status=426), 0.0)


def test_the_websocket_is_tried_after_five_minutes_and_ever_more_rarely_up_to_an_hour() -> None:
    fallback, now, waits = on_http(), 0.0, []
    fallback.http_opened(0.0)
    for _ in range(6):
        waits.append(fallback.again_at - now)
        now = fallback.again_at
        assert fallback.due(now)
        assert fallback.choose(now) == "websocket"
        assert fallback.blocked(CUT, now)
        assert fallback.choose(now) == "http"
    assert waits == [300, 600, 1200, 2400, 3600, 3600]


def test_a_websocket_that_works_forgets_how_often_it_did_not() -> None:
    fallback = on_http()
    fallback.http_opened(0.0)
    fallback.blocked(CUT, 300.0)
    fallback.works()
    assert fallback.reason is None
    assert fallback.choose(300.0) == "websocket"
    for _ in range(3):
        fallback.blocked(CUT, 400.0)
    assert fallback.again_at == 700.0


def test_http_that_does_not_work_either_has_taught_nothing() -> None:
    fallback = on_http()
    fallback.http_failed()
    assert fallback.choose(0.0) == "websocket"
    assert fallback.reason is None
    assert fallback.blocked(CUT, 1.0), "but one more blocked dial is enough to ask HTTP again"


def test_http_that_worked_is_kept_when_the_network_is_away() -> None:
    fallback = on_http()
    fallback.http_opened(0.0)
    fallback.http_failed()
    assert fallback.choose(299.0) == "http"
    assert fallback.choose(300.0) == "websocket"
    fallback.missed(300.0)  # the name was not found: nothing is known of WebSockets
    assert fallback.choose(301.0) == "http"


def test_http_that_opened_late_is_given_time_to_carry_something() -> None:
    fallback = on_http()
    fallback.http_opened(310.0)
    assert not fallback.due(339.9)
    assert fallback.due(340.0)


def test_another_network_is_a_reason_to_try_at_once() -> None:
    fallback = on_http()
    fallback.hurry(10.0)
    assert fallback.choose(10.0) == "websocket"
    assert fallback.blocked(CUT, 11.0), "and back at once, if it is blocked as well"


def test_an_answer_without_an_upgrade_under_both_forms_is_plain() -> None:
    fallback = Fallback(after=3)
    fallback.refused(Refused("upgrade required", status=426))
    assert fallback.refused_by_all(Refused("nothing here", status=404), 5.0)
    assert fallback.choose(5.0) == "http"
    other = Fallback(after=3)
    other.refused(Refused("nothing here", status=404))
    assert not other.refused_by_all(Refused("nothing here", status=404), 5.0)
