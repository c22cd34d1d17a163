"""Shapes are learned without a value, within bounds, and events are judged by them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent.rules import lint as rule
from agent.rules.lint import AppShapes, Lint, shape_key
from agent.rules.redaction import keyed_hasher, read_rule

KEY = shape_key("nucleus", "event", "saved")
DAY_MS = 86_400_000


def learn(lint: Lint, payload: object, times: int = 1, *, key: str = KEY, at: int = 1) -> bool:
    raw = None if payload is None else json.dumps(payload).encode()
    heard = [lint.learn("acme", key, raw, at) for _ in range(times)]
    return any(heard)


def marks(lint: Lint, payload: object, *, key: str = KEY, at: int = 2, **more: Any) -> list[str]:
    raw = None if payload is None else json.dumps(payload).encode()
    return [str(mark) for mark in lint.marks("acme", key, raw, at, **more)]


def shape(lint: Lint, key: str = KEY) -> rule.Shape:
    lint.fold(9)
    return lint.apps["acme"].shapes[key]


def test_names_kinds_and_counts_are_learned() -> None:
    lint = Lint()
    learn(lint, {"n": 1, "ok": True, "tags": ["a", 2], "user": {"plan": "pro"}, "gone": None}, 3)
    learn(lint, {"n": 1.5}, 2, at=7)
    found = shape(lint)
    assert found.seen == 5
    assert (found.first_ms, found.last_ms) in {(1, 7), (1, 9)}
    assert {path: one.kinds for path, one in found.properties.items()} == {
        "payload.n": {"number": 5},
        "payload.ok": {"flag": 3},
        "payload.tags": {"list": 3},
        "payload.tags[]": {"text": 3, "number": 3},
        "payload.user": {"object": 3},
        "payload.user.plan": {"text": 3},
        "payload.gone": {"nothing": 3},
    }


def test_what_is_known_by_heart_is_counted_all_the_same() -> None:
    lint = Lint()
    learn(lint, {"n": 1, "screen": "home"}, 500)
    assert shape(lint).seen == 500
    assert shape(lint).properties["payload.n"].kinds == {"number": 500}
    learn(lint, {"n": 1, "screen": "home"}, 10)
    assert shape(lint).seen == 510


def test_a_name_is_new_when_the_app_was_known_before_it() -> None:
    lint = Lint()
    learn(lint, {"n": 1}, 50)
    early = shape_key("nucleus", "event", "early")
    learn(lint, {}, key=early)
    lint.fold(1)
    learn(lint, {"n": 1}, 60)
    lint.fold(1)
    late = shape_key("nucleus", "event", "late")
    assert learn(lint, {}, key=late)
    assert marks(lint, {}, key=early) == []
    assert marks(lint, {}, key=late) == ["new-name"]
    assert marks(lint, {}, key=late, at=8 * DAY_MS) == []


def test_a_property_is_new_when_its_event_was_known_before_it() -> None:
    lint = Lint()
    learn(lint, {"n": 1}, 30)
    lint.fold(1)
    assert learn(lint, {"n": 1, "fresh": True})
    assert not learn(lint, {"n": 1, "fresh": True})
    assert marks(lint, {"n": 1, "fresh": True}) == ["new-property in payload.fresh"]


def test_a_kind_that_was_hardly_ever_seen_is_odd_and_nothing_never_is() -> None:
    lint = Lint()
    learn(lint, {"n": 1}, 30)
    lint.fold(1)
    assert marks(lint, {"n": "1"}) == ["odd-kind: text instead of number in payload.n"]
    assert marks(lint, {"n": None}) == []
    assert learn(lint, {"n": "1"})
    assert shape(lint).properties["payload.n"].marks == {"odd-kind": 1}
    learn(lint, {"n": "1"}, 40)
    assert marks(lint, {"n": "1"}) == []  # it is usual by now


def test_what_looks_personal_is_marked_by_its_key_and_by_its_value() -> None:
    lint = Lint()
    payload = {"email": "x", "note": "ask bob@mail.example", "card": 4111111111111111, "n": 3}
    said = marks(lint, payload, user_id="bob@mail.example")
    assert said == [
        "personal: email in userId",
        "personal: email in payload.email",
        "personal: email in payload.note",
        "personal: card in payload.card",
    ]
    lint.learn("acme", KEY, json.dumps(payload).encode(), 1, user_id="bob@mail.example")
    told = {path: one.marks for path, one in shape(lint).properties.items() if one.marks}
    assert told == {
        "userId": {"personal:email": 1},
        "payload.email": {"personal:email": 1},
        "payload.note": {"personal:email": 1},
        "payload.card": {"personal:card": 1},
    }


def test_something_personal_is_seen_in_an_event_that_is_known_by_heart() -> None:
    lint = Lint()
    learn(lint, {"note": "fine"}, 50)
    assert learn(lint, {"note": "bob@mail.example"})
    assert shape(lint).properties["payload.note"].marks == {"personal:email": 1}


def test_keys_that_are_somebodys_are_no_names() -> None:
    lint = Lint()
    users = {"bob@mail.example": 1, "4711": 2, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6": 3}
    learn(lint, {"users": users})
    assert set(shape(lint).properties) == {
        "payload.users",
        "payload.users.*",
        "payload.users.* (its name)",
    }
    assert "personal: email in payload.users.* (its name)" in marks(lint, {"users": users})
    assert shape_key("nucleus", "event", "opened by bob@mail.example") == "nucleus/event/<email>"


def test_what_is_learned_is_bounded() -> None:
    lint = Lint()
    for n in range(rule.MOST_SHAPES + 50):
        learn(lint, {"a": 1}, key=shape_key("nucleus", "event", f"e{n}x"))
    assert len(lint.apps["acme"].shapes) == rule.MOST_SHAPES
    assert lint.apps["acme"].unlearned == 50
    wide = Lint()
    learn(wide, {f"k{n}x": 1 for n in range(500)})
    assert len(shape(wide).properties) == rule.MOST_PROPERTIES
    for n in range(100):
        key = shape_key("nucleus", "event", f"e{n}x")
        learn(wide, {f"k{m}x": 1 for m in range(200)}, key=key)
    held = wide.apps["acme"].shapes.values()
    assert sum(len(one.properties) for one in held) == rule.MOST_IN_ALL
    wide.forget("acme")
    assert wide.room == rule.MOST_IN_ALL
    assert wide.apps == {}


def test_what_was_learned_goes_on_after_a_restart() -> None:
    lint = Lint()
    learn(lint, {"n": 1}, 30)
    lint.fold(1)
    kept = msgspec.json.encode(lint.apps)
    again = Lint(msgspec.json.decode(kept, type=dict[str, AppShapes]))
    assert marks(again, {"n": "1"}) == ["odd-kind: text instead of number in payload.n"]
    assert again.room == rule.MOST_IN_ALL - 1


def test_a_number_beyond_all_bounds_ends_nobody() -> None:
    lint = Lint()
    assert lint.learn("acme", KEY, b'{"n":1e999999}', 1)
    assert lint.marks("acme", KEY, b'{"n":1e999999}', 1) == ()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.just("SECRET-VALUE"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.lists(st.dictionaries(st.text(max_size=12), VALUES, max_size=5), max_size=8))
def test_no_payload_breaks_it_and_no_value_is_kept(payloads: list[dict[str, object]]) -> None:
    lint = Lint()
    for payload in payloads:
        learn(lint, payload, 2)
        marks(lint, payload)
    lint.fold(3)
    kept = msgspec.json.encode(lint.apps)
    assert b"SECRET-VALUE" not in kept
    assert msgspec.json.decode(kept, type=dict[str, AppShapes]) == lint.apps
    seen = sum(s.seen for app in lint.apps.values() for s in app.shapes.values())
    assert seen == 2 * len(payloads)


def test_what_a_rule_has_replaced_is_marked_no_more() -> None:
    rules = [
        {"path": "$.payload.email", "action": "mask"},
        {"path": "$.payload.phone", "action": "mask", "keep": "length"},
        {"path": "$.payload.login", "action": "hash"},
    ]
    told = {"email": "ada@example.org", "phone": "+49 30 901820", "login": "ada", "pin": "x" * 24}
    event = json.dumps({"type": "event", "name": "saved", "payload": told}).encode()
    for one in rules:
        example = {"before": {}, "after": {}}
        after = read_rule({**one, "examples": [example]}).apply(
            event, "nucleus", keyed_hasher(b"k" * 32, "acme")
        )
        assert after is not None
        event = after
    left = json.loads(event)["payload"]
    assert (left["email"], left["phone"]) == ("***", "*" * 13)
    lint = Lint()
    learn(lint, left, 30)
    kept = {path: one.marks for path, one in shape(lint).properties.items() if one.marks}
    assert kept == {"payload.pin": {"personal:secret": 30}}
    assert marks(lint, left) == ["personal: secret in payload.pin"]
    assert learn(lint, told)  # the rule is gone: the mask has not taught us to look away
    assert marks(lint, told) == [
        *("personal: email in payload.email", "personal: phone in payload.phone"),
        *("personal: name in payload.login", "personal: secret in payload.pin"),
    ]


def test_an_empty_text_does_not_teach_us_to_look_away() -> None:
    lint = Lint()
    learn(lint, {"password": ""}, 30)
    assert learn(lint, {"password": "hunter2"})
    assert shape(lint).properties["payload.password"].marks == {"personal:secret": 1}
