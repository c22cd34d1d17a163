"""The link's rule in a test's hand: what it has heard so far, and what to tell it next."""

from __future__ import annotations

from agent.rules.link import (
    Drained,
    Heard,
    Leased,
    LinkRule,
    Lost,
    Offered,
    Opened,
    Order,
    Start,
    State,
)
from tracking.errors import Fault, Unreachable

RESET = Unreachable("connection reset")


def a_rule(remembered: str = "seed", chance: float = 0.5) -> LinkRule:
    return LinkRule(rng=lambda: chance, remembered=remembered)


def a_live_rule(now: float = 0.0, remembered: str = "seed") -> LinkRule:
    """A rule whose first dial opened at ``now``, whose heartbeat was answered, with no events."""
    rule = a_rule(remembered)
    for notice in (Start(), Opened(1), Drained(), Heard(1)):
        rule.feed(notice, now)
    assert rule.state is State.LIVE
    return rule


def lend(rule: LinkRule, *batches: str, now: float = 0.0) -> list[Order]:
    """Offer events and lend them, one letter each; return the last orders."""
    rule.feed(Offered(), now)
    orders: list[Order] = []
    for letters in batches:
        number = 1 + max(rule._flight, default=0)
        orders = rule.feed(Leased(number, frozenset(letters)), now)
    return orders


def fail(rule: LinkRule, fault: Fault, now: float) -> list[Order]:
    return rule.feed(Lost(rule.dial, fault), now)
