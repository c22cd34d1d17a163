"""The link's rule where no WebSocket gets through: over HTTP, and back, with nothing lent twice."""

from __future__ import annotations

import pytest

from agent.rules.fallback import Fallback
from agent.rules.link import LinkRule
from agent.rules.notices import (
    Dial,
    Drained,
    HangUp,
    Heard,
    Lease,
    Leased,
    Lost,
    Moved,
    Offered,
    Opened,
    Order,
    Probe,
    Received,
    Remember,
    SendHeartbeat,
    Slept,
    Start,
    State,
    Tick,
)
from tracking.errors import (
    Blocked,
    Fault,
    NoName,
    ProxyFault,
    Refused,
    Silent,
    Throttled,
    Unproven,
    Unreachable,
)

CUT = Blocked("the far end hung up before it answered")


def a_rule(after: int = 3, **more: float) -> LinkRule:
    return LinkRule(rng=lambda: 0.5, fallback=Fallback(after=after), **more)  # type: ignore[arg-type]


def dial_of(orders: list[Order]) -> Dial:
    (dial,) = [order for order in orders if isinstance(order, Dial)]
    return dial


def blocked_until_http(rule: LinkRule, now: float = 0.0) -> float:
    """Fail as if blocked until the rule dials by HTTP; return the time."""
    orders = rule.feed(Start(), now)
    for _ in range(10):
        dial = dial_of(orders)
        if dial.over == "http":
            return now
        orders = rule.feed(Lost(dial.dial, CUT), now)
        if rule.state is State.WAITING:
            assert rule.next_try is not None
            now = rule.next_try
            orders = rule.feed(Tick(), now)
    raise AssertionError("no dial by HTTP")


def live_over_http() -> tuple[LinkRule, float]:
    rule = a_rule()
    now = blocked_until_http(rule)
    rule.feed(Opened(rule.dial), now)
    rule.feed(Drained(), now)
    rule.feed(Received(rule.dial), now)
    assert rule.state is State.LIVE
    return rule, now


def test_the_third_blocked_dial_is_followed_by_http_at_once() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    now = 0.0
    for _ in range(2):
        assert rule.feed(Lost(rule.dial, CUT), now) == []
        now = rule.next_try or 0.0
        assert dial_of(rule.feed(Tick(), now)).over == "websocket"
    assert rule.feed(Lost(3, CUT), now) == [Dial(4, "track", "http")]


@pytest.mark.parametrize(
    "fault",
    [
        NoName("no such name"),
        Silent("nobody"),
        Unreachable("connection refused"),
        ProxyFault("the proxy answered 502"),
        Unproven("self-signed"),
        Throttled("busy", retry_after_s=1.0),
        Refused("key", status=401),
        Refused("key", status=403),
        Refused("nobody", status=404),
    ],
    ids=lambda fault: f"{type(fault).__name__} {getattr(fault, 'status', '')}",
)
def test_what_says_nothing_of_websockets_never_leads_to_http(fault: Fault) -> None:
    rule, now = a_rule(), 0.0
    orders = rule.feed(Start(), now)
    for _ in range(30):
        for order in orders:
            assert not isinstance(order, Dial) or order.over == "websocket"
        if rule.state is State.DIALING:
            orders = rule.feed(Lost(rule.dial, fault), now)
        else:
            assert rule.next_try is not None
            now = rule.next_try
            orders = rule.feed(Tick(), now)


def test_an_upgrade_that_somebody_takes_out_on_the_way_leads_to_http_at_once() -> None:
    rule = a_rule()
    rule.feed(Start(), 0.0)
    missing = Refused("this path speaks WebSocket, or takes a POST", status=426)
    assert rule.feed(Lost(1, missing), 0.0) == [Dial(2, "track")]
    assert rule.feed(Lost(2, missing), 0.0) == [Dial(3, "track", "http")]


def test_a_socket_that_opens_and_is_silent_counts_as_blocked() -> None:
    rule, now = a_rule(after=1), 0.0
    rule.feed(Start(), now)
    rule.feed(Opened(1), now)
    rule.feed(Drained(), now)
    assert rule.feed(Tick(), 30.0) == [HangUp(1), Dial(2, "track", "http")]


def test_a_socket_that_spoke_and_fell_silent_does_not() -> None:
    rule = a_rule(after=1)
    rule.feed(Start(), 0.0)
    rule.feed(Opened(1), 0.0)
    rule.feed(Drained(), 0.0)
    rule.feed(Heard(1), 1.0)
    rule.feed(Tick(), 60.0)
    assert rule.feed(Tick(), 90.0) == [HangUp(1)]
    assert rule.state is State.WAITING


