"""BUCKET.md §9: what each case leaves in the store.

How requests are answered is shown over the language's own endpoints
(tests/tracking/test_bucket_cases.py); the cases of an agent, 56 to 59, are the agent's. More than
400 lines, because the cases are one table and are looked up by their number.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bucket_ends import ACME, BULK, SENT, BucketApp, BucketEnd, Held, Known, now_ms, post
from collectors import Collector, until

from collector.access.accounts import Accounts
from collector.store.duck import DuckStore
from collector.store.interface import (
    CLOCK_NOT_BELIEVED,
    FROM_BUCKET,
    INACTIVE,
    Attribute,
    Feedback,
    Once,
    Seen,
)
from tracking.bucket import parse_body
from tracking.dates import iso
from tracking.sink import Origin

Run = Callable[..., Collector]
NOON = 1_687_953_600_000  #: 2023-06-28T12:00:00Z


@pytest.fixture(scope="module")
def far_end(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketEnd]:
    """One server for all tests that do not hurt it."""
    served = BucketEnd(tmp_path_factory.mktemp("bucket"))
    yield served
    served.stop()


@pytest.fixture
def end(far_end: BucketEnd) -> BucketApp:
    """An app that nobody else reports to."""
    return BucketApp(far_end)


def test_case_01_a_user_is_seen_first_and_last_now(end: BucketApp) -> None:
    before = now_ms()
    end.take("user", {"userId": "u1"})
    (one,) = end.held.users.items()
    assert one[0] == "u1"
    assert before <= one[1].first_ts <= now_ms()
    assert one[1].last_ts == one[1].first_ts
    assert not end.held.raw


def test_case_02_a_user_by_number_with_three_attributes(end: BucketApp) -> None:
    said = {"name": "R", "custom_property": True, "some_number": 12}
    end.take("user", {"userId": 1234567890, "attributes": said})
    assert end.held.users["1234567890"].attributes == said


def test_case_03_the_same_user_by_text_keeps_what_is_not_said_again(end: BucketApp) -> None:
    said = {"name": "R", "custom_property": True, "some_number": 12}
    end.take("user", {"userId": 1234567890, "attributes": said})
    end.take("user", {"userId": "1234567890", "attributes": {"name": "Q"}})
    assert list(end.held.users) == ["1234567890"]
    assert end.held.users["1234567890"].attributes == said | {"name": "Q"}


def test_case_04_an_id_is_its_digits(end: BucketApp) -> None:
    end.take("user", '{"userId":9007199254740993}')
    assert list(end.held.users) == ["9007199254740993"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("user", {"attributes": {}}),  # case 5
        ("user", {"userId": ""}),  # case 6
        ("user", {"userId": None}),
        ("user", {"userId": "u", "attributes": [1]}),  # case 8
        ("user", {"userId": "u", "context": {"active": "no"}}),  # case 13
        ("company", {"userId": "u"}),  # case 16
        ("event", {"userId": "u"}),  # case 24
        ("event", {"event": "e"}),
        ("event", {"event": "e", "userId": "u", "timestamp": "yesterday"}),  # case 29
        ("feedback", {"featureId": "f", "userId": "u"}),  # case 33
        ("feedback", {"featureId": "f", "userId": "u", "score": 99}),  # case 35
        ("feedback", {"userId": "u", "score": 3}),  # case 36
        ("event", '{"event":"e","userId":1,}'),  # case 38
        ("event", ""),  # case 39
        ("bulk", {}),  # case 47
        ("bulk", []),
        ("bulk", [{"type": "user"}, {"type": "x"}]),
        ("nope", {"userId": "u"}),  # case 53
        ("/user/user", {"userId": "u"}),
        ("/nokey123/event", {"event": "e", "userId": "u"}),  # case 42
        ("/event", {"event": "e", "userId": "u"}),  # case 44
    ],
)
def test_cases_05_to_53_what_is_refused_leaves_nothing(
    end: BucketApp, path: str, body: Any
) -> None:
    status, said = end.post(path, body)
    assert status in (400, 403, 404)
    assert said["success"] is False
    assert not end.held.users
    assert not end.held.companies
    assert not end.held.events
    assert not end.held.feedback
    assert not end.held.raw


def test_case_07_null_attributes_and_null_active_are_as_if_unsaid(end: BucketApp) -> None:
    end.take("user", {"userId": "u", "attributes": None, "context": {"active": None}})
    known = end.held.users["u"]
    assert (known.last_ts, known.attributes) == (known.first_ts, {})


def test_case_09_nested_attributes_are_kept_verbatim(end: BucketApp) -> None:
    end.take("user", '{"userId":"u","attributes":{"a":{"b": [1,null]},"big":9007199254740993}}')
    assert {row.key: row.value for row in end.held.rows(Attribute)} == {
        "a": '{"b": [1,null]}',
        "big": "9007199254740993",
    }


def test_case_10_an_unknown_field_is_kept_in_the_raw_record(end: BucketApp) -> None:
    end.take("user", '{"userId":"u","future":1}')
    (raw,) = end.held.raw
    assert (raw.source, raw.type, raw.user_id) == ("bucket", "user", "u")
    assert raw.raw == '{"userId":"u","future":1}'
    assert "u" in end.held.users


def test_case_11_who_is_not_active_keeps_the_last_sight(end: BucketApp) -> None:
    end.take("user", {"userId": "u"})
    before = end.held.users["u"]
    end.take("user", {"userId": "u", "context": {"active": False}, "attributes": {"a": 1}})
    assert end.held.users["u"] == Known(before.first_ts, before.last_ts, {"a": 1})


def test_case_12_a_new_user_who_is_not_active_was_never_seen_last(end: BucketApp) -> None:
    end.take("user", {"userId": "u", "context": {"active": False}})
    assert end.held.users["u"].first_ts
    assert end.held.users["u"].last_ts is None


def test_case_14_a_company_its_user_and_their_link(end: BucketApp) -> None:
    end.take("company", ACME)
    company = end.held.companies["101112231415"]
    assert company.attributes == {"name": "Acme Corp", "monthly_spend": 99, "activated": True}
    assert company.last_ts == end.held.users["1234567890"].last_ts
    assert end.held.links == {("1234567890", "101112231415")}
    end.take("event", SENT)
    assert end.held.events[0].company_id == "101112231415"


@pytest.mark.parametrize("body", [{"companyId": "c1"}, {"companyId": "c1", "userId": None}])
def test_case_15_17_a_company_of_nobody(end: BucketApp, body: Any) -> None:
    end.take("company", body)
    assert list(end.held.companies) == ["c1"]
    assert not end.held.links
    assert not end.held.users


def test_case_18_a_link_without_activity_moves_nobodys_last_sight(end: BucketApp) -> None:
    end.take("company", {"companyId": "c1", "userId": "u", "context": {"active": False}})
    assert end.held.links == {("u", "c1")}
    assert end.held.companies["c1"].last_ts is None
    assert end.held.users["u"].last_ts is None


def test_case_19_an_event_belongs_to_the_company_the_user_was_last_seen_in(end: BucketApp) -> None:
    end.take("company", {"companyId": "old", "userId": 1234567890})
    end.take("company", ACME)
    attributes = '{"position":"popover","version":3}'
    said = f'{{"event":"Sent message","userId":1234567890,"attributes":{attributes}}}'
    end.take("event", said)
    (event,) = end.held.events
    assert (event.kind, event.type, event.name) == ("event", "event", "Sent message")
    assert (event.user_id, event.company_id, event.device_id) == ("1234567890", "101112231415", "")
    assert event.payload == attributes
    assert (event.attr_keys, event.attr_values) == (["position", "version"], ['"popover"', "3"])
    assert event.flags == FROM_BUCKET


@pytest.mark.parametrize("method", ["event", "events"])
def test_case_20_21_an_event_with_its_company_by_either_method(end: BucketApp, method: str) -> None:
    end.take(method, {"event": "e", "userId": "u", "companyId": "my_company_id"})
    assert [(e.name, e.user_id, e.company_id) for e in end.held.events] == [
        ("e", "u", "my_company_id")
    ]
    assert end.held.users["u"].last_ts == end.held.events[0].ts
    end.take(method, {"event": "next", "userId": "u"})
    assert end.held.events[1].company_id == "my_company_id"


def test_case_22_23_a_stub_user_is_linked_later_and_earlier_events_stay(end: BucketApp) -> None:
    end.take("event", {"event": "e", "userId": "new"})
    assert [e.company_id for e in end.held.events] == [""]
    assert "new" in end.held.users
    end.take("company", {"companyId": "c", "userId": "new"})
    assert end.held.links == {("new", "c")}
    end.take("event", {"event": "e", "userId": "new"})
    assert [e.company_id for e in end.held.events] == ["", "c"]


def test_case_25_the_same_event_five_times_is_five_events(end: BucketApp) -> None:
    for _ in range(5):
        end.take("event", {"event": "e", "userId": "u", "timestamp": NOON})
    assert len(end.held.events) == 5


def test_case_26_a_repeat_under_one_key_is_stored_once(end: BucketApp) -> None:
    items = [{"type": "event", "event": "e", "userId": "u"}, {"type": "x"}]
    first = end.take("bulk", items, Idempotency_Key="one")
    assert end.take("bulk", items, Idempotency_Key="one") == first
    assert first["accepted"] == 1
    assert len(end.held.events) == 1
    assert len(end.held.raw) == 1
    assert len(end.held.rows(Once)) == 1
    end.take("bulk", items, Idempotency_Key="two")
    assert len(end.held.events) == 2
    thought = {"featureId": "f", "userId": "u", "score": 3}
    given = end.take("feedback", thought, Idempotency_Key="three")
    assert end.take("feedback", thought, Idempotency_Key="three") == given
    assert list(end.held.feedback) == [given["feedbackId"]]


def test_case_26_repeats_at_the_same_time_are_stored_once(end: BucketApp) -> None:
    answers: list[Any] = []

    def send() -> None:
        answers.append(end.take("event", SENT, Idempotency_Key="one"))

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [{"success": True}] * 12
    assert len(end.held.events) == 1


@pytest.mark.parametrize("said", ["2023-06-28T12:00:00+02:00", 1_687_946_400_000])
def test_case_27_28_a_timestamp_and_the_receipt_are_two(end: BucketApp, said: Any) -> None:
    before = now_ms()
    end.take("event", SENT | {"timestamp": said})
    (event,) = end.held.events
    assert iso(event.ts) == "2023-06-28T10:00:00.000Z"
    assert event.ts == event.said_ts
    assert before <= event.recv_ts <= now_ms()
    assert not event.flags & CLOCK_NOT_BELIEVED


def test_case_30_late_data_does_not_overwrite_newer(end: BucketApp) -> None:
    end.take("user", {"userId": "u", "attributes": {"n": 1}, "timestamp": NOON})
    late = {"n": 0, "other": None}
    end.take("user", {"userId": "u", "attributes": late, "timestamp": NOON - 3_600_000})
    assert end.held.users["u"] == Known(NOON - 3_600_000, NOON, {"n": 1, "other": None})


def test_a_clock_that_is_ahead_wins_only_until_the_next_call(end: BucketApp) -> None:
    ahead = now_ms() + 86_400_000
    end.take("user", {"userId": "u", "attributes": {"n": 1}, "timestamp": ahead})
    end.take("user", {"userId": "u", "attributes": {"n": 2}})
    known = end.held.users["u"]
    assert known.attributes == {"n": 2}
    assert (known.last_ts or 0) <= now_ms()
    end.take("event", SENT | {"timestamp": ahead})
    (event,) = end.held.events
    assert event.ts == event.recv_ts
    assert event.said_ts == ahead
    assert event.flags & CLOCK_NOT_BELIEVED


def test_case_31_a_feedback_leaves_the_last_sight(end: BucketApp) -> None:
    end.take("user", {"userId": 1234567890})
    before = end.held.users["1234567890"]
    said = '{"featureId":"my_feature_id","userId":1234567890,"companyId":101112231415,'
    said += '"score":4,"comment":"It\'s pretty nice"}'
    given = end.take("feedback", said)["feedbackId"]
    one = end.held.feedback[given]
    assert one == Feedback(
        app_id=end.held.app_id,
        feedback_id=given,
        feature="my_feature_id",
        user_id="1234567890",
        company_id="101112231415",
        score=4.0,
        comment="It's pretty nice",
        source="",
        question="",
        prompt_id="",
        ts=one.ts,
        recv_ts=one.recv_ts,
        raw=said,
    )
    assert end.held.users["1234567890"] == before


def test_case_32_34_feedback_by_score_by_comment_and_by_key(end: BucketApp) -> None:
    end.take("feedback", {"featureId": "f", "userId": "u", "comment": "only"})
    end.take("feedback", {"featureId": "f", "userId": "u", "score": 1})
    end.take("feedback", {"key": "huddle", "userId": "42", "score": 5, "source": "sdk"})
    found = [(one.feature, one.score, one.comment) for one in end.held.feedback.values()]
    assert sorted(found) == [("f", 0, "only"), ("f", 1, ""), ("huddle", 5, "")]
    assert end.held.users["u"].last_ts is None


def test_case_37_a_known_feedback_is_updated(end: BucketApp) -> None:
    said = {"featureId": "f", "userId": "u", "companyId": "c", "score": 2, "timestamp": NOON}
    given = end.take("feedback", said)["feedbackId"]
    again = {"featureId": "f", "userId": "u", "feedbackId": given, "comment": "more"}
    assert end.take("feedback", again)["feedbackId"] == given
    (one,) = end.held.feedback.values()
    assert (one.score, one.comment, one.company_id, one.ts) == (2, "more", "c", NOON)
    end.take("feedback", again | {"score": 5})
    (one,) = end.held.feedback.values()
    assert (one.score, one.comment) == (5, "more")


def test_case_43_each_key_leads_to_its_app(end: BucketApp) -> None:
    other = BucketApp(end.far_end)
    end.take("/event", SENT, Authorization=f"Bearer {end.secret}")
    end.take("/event", SENT, Authorization=f"Bearer {end.public}")
    end.take(f"/event?publishableKey={end.public}", SENT)
    end.take("/event", SENT, Authorization=f"Bearer {other.secret}")
    assert len(end.held.events) == 3
    assert len(other.held.events) == 1


def test_case_45_a_bulk_body_is_two_users_two_companies_two_events_and_a_check(
    end: BucketApp,
) -> None:
    end.take("bulk", BULK)
    assert set(end.held.users) == {"john_doe", "1234567890"}
    assert set(end.held.companies) == {"acme_inc", "101112231415"}
    assert end.held.users["john_doe"].attributes == BULK[0]["attributes"]
    assert end.held.links == {("john_doe", "acme_inc"), ("1234567890", "101112231415")}
    by_name = {event.name: event for event in end.held.events}
    assert by_name["Sent message"].company_id == "101112231415"  # named earlier in this body
    assert by_name["huddle"].flags & INACTIVE
    (check,) = end.held.raw
    assert (check.type, check.user_id) == ("feature-flag-event", "john_doe")
    assert json.loads(check.raw) == BULK[6]


def test_case_46_one_bad_item_is_quarantined(end: BucketApp) -> None:
    items: list[Any] = [{"type": "event", "event": f"e{n}", "userId": "u"} for n in range(100)]
    items[57] = {"type": "event", "event": "e", "userId": None}
    answer = end.take("bulk", items)
    assert (answer["accepted"], answer["rejected"][0]["index"]) == (99, 57)
    assert len(end.held.events) == 99
    (bad,) = end.held.raw
    assert (bad.type, json.loads(bad.raw)) == ("quarantined", items[57])
    assert bad.note == "item 57: userId: Required"


def test_case_48_prompts_and_channels_are_only_kept(end: BucketApp) -> None:
    types = ["prompt-event", "channel-status-event", "x"]
    answer = end.take("bulk", [{"type": one, "userId": "u"} for one in types])
    assert (answer["accepted"], [one["index"] for one in answer["rejected"]]) == (2, [2])
    assert [(one.type, one.user_id) for one in end.held.raw] == [
        ("prompt-event", "u"),
        ("channel-status-event", "u"),
        ("quarantined", "u"),
    ]
    assert not end.held.users


def test_case_49_slashes_are_collapsed(end: BucketApp) -> None:
    said = {"event": "e", "userId": "u", "companyId": "my_company_id"}
    end.take(f"//{end.key}//event", said)
    end.take(f"/{end.key}/event/", said)
    assert [event.company_id for event in end.held.events] == ["my_company_id"] * 2


def test_case_60_the_last_of_three_calls_is_what_stands(end: BucketApp) -> None:
    for n in (1, 2, 1):
        end.take("user", {"userId": "one by one", "attributes": {"n": n}})
    items = [{"type": "user", "userId": "at once", "attributes": {"n": n}} for n in (1, 2, 1)]
    end.take("bulk", items)
    assert end.held.users["one by one"].attributes == {"n": 1}
    assert end.held.users["at once"].attributes == {"n": 1}


def test_case_60_the_last_of_three_calls_of_one_millisecond_is_what_stands(
    end: BucketApp,
) -> None:
    origin = Origin(transport="http", connection=1, peer="127.0.0.1", received_ms=now_ms())

    def keep(method: str, body: str) -> None:
        batch = parse_body(method, body.encode())
        end.far_end.run(end.far_end.bucket.keep(end.held.app_id, batch, origin, None))

    for n in (1, 2, 1):
        keep("user", f'{{"userId":"u","attributes":{{"n":{n}}}}}')
    for company_id in ("d", "e", "c"):
        keep("company", f'{{"companyId":"{company_id}","userId":"u"}}')
    keep("event", '{"event":"e","userId":"u"}')
    assert end.held.users["u"].attributes == {"n": 1}
    assert [event.company_id for event in end.held.events] == ["c"]
    assert max(seen.last_ts for seen in end.held.rows(Seen)) < origin.received_ms + 10


def test_over_a_quota_nothing_is_taken_and_it_is_said_when_to_come_back(tmp_path: Path) -> None:
    far_end = BucketEnd(tmp_path, burst=3)
    try:
        app = BucketApp(far_end)
        items = [{"type": "event", "event": "e", "userId": "u"}] * 3
        app.take("bulk", items)
        status, said = app.post("bulk", items)
        assert (status, said["error"]["code"]) == (503, "UNKNOWN_ERROR")
        assert len(app.held.events) == 3
        assert far_end.ingest.counts["over_quota"] == 3
    finally:
        far_end.stop()


def test_keys_that_open_nothing_are_counted(end: BucketApp) -> None:
    before = end.far_end.ingest.counts["unknown_app"]
    assert end.post("/nokey123/event", SENT)[0] == 400
    assert end.post("/event", SENT, Authorization="Bearer nope")[0] == 403
    end.take("event", SENT)
    assert end.far_end.ingest.counts["unknown_app"] == before + 2


def test_what_became_of_the_items_is_counted(end: BucketApp) -> None:
    counts = end.far_end.ingest.counts
    before = dict(counts)
    for _ in range(2):
        end.take("bulk", [*BULK, {"type": "x"}], Idempotency_Key="one")
    more = {name: counts[name] - before.get(name, 0) for name in counts}
    assert {name: n for name, n in more.items() if n} == {
        "accepted": 16,
        "stored": 7,
        "repeats": 7,
        "refused": 2,
    }


# --- a process of its own ------------------------------------------------------------------------


def key_of(far_end: Collector) -> str:
    """Make the app A; return its tracking key."""
    with contextlib.closing(Accounts(far_end.folder.accounts)) as accounts:
        return accounts.add_app("A", now_ms(), app_id="A", if_missing=True).tracking_key


def held_by(far_end: Collector) -> tuple[DuckStore, Held]:
    """Open the store of a server that has ended."""
    store = DuckStore(far_end.folder.events, now_ms())
    return store, Held(store, "A")


@pytest.mark.system
def test_case_54_a_full_disk_is_500_and_what_comes_later_is_kept(run: Run) -> None:
    far_end = run(preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
    key, pid = key_of(far_end), far_end.process.pid
    limit = resource.RLIMIT_FSIZE
    taken: list[str] = []

    def send(n: int) -> tuple[int, Any]:
        text = os.urandom(9_000).hex()
        items = [
            {"type": "event", "event": f"{n}-{i}", "userId": "u", "attributes": {"text": text}}
            for i in range(40)
        ]
        status, said = post(far_end.port, f"/{key}/bulk", items)
        if status == 200:
            taken.extend(item["event"] for item in items)
        return status, said

    assert send(0)[0] == 200
    resource.prlimit(pid, limit, (2_000_000, resource.RLIM_INFINITY))
    answers = [send(n) for n in range(1, 9)]
    failed = [said for status, said in answers if status != 200]
    assert failed
    assert all(said["error"]["code"] == "UNKNOWN_ERROR" for said in failed)
    assert {status for status, _ in answers} <= {200, 500}
    resource.prlimit(pid, limit, (resource.RLIM_INFINITY,) * 2)
    until(lambda: send(99)[0] == 200, 20)
    assert far_end.stop() == 0
    store, held = held_by(far_end)
    with contextlib.closing(store):
        assert sorted(event.name for event in held.events) == sorted(taken)


@pytest.mark.system
def test_case_55_a_kill_after_the_reply_loses_nothing_and_doubles_nothing(run: Run) -> None:
    far_end = run()
    key = key_of(far_end)
    acknowledged: list[str] = []
    feedback: list[str] = []
    for round_ in range(5):
        if round_:
            far_end = run()
        for n in range(20):
            name = f"{round_}-{n}"
            items = [
                {"type": "user", "userId": name, "attributes": {"n": n}},
                {"type": "company", "companyId": f"c{n}", "userId": name},
                {"type": "event", "event": name, "userId": name},
            ]
            once = {"Idempotency-Key": name}
            assert post(far_end.port, f"/{key}/bulk", items, once)[0] == 200
            acknowledged.append(name)
        thought = {"featureId": "f", "userId": "u", "score": 1 + round_ % 5}
        status, said = post(far_end.port, f"/{key}/feedback", thought)
        assert status == 200
        feedback.append(said["feedbackId"])
        far_end.kill()
    far_end = run()
    for name in acknowledged[-20:]:  # who did not read the reply asks again, after the restart
        once = {"Idempotency-Key": name}
        items = [{"type": "event", "event": name, "userId": name}]
        assert post(far_end.port, f"/{key}/bulk", items, once) == (200, {"success": True})
    assert far_end.stop() == 0
    store, held = held_by(far_end)
    with contextlib.closing(store):
        assert [event.name for event in held.events] == acknowledged
        assert all(event.company_id == f"c{event.name.split('-')[1]}" for event in held.events)
        assert set(held.users) == {*acknowledged, "u"}
        assert list(held.feedback) == feedback
