"""Finding where a JSON value ends, without understanding it: right, and never for long.

Eight megabytes of brackets once kept a server busy for ten seconds in one piece.
"""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking import strict_json
from tracking.errors import RequestFault
from tracking.nucleus import parse_frame, parse_in_steps

SCALARS = st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('a"\\[]{},: é\n'))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=40,
)
N = 2_000_000


@given(st.lists(VALUES, max_size=6), st.sampled_from(["", "]", "]]}", ' {"a":[', '"']))
def test_each_element_is_found_whole(values: list[object], behind: str) -> None:
    text = json.dumps(values)
    places = list(strict_json.elements(text + behind, 0, "x"))
    assert [json.loads(text[start:end]) for start, end in places] == values
    assert strict_json.end_of(text, 0, "x") == len(text)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=6))
def test_each_member_is_found_whole(said: dict[str, object]) -> None:
    text = json.dumps(said, ensure_ascii=False)
    found = {key: json.loads(text[a:b]) for key, a, b in strict_json.members(text, 0, "x")}
    assert found == said


@given(VALUES, st.data())
def test_what_is_cut_off_is_refused_or_ends_where_it_ends(
    value: object, data: st.DataObject
) -> None:
    text = json.dumps([value])
    cut = data.draw(st.integers(1, len(text) - 1))
    with pytest.raises(RequestFault, match="never closed"):
        strict_json.end_of(text[:cut], 0, "x")


@pytest.mark.parametrize(
    "text",
    [
        "[" * N + "]" * N,
        "[" + "[]," * N + "1]",
        "[" + '["a",{"b":"]"}],' * (N // 8) + "1]",
        '["' + "[" * N + '"]',
        "[" + "1," * N + "1]",
    ],
    ids=["deep", "flat", "pairs", "string", "scalars"],
)
def test_a_large_value_ends_where_it_ends(text: str) -> None:
    assert strict_json.end_of(text, 0, "x") == len(text)
    assert strict_json.end_of(f"{text}]", 0, "x") == len(text)


def test_more_brackets_than_a_frame_can_have_are_too_many() -> None:
    for text in ("[" + "[[[]]]," * N + "1]", '["a",' * N):
        with pytest.raises(RequestFault, match="too many brackets") as caught:
            strict_json.end_of(text, 0, "x")
        assert caught.value.status == 413


@pytest.mark.parametrize(
    "data",
    [
        "[[" + "[[]]," * 1_600_000 + "1]]",
        '["a",' * 1_600_000,
        "[" + '{"a":[[1]]},' * 600_000 + "1]",
    ],
    ids=["nested", "stairs", "objects"],
)
def test_a_frame_that_takes_long_lets_others_be_served(data: str) -> None:
    steps = parse_in_steps(f'{{"x":{data},"data":[]}}')
    pulses, longest_s, last_s = 0, 0.0, time.thread_time()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            frame = done.value
            break
        pulses, now_s = pulses + 1, time.thread_time()
        longest_s, last_s = max(longest_s, now_s - last_s), now_s
    assert pulses > 50
    assert longest_s < 1.5  # of this thread's own time; in one piece it was several seconds
    assert len(frame.refused) == 1


def test_an_event_of_a_million_members_is_refused_soon_and_acknowledged() -> None:
    text = '{"data":[{"id":7,' + '"a":1,' * 1_300_000 + '"name":"E"},{"name":"E","id":8}]}'
    began_s = time.thread_time()
    frame = parse_frame(text)
    assert time.thread_time() - began_s < 4
    assert [refusal.id for refusal in frame.refused] == [7]
    assert [event.id for event in frame.events] == [8]
