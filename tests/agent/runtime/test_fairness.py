"""One app's noise is its own: told to it, shown to a person, forgotten when it is quiet."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.rules.consent import Consent
from agent.rules.quota import Bucket
from agent.runtime.counter.desk import Desk
from agent.runtime.counter.fairness import QUIET_S, Fairness
from tracking.errors import OverQuota


class Counter:
    """A fairness, and what it shows and plans."""

    def __init__(self, **shares: float) -> None:
        self.notices: dict[str, str] = {}
        self.planned: list[tuple[float, Callable[[], None]]] = []
        self.part = 0.0
        self.fairness = Fairness(
            shares,
            held=lambda _: self.part,
            note=lambda code, text, _: self.notices.__setitem__(code, text),
            unnote=lambda code: self.notices.pop(code, None) and None,
            later=lambda seconds, work: self.planned.append((seconds, work)),
        )

    def passes(self) -> None:
        """Let the time pass that was waited for."""
        (_, work) = self.planned.pop(0)
        work()


def desk(rate: float = 1_000, burst: float = 1_000) -> Desk:
    return Desk(
        app_id="acme-notes",
        name="",
        version="",
        consent=Consent.ALLOWED,
        consent_from="",
        bucket=Bucket(rate_per_s=rate, burst=burst),
    )


def test_a_noisy_app_is_named_with_its_rate_until_it_has_been_quiet_for_a_while() -> None:
    counter, noisy = Counter(), desk()
    refused = 0
    for tick in range(300):
        refused += counter.fairness.ask(noisy, 120, tick / 100, None) is not None
    assert refused > 200
    assert counter.notices == {
        "app.noisy.acme-notes": "acme-notes sends 12,000 events/s, 1,000 are allowed;"
        " the rest has to wait"
    }
    assert [seconds for seconds, _ in counter.planned] == [QUIET_S]
    counter.passes()  # it went on after the first time
    assert counter.notices
    counter.passes()
    assert counter.notices == {}
    assert counter.planned == []
    assert counter.fairness.ask(noisy, 10, 60.0, None) is None
    assert counter.notices == {}


def test_who_is_refused_is_told_when_to_come_back_and_what_to_do() -> None:
    counter, slow = Counter(), desk(rate=100, burst=10)
    assert counter.fairness.ask(slow, 10, 0.0, None) is None
    fault = counter.fairness.ask(slow, 5, 0.0, None)
    assert isinstance(fault, OverQuota)
    assert fault.retry_after_s == pytest.approx(0.05)
    assert "events_per_s" in fault.advice
    assert "has used up its quota of 100 events/s" in counter.notices["app.noisy.acme-notes"]


def test_a_full_share_of_the_disk_is_refused_before_the_rate_is_counted() -> None:
    counter, greedy = Counter(**{"acme-notes": 0.25}), desk()
    counter.part = 0.25
    fault = counter.fairness.ask(greedy, 1, 0.0, None)
    assert isinstance(fault, OverQuota)
    assert "25% of the outbox" in str(fault)
    assert greedy.bucket.refused == 1
    counter.part = 0.24
    assert counter.fairness.ask(greedy, 1_000, 0.0, None) is None


def test_an_import_counts_elsewhere_and_is_no_noise() -> None:
    counter, app, imports = Counter(), desk(rate=1, burst=1), Bucket(rate_per_s=10, burst=10)
    assert counter.fairness.ask(app, 10, 0.0, imports) is None
    assert counter.fairness.ask(app, 10, 0.0, imports) is not None
    assert counter.notices == {}
    assert counter.fairness.ask(app, 1, 0.0, None) is None
