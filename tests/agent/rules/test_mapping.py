"""One table between two vocabularies: its rows, its page, and what really comes out."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rules.calls import Stored, posted
from agent.rules.mapping import (
    KINDS,
    METHODS,
    TABLE,
    Fidelity,
    Said,
    kind_of,
    sayable,
    to_bucket,
    to_nucleus,
)
from agent.rules.stamp import Identity, MachineFacts, stamp
from agent.rules.ways import Language
from tracking.bucket import RAW_TYPES, Call, EventCall, UserCall, parse_body
from tracking.errors import Bug
from tracking.events import Event, Frame, Kind
from tracking.nucleus import parse_frame

PAGE = Path(__file__).parents[3] / "docs" / "upstreams.md"
SELF = Identity(device_id="dev", anon_id="anon")
FACTS = MachineFacts(
    platform="linux", os_version="6.18", total_ram=24, language="de-DE", arch="x64"
)
AT = 1_795_225_168_124  # 2026-11-21T01:39:28.124Z


def told(event: Event, version: str = "1.2.3") -> Said:
    return to_bucket(event, identity=SELF, received_ms=AT, facts=FACTS, version=version)


def frame(text: str) -> Frame:
    return parse_frame(text.encode())


def call(method: str, text: str) -> Call:
    (accepted,) = parse_body(method, text.encode()).accepted
    return accepted.call


# --- the table -----------------------------------------------------------------------------------


def test_every_word_of_both_languages_has_exactly_one_row() -> None:
    assert sorted(KINDS["nucleus"]) == sorted(
        kind.value for kind in Kind if kind is not Kind.HEARTBEAT
    )
    assert sorted(KINDS["bucket"]) == sorted(["user", "company", "event", "feedback", *RAW_TYPES])
    assert len({(row.source, row.kind) for row in TABLE}) == len(TABLE)


def test_a_row_becomes_words_of_the_other_language_or_is_impossible() -> None:
    for row in TABLE:
        other: Language = "bucket" if row.source == "nucleus" else "nucleus"
        assert set(row.becomes) <= set(KINDS[other])
        assert (row.fidelity is Fidelity.IMPOSSIBLE) == (not row.becomes)
        assert sayable(row.kind, other) == (row.fidelity is not Fidelity.IMPOSSIBLE)
        assert row.sentence.endswith(".")


def test_the_page_shows_the_table_word_for_word() -> None:
    lines = [
        f"| {row.source} | `{row.kind}` | {', '.join(f'`{word}`' for word in row.becomes) or '–'} "
        f"| {row.fidelity.value} | {row.sentence} |"
        for row in TABLE
    ]
    head = "| from | word | becomes | how well | what to know |\n|---|---|---|---|---|\n"
    assert head + "\n".join(lines) + "\n\n" in PAGE.read_text("utf-8")


def test_with_its_key_in_the_path_a_far_end_takes_feedback_but_no_raw_items() -> None:
    assert sayable("feedback", "bucket", "tracking-v1")
    assert not sayable("feature-flag-event", "bucket", "tracking-v1")
    assert sayable("feature-flag-event", "bucket", "front")
    for profile in METHODS:
        assert all(sayable(kind, "bucket", profile) for kind in KINDS["nucleus"])


def test_the_page_says_what_the_older_api_has_no_word_for_and_when_it_has_no_time() -> None:
    without = [kind for kind in KINDS["bucket"] if not sayable(kind, "bucket", "tracking-v1")]
    listed = ", ".join(f'"{kind}"' for kind in without)
    page = " ".join(PAGE.read_text("utf-8").split())
    assert f"leave_out = [{listed}] ```" in page
    stored = Stored("x", AT, "feedback", msgspec.Raw(b'{"userId":"u","featureId":"f","score":4}'))
    assert b"timestamp" in posted(stored, "front")
    assert b"timestamp" not in posted(stored, "tracking-v1")
    assert "feedback goes to the older API without one" in page


def test_a_word_that_no_language_has_is_our_mistake() -> None:
    with pytest.raises(Bug, match="poem"):
        sayable("poem", "bucket")


# --- Nucleus in Bucket's words -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "kind", "said"),
    [
        pytest.param(
            '{"type":"init","id":1,"deviceId":"d","date":"2026-11-21T01:34:28.124Z",'
            '"version":"2.0","payload":{"plan":"pro","seats":3,"beta":true}}',
            "user",
            {
                "userId": "anon",
                "attributes": {
                    "plan": "pro",
                    "seats": 3,
                    "beta": True,
                    "platform": "linux",
                    "osVersion": "6.18",
                    "version": "2.0",
                    "language": "de-DE",
                },
                "timestamp": "2026-11-21T01:34:28.124Z",
            },
            id="init",
        ),
        pytest.param(
            '{"type":"event","name":"PLAYED","userId":"u1","deviceId":"d",'
            '"date":"2026-11-21T01:34:28.124Z","payload":{"duration":120}}',
            "event",
            {
                "userId": "u1",
                "event": "PLAYED",
                "attributes": {"duration": 120},
                "timestamp": "2026-11-21T01:34:28.124Z",
            },
            id="event",
        ),
        pytest.param(
            '{"type":"event","name":"quiet","anonId":"xfQ","deviceId":"d"}',
            "event",
            {"userId": "xfQ", "event": "quiet", "timestamp": "2026-11-21T01:39:28.124Z"},
            id="event of nobody, without a payload, without a date",
        ),
        pytest.param(
            '{"type":"error","name":"boom","userId":"u1","deviceId":"d",'
            '"payload":{"message":"m","stack":"s"}}',
            "event",
            {
                "userId": "u1",
                "event": "error:boom",
                "attributes": {"message": "m", "stack": "s"},
                "timestamp": "2026-11-21T01:39:28.124Z",
            },
            id="error",
        ),
        pytest.param(
            '{"type":"userid","userId":"u2","deviceId":"d"}',
            "user",
            {"userId": "u2", "timestamp": "2026-11-21T01:39:28.124Z"},
            id="userid",
        ),
        pytest.param(
            '{"type":"props","userId":"u2","deviceId":"d","payload":{"age":34}}',
            "user",
            {
                "userId": "u2",
                "attributes": {"age": 34},
                "timestamp": "2026-11-21T01:39:28.124Z",
            },
            id="props",
        ),
        pytest.param(
            '{"type":"nucleus:view","name":"Home","userId":"u","deviceId":"d",'
            '"payload":{"name":"mine"}}',
            "event",
            {
                "userId": "u",
                "event": "nucleus:view",
                "attributes": {"name": "mine", "name_": "Home"},
                "timestamp": "2026-11-21T01:39:28.124Z",
            },
            id="a page view whose payload has a name already",
        ),
    ],
)
def test_what_nucleus_says_in_buckets_words(event: str, kind: str, said: dict[str, object]) -> None:
    (one,) = frame(f'{{"data":[{event}]}}').events
    result = told(one)
    assert (result.kind, json.loads(result.call)) == (kind, said)


def test_attributes_are_flat_and_numbers_keep_their_digits() -> None:
    (one,) = frame(
        '{"data":[{"type":"event","name":"e","deviceId":"d","payload":'
        '{"exact":1.10,"big":9007199254740991,"none":null,"list":[1, 2],"deep":{"a":{"b":1}}}}]}'
    ).events
    said = told(one).call
    assert b'"exact":1.10,"big":9007199254740991,"list":"[1, 2]"' in said
    assert json.loads(said)["attributes"]["deep"] == '{"a":{"b":1}}'
    assert "none" not in json.loads(said)["attributes"]


def test_what_an_init_says_of_itself_is_not_overwritten_by_facts() -> None:
    (one,) = frame(
        '{"data":[{"type":"init","deviceId":"d","payload":{"platform":"fridge"}}]}'
    ).events
    attributes = json.loads(told(one, version="").call)["attributes"]
    assert attributes["platform"] == "fridge"
    assert "version" not in attributes


def test_the_longest_name_of_an_error_is_still_a_name_there() -> None:
    said = told(Event(kind=Kind.ERROR, type="error", name="x" * 256))
    assert len(parse_body(said.kind, said.call).accepted) == 1


def test_a_full_payload_has_no_room_for_additions() -> None:
    payload = json.dumps({f"k{n}": n for n in range(128)}).encode()
    said = told(Event(kind=Kind.INIT, type="init", payload=payload))
    assert len(parse_body(said.kind, said.call).accepted) == 1


def test_a_heartbeat_is_no_happening() -> None:
    with pytest.raises(Bug):
        told(Event(kind=Kind.HEARTBEAT, type="heartbeat"))


# --- Bucket in Nucleus's words -------------------------------------------------------------------


def test_a_user_becomes_userid_and_then_props() -> None:
    attributes = '{"name":"R","n":1.50,"deep":{"a":[1,null]}}'
    first, second = to_nucleus(
        call(
            "user",
            f'{{"userId":1234567890,"attributes":{attributes},"timestamp":1687946400000}}',
        )
    )
    assert (first.kind, first.user_id, first.payload) == (Kind.USERID, "1234567890", None)
    assert (second.kind, second.user_id) == (Kind.PROPS, "1234567890")
    assert second.payload == attributes.encode()
    assert first.date_ms == second.date_ms == 1_687_946_400_000


def test_a_whole_number_that_nucleus_refuses_keeps_its_digits_as_text() -> None:
    (_, props) = to_nucleus(
        call(
            "user",
            '{"userId":"u","attributes":{"n":-12345678901234567890,"ok":9007199254740991,'
            '"deep":[{"a":9007199254740993}],"text":"1234567890123456789"}}',
        )
    )
    assert json.loads(props.payload or b"") == {
        "n": "-12345678901234567890",
        "ok": 9007199254740991,
        "deep": [{"a": "9007199254740993"}],
        "text": "1234567890123456789",
    }


@pytest.mark.parametrize("attributes", ["{}", "null"])
def test_a_user_without_attributes_is_no_empty_set_of_props(attributes: str) -> None:
    (only,) = to_nucleus(call("user", f'{{"userId":"u","attributes":{attributes}}}'))
    assert only.kind is Kind.USERID


def test_an_event_keeps_its_company_as_a_key_that_is_free() -> None:
    (one,) = to_nucleus(
        call(
            "event",
            '{"event":"Sent","userId":"u","companyId":7,"attributes":{"companyId":"mine","v":1.50}}',
        )
    )
    assert one.payload == b'{"companyId":"mine","v":1.50,"companyId_":"7"}'
    (plain,) = to_nucleus(call("event", '{"event":"Sent","userId":"u","companyId":"c"}'))
    assert plain.payload == b'{"companyId":"c"}'
    (bare,) = to_nucleus(call("event", '{"event":"Sent","userId":"u"}'))
    assert bare.payload is None


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("company", '{"companyId":"c"}'),
        ("feedback", '{"featureId":"f","userId":"u","score":4}'),
        *((kind, '{"userId":"u"}') for kind in sorted(RAW_TYPES)),
    ],
)
def test_what_cannot_be_said_is_said_to_be_impossible(method: str, text: str) -> None:
    one = call(method, text)
    assert kind_of(one) == method
    assert to_nucleus(one) == []
    assert not sayable(kind_of(one), "nucleus")


# --- both ways -----------------------------------------------------------------------------------

WORDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
).filter(lambda text: text.strip() != "" and not text.startswith('"'))
SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
)  # fmt: skip
PAYLOADS = st.dictionaries(WORDS, SCALARS, max_size=6)


@given(
    kind=st.sampled_from([kind for kind in Kind if kind is not Kind.HEARTBEAT]),
    name=WORDS,
    user_id=st.none() | WORDS,
    payload=st.none() | PAYLOADS,
    date_ms=st.none() | st.integers(0, AT),
)
def test_whatever_nucleus_says_is_a_call_that_a_strict_bucket_takes(
    kind: Kind,
    name: str,
    user_id: str | None,
    payload: dict[str, object] | None,
    date_ms: int | None,
) -> None:
    type_ = "$pageview" if kind is Kind.OTHER else kind.value
    body = None if payload is None else json.dumps(payload).encode()
    event = Event(kind=kind, type=type_, name=name, user_id=user_id, payload=body, date_ms=date_ms)
    said = told(event)
    assert said == told(event)
    batch = parse_body(said.kind, said.call)
    assert not batch.rejected
    (accepted,) = batch.accepted
    assert isinstance(accepted.call, (UserCall, EventCall))
    assert kind_of(accepted.call) == said.kind
    assert not accepted.call.extra  # only listed fields are sent
    assert accepted.call.timestamp_ms == (AT if date_ms is None else date_ms)
    for key, value in (payload or {}).items():
        assert json.loads(accepted.call.attributes or b"")[key] == value


@given(user_id=WORDS, name=WORDS, company=st.none() | WORDS, attributes=st.none() | PAYLOADS)
def test_whatever_bucket_says_is_an_event_that_a_nucleus_end_takes(
    user_id: str, name: str, company: str | None, attributes: object
) -> None:
    body: dict[str, object] = {"userId": user_id, "event": name, "companyId": company}
    one = call("event", json.dumps(body | {"attributes": attributes}))
    (event,) = to_nucleus(one)
    line = stamp(
        event,
        wire_id="w",
        received_ms=AT,
        session_id=1234,
        identity=SELF,
        facts=FACTS,
        version="",
        module_version="1",
    )
    (back,) = parse_frame(b'{"data":[' + line + b"]}").events
    assert (back.kind, back.name, back.user_id) == (Kind.EVENT, name, user_id)
    assert back.payload == event.payload
