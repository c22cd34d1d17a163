"""Once and only once, and found again: what both engines promise, on a real file and a real server.

The embedded engine's file, and ClickHouse 18.16 as Debian ships it (SECURITY.md, threats 54, 55).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import duckdb
import pytest
from collectors import DAY, HOUR, NOW, row
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.intake.ingest import Ingest
from collector.store.interface import CLOCK_NOT_BELIEVED, Beat, Feedback, Named, Store, Stored
from collector.store.questions import Questions
from tracking.dates import newest
from tracking.nucleus import parse_frame

Opened = Callable[..., Store]


def heard(frame: object, received_ms: int) -> list[Stored]:
    """Return the rows of a frame that arrives then."""
    ingest = Ingest.__new__(Ingest)
    ingest.counts = Counter()
    parsed = parse_frame(json.dumps(frame), require_ids=True)
    repeats = parsed.has_confirmation
    return ingest.rows("A", parsed.events, received_ms, newest(parsed.events), repeats=repeats)


def all_of(store: Store) -> list[Stored]:
    return [one for rows in store.export("A") for one in rows]


def event(**more: Any) -> dict[str, Any]:
    return {
        "confirmation": "0.5",
        "data": [{"type": "event", "name": "E", "machineId": "m", **more}],
    }


@pytest.mark.parametrize(
    "date",
    [
        pytest.param(NOW, id="now"),
        pytest.param(NOW - 5 * HOUR, id="today"),
        pytest.param(NOW - 2 * DAY, id="at the edge of the memory"),
        pytest.param(NOW - 3 * DAY - 1, id="just outside the memory"),
        pytest.param(NOW - 50 * DAY, id="late"),
        pytest.param(NOW - 59 * DAY, id="about to be too old"),
        pytest.param(NOW - 61 * DAY, id="too old, clamped"),
        pytest.param(0, id="1970"),
        pytest.param("0", id="1970 as text"),
        pytest.param("2100-01-01T00:00:00Z", id="2100"),
        pytest.param("NaN", id="not a number"),
        pytest.param("rubbish", id="unreadable"),
        pytest.param(None, id="none"),
        pytest.param(NOW + 5 * 60_000, id="a little ahead"),
        pytest.param(NOW + 20 * 60_000, id="ahead, clamped the first time only"),
        pytest.param(NOW + 30 * DAY, id="a month ahead"),
    ],
)
@pytest.mark.parametrize("id_", [None, "a1"])
def test_s4_54_55_a_repeat_is_stored_once_whenever_it_comes(
    opened: Opened, date: Any, id_: str | None
) -> None:
    frame = event(date=date, id=id_, payload={"n": 1})
    store = opened()
    assert store.write(heard(frame, NOW)) == 1
    days = (2, 3, 4, 10, 30, 59, 90, 91)
    for later in (0, 1, HOUR, *(day * DAY for day in days)):
        assert store.write(heard(frame, NOW + later)) == 0, f"after {later} ms"
        if later in (HOUR, 4 * DAY, 30 * DAY, 90 * DAY):
            store = opened(NOW + later)
            assert store.write(heard(frame, NOW + later)) == 0, f"opened again after {later} ms"
    assert len(all_of(store)) == 1


@pytest.mark.parametrize(
    ("date", "believed"),
    [(0, False), ("2100-01-01", False), ("NaN", False), ("0", False), (NOW - 1, True)],
)
def test_55_a_date_that_is_not_believed_is_the_receipt_and_says_so(
    opened: Opened, date: Any, believed: bool
) -> None:
    store = opened()
    store.write(heard(event(date=date), NOW))
    (kept,) = all_of(store)
    assert kept.recv_ts == NOW
    believed_at = (NOW - 1, 0) if believed else (NOW, CLOCK_NOT_BELIEVED)
    assert (kept.ts, kept.flags & CLOCK_NOT_BELIEVED) == believed_at


def test_55_an_event_without_a_date_said_nothing_to_disbelieve(opened: Opened) -> None:
    (kept,) = heard(event(), NOW)
    assert (kept.ts, kept.said_ts, kept.flags) == (NOW, 0, 0)


def test_s17_a_wall_time_client_repeats_in_another_frame_and_is_stored_once(
    opened: Opened,
) -> None:
    old = {"appType": "electron", "event": "E", "moduleVersion": "1.13.1", "machineId": "m"}
    first = {**old, "date": NOW + 9 * HOUR}
    store = opened()
    store.write(heard({"data": [first]}, NOW))
    for hours in (1, 30, 200):
        newer = {**old, "event": "F", "date": NOW + (9 + hours) * HOUR}
        assert store.write(heard({"data": [first, newer]}, NOW + hours * HOUR)) == 1
    kept = [one for one in all_of(store) if one.name == "E"]
    assert [one.ts for one in kept] == [NOW]


def test_54_the_same_id_with_other_content_suppresses_nothing(opened: Opened) -> None:
    victim = {"type": "event", "name": "PAID", "id": 7, "date": NOW, "machineId": "m"}
    attacks = [
        {**victim, "payload": {"x": 1}},
        {**victim, "date": NOW - 1},
        {**victim, "name": "OTHER"},
        {**victim, "sessionId": 1},
        {**victim, "machineId": "n"},
        {**victim, "type": "error"},
    ]
    store = opened()
    for attack in attacks:
        assert store.write(heard({"data": [attack]}, NOW)) == 1
    assert store.write(heard({"data": [victim]}, NOW)) == 1
    assert store.write(heard({"data": [*attacks, victim]}, NOW + 1)) == 0


def test_a3_what_an_sdk_rewrites_at_each_send_makes_no_other_event(opened: Opened) -> None:
    store = opened()
    assert store.write(heard(event(id=1, date=NOW, anonId="a"), NOW)) == 1
    assert store.write(heard(event(id=1, date=NOW, anonId="b", userId="u"), NOW)) == 0
    assert store.write(heard(event(id=1, date=NOW, payload={"a": 1, "b": 2}), NOW)) == 1
    assert store.write(heard(event(id=1, date=NOW, payload={"b": 2, "a": 1}), NOW)) == 0


def test_repeats_inside_one_batch_are_stored_once_and_in_order(opened: Opened) -> None:
    store = opened()
    batch = [row(name=name) for name in "ABACBAD"]
    assert store.write(batch) == 4
    assert [one.name for one in all_of(store)] == ["A", "B", "C", "D"]
    assert store.write([row(name=name) for name in "DEAF"]) == 2
    assert [one.name for one in all_of(store)] == ["A", "B", "C", "D", "E", "F"]


def test_s6_what_has_neither_id_nor_date_is_new_unless_its_sender_repeats(opened: Opened) -> None:
    click = {"type": "event", "name": "CLICK", "machineId": "m"}
    store = opened()
    for n in range(3):
        assert store.write(heard({"data": [click, click]}, NOW + n)) == 2
    assert store.write(heard({"confirmation": "0.1", "data": [click]}, NOW)) == 1
    assert store.write(heard({"confirmation": "0.2", "data": [click]}, NOW + DAY)) == 0
    assert store.write(heard({"data": [{**click, "id": 1}]}, NOW)) == 1
    assert store.write(heard({"data": [{**click, "id": 1}]}, NOW + 9 * DAY)) == 0


def test_half_a_key_in_common_is_no_repeat(opened: Opened) -> None:
    store = opened()
    assert store.write([row(key_a=1, key_b=1)]) == 1
    assert store.write([row(key_a=1, key_b=2), row(key_a=1, key_b=1)]) == 1
    assert store.write([row(key_a=1, key_b=-(2**63)), row(key_a=-(2**63), key_b=1)]) == 2


def test_a_clock_that_jumps_makes_no_doubles(opened: Opened) -> None:
    store = opened()
    assert store.write([row()]) == 1
    ahead = NOW + 20 * DAY
    assert store.write([row(name="ahead", ts=ahead, recv_ts=ahead)]) == 1
    assert store.write([row(recv_ts=NOW + 1)]) == 0
    assert store.write([row(name="ahead", ts=ahead, recv_ts=NOW + 2)]) == 0


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_54_random_repeats_over_a_year_of_restarts_are_stored_once(
    data: st.DataObject, stores: Callable[[], Opened]
) -> None:
    opened = stores()
    store = opened()
    dates = st.sampled_from(
        [None, "x", 0, *(NOW + d * DAY + o for d in (-70, -59, -3, -2, 0, 1, 40) for o in (0, 1))]
    )
    known: set[tuple[Any, ...]] = set()
    now = NOW
    for _ in range(data.draw(st.integers(1, 12))):
        now += data.draw(st.sampled_from([0, 1, HOUR, DAY, 3 * DAY, 17 * DAY]))
        if data.draw(st.booleans()):
            store = opened(now)
        said = data.draw(st.lists(st.tuples(dates, st.sampled_from([None, 1])), max_size=5))
        frames = [event(date=date, id=id_)["data"][0] for date, id_ in said]
        fresh = {s for s in said if s not in known}
        assert store.write(heard({"confirmation": "0", "data": frames}, now)) == len(fresh)
        known |= fresh
    assert len(all_of(store)) == len(known)


def test_text_of_every_kind_comes_back(opened: Opened) -> None:
    odd = ["a\0b", "'; DROP TABLE events; --", "✓ü😀", '"\\', "x" * 30_000, "\u202e", "\n\r\t"]
    store = opened()
    store.write([row(name=text, user_id=text, attr_keys=[text]) for text in odd])
    assert [(one.name, one.user_id) for one in all_of(store)] == [(text, text) for text in odd]
    for text in (*odd, "%", "%(app)s", "\\'", "{a:String}", "$app"):
        count = "SELECT count(*) FROM {events} WHERE {in|name|names} OR {has|key} OR name = $one"
        found = store.ask(count, {"names": [text, "?"], "key": text, "one": text})
        assert found == [(int(text in odd),)], text


def test_a_row_that_cannot_be_stored_harms_no_later_one(opened: Opened) -> None:
    store = opened()
    for _ in range(2):
        with pytest.raises((UnicodeEncodeError, duckdb.Error)):
            store.write([row(name="good"), row()._replace(name="\ud800", key_a=1)])
    assert store.write([row(name="good"), row(name="other", device_id="e")]) == 2
    assert [one.name for one in all_of(store)] == ["good", "other"]
    assert Questions(store).quickglance("A", NOW)["installs"] == 2
    assert [one.name for one in all_of(opened())] == ["good", "other"]


def test_the_newest_come_first_with_who_is_new_and_repeats_are_not_news(opened: Opened) -> None:
    store = opened()
    old = row(name="old", recv_ts=NOW - 10 * DAY, ts=NOW - 10 * DAY)
    store.write([old])
    later = [row(name=f"n{n}", recv_ts=NOW + n, ts=NOW, device_id=f"d{n % 2}") for n in range(6)]
    store.write([old._replace(recv_ts=NOW + 9), *later])
    said = store.newest("A", NOW, 4)
    assert [(one.name, new) for one, new in said] == [
        ("n5", True),
        ("n4", True),
        ("n3", True),
        ("n2", True),
    ]
    assert store.newest("A", NOW + 6, 4) == []
    assert store.newest("B", 0, 4) == []


def test_facts_are_kept_with_the_events_or_alone(opened: Opened) -> None:
    store = opened()
    beat = Beat("A", "d", "s", "", NOW, NOW + 5)
    named = Named("A", "E", "")
    assert store.write([row()], [beat, named]) == 1
    assert (
        store.write([], [beat, beat, named, Feedback("A", *"fxuc", 2.5, *"tsqp", NOW, NOW, "{}")])
        == 0
    )
    assert store.ask("SELECT max(first_ts), max(last_ts) FROM beat", {}) == [(NOW, NOW + 5)]
    assert store.ask("SELECT max(score) FROM feedback WHERE app_id = $app", {"app": "A"}) == [
        (2.5,)
    ]
    assert store.ask("SELECT count(DISTINCT event) FROM catalogue", {}) == [(1,)]


def test_who_was_first_seen_when_is_right_in_any_order_of_arrival(opened: Opened) -> None:
    store = opened()
    first = "SELECT kind, id, min(first_ts) FROM seen GROUP BY kind, id ORDER BY kind, id"
    for ts in (NOW, NOW - DAY, NOW - 3 * DAY, NOW + 1):
        store.write([row(ts=ts, user_id="u")])
        store = opened()
    store.write([row(ts=NOW + 2, user_id="w")])
    assert store.ask(first, {}) == [
        ("device", "d", NOW - 3 * DAY),
        ("user", "u", NOW - 3 * DAY),
        ("user", "w", NOW + 2),
    ]
