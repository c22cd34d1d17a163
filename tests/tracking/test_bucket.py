"""Bodies of the Bucket tracking API, understood: ids by their digits, items by themselves."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tracking.bucket import (
    Batch,
    CompanyCall,
    EventCall,
    FeedbackCall,
    RawCall,
    UserCall,
    parse_body,
    parse_in_steps,
)
from tracking.bucket_answers import rejection_body, success_body
from tracking.bucket_fields import number_id
from tracking.events import Limits


def call(method: str, body: str | bytes) -> Any:
    batch = parse_body(method, body if isinstance(body, bytes) else body.encode())
    assert not batch.rejected, batch.rejected
    (one,) = batch.accepted
    return one.call


def errors(method: str, body: str | bytes) -> list[str]:
    batch = parse_body(method, body if isinstance(body, bytes) else body.encode())
    assert not batch.accepted
    return [text for one in batch.rejected for text in one.errors]


def test_every_field_of_every_call_is_understood() -> None:
    assert call(
        "company",
        '{"companyId":101112231415,"userId":1234567890,"context":{"active":false},'
        '"attributes":{"name":"Acme Corp","monthly_spend":99},"timestamp":1687946400000}',
    ) == CompanyCall(
        company_id="101112231415",
        user_id="1234567890",
        attributes=b'{"name":"Acme Corp","monthly_spend":99}',
        active=False,
        timestamp_ms=1_687_946_400_000,
        raw=b'{"companyId":101112231415,"userId":1234567890,"context":{"active":false},'
        b'"attributes":{"name":"Acme Corp","monthly_spend":99},"timestamp":1687946400000}',
    )
    said = '{"userId":"u","featureId":"f","key":"k","companyId":7,"score":4.5,"comment":"c",'
    said += '"feedbackId":"fb","promptId":"p","question":"q","promptedQuestion":"pq",'
    said += '"source":"widget","timestamp":"2023-06-28"}'
    assert call("feedback", said) == FeedbackCall(
        user_id="u",
        feature_id="f",
        key="k",
        company_id="7",
        score=4.5,
        comment="c",
        feedback_id="fb",
        prompt_id="p",
        question="q",
        prompted_question="pq",
        source="widget",
        timestamp_ms=1_687_910_400_000,
        raw=said.encode(),
    )
    event = '{"event":"e","userId":"u","companyId":null,"context":{"other":1}}'
    assert call("event", event) == EventCall(event="e", user_id="u", raw=event.encode())
    user = '{"userId":"u"}'
    assert call("user", f"\ufeff {user}\n") == UserCall(user_id="u", raw=user.encode())


@pytest.mark.parametrize(
    ("digits", "text"),
    [
        ("9007199254740993", "9007199254740993"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("-5", "-5"),
        ("-0", "0"),
        ("0.0", "0"),
        ("1.0", "1"),
        ("1.50", "1.5"),
        ("1e21", "1000000000000000000000"),
        ("1E+2", "100"),
        ("25e-1", "2.5"),
        ("1e400", None),
        ("1e99999999999", None),
        ("NaN", None),
        ("", None),
    ],
)
def test_a_number_has_one_text_whatever_its_size(digits: str, text: str | None) -> None:
    assert number_id(digits) == text


@given(st.integers(-(10**200), 10**200))
def test_any_whole_number_and_its_text_are_one_user(number: int) -> None:
    by_number = call("user", f'{{"userId":{number}}}')
    by_text = call("user", f'{{"userId":"{number}"}}')
    assert by_number.user_id == by_text.user_id == str(number)


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(1e300)
@example(5e-324)
def test_a_float_is_the_user_of_its_own_digits_or_is_refused_for_its_length(number: float) -> None:
    batch = parse_body("user", f'{{"userId":{number!r}}}'.encode())
    if batch.accepted:
        user_id = batch.accepted[0].call.user_id or ""
        assert "e" not in user_id
        assert math.isclose(float(user_id), number, rel_tol=1e-15, abs_tol=0)
    else:
        assert abs(number) >= 1e255 or abs(number) < 1e-200


@given(st.text(max_size=300))
@example("\0")
@example("\ud800")
@example("")
def test_any_text_is_an_id_unless_a_reader_could_not_hold_it(text: str) -> None:
    batch = parse_body("user", json.dumps({"userId": text}).encode())
    surrogates = any("\ud800" <= c <= "\udfff" for c in text)
    if not text or len(text) > 256 or "\0" in text or surrogates:
        assert batch.rejected[0].errors
    else:
        assert batch.accepted[0].call.user_id == text


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
NAMES = ["userId", "companyId", "event", "featureId", "key", "score", "comment", "type"]
WORDS = st.sampled_from([*NAMES, "attributes", "context", "timestamp"])
METHODS = ["user", "company", "event", "events", "feedback", "bulk", "prompt-event", "nope"]


@given(st.sampled_from(METHODS), st.dictionaries(WORDS, ANY) | ANY)
def test_no_json_raises_and_every_item_is_accounted_for(method: str, said: Any) -> None:
    body = json.dumps([said, said] if method == "bulk" else said).encode()
    _assert_whole(parse_body(method, body), 2 if method == "bulk" else None)


@given(st.sampled_from(METHODS), st.binary(max_size=60))
def test_no_bytes_raise(method: str, body: bytes) -> None:
    _assert_whole(parse_body(method, body), None)


def _assert_whole(batch: Batch, count: int | None) -> None:
    indexes = sorted(one.index for one in (*batch.accepted, *batch.rejected))
    assert indexes == [-1] or indexes == list(range(len(indexes)))
    assert indexes == [-1] or count is None or len(indexes) == count
    assert all(one.errors and all(one.errors) for one in batch.rejected)
    assert json.loads(success_body(batch))["success"] is True
    assert json.loads(rejection_body(batch))["success"] is False


def test_what_two_readers_would_take_differently_is_refused() -> None:
    assert errors("user", '{"userId":"a","userId":"b"}') == ["userId: Named twice"]
    assert "twice" in errors("user", '{"userId":"a","attributes":{"k":1,"k":2}}')[0]
    assert "NUL" in errors("user", '{"userId":"a","attributes":{"k":"\\u0000"}}')[0]
    assert "finite" in errors("user", '{"userId":"a","attributes":{"k":1e999}}')[0]
    assert (
        "deeper" in errors("user", '{"userId":"a","attributes":' + '{"a":' * 9 + "1" + "}" * 10)[0]
    )
    many = json.dumps({f"k{n}": n for n in range(129)})
    assert "more than 128 keys" in errors("user", f'{{"userId":"a","attributes":{many}}}')[0]
    assert "32768" in errors("user", json.dumps({"userId": "a", "x": "y" * 33_000}))[0]


def test_whole_numbers_beyond_2_to_the_53_are_kept_in_attributes_as_they_are() -> None:
    said = '{ "id": 9007199254740993, "list": [1, {"n": 18446744073709551616}] }'
    assert call("user", f'{{"userId":"u","attributes":{said}}}').attributes == said.encode()


def test_all_that_is_wrong_with_a_body_is_said_at_once() -> None:
    said = '{"userId":"","attributes":[1],"context":{"active":"no"},"timestamp":"yesterday"}'
    assert errors("event", said) == [
        "event: Required",
        'userId: Expected a number or a string of 1 to 256 characters, got `""`',
        "attributes: Expected an object, got `[1]`",
        'context.active: Expected a boolean, got `"no"`',
        'timestamp: Expected ISO 8601 or milliseconds since 1970, got `"yesterday"`',
    ]


@pytest.mark.parametrize(
    ("said", "ms"),
    [
        ('"2023-06-28T12:00:00+02:00"', 1_687_946_400_000),
        ('"2023-06-28T10:00:00.000Z"', 1_687_946_400_000),
        ("1687946400000", 1_687_946_400_000),
        ("1.6879464e12", 1_687_946_400_000),
        ('"2023-06-28"', 1_687_910_400_000),
        ("null", None),
    ],
)
def test_a_timestamp_is_iso_8601_with_any_offset_or_milliseconds(said: str, ms: int | None) -> None:
    assert call("user", f'{{"userId":"u","timestamp":{said}}}').timestamp_ms == ms


@pytest.mark.parametrize("said", ['"yesterday"', '""', "true", "-1", "[]", "{}", "1e300"])
def test_what_is_no_timestamp_is_refused(said: str) -> None:
    (why,) = errors("user", f'{{"userId":"u","timestamp":{said}}}')
    assert why.startswith("timestamp: Expected")


def test_one_item_that_is_hardly_json_does_not_spoil_its_neighbours() -> None:
    body = b'[{"type":"user","userId":"a"},{"type":"user","userId":"\\ud800"},'
    body += b'{"type":"user","userId":"\xff"},{"type":"user","userId":"b"}]'
    batch = parse_body("bulk", body)
    assert [one.index for one in batch.accepted] == [0, 3]
    assert [one.index for one in batch.rejected] == [1, 2]
    assert batch.rejected[1].raw == b'{"type":"user","userId":"\xff"}'


def test_a_flag_check_tells_whom_it_is_about_so_that_they_can_be_erased() -> None:
    said = '{"type":"feature-flag-event","action":"check","evalContext":{"user":{"id":12}}}'
    found = call("bulk", f"[{said}]")
    assert found == RawCall(type="feature-flag-event", user_id="12", raw=said.encode())
    refused = parse_body("bulk", b'[{"type":"x","userId":"u"}]').rejected[0]
    assert (refused.user_id, refused.raw) == ("u", b'{"type":"x","userId":"u"}')


def test_what_is_too_large_is_not_quarantined_whole() -> None:
    item = json.dumps({"type": "user", "userId": "u", "x": "y" * 100_000})
    batch = parse_body("bulk", f'[{{"type":"user","userId":"v"}},{item}]'.encode())
    (bad,) = batch.rejected
    assert (bad.index, bad.raw) == (1, item.encode()[:32_768])


def test_a_long_bulk_body_is_understood_in_steps_and_too_many_items_are_refused() -> None:
    item = '{"type":"event","event":"e","userId":"u"}'
    steps = parse_in_steps("bulk", f"[{','.join([item] * 1000)}]".encode())
    assert sum(1 for _ in steps) == 1000 // 64
    assert "at most 10000" in errors("bulk", f"[{','.join(['1'] * 10_001)}]")[0]
    assert "at most 10000" in errors("bulk", '["\\ud800"' + ",[]" * 10_001 + "]")[0]
    # What is not JSON as a whole is searched for its items only if that is quickly done.
    assert errors("bulk", '["\\ud800",[' + "[]," * 400_000 + "1]]") == ["body: Not JSON"]


def test_a_call_with_every_field_that_there_is_has_none_that_nobody_knows() -> None:
    shared = {"userId": "u", "attributes": {}, "context": {}, "timestamp": None, "type": "x"}
    full = {
        "user": shared,
        "company": shared | {"companyId": "c"},
        "event": shared | {"companyId": "c", "event": "e"},
    }
    for method, fields in full.items():
        assert not call(method, json.dumps(fields)).extra
        assert call(method, json.dumps(fields | {"future": 1})).extra


@pytest.mark.parametrize("field", ["comment", "key"])
def test_a_text_of_a_feedback_is_text(field: str) -> None:
    said = {"userId": "u", "featureId": "f", "score": 1, field: 5}
    assert errors("feedback", json.dumps(said)) == [f"{field}: Expected a string, got `5`"]


def test_the_longest_that_is_taken_is_as_long_as_the_limit_says() -> None:
    assert call("event", json.dumps({"event": "e" * 256, "userId": "u" * 256}))
    assert len(errors("event", json.dumps({"event": "e" * 257, "userId": "u" * 257}))) == 2
    item = {"userId": "u", "x": ""}
    item["x"] = "y" * (32_768 - len(json.dumps(item)))
    assert call("user", json.dumps(item))
    item["x"] += "y"
    assert "the limit is 32768" in errors("user", json.dumps(item))[0]


def test_limits_are_arguments() -> None:
    batch = parse_body("user", b'{"userId":"abcd"}', limits=Limits(name_chars=3))
    assert "1 to 3 characters" in batch.rejected[0].message
