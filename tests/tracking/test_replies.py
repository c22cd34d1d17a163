"""Replies: what the golden rule acknowledges, and what we make of those of any far end."""

from __future__ import annotations

import json

import pytest
from frames_by_hand import parse

from tracking.nucleus import golden_reply, parse_reply


def test_ids_shared_with_an_unsafe_event_are_not_acknowledged_and_no_token_is() -> None:
    frame = parse(
        {"name": "E", "id": 1},
        {"name": "F", "id": 1},
        {"name": "G", "id": "1"},
        {"name": "H"},
        confirmation="0.5",
    )
    assert golden_reply(frame, unacknowledged=[0]) == b'{"reportedIds":["1"]}'
    assert golden_reply(frame, unacknowledged=[3]) == b'{"reportedIds":[1,1,"1"]}'
    assert golden_reply(frame) == b'{"reportedIds":[1,1,"1"],"confirmation":"0.5"}'


@pytest.mark.parametrize("token", ["0.5", 5, None, True])
def test_the_confirmation_is_echoed_as_it_came(token: object) -> None:
    reply = json.loads(golden_reply(parse(confirmation=token)))
    assert reply == {"reportedIds": [], "confirmation": token}


def test_replies_of_any_far_end_are_read_as_text_ids() -> None:
    reply = parse_reply(
        '{"reportedIds":[1,"a",2.0,1.5,null,true,[3]],"anonId":"X","confirmation":1}'
    )
    assert (reply.ids, reply.anon_id, reply.confirmed) == (("1", "a", "2", "1.5"), "X", True)


@pytest.mark.parametrize(
    "raw",
    [
        "OK",
        "[]",
        "",
        "{}",
        '{"reportedIds":5}',
        '{"reportedIds":{}}',
        "[" * 100_000,
        b"\xff",
        "\ud800",
        '{"reportedIds":[]',
        '{"anonId":5,"reportedIds":[]}',
        '{"anonId":""}',
        '{"reportedIds":[' + "9" * 5000 + "]}",
    ],
)
def test_a_reply_that_makes_no_sense_says_nothing(raw: bytes | str) -> None:
    reply = parse_reply(raw)
    assert (reply.anon_id, reply.confirmed) == (None, False)
