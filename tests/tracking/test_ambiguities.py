"""The lenient rule of every ambiguity of NUCLEUS.md §5 that a frame can show."""

from __future__ import annotations

import json

import pytest
from frames_by_hand import only, parse

from tracking.events import Frame, Kind
from tracking.nucleus import (
    content_hash,
    device_of,
    event_ms,
    golden_reply,
    newest,
    normal_language,
    normal_platform,
    parse_frame,
)

NOW = 1795225137848
QUARTER = 15 * 60_000


@pytest.mark.parametrize(
    ("sent", "kind", "name"),
    [
        ({"event": "init"}, Kind.INIT, None),
        ({"event": "error:weird"}, Kind.ERROR, "weird"),
        ({"event": "nucleus:userid"}, Kind.USERID, None),
        ({"event": "nucleus:beacon"}, Kind.USERID, None),
        ({"event": "nucleus:props"}, Kind.PROPS, None),
        ({"event": "nucleus:heartbeat"}, Kind.HEARTBEAT, None),
        ({"event": "ITEM"}, Kind.EVENT, "ITEM"),
        ({"type": "event", "event": "ITEM"}, Kind.EVENT, "ITEM"),
        ({"type": "init", "event": "x"}, Kind.INIT, None),
        ({"type": "event", "name": "a", "event": "b"}, Kind.EVENT, "a"),
    ],
)
def test_a1_event_stands_in_for_type_and_name(
    sent: dict[str, str], kind: Kind, name: str | None
) -> None:
    event = only(**sent)
    assert (event.kind, event.name) == (kind, name)


@pytest.mark.parametrize("id_", [733053, "a1", "733053", 0, 1.5, -3, "", 2**53 - 1])
def test_a2_an_id_is_echoed_in_its_own_type_and_value(id_: object) -> None:
    reply = golden_reply(parse({"name": "E", "id": id_}))
    assert reply == json.dumps({"reportedIds": [id_]}, separators=(",", ":")).encode()


def test_a2_an_id_beyond_2_53_must_be_text_and_is_still_acknowledged() -> None:
    frame = parse({"name": "E", "id": 2**53})
    assert frame.refused[0].fault.field == "data[0].id"
    assert golden_reply(frame) == b'{"reportedIds":[9007199254740992]}'
    assert not parse({"name": "E", "id": str(2**53)}).refused


def test_a2_an_event_may_have_no_id() -> None:
    assert only(name="E", id=None).id is None
    assert parse({"name": "E"}).ids == ()


def test_a3_repeats_have_equal_hashes_and_nothing_else_has() -> None:
    sent = {"name": "E", "id": 1, "date": 5, "sessionId": 7, "payload": {"a": 1}, "anonId": "x"}
    base = content_hash("A", only(**sent))
    assert len(base) == 16
    assert base == content_hash("A", only(**sent | {"anonId": "y", "userId": "late"}))
    others = [{"id": "1"}, {"id": 2}, {"name": "F"}, {"date": 6}, {"sessionId": 8}]
    for other in [*others, {"date": "5"}, {"payload": {"a": 2}}, {"payload": None}]:
        assert content_hash("A", only(**sent | other)) != base
    assert content_hash("B", only(**sent)) != base


def test_a4_the_device_is_device_id_or_else_machine_id() -> None:
    assert only(name="E", deviceId="d", machineId="m").device_id == "d"
    assert only(name="E", machineId="m").device_id == "m"
    assert only(name="E", deviceId=None, machineId="m").device_id == "m"


def test_a5_a_heartbeat_may_lack_everything_and_is_never_an_event() -> None:
    frame = parse({"type": "heartbeat"}, {"event": "nucleus:heartbeat", "machineId": "m"})
    assert not frame.events
    assert [beat.device_id for beat in frame.heartbeats] == [None, "m"]
    assert golden_reply(frame) == b'{"reportedIds":[]}'


