"""Events and calls on every queue of an app: in one commit, in its language, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from agent.adapters.outbox.outbox import Outbox
from agent.rules.ways import Kind, Way, only_way, ways_of
from agent.runtime.counter.lanes import lanes_of
from agent.runtime.counter.waiting import Streams
from tests.agent.runtime.conftest import ORIGIN, Counter, make_desk
from tracking.bucket import Accepted, parse_body
from tracking.endpoints import Receipt
from tracking.errors import RequestFault, StorageFault
from tracking.nucleus import parse_frame

LEFT = ("company", "feedback", "feature-flag-event", "prompt-event", "channel-status-event")


def upstream(name: str, kind: Kind, *leave_out: str) -> tuple[Way, ...]:
    return ways_of(name=name, kind=kind, endpoint="https://far.example", leave_out=leave_out)


def counter_of(outbox: Outbox, *ways: Way) -> Counter:
    desk = make_desk(outbox, "acme")
    desk.lanes = lanes_of(desk, ways, outbox)
    desk.speaks = frozenset({"nucleus", "bucket"})
    return Counter(outbox, {"acme": desk})


def call(counter: Counter, method: str, body: bytes, repeat: str = "") -> list[Receipt]:
    """Hand the calls of one request in, and commit; return what it was answered."""
    receipts: list[Receipt] = []
    batch = parse_body(method, body)
    counter.intake.take_calls("acme", batch, ORIGIN, receipts.append, repeat=repeat)
    counter.intake.flush()
    return receipts


def queue(counter: Counter, way: str) -> list[Any]:
    """What waits on a way, oldest first."""
    (lane,) = (lane for lane in counter.desks["acme"].lanes if lane.way.name == way)
    batch = counter.outbox.lease(lane.stream, 0, 10_000, 1 << 24)
    return [] if batch is None else list(json.loads(b"[" + batch.body + b"]"))


def raw_queue(counter: Counter, way: str) -> bytes:
    (lane,) = (lane for lane in counter.desks["acme"].lanes if lane.way.name == way)
    batch = counter.outbox.lease(lane.stream, 0, 10_000, 1 << 24)
    return b"" if batch is None else batch.body


def test_an_event_is_on_both_queues_with_one_id_after_one_commit(outbox: Outbox) -> None:
    counter = counter_of(outbox, *upstream("a", "nucleus"), *upstream("b", "nucleus"))
    counter.say(b'{"data":[{"name":"one"},{"name":"two"}]}')
    assert (queue(counter, "a"), queue(counter, "b")) == ([], [])
    counter.intake.flush()
    assert raw_queue(counter, "a") == raw_queue(counter, "b")
    assert [e.get("name") for e in queue(counter, "a")] == [None, "one", "two"]
    assert len(counter.intake.passing) == 3, "a person sees it pass once"


def test_a_commit_that_fails_leaves_no_queue_ahead_of_the_other(outbox: Outbox) -> None:
    counter = counter_of(outbox, *upstream("a", "nucleus"), *upstream("b", "bucket"))
    counter.say(b'{"data":[{"name":"one"}]}')

    def fail() -> None:
        raise StorageFault("the disk is full")

    with pytest.raises(StorageFault):
        counter.intake.flush(fail)
    assert (queue(counter, "a"), queue(counter, "b")) == ([], [])


def test_a_collector_gets_events_on_one_queue_and_calls_on_the_other(outbox: Outbox) -> None:
    counter = counter_of(outbox, *upstream("mine", "homing"))
    counter.say(b'{"data":[{"name":"one"}]}')
    counter.intake.flush()
    call(counter, "event", b'{"event":"two","userId":"ada"}')
    assert [e.get("name") for e in queue(counter, "mine")] == [None, "one"]
    (stored,) = queue(counter, "mine.bucket")
    assert (stored["type"], stored["call"]["event"]) == ("event", "two")


def test_a_call_survives_byte_for_byte(outbox: Outbox) -> None:
    body = (
        b'{ "userId" :9007199254740993 ,"attributes":{"a":1.10,"b":null,"c":{"d":[1E+30,'
        b'0.1000]},"e":"\\u00e9"},"unknown":-0.0}'
    )
    counter = counter_of(outbox, *upstream("b", "bucket-bulk"))
    (receipt,) = call(counter, "user", body)
    assert receipt.fault is None
    assert raw_queue(counter, "b").endswith(b',"type":"user","call":' + body + b"}")
    (stored,) = queue(counter, "b")
    assert list(stored) == ["id", "at", "type", "call"]
    assert (len(stored["id"]), stored["at"]) == (24, counter.now_ms)


def test_five_equal_calls_are_five_but_a_repeated_request_is_one(outbox: Outbox) -> None:
    counter = counter_of(outbox, *upstream("b", "bucket-bulk"))
    body = b'[{"type":"event","event":"same","userId":"ada"}]'
    for _ in range(5):
        call(counter, "bulk", body)
    assert len(queue(counter, "b")) == 5
    for _ in range(3):
        (receipt,) = call(counter, "bulk", body, repeat="batch-7")
        assert receipt.fault is None
    assert len(queue(counter, "b")) == 6
    assert counter.desks["acme"].repeats == 2
    call(counter, "bulk", body, repeat="batch-8")
    assert len(queue(counter, "b")) == 7


def test_a_request_whose_commit_failed_is_not_known_when_it_comes_again(outbox: Outbox) -> None:
    counter = counter_of(outbox, *upstream("b", "bucket-bulk"))
    body = b'[{"type":"event","event":"same","userId":"ada"}]'
    counter.intake.take_calls(
        "acme", parse_body("bulk", body), ORIGIN, counter.receipts.append, repeat="batch-7"
    )

    def fail() -> None:
        raise StorageFault("the disk is full")

    with pytest.raises(StorageFault):
        counter.intake.flush(fail)
    call(counter, "bulk", body, repeat="batch-7")
    assert len(queue(counter, "b")) == 1


def test_bad_items_are_counted_and_their_neighbours_kept(outbox: Outbox) -> None:
    counter = counter_of(outbox, *upstream("b", "bucket-bulk"))
    call(counter, "bulk", b'[{"type":"event","event":"good","userId":1},{"type":"event"}]')
    assert [one["call"]["event"] for one in queue(counter, "b")] == ["good"]
    assert counter.desks["acme"].refused == 1


def test_a_feedback_is_stored_with_the_id_that_its_sender_was_told(outbox: Outbox) -> None:
    counter = counter_of(outbox, *upstream("b", "bucket-bulk"))
    batch = parse_body("feedback", b'{"userId":"ada","featureId":"f","score":4}')
    ((one,), told) = batch.accepted, "fb-1"
    named = msgspec.structs.replace(one.call, feedback_id=told)  # as the endpoints do
    batch = msgspec.structs.replace(batch, accepted=(Accepted(0, named),))
    counter.intake.take_calls("acme", batch, ORIGIN, counter.receipts.append)
    counter.intake.flush()
    (stored,) = queue(counter, "b")
    assert stored["call"] == {"userId": "ada", "featureId": "f", "score": 4, "feedbackId": told}


def test_each_far_end_is_told_in_its_own_words(outbox: Outbox) -> None:
    counter = counter_of(outbox, *upstream("v", "nucleus", *LEFT), *upstream("b", "bucket-bulk"))
    counter.say(b'{"data":[{"name":"one","userId":"ada","payload":{"n":1.50}}]}')
    counter.intake.flush()
    call(counter, "user", b'{"userId":"ada","attributes":{"plan":"pro"}}')
    call(counter, "company", b'{"companyId":"acme"}')
    assert [(e["type"], e.get("name")) for e in queue(counter, "v")] == [
        ("init", None),
        ("event", "one"),
        ("userid", None),
        ("props", None),
    ]
    assert [(one["type"], one["call"].get("event")) for one in queue(counter, "b")] == [
        ("user", None),
        ("event", "one"),
        ("user", None),
        ("company", None),
    ]
    assert b'"n":1.50' in raw_queue(counter, "b")
    (init, one, *_), (told_init, told_one, *_) = queue(counter, "v"), queue(counter, "b")
    assert (init["id"], one["id"]) == (told_init["id"], told_one["id"])


def test_what_was_agreed_to_leave_out_is_left_out_there_alone(outbox: Outbox) -> None:
    counter = counter_of(outbox, *upstream("a", "nucleus"), *upstream("b", "nucleus", "init"))
    counter.say(b'{"data":[{"name":"one"}]}')
    counter.intake.flush()
    assert [e["type"] for e in queue(counter, "a")] == ["init", "event"]
    assert [e["type"] for e in queue(counter, "b")] == ["event"]


def test_a_session_that_a_call_begins_is_begun_wherever_its_events_will_go(
    outbox: Outbox,
) -> None:
    counter = counter_of(outbox, *upstream("v", "nucleus", *LEFT), *upstream("mine", "homing"))
    call(counter, "event", b'{"event":"first","userId":"ada"}')
    counter.say(b'{"data":[{"name":"second"}]}')
    counter.intake.flush()
    assert [e["type"] for e in queue(counter, "v")] == ["init", "event", "event"]
    assert [e["type"] for e in queue(counter, "mine")] == ["init", "event"]
    assert queue(counter, "mine")[0] == queue(counter, "v")[0]


def test_an_app_that_may_not_speak_bucket_is_told_which_line_lets_it(counter: Counter) -> None:
    batch = parse_body("event", b'{"event":"one","userId":"ada"}')
    counter.intake.take_calls("acme", batch, ORIGIN, counter.receipts.append)
    (receipt,) = counter.receipts
    assert isinstance(receipt.fault, RequestFault)
    assert receipt.fault.status == 403
    assert 'speaks = ["bucket", "nucleus"]' in receipt.fault.advice
    assert counter.stored() == []


def test_who_waits_hears_on_which_queues_each_event_is(outbox: Outbox) -> None:
    counter = counter_of(
        outbox, *upstream("v", "nucleus", *LEFT), *upstream("b", "bucket-bulk", "error")
    )
    told: list[Streams] = []
    frame = b'{"data":[{"name":"one"},{"type":"error","name":"boom"}]}'
    counter.intake.take(
        "acme", parse_frame(frame), ORIGIN, counter.receipts.append, ids=told.append
    )
    counter.intake.flush()
    one, boom = told[0].values()
    both = tuple(lane.stream for lane in counter.desks["acme"].lanes)
    assert (one, boom) == (both, both[:1])
    batch = parse_body("company", b'{"companyId":"acme"}')
    counter.intake.take_calls("acme", batch, ORIGIN, counter.receipts.append, ids=told.append)
    counter.intake.flush()
    assert list(told[1].values()) == [both[1:]]


def test_the_way_of_an_app_without_an_upstream_is_as_it_was(outbox: Outbox) -> None:
    counter = counter_of(outbox, only_way())
    counter.say(b'{"data":[{"name":"one"}]}')
    counter.intake.flush()
    assert outbox.accounts().keys() == {("acme", "nucleus")}
    assert [e["type"] for e in queue(counter, "nucleus")] == ["init", "event"]
