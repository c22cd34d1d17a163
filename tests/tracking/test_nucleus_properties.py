"""Laws of the Nucleus language: whatever comes in, and whatever we write."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tracking import frames
from tracking.events import Event, Limits
from tracking.lenient import _FIELDS, read_event
from tracking.nucleus import (
    Outgoing,
    content_hash,
    encode_event,
    event_ms,
    golden_reply,
    heartbeat,
    iso,
    parse_frame,
    parse_ms,
    parse_reply,
    wrap,
)

FIELDS = sorted(_FIELDS)

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
any_text = st.text(st.characters(), max_size=20)  # also half surrogates and NUL
numbers = st.one_of(
    st.integers(),
    st.integers(-(2**53), 2**53),
    st.floats(),
    st.sampled_from([2**53, 2**63, 2**64, 10**400, 1e308, -0.0]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, any_text)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(any_text, inner, max_size=4)
    ),
    max_leaves=20,
)
wild_events = st.one_of(
    anything,
    st.dictionaries(st.sampled_from(FIELDS), anything, max_size=12),
    st.dictionaries(st.sampled_from(FIELDS), scalars, max_size=12).map(
        lambda e: {"type": "event", "name": "E", **e}
    ),
)
frames_of_any_kind = st.one_of(
    anything,
    st.fixed_dictionaries(
        {"data": st.lists(wild_events, max_size=5)},
        optional={"appId": scalars, "confirmation": anything, "x": anything},
    ),
)
flat = st.dictionaries(
    text.filter(bool),
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53) + 1, 2**53 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        text,
    ),
    max_size=6,
)
outgoing = st.builds(
    Outgoing,
    type=st.sampled_from(["event", "error", "$pageview"]),
    name=text.filter(bool),
    id=text.filter(bool),
    date=st.integers(0, 253402300799999).map(iso),
    session_id=st.integers(1000, 99_999_999),
    anon_id=text.filter(lambda t: bool(t) and not t.startswith('"')),
    device_id=text.filter(bool),
    machine_id=text.filter(bool),
    user_id=st.none() | text.filter(lambda t: bool(t) and not t.startswith('"')),
    client=st.none() | text.filter(bool),
    platform=st.none() | text.filter(bool),
    total_ram=st.none() | st.integers(1, 4096),
    language=st.none() | text.filter(bool),
    payload=st.none() | flat.map(lambda p: msgspec.Raw(msgspec.json.encode(p))),
)


written = outgoing.map(lambda o: json.loads(encode_event(o)))


def read_patiently(raw: bytes, limits: Limits, *, require_ids: bool) -> frames.Frame:
    """What the patient road alone makes of a frame."""
    elements = msgspec.json.decode(raw, type=dict[str, list[msgspec.Raw]])["data"]
    understood = frames._Understood()
    for n, element in enumerate(elements):
        understood.add(read_event(bytes(element).decode(), n, limits, require_ids=require_ids))
    return understood.frame()


@given(frames_of_any_kind)
@settings(max_examples=200)
@example({"data": [{"type": "heartbeat", "id": 10**400, "date": math.nan}]})
def test_any_json_is_understood_or_refused_and_what_is_understood_can_be_answered(
    value: Any,
) -> None:
    for raw in (json.dumps(value), json.dumps(value, ensure_ascii=False, separators=(",", ":"))):
        for require_ids in (False, True):
            frame = parse_frame(raw, require_ids=require_ids)
            reply = golden_reply(frame)
            assert json.loads(reply)["reportedIds"] == list(frame.ids)
            assert len(parse_reply(reply).ids) == len(frame.ids)
            for event in frame.events:
                check(event)


def check(event: Event) -> None:
    """What the rest of the program relies on."""
    for field in msgspec.structs.asdict(event).values():
        if isinstance(field, str):
            assert "\0" not in field
            field.encode("utf-8")
    if event.payload is not None:
        assert isinstance(msgspec.json.decode(event.payload), dict)
        assert b"\\u0000" not in event.payload or b"\\\\u0000" in event.payload
    assert event_ms(event, 1795225137848, None) >= 0
    if event.id is not None:
        assert len(content_hash("A", event)) == 16


@given(st.binary(max_size=200))
@example(b'{"data":[{"name":"\xff"}]}')
def test_any_bytes_are_understood_or_refused(raw: bytes) -> None:
    for data in (raw, b'{"data":[' + raw + b"]}", b'{"data":[{"name":"E","payload":' + raw):
        assert golden_reply(parse_frame(data)).startswith(b'{"reportedIds":[')
    parse_reply(raw)


@given(st.lists(outgoing, min_size=1, max_size=5))
@settings(max_examples=200)
def test_a_canonical_frame_is_read_back_as_what_was_written(written: list[Outgoing]) -> None:
    frame = parse_frame(wrap([encode_event(o) for o in written]))
    assert not frame.refused
    for event, out in zip(frame.events, written, strict=True):
        assert event.type == out.type
        assert (event.name, event.id, event.date) == (out.name, out.id, out.date)
        assert event.date_ms == parse_ms(out.date)
        assert event.session_id == str(out.session_id)
        assert (event.anon_id, event.user_id) == (out.anon_id, out.user_id)
        assert (event.device_id, event.machine_id) == (out.device_id, out.machine_id)
        assert (event.client, event.platform) == (out.client, out.platform)
        assert (event.total_ram, event.language) == (out.total_ram, out.language)
        assert event.payload == (None if out.payload is None else bytes(out.payload))


@given(st.lists(st.one_of(wild_events, written), max_size=5), st.booleans())
@settings(max_examples=200)
def test_both_roads_lead_to_the_same_events(events: list[Any], require_ids: bool) -> None:
    for separators in ((",", ":"), (", ", ": ")):
        raw = json.dumps({"data": events}, separators=separators).encode()
        try:
            patient = read_patiently(raw, Limits(), require_ids=require_ids)
        except (msgspec.DecodeError, RecursionError):
            continue
        quick = frames._quick(raw, Limits(), require_ids)
        if quick is not None:
            assert quick.frame() == patient
        whole = parse_frame(raw, require_ids=require_ids)
        assert (whole.events, whole.heartbeats, whole.ids) == (
            patient.events,
            patient.heartbeats,
            patient.ids,
        )
        assert [str(r.fault) for r in whole.refused] == [str(r.fault) for r in patient.refused]


@given(outgoing)
@settings(max_examples=200)
def test_our_own_frames_take_the_quick_road(event: Outgoing) -> None:
    raw = wrap([encode_event(event)])
    assert frames._quick(raw, Limits(), True) is not None or b"\\u0000" in raw


@given(st.integers(0, 253402300799999))
def test_a_moment_survives_iso_and_back(ms: int) -> None:
    assert parse_ms(iso(ms)) == ms


@given(st.one_of(anything, any_text, st.from_regex(r"\A\s*[-0-9T:.Z+ ]{1,30}\Z")))
def test_any_date_is_a_moment_or_none(value: Any) -> None:
    ms = parse_ms(value)
    assert ms is None or 0 <= ms <= 253402300799999


def test_a_heartbeat_is_one_frame_that_we_understand() -> None:
    raw = heartbeat("d", "m", 92160591)
    assert raw == (
        b'{"data":[{"type":"heartbeat","sessionId":92160591,"deviceId":"d","machineId":"m"}]}'
    )
    assert parse_frame(raw).heartbeats[0].machine_id == "m"
    assert b"sessionId" not in heartbeat("d", "m", None)