@pytest.mark.parametrize(
    "date",
    [
        "2026-11-21T01:38:57.848Z",
        "2026-11-21T01:38:57.848",
        "2026-11-21T03:38:57.848+02:00",
        "2026-11-21 01:38:57.848+0000",
        NOW,
        float(NOW),
        NOW + 0.25,
        NOW / 1000,
        str(NOW),
        f"{NOW}.0",
        " 1795225137.848 ",
    ],
)
def test_a6_every_form_of_a_date_is_the_same_moment(date: object) -> None:
    event = only(name="E", date=date)
    assert event.date_ms == NOW
    assert event.date == date


def test_a6_a_day_alone_is_its_first_moment() -> None:
    assert only(name="E", date="2026-11-21").date_ms == 1795219200000


@pytest.mark.parametrize(
    "date",
    [None, "", "yesterday", "2026-02-30", -1, 1e300, True, {}, [], "9" * 40, "x" * 9999, 10**30]  # noqa: RUF005
    + ["2026-11-21T01:38:57.848Z\0", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"],
)
def test_a6_what_is_no_date_counts_as_absent(date: object) -> None:
    event = only(name="E", date=date)
    assert event.date_ms is None
    assert event_ms(event, NOW, None) == NOW


def test_a7_wall_time_of_python_is_put_right_by_quarters_of_an_hour() -> None:
    old, new = (only(name="E", date=f"2026-11-21T10:{minute}:57.848000") for minute in ("08", "38"))
    assert event_ms(new, NOW, newest([old, new])) == NOW
    assert event_ms(old, NOW, newest([old, new])) == NOW - 30 * 60_000


def test_a7_wall_time_of_electron_1_is_put_right_and_that_of_2_is_believed() -> None:
    late = "2026-11-20T20:38:57.848Z"  # five hours behind
    sent = {"event": "E", "date": late, "appType": "electron"}
    one, two = only(**sent, moduleVersion="1.13.1"), only(**sent, moduleVersion="2.0.0")
    assert event_ms(one, NOW, newest([one])) == NOW
    assert event_ms(two, NOW, newest([two])) == NOW - 20 * QUARTER


@pytest.mark.parametrize(
    "date",
    [
        "2026-11-21T00:38:57.848Z",
        "2026-11-21T02:38:57.848+02:00",
        NOW - 4 * QUARTER,
        f"{NOW - 4 * QUARTER}",
    ],
)
def test_a7_a_late_but_honest_date_is_believed(date: object) -> None:
    event = only(name="E", date=date, client="nodejs")
    assert event_ms(event, NOW, newest([event])) == NOW - 4 * QUARTER


@pytest.mark.parametrize("days", [2, 3650, -61, -20000])
def test_a7_a_date_that_cannot_be_is_the_time_of_receipt(days: int) -> None:
    event = only(name="E", date=max(0, NOW + days * 86_400_000))
    assert event_ms(event, NOW, newest([event])) == NOW


def test_a8_a_missing_type_is_an_event_and_an_unknown_one_is_kept() -> None:
    assert only(name="E", type=None).kind is Kind.EVENT
    view = only(type="$pageview", name="/index.html")
    assert (view.kind, view.type, view.name) == (Kind.OTHER, "$pageview", "/index.html")
    assert only(type="$sessionend").name is None


def test_a9_props_come_in_payload_or_in_data_also_with_userid() -> None:
    assert only(type="props", payload={"a": 1}).payload == b'{"a": 1}'
    assert only(type="props", data={"a": 1}).payload == b'{"a": 1}'
    assert only(type="userid", userId="u", data={"a": 1}, payload=None).payload == b'{"a": 1}'
    assert only(type="event", name="E", data={"a": 1}).payload is None


def test_a10_null_in_props_is_left_for_the_reader_of_props() -> None:
    assert only(type="props", payload={"version": None}).payload == b'{"version": null}'
    assert only(name="E", payload=None).payload is None


def test_a12_locale_goes_before_language_and_ram_is_rounded() -> None:
    event = only(type="init", locale="en-US", language="de", totalRam=23.54)
    assert (event.language, event.total_ram) == ("en-US", 24)
    assert only(type="init", language="de", totalRam="8").total_ram == 8
    assert only(type="init", totalRam="lots").total_ram is None
    languages = {"en-US": "en", "en_GB": "en", "C": None, "POSIX": None, "": None, "C.UTF-8": None}
    assert {raw: normal_language(raw) for raw in languages} == languages
    assert normal_language(None) is None


def test_a13_a_session_id_is_compared_as_text() -> None:
    sessions = [only(name="E", sessionId=s).session_id for s in (315091, "315091", 315091.0)]
    assert sessions == ["315091"] * 3


def test_a14_quoted_ids_lose_their_quotes_twice_at_most() -> None:
    once, twice, thrice = '"bob-1"', '"\\"bob-1\\""', json.dumps(json.dumps(json.dumps("b")))
    assert only(name="E", userId=once).user_id == "bob-1"
    assert only(name="E", userId=twice).user_id == "bob-1"
    assert only(name="E", userId=thrice).user_id == '"b"'
    assert only(name="E", anonId='"X"', appId='"A"').anon_id == "X"
    assert only(name="E", anonId='"X"', appId='"A"').app_id == "A"
    assert golden_reply(parse({"name": "E", "anonId": '"X"'})) == b'{"reportedIds":[],"anonId":"X"}'
    assert only(name="E", userId='"').user_id == '"'
    assert only(name="E", userId='"a" and "b"').user_id == '"a" and "b"'


def test_a15_the_app_inside_the_event_is_told() -> None:
    assert only(name="E", appId="APP-A").app_id == "APP-A"


@pytest.mark.parametrize(
    "raw",
    [
        '{"data":[{"name":"E","id":1}]}',
        '{"data":{"name":"E","id":1}}',
        '[{"name":"E","id":1}]',
        b'{"data":[{"name":"E","id":1}]}',
        b'\xef\xbb\xbf {"data" : [ {"name":"E","id":1} ] }\r\n',
        bytearray(b'{"data":[{"name":"E","id":1}]}'),
        '{"future":{"a":[1,"]"]},"data":[{"name":"E","id":1}]}',
    ],
)
def test_a16_every_shape_of_a_frame_is_understood(raw: bytes | str) -> None:
    frame = parse_frame(raw)
    assert [(e.name, e.id) for e in frame.events] == [("E", 1)]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"OK",
        b"null",
        b"5",
        b'"x"',
        b"{}",
        b'{"events":[]}',
        b'{"data":5}',
        b"[1,2",
        b"\xff",
        b'{"data":[]} x',
        b'{"data":[],"data":[]}',
        b'{"data":[}]}',
        b"{'data':[]}",
        b"\0",
    ],
)
def test_a16_what_is_no_frame_is_one_refusal_and_an_empty_reply(raw: bytes) -> None:
    frame = parse_frame(raw)
    assert [r.index for r in frame.refused] in ([-1], [0, 1])
    assert not frame.events
    assert golden_reply(frame) == b'{"reportedIds":[]}'


