"""What of a frame is refused, with its field named, and what a limit still lets through."""

from __future__ import annotations

import pytest
from frames_by_hand import fault, only, parse

from tracking.events import Limits
from tracking.nucleus import parse_frame


def test_an_event_or_an_error_needs_a_name() -> None:
    assert fault(type="event") == "data[0].name is missing"
    assert fault(type="error", name="") == "data[0].name is missing"
    assert fault(id=1, payload={}) == "data[0].name is missing"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"payload": {"user": "a\0b"}}, "data[0].payload.user"),
        ({"payload": {"a": {"b": [1, {"c": "\ud800"}]}}}, "data[0].payload.a.b[1].c"),
        ({"payload": {"n": 2**53}}, "data[0].payload.n"),
        ({"payload": {"n": [-(2**63)]}}, "data[0].payload.n[0]"),
        ({"payload": {"n": float("nan")}}, "data[0].payload.n"),
        ({"payload": {"n": float("-inf")}}, "data[0].payload.n"),
        ({"payload": {"\ud800": 1}}, "data[0].payload"),
        ({"payload": [1]}, "data[0].payload"),
        ({"payload": "text"}, "data[0].payload"),
        ({"payload": 0}, "data[0].payload"),
        ({"payload": {f"k{n}": n for n in range(129)}}, "data[0].payload"),
        ({"payload": {"a": [[[[[[[[1]]]]]]]]}}, "data[0].payload"),
        ({"payload": {"long": "x" * 33000}}, "data[0]"),
        ({"name": "n" * 257}, "data[0].name"),
        ({"type": "t" * 257}, "data[0].type"),
        ({"name": {"a": 1}}, "data[0].name"),
        ({"userId": True}, "data[0].userId"),
        ({"userId": ["u"]}, "data[0].userId"),
        ({"deviceId": "d\0"}, "data[0].deviceId"),
        ({"sessionId": 10**30}, "data[0].sessionId"),
        ({"id": {"$oid": "x"}}, "data[0].id"),
        ({"id": True}, "data[0].id"),
        ({"version": "\ud800"}, "data[0].version"),
        ({f"k{n}": n for n in range(129)}, "data[0]"),
    ],
)
def test_what_is_refused_names_its_field_and_spares_its_neighbours(
    fields: dict[str, object], field: str
) -> None:
    bad = {"type": "event", "name": "bad", "id": 7} | fields
    frame = parse(bad, {"name": "good", "id": 8})
    assert [e.name for e in frame.events] == ["good"]
    assert frame.refused[0].fault.field.startswith(field)
    assert frame.ids[-1] == 8
    if "id" not in fields:
        assert frame.ids == (7, 8)


@pytest.mark.parametrize(
    "payload",
    [
        '{"user":1,"user":2}',
        '{"a":{"user":1,"u\\u0073er":2}}',
        '{"a":[{"b":1,"b":1}]}',
        '{"user" : 1, "user" : 2}',
    ],
)
def test_a_key_that_comes_twice_is_refused(payload: str) -> None:
    frame = parse_frame(f'{{"data":[{{"name":"E","id":1,"payload":{payload}}}]}}')
    assert "twice" in str(frame.refused[0].fault)
    assert frame.ids == (1,)


def test_a_field_that_comes_twice_is_refused() -> None:
    frame = parse_frame('{"data":[{"name":"E","id":1,"userId":"a","userId":"b"},{"name":"F"}]}')
    assert str(frame.refused[0].fault) == "data[0] names the key `userId` twice"
    assert [e.name for e in frame.events] == ["F"]


def test_limits_that_are_just_kept_are_kept() -> None:
    assert only(name="n" * 256, payload={"a": [[[[[[[1]]]]]]]}).payload
    assert only(name="E", payload={f"k{n}": 2**53 - 1 for n in range(128)}).payload
    overhead = len('{"name":"E","payload":{"a":""}}')
    for size, kept in ((32 * 1024, 1), (32 * 1024 + 1, 0)):
        event = '{"name":"E","payload":{"a":"' + "x" * (size - overhead) + '"}}'
        for raw in (f'{{"data":[{event}]}}', f'{{"data":[{event},{{"name":"F"}}]}}'):
            assert [e.name for e in parse_frame(raw).events].count("E") == kept


def test_smaller_limits_are_kept_too() -> None:
    limits = Limits(event_bytes=100, name_chars=3, depth=1, keys=1)
    for event in (
        '{"name":"EEEE"}',
        '{"name":"E","payload":{"a":1,"b":1}}',
        '{"name":"E","payload":{"a":[]}}',
    ):
        assert parse_frame(f'{{"data":[{event}]}}', limits=limits).refused
    assert parse_frame('{"data":[{"name":"EEE","payload":{"a":1}}]}', limits=limits).events
    unknown = '{"data":[{"name":"E","x":1,"y":1}]}'
    assert parse_frame(unknown, limits=limits).refused


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":', "[" * 7 + '{"a":'])
@pytest.mark.parametrize(
    "where", ["%s", '{"data":%s', '{"data":[{"name":"E","payload":%s', '{"x":%s']
)
@pytest.mark.parametrize("closed", [True, False])
def test_a_hundred_thousand_brackets_are_refused_in_peace(
    opening: str, where: str, closed: bool
) -> None:
    bomb = opening * 100_000
    if closed:
        bomb += (
            "1"
            + "".join("]" if c == "[" else "}" for c in reversed(opening) if c in "[{") * 100_000
        )
        raw = where % bomb + {"%s": "", '{"data":%s': "}", '{"x":%s': ',"data":[]}'}.get(
            where, "}]}"
        )
    else:
        raw = where % bomb
    frame = parse_frame(raw)
    assert not frame.events


def test_a_bomb_in_one_event_spares_the_next() -> None:
    bomb = "[" * 10_000 + "]" * 10_000
    frame = parse_frame(
        f'{{"data":[{{"name":"E","id":1,"payload":{{"a":{bomb}}}}},{{"name":"F","id":2}}]}}'
    )
    assert "nested deeper than 8" in str(frame.refused[0].fault)
    assert (frame.ids, [e.name for e in frame.events]) == ((1, 2), ["F"])


def test_the_payload_is_the_senders_byte_for_byte() -> None:
    for payload in ('{ "a" : 1.50 }', '{"a":"\\u00e9\\/é"}', '{"b":2,"a":1e2}', "{\n}"):
        for spaced in ("", " "):
            raw = f'{{"data":[{{"name":{spaced}"E","payload":{payload}}}]}}'
            assert parse_frame(raw).events[0].payload == payload.encode()


def test_a_frame_of_junk_is_bounded_in_sentences_and_in_elements() -> None:
    frame = parse_frame("[" + ",".join(['{"id":1}'] * 2000) + "]")
    assert len(frame.refused) == len(frame.ids) == 2000
    assert "data[999]" in str(frame.refused[999].fault)
    assert frame.refused[1000].fault is frame.refused[1999].fault
    for junk in ("5", '{"name":"E"}', "{}"):
        frame = parse_frame(f'{{"data":[{",".join([junk] * 270_000)}]}}')
        assert [r.index for r in frame.refused] == [-1]
        assert "more than 262144" in str(frame.refused[0].fault)
