"""The attributes of a payload, against the standard library's idea of JSON."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.intake.attributes import attributes_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**53), 2**53).map(float),
)
SCALARS = st.one_of(TEXT, NUMBERS, st.booleans())
NESTED = st.recursive(
    st.one_of(SCALARS, st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)


def exact(value: Any) -> Any:
    """Return a value so that what JSON calls equal is equal and nothing else is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return type(value), value
    return "number", Fraction(value)


@given(st.dictionaries(TEXT, NESTED), st.booleans())
def test_attributes_are_the_scalars_sorted_and_read_back_as_they_were(
    payload: dict[str, Any], ascii_only: bool
) -> None:
    keys, values = attributes_of(json.dumps(payload, ensure_ascii=ascii_only).encode())
    scalars = {k: v for k, v in payload.items() if v is not None and not isinstance(v, list | dict)}
    assert keys == sorted(scalars)
    assert [exact(json.loads(v)) for v in values] == [exact(scalars[k]) for k in keys]


@given(SCALARS, SCALARS)
def test_two_values_have_one_text_exactly_if_they_are_equal(one: Any, other: Any) -> None:
    _, (a, b) = attributes_of(json.dumps({"a": one, "b": other}))
    assert (a == b) == (exact(one) == exact(other))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_broken_number_is_the_shortest_text_that_reads_back(value: float) -> None:
    _, (text,) = attributes_of(json.dumps({"x": value}))
    assert float(text) == value
    if not value.is_integer():
        digits = text.split("e")[0].replace(".", "").strip("-0")
        shortest = repr(value).split("e")[0].replace(".", "").strip("-0")
        assert digits == shortest


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("2", "2"),
        ("2.0", "2"),
        ("2e0", "2"),
        ("0.2E1", "2"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("0.1", "0.1"),
        ("0.10000000000000001", "0.1"),
        ("1e22", "1" + "0" * 22),
        ("9007199254740991", "9007199254740991"),
        ("true", "true"),
        ('"true"', '"true"'),
        ('"\\u00e9\\/\\u0041"', '"é/A"'),
        ('"\\u0001\\n\\""', '"\\u0001\\n\\""'),
        ('""', '""'),
    ],
)
def test_a_value_has_one_spelling(said: str, kept: str) -> None:
    assert attributes_of(f'{{"x":{said}}}') == (["x"], [kept])


@pytest.mark.parametrize(
    "payload",
    ["", "{}", "[1]", "null", "5", "{", '{"a":NaN}', '{"a":[1],"b":{"c":1},"d":null}', b"\xff{"],
)
def test_what_has_no_attributes_has_none(payload: str | bytes) -> None:
    assert attributes_of(payload) == ([], [])


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 310, "9" * 5_000])
def test_a_number_beyond_all_bounds_takes_no_other_attribute_with_it(number: str) -> None:
    assert attributes_of(f'{{"a":{number},"b":1.50}}') == (["b"], ["1.5"])
    assert math.isinf(float(number))
