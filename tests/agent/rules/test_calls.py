"""Calls on their way out: strict where it must be, untouched everywhere else, always the same."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rules.calls import bulk, idempotency_key, posted, stored_of
from agent.rules.mapping import Profile
from tracking.bucket import parse_body

AT = 1_795_225_168_124
TIME = b'"timestamp":"2026-11-21T01:39:28.124Z"'


def one(type_: str, call: bytes, profile: Profile = "front") -> bytes:
    body = b'{"id":"w1","at":%d,"type":"%s","call":%s}' % (AT, type_.encode(), call)
    (stored,) = stored_of(body)
    return posted(stored, profile)


@pytest.mark.parametrize("type_", ["user", "company", "event"])
def test_a_call_without_a_time_is_given_the_time_of_its_arrival(type_: str) -> None:
    call = b'{"userId":"u","companyId":"c","event":"e"}'
    assert one(type_, call, "tracking-v1") == call[:-1] + b"," + TIME + b"}"
    assert TIME in one(type_, b'{"userId":"u","timestamp":null}', "tracking-v1")


def test_a_call_with_a_time_keeps_it_in_its_own_form() -> None:
    call = b'{"userId":"u","timestamp":1687946400000}'
    assert one("user", call, "tracking-v1") == call


def test_ids_become_text_by_their_digits() -> None:
    said = one("company", b'{"companyId":9007199254740993,"userId":12}', "tracking-v1")
    assert said.startswith(b'{"companyId":"9007199254740993","userId":"12",')


def test_attributes_survive_byte_for_byte() -> None:
    attributes = b'{"n":1.10,"big":12345678901234567890, "deep":{"a":[1,null]},"none":null}'
    call = b'{"userId":7,"attributes":' + attributes + b',"future":1}'
    for profile in ("front", "tracking-v1"):
        assert attributes in one("user", call, profile)
        assert b'"future":1' in one("user", call, profile)


def test_feedback_has_a_time_only_where_the_far_end_knows_one() -> None:
    call = b'{"userId":"u","featureId":14,"score":4}'
    assert TIME in one("feedback", call, "front")
    assert one("feedback", call, "tracking-v1") == b'{"userId":"u","featureId":"14","score":4}'


def test_items_of_bulk_say_what_they_are_and_single_calls_do_not() -> None:
    assert one("user", b'{"userId":"u"}').startswith(b'{"type":"user","userId":"u",')
    item = b'{"type":"event","event":"e","userId":"u","timestamp":1687946400000}'
    assert one("event", item) == item
    assert one("event", item, "tracking-v1") == (
        b'{"event":"e","userId":"u","timestamp":1687946400000}'
    )


def test_a_raw_item_goes_as_it_came() -> None:
    item = b'{"type":"feature-flag-event","action":"check","key":"huddle","userId":5}'
    assert one("feature-flag-event", item) == item


def test_the_key_of_a_batch_depends_on_its_ids_and_their_order_alone() -> None:
    assert idempotency_key(["a", "b"]) == idempotency_key(["a", "b"])
    keys = {
        idempotency_key(ids) for ids in (["a", "b"], ["b", "a"], ["ab"], ["a"], ["a", "b", "c"])
    }
    assert len(keys) == 5
    assert all(len(key) == 32 and key.isalnum() for key in keys)


IDS = st.text("abcXYZ019-_", min_size=1, max_size=12) | st.integers(-(10**19), 10**19)
VALUES = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text('aé\n"{', max_size=5)


@given(
    user_id=IDS,
    attributes=st.none() | st.dictionaries(st.text("abc", min_size=1), VALUES, max_size=4),
    profile=st.sampled_from(["front", "tracking-v1"]),
    event=st.booleans(),
)
def test_what_is_posted_is_what_a_server_would_have_understood_from_the_app(
    user_id: str | int, attributes: object, profile: Profile, event: bool
) -> None:
    body: dict[str, object] = {"userId": user_id, "attributes": attributes}
    kind = "event" if event else "user"
    if event:
        body["event"] = "e"
    call = json.dumps(body).encode()
    (before,) = parse_body(kind, call).accepted
    said = one(kind, call, profile)
    assert said == one(kind, call, profile)
    method, text = ("bulk", b"[" + said + b"]") if profile == "front" else (kind, said)
    (after,) = parse_body(method, text).accepted
    assert after.call.timestamp_ms == AT
    for key in ("user_id", "attributes", "event", "active"):
        assert getattr(after.call, key, None) == getattr(before.call, key, None)
    assert isinstance(json.loads(said)["userId"], str)


def test_a_body_of_many_is_an_array_in_their_order() -> None:
    stored = stored_of(
        b",".join(
            b'{"id":"w%d","at":%d,"type":"user","call":{"userId":"u%d"}}' % (n, AT, n)
            for n in range(3)
        )
    )
    assert [item["userId"] for item in json.loads(bulk(stored))] == ["u0", "u1", "u2"]
    with pytest.raises(msgspec.MsgspecError):
        stored_of(b'{"id":"w"}')
