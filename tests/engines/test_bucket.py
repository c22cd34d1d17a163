"""Bucket calls on both engines, and on two collectors that share one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bucket_ends import ACME, BULK, SENT, BucketApp, BucketEnd, now_ms

from collector.store.clickhouse import ClickHouseStore
from collector.store.clickhouse_door import Address
from collector.store.interface import Membership, Store

Opened = Callable[..., Store]


@pytest.fixture
def app(opened: Opened, tmp_path: Path) -> Iterator[BucketApp]:
    """An app on a server over one engine after the other."""
    far_end = BucketEnd(tmp_path, opened(now_ms()))
    yield BucketApp(far_end)
    far_end.stop()


@pytest.fixture
def pair(where: Address, tmp_path: Path) -> Iterator[list[BucketApp]]:
    """The same app on two collectors over one ClickHouse; they share the accounts' file."""
    with contextlib.ExitStack() as ends:
        apps = []
        for _ in range(2):
            far_end = BucketEnd(tmp_path, ClickHouseStore(where, old_parts_s=1))
            ends.callback(far_end.stop)
            apps.append(BucketApp(far_end, "A"))
        yield apps


def test_case_19_23_the_default_company_is_the_one_of_the_latest_moment(app: BucketApp) -> None:
    app.take("event", SENT)
    app.take("company", ACME)
    app.take("event", SENT)
    app.take("company", {"companyId": "zz", "userId": 1234567890, "timestamp": 1_687_946_400_000})
    app.take("event", SENT)
    app.take("company", {"companyId": "aa", "userId": 1234567890})
    app.take("event", SENT)
    assert [event.company_id for event in app.held.events] == [
        "",
        "101112231415",
        "101112231415",
        "aa",
    ]


def test_case_26_a_repeat_is_stored_once(app: BucketApp) -> None:
    for _ in range(2):
        assert app.take("event", SENT, Idempotency_Key="one") == {"success": True}
    assert len(app.held.events) == 1


def test_case_37_a_known_feedback_is_updated(app: BucketApp) -> None:
    said = {"featureId": "f", "userId": "u", "score": 2}
    given = app.take("feedback", said)["feedbackId"]
    app.take("feedback", {"featureId": "f", "userId": "u", "feedbackId": given, "comment": "more"})
    (one,) = app.held.feedback.values()
    assert (one.score, one.comment) == (2, "more")


def test_case_45_60_a_bulk_body_and_the_last_of_three_calls(app: BucketApp) -> None:
    app.take("bulk", BULK)
    for n in (1, 2, 1):
        app.take("user", {"userId": 1234567890, "attributes": {"n": n}})
    assert set(app.held.users) == {"john_doe", "1234567890"}
    assert app.held.users["john_doe"].attributes == BULK[0]["attributes"]
    assert app.held.users["1234567890"].attributes == {"n": 1}
    assert app.held.links == {("john_doe", "acme_inc"), ("1234567890", "101112231415")}
    assert [raw.type for raw in app.held.raw] == ["feature-flag-event"]


def test_a_company_told_to_one_collector_is_the_default_at_the_other(
    pair: list[BucketApp],
) -> None:
    one, other = pair
    one.take("company", {"companyId": "c", "userId": "u"})
    other.take("event", {"event": "e", "userId": "u"})
    assert [event.company_id for event in one.held.events] == ["c"]
    assert len(one.held.rows(Membership)) == 1


def test_a_repeat_that_comes_to_the_other_collector_is_stored_once(
    pair: list[BucketApp],
) -> None:
    said = {"featureId": "f", "userId": "u", "score": 2}
    answers = [app.take("feedback", said, Idempotency_Key="k") for app in pair]
    assert answers[0] == answers[1]
    for app in pair:
        app.take("event", SENT, Idempotency_Key="e")
    for app in pair:
        assert len(app.held.feedback) == 1
        assert len(app.held.events) == 1


def test_repeats_that_come_to_both_at_once_are_stored_once(pair: list[BucketApp]) -> None:
    answers: list[Any] = []
    items = [{"type": "event", "event": f"e{n}", "userId": "u"} for n in range(20)]

    def send(app: BucketApp) -> None:
        answers.append(app.take("bulk", items, Idempotency_Key="one"))

    threads = [threading.Thread(target=send, args=(app,)) for app in pair * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [{"success": True}] * 8
    assert sorted(event.name for event in pair[0].held.events) == sorted(
        item["event"] for item in items
    )
