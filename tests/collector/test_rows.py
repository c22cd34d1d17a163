"""A row says all that its event said, and a line of an export all that its row says."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from collectors import DAY, NOW
from hypothesis import example, given
from hypothesis import strategies as st

from collector.intake.catalogue import Catalogue
from collector.intake.rows import content_key, exported, imported, stored
from collector.store.interface import (
    CLOCK_NOT_BELIEVED,
    DATE_AS_NUMBER,
    FROM_BUCKET,
    INACTIVE,
    NAME_FOLDED,
    Stored,
)
from tracking.dates import event_ms, iso, newest
from tracking.errors import RequestFault
from tracking.events import Event
from tracking.nucleus import device_of, parse_frame

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
WHOLE = st.integers(-(2**53) + 1, 2**53 - 1)
BROKEN = st.floats(allow_nan=False, allow_infinity=False)
AGO = st.integers(0, 10**12).map(lambda ago: NOW - ago)
DATES = st.one_of(
    st.none(),
    AGO,
    AGO.map(iso),
    AGO.map(lambda at: iso(at)[:-1]),
    AGO.map(lambda at: iso(at)[:-1] + "+09:00"),
    AGO.map(lambda at: iso(at)[:10]),
    AGO.map(lambda at: iso(at).replace("T", " ")),
    AGO.map(lambda at: at / 1000),
    AGO.map(float),
    AGO.map(str),
    WHOLE,
    BROKEN,
    TEXT,
    st.sampled_from(["2026-W47-6T01:34:28.124Z", "2026-11-21T01:34:28,124Z", "NaN", "0", ""]),
    # 24 characters, of which many are a date that `iso` would spell otherwise
    st.from_regex(r"\A20[12]\d[-W][01W][0-9][-0-9][0-3]\d[T ][012]\d:?\d\d:?\d[.,:]\d{3}[Zz0]\Z"),
)
SCALARS = st.one_of(TEXT, WHOLE, BROKEN, st.booleans(), st.none())
WORDS = st.one_of(
    st.sampled_from(["init", "event", "error", "userid", "props", "$pageview", "nucleus:view"]),
    TEXT.filter(bool),
)
IDS = st.one_of(TEXT.filter(bool), WHOLE, BROKEN, st.none())
FACTS = ("client", "moduleVersion", "platform", "osVersion", "version", "locale", "arch", "process")
EVENTS = st.fixed_dictionaries(
    {"type": WORDS, "name": TEXT.filter(bool), "id": IDS, "date": DATES, "sessionId": IDS},
    optional={
        "userId": TEXT,
        "anonId": TEXT,
        "deviceId": TEXT,
        "machineId": TEXT,
        "totalRam": BROKEN,
        "payload": st.dictionaries(TEXT, st.one_of(SCALARS, st.lists(SCALARS, max_size=2))),
        **dict.fromkeys(FACTS, TEXT),
    },
)


def heard(said: dict[str, Any] | str, received_ms: int = NOW) -> list[Stored]:
    """Return the rows of one event, none if it is refused."""
    text = said if isinstance(said, str) else json.dumps(said)
    frame = parse_frame(f'{{"data":[{text}]}}', require_ids=True)
    return [
        stored(
            "A",
            device_of(event) or "",
            event,
            received_ms,
            event_ms(event, received_ms, newest(frame.events)),
            "NZ",
        )
        for event in frame.events
    ]


def base(**more: Any) -> dict[str, Any]:
    return {"type": "event", "name": "E", "deviceId": "d", "id": 1, **more}


@given(EVENTS)
@example(base(date=NOW))
@example(base(date=0))
@example(base(date="1970-01-01T00:00:00.000Z"))
@example(base(id=None, date=None))
@example(base(machineId="m", payload={"a": 2.0, "b": "é"}))
def test_a_line_of_an_export_is_the_row_again_byte_for_byte(said: dict[str, Any]) -> None:
    for row in heard(said):
        line = exported(row)
        assert imported(line, "A") == row
        assert exported(imported(line, "A")) == line


@given(EVENTS)
def test_the_raw_date_of_a_row_is_the_one_that_was_sent(said: dict[str, Any]) -> None:
    for row in heard(said):
        if row.raw_date:
            date: Any = json.loads(row.raw_date)
            assert date != iso(row.said_ts) or not row.said_ts
            assert isinstance(date, (str, float)) or date != row.said_ts or not row.said_ts
        elif row.flags & DATE_AS_NUMBER:
            date = row.said_ts
        else:
            date = iso(row.said_ts) if row.said_ts else None
        sent = parse_frame(json.dumps({"data": [said]})).events[0].date
        assert (type(date), date) == (type(sent), sent)
        assert (row.flags & CLOCK_NOT_BELIEVED != 0) == (date is not None and row.ts != row.said_ts)


def test_a_row_from_bucket_a_folded_name_and_an_own_key_come_back() -> None:
    (row,) = heard(base(date=NOW - 5, payload={"a": 1}))
    row = row._replace(
        device_id="",
        company_id="c1",
        flags=row.flags | FROM_BUCKET | INACTIVE,
        key_a=-7,
        key_b=2**63 - 1,
    )
    assert imported(exported(row), "A") == row


@pytest.mark.parametrize("type_", ["event", "error", "$pageview", "init"])
def test_a_name_over_the_bound_comes_back_as_it_was_sent(type_: str) -> None:
    """Where it is imported it is counted anew."""
    full = Catalogue(most_names=0, most_keys=0)
    (row,) = heard(base(type=type_, name='/a "b"', date=NOW, payload={"a": 1}))
    (folded,), _ = full.fold([row])
    assert imported(exported(folded), "A") == row
    assert (folded.flags & NAME_FOLDED != 0) == (type_ != "init")


def test_lines_of_another_app_get_keys_of_that_app_and_a_time_of_receipt_on_request() -> None:
    (row,) = heard(base(date=NOW - 90 * DAY, machineId="m"), NOW - 50 * DAY)
    taken = imported(exported(row), "B", NOW)
    assert taken.app_id == "B"
    assert (taken.ts, taken.recv_ts) == (row.ts, NOW)
    event = parse_frame(json.dumps({"data": [base(date=NOW - 90 * DAY)]})).events[0]
    assert struct.pack(">qq", taken.key_a, taken.key_b) == content_key("B", "d", event)


def test_two_undated_events_without_ids_are_two_and_stay_so_when_imported() -> None:
    event = Event(kind=parse_frame('{"data":{"name":"E"}}').events[0].kind, type="event", name="E")
    rows = [stored("A", "d", event, NOW, NOW, repeats=False) for _ in range(2)]
    assert len({row[1:3] for row in rows}) == 2
    assert [imported(exported(row), "A") for row in rows] == rows


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"type":"event","name":"E"}',
        b'{"type":5,"date":"2026-11-21T01:34:28.124Z","receivedAt":"2026-11-21T01:34:28.124Z"}',
        *(
            b'{"type":"event","date":"2026-11-21T01:34:28.124Z",'
            b'"receivedAt":"2026-11-21T01:34:28.124Z",' + more + b"}"
            for more in (
                b'"payload":5',
                b'"payload":[1]',
                b'"payload":{"a":1,"a":2}',
                b'"payload":{"a":1e999}',
                b'"id":{}',
                b'"id":true',
                b'"key":"zz"',
                b'"key":"00"',
                b'"saidDate":[]',
                b'"deviceId":"\\u0000"',
                b'"type":"init"',
            )
        ),
    ],
)
def test_a_line_that_no_export_wrote_is_refused_by_name(line: bytes) -> None:
    with pytest.raises(RequestFault) as fault:
        imported(line, "A")
    assert fault.value.field.startswith("line")
