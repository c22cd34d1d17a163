"""What stands between a local app and the disk takes away what it must, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rules.machine_names import MachineNames, MachineRule
from agent.rules.redaction import read_rule
from agent.runtime.counter.screening import MACHINE, Screening, kept_key
from tests.agent.rules.test_redaction import rule
from tracking.bucket import EventCall, UserCall, parse_body
from tracking.events import Event
from tracking.nucleus import parse_frame

NAMES = MachineNames(homes=("/home/bobby",), user="bobby", hosts=("bobs-laptop.lan", "bobs-laptop"))
CANARY = "canary-7f3a"


def events(*said: object) -> tuple[Event, ...]:
    frame = parse_frame(json.dumps({"data": said}).encode())
    assert not frame.refused
    return frame.events


def calls(*said: object) -> tuple[object, ...]:
    batch = parse_body("bulk", json.dumps(said).encode())
    assert not batch.rejected
    return tuple(one.call for one in batch.accepted)


def test_without_rules_nothing_is_even_looked_at() -> None:
    said, asked = events({"name": "a", "payload": {"x": 1}}), calls({"type": "user", "userId": "u"})
    screening = Screening()
    assert screening.events("acme", said) is said
    assert screening.calls("acme", asked) is asked


def test_events_in_which_nothing_is_found_are_the_same_objects() -> None:
    said = events({"name": "a", "payload": {"x": 1.50}}, {"type": "error", "name": "b"})
    screening = Screening([rule(path="$.payload.email")], names=NAMES, reach="all")
    assert screening.events("acme", said) is said
    assert not screening.touched


def test_a_rule_changes_payload_user_and_name_and_is_counted() -> None:
    screening = Screening(
        [
            rule(name="mail", path="$.payload.email", action="drop"),
            rule(name="who", path="$.userId", action="hash"),
            rule(name="numbers", path="$.name", pattern="[0-9]+"),
        ],
        key=lambda: b"k" * 32,
    )
    before = events(
        {"name": "order 17", "userId": "u1", "payload": {"email": "a", "n": 1.50}},
        {"name": "left", "payload": {"n": 2}},
    )
    first, second = screening.events("acme", before)
    assert first.name == "order ***"
    assert first.user_id is not None
    assert len(first.user_id) == 24
    assert first.payload == b'{"n":1.5}'
    assert second is before[1]
    assert screening.touched == {"mail": 1, "who": 1, "numbers": 1}
    assert screening.events("acme", before)[0].user_id == first.user_id
    assert screening.events("other", before)[0].user_id != first.user_id


def test_an_escaped_key_is_found_all_the_same() -> None:
    frame = parse_frame(rb'{"data":[{"name":"a","payload":{"\u0065mail":"x@y"}}]}')
    (event,) = Screening([rule(path="$.payload.email")]).events("acme", frame.events)
    assert event.payload == b'{"email":"***"}'


def test_what_is_left_must_still_be_an_event() -> None:
    screening = Screening([rule(name="no", path="$.name", action="drop")])
    assert screening.events("acme", events({"name": "a"})) == ()
    assert screening.dropped == {"no": 1}
    screening = Screening([rule(path="$.payload")])
    (event,) = screening.events("acme", events({"name": "a", "payload": {"x": 1}}))
    assert event.payload is None


def test_a_machine_id_that_stands_in_for_the_device_goes_with_it() -> None:
    screening = Screening([rule(path="$.machineId")])
    (event,) = screening.events("acme", events({"name": "a", "machineId": CANARY}))
    assert (event.machine_id, event.device_id) == ("***", "***")


def test_a_bucket_call_is_changed_in_its_fields_and_its_text_alike() -> None:
    screening = Screening([rule(path="$.payload.email", action="drop"), rule(path="$.userId")])
    (call,) = screening.calls(
        "acme", calls({"type": "user", "userId": "u", "attributes": {"email": "a", "n": 1}})
    )
    assert isinstance(call, UserCall)
    assert (call.user_id, call.attributes) == ("***", b'{"n":1}')
    assert json.loads(call.raw) == {"type": "user", "userId": "***", "attributes": {"n": 1}}


def test_a_bucket_call_that_is_none_without_what_was_dropped_is_not_kept() -> None:
    screening = Screening([rule(name="who", path="$.userId", action="drop")])
    said = calls({"type": "user", "userId": "u"}, {"type": "company", "companyId": 1, "userId": 2})
    (left,) = screening.calls("acme", said)
    assert json.loads(left.raw) == {"type": "company", "companyId": 1}
    assert screening.dropped == {"who": 1}


def test_a_key_that_is_sent_twice_hides_nothing_from_a_rule() -> None:
    raw = b'[{"type":"event","event":"a","userId":"u","more":{"x":"%s","x":1}}]' % CANARY.encode()
    (one,) = parse_body("bulk", raw).accepted
    assert isinstance(one.call, EventCall)
    assert Screening([rule(pattern=CANARY)]).calls("acme", (one.call,)) == ()


@pytest.mark.parametrize("reach", ["errors", "all", "off"])
def test_an_error_does_not_name_the_machine(reach: str) -> None:
    screening = Screening(names=NAMES, reach=reach)  # type: ignore[arg-type]
    stack = (
        "at /home/bobby/src/main.py:3 (bobby@bobs-laptop.lan)\n/HOME/BOBBY/x /home/bobbysox "
        "bobby's 3c:22:fb:01:9a:7e C:\\home"
    )
    error = {"type": "error", "name": "No /home/bobby", "payload": {"stack": stack, "n": 1.5}}
    plain = {"name": "opened", "payload": {"file": "/home/bobby/a"}}
    failed, opened = screening.events("acme", events(error, plain))
    if reach == "off":
        assert (failed, opened) == events(error, plain)
        return
    assert failed.name == "No ~"
    assert json.loads(failed.payload or b"") == {
        "stack": "at ~/src/main.py:3 (USER@HOST)\n~/x /home/bobbysox USER's MAC C:\\home",
        "n": 1.5,
    }
    file = json.loads(opened.payload or b"")["file"]
    assert file == ("~/a" if reach == "all" else "/home/bobby/a")
    assert screening.touched[MACHINE] == (2 if reach == "all" else 1)


def test_names_that_say_nothing_of_anybody_stay() -> None:
    names = MachineNames(homes=("/var/root", "/"), user="root", hosts=("localhost", "pc"))
    said = events(
        {"type": "error", "name": "root on localhost at pc, root@pc, /var/root/x, /usr/x"}
    )
    (event,) = Screening(names=names, reach="errors").events("acme", said)
    assert event.name == "root on localhost at pc, USER@HOST, ~/x, /usr/x"


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
PLANTED = st.builds(lambda a, b: f"{a}{CANARY}{b}", TEXTS, TEXTS)
VALUES = st.recursive(
    TEXTS | PLANTED | st.integers(-9, 9) | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | PLANTED, inner, max_size=3),
    max_leaves=12,
)


@given(
    payload=st.dictionaries(TEXTS | PLANTED, VALUES, max_size=3),
    name=PLANTED,
    user=PLANTED,
    action=st.sampled_from(["drop", "drop_event", "mask", "hash"]),
)
def test_what_a_pattern_finds_is_in_nothing_that_is_kept(
    payload: dict[str, object], name: str, user: str, action: str
) -> None:
    screening = Screening([rule(pattern=CANARY, action=action)])
    said = [{"name": name, "userId": user}, {"type": "props", "data": payload}]
    for one in screening.events("acme", parse_frame(json.dumps({"data": said}).encode()).events):
        assert CANARY not in str(one)
    items = [
        {"type": "event", "event": name, "userId": user, "attributes": payload, "more": payload},
        {"type": "user", "userId": user, CANARY: 1},
        {"type": "prompt-event", "anything": payload},
        {"type": "feedback", "userId": "u", "featureId": "f", "comment": user},
    ]
    batch = parse_body("bulk", json.dumps(items).encode())
    for call in screening.calls("acme", tuple(one.call for one in batch.accepted)):
        assert CANARY not in str(call)


def test_the_key_of_hashes_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "redaction.key"
    key = kept_key(path)
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert kept_key(path) == key


def test_rules_can_be_replaced_while_apps_report() -> None:
    screening = Screening()
    said = events({"name": "a", "payload": {"email": "x"}})
    assert screening.events("acme", said) is said
    screening.replace([rule(path="$.payload.email")], "off")
    assert screening.events("acme", said)[0].payload == b'{"email":"***"}'


def test_a_rule_of_one_app_leaves_the_others_alone() -> None:
    screening = Screening([rule(app="acme", path="$.payload.email")])
    said = events({"name": "a", "payload": {"email": "x"}})
    assert screening.events("other", said) is said
    assert screening.events("acme", said) is not said


def test_an_event_that_grew_beyond_its_limit_is_dropped() -> None:
    said = events({"name": "a", "payload": {"x": [1] * 6_000}})
    one = read_rule(
        {
            "name": "grows",
            "path": "$.payload.x[*]",
            "action": "hash",
            "examples": [{"before": {"payload": {}}, "after": {"payload": {}}}],
        }
    )
    screening = Screening([one])
    assert screening.events("acme", said) == ()
    assert screening.dropped == {"grows": 1}


def test_half_a_sign_is_no_way_around_a_rule() -> None:
    raw = rb'{"more":"x\ud800"}'
    assert rule(pattern="x").apply(raw, "bucket", str) is None
    assert MachineRule(NAMES).apply(raw) is None
