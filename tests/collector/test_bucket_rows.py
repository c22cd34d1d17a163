"""Rows of Bucket calls: the same stands at the end, however the calls were put into bodies."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st

from collector.intake.bucket_rows import Known, Rows
from collector.store.interface import (
    Attribute,
    Feedback,
    Membership,
    RawItem,
    Seen,
    Stored,
)
from tracking.bucket import Accepted, Batch, FeedbackCall, parse_body

RECEIVED = 1_795_225_137_000
USERS, COMPANIES = st.sampled_from(["u", "v"]), st.sampled_from(["c", "d"])
#: Of the past, ahead of its time, or not said. The same moment often.
TIMES = st.one_of(st.none(), st.integers(RECEIVED - 3, RECEIVED - 1), st.just(RECEIVED + 10**9))
ATTRIBUTES = st.none() | st.dictionaries(st.sampled_from("ab"), st.integers(0, 3), max_size=2)
CONTEXT = st.none() | st.fixed_dictionaries({"active": st.sampled_from([True, False, None])})


def call(type_: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(type_), "timestamp": TIMES, **fields})


CALLS = st.lists(
    st.one_of(
        call("user", userId=USERS, attributes=ATTRIBUTES, context=CONTEXT),
        call(
            "company",
            companyId=COMPANIES,
            userId=st.none() | USERS,
            attributes=ATTRIBUTES,
            context=CONTEXT,
        ),
        call(
            "event",
            event=st.just("e"),
            userId=USERS,
            companyId=st.none() | COMPANIES,
            context=CONTEXT,
        ),
        call(
            "feedback",
            featureId=st.just("f"),
            userId=USERS,
            feedbackId=st.sampled_from("xy"),
            score=st.integers(1, 5),
            comment=st.none() | st.sampled_from(["good", "bad"]),
        ),
    ),
    min_size=1,
    max_size=12,
)


class Standing(NamedTuple):
    """What stands at the end, but for the moments of receipt."""

    attributes: dict[tuple[str, str, str], str]
    companies: dict[str, str]
    links: set[tuple[str, str]]
    seen: dict[tuple[str, str], bool]
    events: list[tuple[str, str]]
    feedback: dict[str, tuple[float, str]]


def standing(parts: list[list[Any]]) -> Standing:
    """Take one body after the other, each a millisecond later; read off what stands."""
    events: list[Stored] = []
    facts: list[Any] = []
    for n, items in enumerate(parts):
        rows = Rows("A", RECEIVED + n, known(facts)).add(
            parse_body("bulk", json.dumps(items).encode())
        )
        events += rows.events
        facts += rows.facts
    attributes: dict[tuple[str, str, str], Attribute] = {}
    seen: dict[tuple[str, str], bool] = {}
    for fact in facts:
        if isinstance(fact, Attribute):
            old = attributes.setdefault((fact.kind, fact.id, fact.key), fact)
            later = max(old, fact, key=lambda a: (a.ts, a.recv_ts, a.value))
            attributes[fact.kind, fact.id, fact.key] = later
        if isinstance(fact, Seen):
            seen[fact.kind, fact.id] = seen.get((fact.kind, fact.id), False) or fact.last_ts > 0
    return Standing(
        {key: one.value for key, one in attributes.items()},
        {user: company for user, (_, company) in known(facts).companies.items()},
        {(fact.user_id, fact.company_id) for fact in facts if isinstance(fact, Membership)},
        seen,
        [(event.user_id, event.company_id) for event in events],
        {key: (one.score, one.comment) for key, one in known(facts).feedback.items()},
    )


def known(facts: list[Any]) -> Known:
    """Return what the store would say, by the rules at its classes."""
    links: dict[str, Membership] = {}
    feedback: dict[str, Feedback] = {}
    for fact in facts:
        if isinstance(fact, Membership):
            old = links.setdefault(fact.user_id, fact)
            later = max(old, fact, key=lambda link: (link.ts, link.recv_ts, link.company_id))
            links[fact.user_id] = later
        if isinstance(fact, Feedback):
            feedback[fact.feedback_id] = fact
    return Known({user: (link.ts, link.company_id) for user, link in links.items()}, feedback)


def user(n: int, **more: Any) -> dict[str, Any]:
    return {"type": "user", "userId": "u", "attributes": {"n": n}, **more}


def company(id_: str, **more: Any) -> dict[str, Any]:
    return {"type": "company", "companyId": id_, "userId": "u", **more}


@given(CALLS, st.data())
@example([user(1), user(2), user(1)], None)
@example([company("d"), company("c"), {"type": "event", "event": "e", "userId": "u"}], None)
@example([company("c"), company("d", timestamp=RECEIVED - 1), company("c", timestamp=1)], None)
@example([user(1), user(2, timestamp=1)], None)
def test_what_stands_does_not_depend_on_how_calls_were_put_into_bodies(
    calls: list[dict[str, Any]], data: st.DataObject | None
) -> None:
    one_by_one = standing([[one] for one in calls])
    assert standing([calls]) == one_by_one
    if data is not None:
        cut = data.draw(st.integers(0, len(calls)))
        parts = [part for part in (calls[:cut], calls[cut:]) if part]
        assert standing(parts) == one_by_one


def test_rows_are_the_same_again_under_one_key_and_never_without() -> None:
    batch = parse_body("bulk", b'[{"type":"event","event":"e","userId":"u"}]')
    keys = [
        Rows("A", RECEIVED + n, Known(), once).add(batch).events[0][1:3]
        for n, once in enumerate(["k", "k", "l", "", ""])
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4
    other = Rows("B", RECEIVED, Known(), "k").add(batch).events[0][1:3]
    assert other != keys[0]


def test_two_items_of_one_body_are_two_events_under_one_key() -> None:
    batch = parse_body(
        "bulk", b"[" + b",".join([b'{"type":"event","event":"e","userId":"u"}'] * 2) + b"]"
    )
    keys = {event[1:3] for event in Rows("A", RECEIVED, Known(), "k").add(batch).events}
    assert len(keys) == 2


def test_no_moment_lies_after_the_receipt_but_that_which_an_event_said() -> None:
    ahead = RECEIVED + 86_400_000
    items = [
        {"type": "user", "userId": "u", "attributes": {"a": 1}, "timestamp": ahead},
        {"type": "company", "companyId": "c", "userId": "u", "timestamp": ahead},
        {"type": "event", "event": "e", "userId": "u", "timestamp": ahead},
        {"type": "event", "event": "soon", "userId": "u", "timestamp": RECEIVED + 599_000},
    ]
    rows = Rows("A", RECEIVED, Known()).add(parse_body("bulk", json.dumps(items).encode()))
    for fact in rows.facts:
        moments = [getattr(fact, name, 0) for name in ("ts", "first_ts", "last_ts", "recv_ts")]
        assert max(moments) == RECEIVED
    assert [(event.ts, event.said_ts) for event in rows.events] == [
        (RECEIVED, ahead),
        (RECEIVED + 599_000, RECEIVED + 599_000),
    ]


def test_what_is_quarantined_names_its_user_and_may_be_no_utf_8() -> None:
    body = b'[{"type":"user","userId":"u"},{"type":"event","userId":"v"},{"userId":"\xff"}]'
    rows = Rows("A", RECEIVED, Known()).add(parse_body("bulk", body))
    bad = [fact for fact in rows.facts if isinstance(fact, RawItem)]
    assert [(one.type, one.user_id) for one in bad] == [("quarantined", "v"), ("quarantined", "")]
    assert bad[1].raw == '{"userId":"\ufffd"}'


def test_a_feedback_takes_either_name_of_its_feature() -> None:
    call_ = FeedbackCall(user_id="u", feature_id="f", key="k", score=1, feedback_id="x", raw=b"{}")
    rows = Rows("A", RECEIVED, Known()).add(Batch(accepted=(Accepted(0, call_),)))
    assert [fact.feature for fact in rows.facts if isinstance(fact, Feedback)] == ["f"]