def test_over_http_everything_is_as_ever() -> None:
    rule = a_rule()
    now = blocked_until_http(rule)
    orders = rule.feed(Opened(rule.dial), now)
    assert orders == [SendHeartbeat(rule.dial), Remember("seed", "http"), Lease(rule.dial)]
    rule.feed(Leased(1, frozenset("ab")), now)
    assert rule.in_flight == 2
    rule.feed(Received(rule.dial, ("a", "b", "x")), now)
    assert (rule.in_flight, rule.strangers) == (0, 1)


def test_after_five_minutes_a_websocket_is_tried_and_if_it_works_kept() -> None:
    rule, since = live_over_http()
    now, orders = since, []
    while rule.over == "http":
        assert rule.deadline is not None
        now = rule.deadline
        orders = rule.feed(Tick(), now)
        if rule.over == "http":
            rule.feed(Received(rule.dial), now)  # the heartbeat is answered
    assert 290 <= now - since <= 310
    assert [type(order) for order in orders] == [HangUp, Dial]
    dial = dial_of(orders)
    assert dial.over == "websocket"
    rule.feed(Opened(dial.dial), now)
    rule.feed(Drained(), now)
    rule.feed(Heard(dial.dial), now)
    assert rule.fallback.reason is None


def test_a_try_in_vain_costs_one_dial_and_no_wait() -> None:
    rule, _ = live_over_http()
    now = rule.fallback.again_at
    dial = dial_of(rule.feed(Tick(), now))
    assert dial.over == "websocket"
    assert dial_of(rule.feed(Lost(dial.dial, CUT), now + 1.0)).over == "http"
    assert rule.fallback.again_at == now + 1.0 + 600


def test_what_is_lent_is_waited_for_before_a_websocket_is_tried_and_nothing_more_is_lent() -> None:
    rule, now = live_over_http()
    rule.feed(Offered(), now)
    rule.feed(Leased(1, frozenset("ab")), now)
    rule.feed(Leased(2, frozenset("cd")), now)
    rule.feed(Drained(), now)
    rule.ack_s = 1e6
    rule._ack_by = now + 1e6
    due = rule.fallback.again_at
    while (rule.deadline or 0) <= due:
        rule.feed(Tick(), rule.deadline or 0)
        rule.feed(Received(rule.dial), rule.deadline or 0)
    assert rule.over == "http"
    assert rule.feed(Offered(), due + 1) == []
    orders = rule.feed(Received(rule.dial, ("a", "b")), due + 2)
    assert not any(isinstance(order, (Dial, Lease)) for order in orders)
    orders = rule.feed(Received(rule.dial, ("c", "d")), due + 3)
    assert dial_of(orders).over == "websocket"
    assert rule.in_flight == 0


def test_http_that_fails_is_waited_for_as_ever_and_then_the_websocket_has_its_turn() -> None:
    rule = a_rule()
    now = blocked_until_http(rule)
    assert rule.feed(Lost(rule.dial, Unreachable("502")), now) == []
    assert rule.state is State.WAITING
    now = rule.next_try or 0.0
    assert dial_of(rule.feed(Tick(), now)).over == "websocket"


def test_an_app_that_is_unknown_over_http_too_is_parked() -> None:
    rule = a_rule()
    now = blocked_until_http(rule)
    assert rule.feed(Lost(rule.dial, Refused("no such app", status=404)), now) == []
    assert rule.state is State.PARKED
    assert rule.next_try is not None
    assert rule.next_try >= now + 900


def test_after_a_sleep_or_in_another_network_or_for_a_person_a_websocket_is_tried() -> None:
    for notice in (Slept(100.0), Start()):
        rule, now = live_over_http()
        rule.feed(Lost(rule.dial, Unreachable("reset")), now + 1)
        orders = rule.feed(notice, now + 2)
        if rule.state is State.WAITING:
            orders = rule.feed(Tick(), rule.next_try or 0.0)
        assert dial_of(orders).over == "websocket"


def test_a_network_that_changes_is_probed_over_http_and_a_websocket_is_tried_soon() -> None:
    rule, now = live_over_http()
    assert rule.feed(Moved(), now + 10) == [Probe(rule.dial)]
    assert dial_of(rule.feed(Tick(), now + 10)).over == "websocket"


def test_after_a_restart_one_blocked_dial_is_enough_if_it_was_blocked_before() -> None:
    rule = LinkRule(rng=lambda: 0.5, fallback=Fallback(after=3, suspected=True))
    assert dial_of(rule.feed(Start(), 0.0)).over == "websocket"
    assert dial_of(rule.feed(Lost(1, CUT), 0.0)).over == "http"
    assert not any(isinstance(order, Remember) for order in rule.feed(Opened(2), 0.0)[2:])


def test_a_websocket_that_opens_is_remembered_instead() -> None:
    rule = LinkRule(rng=lambda: 0.5, remembered="seed", fallback=Fallback(after=3, suspected=True))
    rule.feed(Start(), 0.0)
    assert Remember("seed", "websocket") in rule.feed(Opened(1), 0.0)
