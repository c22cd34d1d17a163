"""Rules of redaction: what they take away, what they leave, and which of them are refused."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rules.json_edit import edit, parse_path
from agent.rules.redaction import Language, Rule, keyed_hasher, read_rule
from tracking.errors import SettingsFault


def rule(**words: object) -> Rule:
    """Make a rule whose examples say nothing, for tests of what it does elsewhere."""
    return read_rule({"action": "mask", "examples": [{"before": {}, "after": {}}]} | words)


def made(one: Rule, event: object, language: Language = "nucleus") -> Any:
    raw = one.apply(json.dumps(event).encode(), language, lambda text: f"#{len(text)}")
    return None if raw is None else json.loads(raw)


@pytest.mark.parametrize(
    ("path", "after"),
    [
        ("$.payload.email", {"payload": {"deep": [{"email": "b"}, {"email": "c"}]}}),
        ("$.payload..email", {"payload": {"deep": [{}, {}]}}),
        ("$..email", {"payload": {"deep": [{}, {}]}}),
        ("$.payload.deep[*].email", {"payload": {"email": "a", "deep": [{}, {}]}}),
        ("$.payload.deep[1].email", {"payload": {"email": "a", "deep": [{"email": "b"}, {}]}}),
        ("$.payload['deep'][0]", {"payload": {"email": "a", "deep": [{"email": "c"}]}}),
        ("$.payload.*", {"payload": {}}),
        ("$.attributes", {}),
        ("$.payload.none", {"payload": {"email": "a", "deep": [{"email": "b"}, {"email": "c"}]}}),
    ],
)
def test_a_path_names_what_is_dropped(path: str, after: object) -> None:
    event = {"payload": {"email": "a", "deep": [{"email": "b"}, {"email": "c"}]}}
    assert made(rule(path=path, action="drop"), event) == after


@pytest.mark.parametrize(
    ("words", "value", "after"),
    [
        ({}, "secret", "***"),
        ({"keep": "length"}, "secret", "******"),
        ({"keep": "kind"}, 17, 0),
        ({"keep": "kind"}, True, False),
        ({"keep": "kind"}, {"a": 1}, {}),
        ({"keep": "kind"}, "secret", "***"),
        ({}, {"a": ["secret"]}, "***"),
        ({"action": "hash"}, "secret", "#6"),
        ({"action": "hash"}, 12.50, "#4"),
        ({"action": "hash"}, None, None),
        ({"pattern": "[0-9]+"}, "call 0123 or 45", "call *** or ***"),
        ({"pattern": "[0-9]+", "keep": "length"}, "call 0123", "call ****"),
        ({"pattern": "[0-9]{4}"}, 41111, "***1"),
        ({"pattern": "[0-9]+", "action": "hash"}, ["a1", {"b22": True}], ["a#1", {"b#2": True}]),
        ({"pattern": "x", "action": "drop"}, ["x", "y", {"x": 1, "z": "axa"}], ["y", {}]),
        ({"pattern": "x"}, "y", "y"),
    ],
)
def test_what_is_found_is_masked_or_hashed(words: Any, value: object, after: object) -> None:
    one = rule(path="$.payload.it", **words)
    assert made(one, {"payload": {"it": value}}) == {"payload": {"it": after}}


def test_a_pattern_without_a_path_looks_everywhere() -> None:
    event = {"name": "by bob", "userId": "bob", "payload": {"a": {"bob": ["no", "bob!"]}}}
    assert made(rule(pattern="bob"), event) == {
        "name": "by ***",
        "userId": "***",
        "payload": {"a": {"***": ["no", "***!"]}},
    }


def test_one_rule_serves_both_languages() -> None:
    one = rule(path="$.payload.email", action="drop", event="signed*")
    assert made(one, {"name": "signed.up", "payload": {"email": "a"}}) == {
        "name": "signed.up",
        "payload": {},
    }
    call = {"type": "event", "event": "signed.up", "attributes": {"email": "a"}}
    assert made(one, call, "bucket") == call | {"attributes": {}}
    assert one.concerns("any", "signed.up")
    assert not one.concerns("any", "left")


def test_the_word_of_a_bucket_call_is_no_ones_secret() -> None:
    call = {"type": "user", "userId": "a user", "attributes": {"user": 1}}
    assert made(rule(pattern="user"), call, "bucket") == {
        "type": "user",
        "userId": "a ***",
        "attributes": {"***": 1},
    }
    assert made(rule(pattern="bob"), {"type": "bob", "bob": 1}, "bucket") == {
        "type": "***",
        "***": 1,
    }


def test_what_is_left_keeps_its_digits_escapes_and_order() -> None:
    raw = (
        rb'{"payload":{"n": 1.10, "big":12345678901234567890,"t":"\u00e9\/","secret":1,'
        rb'"z":{"a" : 1E2}}}'
    )
    after = rule(path="$.payload.secret", action="drop").apply(raw, "nucleus", str)
    assert after == (
        rb'{"payload":{"n":1.10,"big":12345678901234567890,"t":"\u00e9\/","z":{"a" : 1E2}}}'
    )


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_an_event_in_which_nothing_is_found_comes_back_as_it_was(value: object) -> None:
    raw = json.dumps({"payload": {"x": value}}).encode()
    for one in (rule(path="$..missing"), rule(pattern="\u2063")):
        assert one.apply(raw, "nucleus", str) is raw


@given(
    value=VALUES,
    path=st.sampled_from(
        ["$.payload.x", "$..a", "$.payload..b", "$.payload.x[*]", "$.*", "$..*", ""]
    ),
    pattern=st.sampled_from(["", "a", "[0-9]+", "."]),
    action=st.sampled_from(["drop", "drop_event", "mask", "hash"]),
    language=st.sampled_from(["nucleus", "bucket"]),
)
def test_whatever_is_changed_is_json_still(
    value: object, path: str, pattern: str, action: str, language: Language
) -> None:
    if not path and not pattern:
        pattern = "a"
    one = rule(path=path, pattern=pattern, action=action)
    raw = json.dumps({"type": "event", "payload": {"x": value, "a": 1}, "userId": "a1"}).encode()
    after = one.apply(raw, language, lambda text: "h" * 24)
    assert after is None or isinstance(json.loads(after), dict)
    if after is not None and action == "drop":
        assert one.apply(after, language, str) is after  # nothing is left to be found


def test_an_event_may_be_dropped_as_a_whole() -> None:
    one = rule(pattern="internal", action="drop_event")
    assert made(one, {"name": "internal.tick"}) is None
    assert made(one, {"name": "tick"}) == {"name": "tick"}


def test_what_cannot_be_looked_at_to_its_end_is_dropped() -> None:
    deep = b'{"payload":{"x":' + b"[" * 500 + b"]" * 500 + b"}}"
    assert rule(pattern="canary").apply(deep, "nucleus", str) is None


def test_a_pattern_that_hangs_other_engines_takes_no_time() -> None:
    one = rule(pattern=r"(a+)+$|(a|aa)+!|(.*)*x\b")
    text = json.dumps({"payload": {"it": "a" * 30_000 + "b"}}).encode()
    began = time.perf_counter()
    one.apply(text, "nucleus", str)
    assert time.perf_counter() - began < 1.0


def test_a_hash_is_one_apps_own_and_this_computers_own() -> None:
    acme, other = keyed_hasher(b"k" * 32, "acme"), keyed_hasher(b"k" * 32, "other")
    assert acme("a@b.example") == acme("a@b.example")
    assert len(acme("a@b.example")) == 24
    assert len({acme("x"), other("x"), keyed_hasher(b"l" * 32, "acme")("x"), acme("y")}) == 4


MASKED = {"before": {"payload": {"email": "a"}}, "after": {"payload": {"email": "***"}}}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"path": ""}, "needs a path, a pattern or both"),
        ({"path": "payload"}, "must begin with $"),
        ({"path": "$"}, "must name something"),
        ({"path": "$.a[x]"}, "cannot be read from '[x]' on"),
        ({"path": "$...a"}, "cannot be read"),
        ({"path": "$.date"}, "what makes it an event"),
        ({"pattern": "("}, "missing )"),
        ({"pattern": r"(a)\1"}, "invalid escape sequence"),
        ({"pattern": "a*"}, "finds the empty text"),
        ({"pattern": "a" * 1001}, "longer than 1000"),
        ({"action": "erase"}, "action must be one of drop, drop_event, mask, hash"),
        ({"action": "drop", "keep": "length"}, "keep is for"),
        ({"pathh": "$.a"}, "did you mean path?"),
        ({"name": 7}, "name must be one line of text"),
        ({"examples": []}, "hold one at least"),
        ({"examples": [{"after": {}}]}, "must be a list of"),
        ({"examples": [{"before": "{"}]}, "text that is JSON"),
    ],
)
def test_an_impossible_rule_is_refused_and_says_why(words: Any, why: str) -> None:
    good = {"path": "$.payload.email", "action": "mask", "examples": [MASKED]}
    assert read_rule(good).name == "rule 1"
    with pytest.raises(SettingsFault, match=re.escape(why)):
        read_rule(good | words)


def test_an_example_that_comes_out_differently_is_shown_as_a_difference() -> None:
    with pytest.raises(SettingsFault) as refused:
        read_rule({"path": "$.payload.mail", "action": "mask", "examples": [MASKED]})
    said = str(refused.value)
    assert "example 1 of 'rule 1' comes out differently" in said
    assert '-    "email": "***"' in said
    assert '+    "email": "a"' in said


def test_examples_know_hashes_dropped_events_and_events_that_are_left_alone() -> None:
    read_rule(
        {
            "event": "signup",
            "path": "$.userId",
            "action": "hash",
            "examples": [
                {"before": {"userId": "u1"}, "after": {"userId": "<hash>"}},
                {"before": '{"name":"in","userId":"u1"}', "after": {"name": "in", "userId": "u1"}},
            ],
        }
    )
    read_rule(
        {"pattern": "secret", "action": "drop_event", "examples": [{"before": {"name": "secret"}}]}
    )


def test_paths_are_applied_to_what_is_an_object_only() -> None:
    raw = b'{"payload":[1,2,3]}'
    assert edit(raw, parse_path("$.payload.email"), lambda _: None) is raw