def test_a16_an_empty_frame_is_a_frame() -> None:
    assert parse_frame(b'{"data":[]}') == Frame()
    assert parse_frame(b"[ ]") == Frame()


def test_a17_platforms_have_one_spelling() -> None:
    spelling = {
        "Darwin": "mac",
        "darwin": "mac",
        "macOS": "mac",
        "Mac OS X 10.15.7": "mac",
        "win32": "win",
        "Windows_NT": "win",
        "Windows 10.0": "win",
        "Linux ": "linux",
        "iPadOS": "ios",
        "iOS": "ios",
        "Android 14": "android",
        "FreeBSD": "freebsd",
        "": None,
    }
    assert {raw: normal_platform(raw) for raw in spelling} == spelling
    assert normal_platform(None) is None


def test_a19_without_a_device_a_person_will_do_and_without_either_it_is_refused() -> None:
    raw = '{"data":[{"name":"E","anonId":"x"},{"name":"E","userId":"u"},{"name":"E","id":3}]}'
    frame = parse_frame(raw, require_ids=True)
    assert [device_of(e) for e in frame.events] == ["x", "u"]
    assert frame.refused[0].fault.field == "data[2].deviceId"
    assert golden_reply(frame).startswith(b'{"reportedIds":[3]')
    assert len(parse_frame(raw).events) == 3
