"""Every frame that an official client was seen to send (NUCLEUS.md §2.1), letter by letter.

Where the capture shortens a value with an ellipsis, it is filled in.
"""

from __future__ import annotations

import json

from tracking.events import Kind
from tracking.nucleus import golden_reply, parse_frame

MACHINE = "0035969ec53f6e7f0fb40f08cc9ed4783aa99c2000cf1ebe4187c10dd0d8370f"
NODEJS_FIRST = (
    '{"data":[{"type":"init","name":null,"date":"2026-11-21T01:34:28.124Z","appId":"APPID-nodejs",'
    '"id":733053,"userId":"richard_hendrix","machineId":"' + MACHINE + '","sessionId":296594,'
    '"payload":{"version":null,"plan":"pro","seats":3,"beta":true},"client":"nodejs",'
    '"platform":"Linux","osVersion":"6.18.44-fc-v657","totalRam":23.540584564208984,'
    '"version":"1.2.3","locale":"en-US","arch":"x64","moduleVersion":"3.0.9"},'
    '{"type":"event","name":"PLAYED_TRACK","date":"2026-11-21T01:34:28.141Z",'
    '"appId":"APPID-nodejs","id":291351,"userId":"richard_hendrix","machineId":"' + MACHINE + '",'
    '"sessionId":296594,"payload":{"trackName":"My Awesome Song","duration":120}}]}'
)
NODEJS_REST = (
    '{"data":[{"type":"userid","name":null,"date":"2026-11-21T01:34:30.642Z",'
    '"appId":"APPID-nodejs","id":171015,"userId":"user2","machineId":"' + MACHINE + '",'
    '"sessionId":296594,"payload":null},{"type":"props","name":null,'
    '"date":"2026-11-21T01:34:30.643Z","id":556249,"userId":"user2","machineId":"' + MACHINE + '",'
    '"sessionId":296594,"payload":{"age":34}},{"type":"error","name":"myCustomError",'
    '"date":"2026-11-21T01:34:30.644Z","id":207585,"userId":"user2","machineId":"' + MACHINE + '",'
    '"sessionId":296594,"payload":{"stack":"Error: boom\\n    at Timeout._onTimeout (x.js)",'
    '"message":"boom"},"client":"nodejs","platform":"Linux"},{"type":"event","name":"no_payload",'
    '"date":"2026-11-21T01:34:30.645Z","id":514526,"userId":"user2","machineId":"' + MACHINE + '",'
    '"sessionId":296594}]}'
)


def test_nodejs_first_frame() -> None:
    frame = parse_frame(NODEJS_FIRST)
    init, played = frame.events
    assert frame.ids == (733053, 291351)
    assert not frame.refused
    assert (init.kind, init.type, init.name) == (Kind.INIT, "init", None)
    assert init.payload == b'{"version":null,"plan":"pro","seats":3,"beta":true}'
    assert (init.device_id, init.machine_id) == (MACHINE, MACHINE)
    assert (init.client, init.platform, init.total_ram) == ("nodejs", "Linux", 24)
    assert (init.language, init.arch, init.module_version) == ("en-US", "x64", "3.0.9")
    assert init.date_ms == 1795224868124
    assert (played.kind, played.name) == (Kind.EVENT, "PLAYED_TRACK")
    assert (played.session_id, played.app_id) == ("296594", "APPID-nodejs")
    assert golden_reply(frame) == b'{"reportedIds":[733053,291351]}'


def test_nodejs_userid_props_error_and_an_event_without_payload() -> None:
    frame = parse_frame(NODEJS_REST)
    assert [e.kind for e in frame.events] == [Kind.USERID, Kind.PROPS, Kind.ERROR, Kind.EVENT]
    assert [e.payload is None for e in frame.events] == [True, False, False, True]
    assert frame.events[2].name == "myCustomError"
    assert json.loads(frame.events[2].payload or b"")["message"] == "boom"
    assert golden_reply(frame) == b'{"reportedIds":[171015,556249,207585,514526]}'


def test_nodejs_heartbeat_after_a_reconnect() -> None:
    frame = parse_frame('{"data":[{"type":"heartbeat","machineId":"' + MACHINE + '"}]}')
    assert not frame.events
    assert frame.heartbeats[0].device_id == MACHINE
    assert golden_reply(frame) == b'{"reportedIds":[]}'


def test_analytics_first_frame_has_dates_in_milliseconds_and_an_anon_id() -> None:
    frame = parse_frame(
        '{"data":[{"type":"init","id":919087,"date":1795225137848,"payload":{},'
        '"sessionId":220810,"userId":"bob","anonId":"xfQDpOf5gU2R","deviceId":"CiF9fH5XFVjD7Xo",'
        '"client":"js","platform":"Linux","osVersion":"6.18.44-fc-v657","version":"2.0.1",'
        '"locale":"en-US"},{"type":"event","name":"early","id":902663,"date":1795225139298,'
        '"sessionId":220810,"userId":"bob","anonId":"xfQDpOf5gU2R","deviceId":"CiF9fH5XFVjD7Xo"},'
        '{"type":"userid","id":122792,"date":1795225139299,"sessionId":220810,"userId":"bob",'
        '"anonId":"xfQDpOf5gU2R","deviceId":"CiF9fH5XFVjD7Xo"},'
        '{"type":"props","id":467739,"date":1795225139300,"sessionId":220810,"userId":"bob",'
        '"payload":{"plan":"pro"},"anonId":"xfQDpOf5gU2R","deviceId":"CiF9fH5XFVjD7Xo"}]}'
    )
    assert [e.date_ms for e in frame.events][:2] == [1795225137848, 1795225139298]
    assert frame.events[0].payload == b"{}"
    assert golden_reply(frame) == (
        b'{"reportedIds":[919087,902663,122792,467739],"anonId":"xfQDpOf5gU2R"}'
    )


def test_analytics_page_view_keeps_its_own_type_and_name() -> None:
    frame = parse_frame(
        '{"data":[{"type":"nucleus:view","name":"Home","id":864434,"date":1795225141952,'
        '"payload":{"a":1},"sessionId":220810,"userId":"carol","anonId":"xfQDpOf5gU2R",'
        '"deviceId":"CiF9fH5XFVjD7Xo"}]}'
    )
    view = frame.events[0]
    assert (view.kind, view.type, view.name) == (Kind.OTHER, "nucleus:view", "Home")


def test_analytics_heartbeat_knows_its_session() -> None:
    frame = parse_frame(
        '{"data":[{"type":"heartbeat","sessionId":220810,"userId":"bob","anonId":"xfQDpOf5gU2R",'
        '"deviceId":"CiF9fH5XFVjD7Xo"}]}'
    )
    assert frame.heartbeats[0].session_id == "220810"
    assert not frame.events


def test_astrolytics_first_launch() -> None:
    frame = parse_frame(
        '{"data":[{"type":"init","id":595803,"date":1795225309167,"payload":{},'
        '"sessionId":92160591,"deviceId":"1245433873","anonId":"L1MzADWNGaE1",'
        '"moduleVersion":"1.1.1","client":"desktop","platform":"linux","locale":"en-US"},'
        '{"type":"$pageview","name":"/index.html","id":882863,"date":1795225309718,'
        '"sessionId":92160591,"deviceId":"1245433873","anonId":"L1MzADWNGaE1",'
        '"moduleVersion":"1.1.1","client":"desktop"}]}'
    )
    assert [e.type for e in frame.events] == ["init", "$pageview"]
    assert [e.client for e in frame.events] == ["desktop", "desktop"]


def test_astrolytics_heartbeat_with_an_id_and_nulls_is_acknowledged_and_not_an_event() -> None:
    frame = parse_frame(
        '{"data":[{"type":"heartbeat","name":null,"id":119048,"date":1795225311669,'
        '"payload":null,"sessionId":92160591,"deviceId":"1245433873","userId":null,'
        '"anonId":"L1MzADWNGaE1","moduleVersion":"1.1.1","client":"desktop"}]}'
    )
    assert not frame.events
    assert golden_reply(frame) == b'{"reportedIds":[119048],"anonId":"L1MzADWNGaE1"}'


def test_astrolytics_second_launch_quotes_the_user_id() -> None:
    frame = parse_frame(
        '{"data":[{"type":"$pageview","name":"/index.html","id":520425,"date":1795225318886,'
        '"sessionId":72568033,"deviceId":"1245433873","userId":"\\"bob-1\\"",'
        '"anonId":"XrElLLkI8tEy","moduleVersion":"1.1.1","client":"desktop"}]}'
    )
    assert frame.events[0].user_id == "bob-1"


def test_electron_1_uses_event_for_the_type_and_wants_its_confirmation_back() -> None:
    frame = parse_frame(
        '{"confirmation":"0.6906826772213237","data":[{"appType":"electron","event":"init",'
        '"date":"2026-11-21T10:43:46.532Z","appId":"APP-EN","userId":"u@e.com","sessionId":9055,'
        '"machineId":"' + MACHINE + '","platform":"linux","osVersion":"6.18.44-fc-v657",'
        '"totalRam":23.540584564208984,"version":"7.7.7","language":null,"arch":"x64",'
        '"payload":null,"process":"main","moduleVersion":"1.13.1"}]}'
    )
    init = frame.events[0]
    assert (init.kind, init.client, init.process) == (Kind.INIT, "electron", "main")
    assert (init.language, init.id, init.total_ram) == (None, None, 24)
    assert golden_reply(frame) == b'{"reportedIds":[],"confirmation":"0.6906826772213237"}'


def test_python_sends_userid_before_init_with_blanks_and_naive_dates() -> None:
    frame = parse_frame(
        '{"data": [{"type": "userid", "name": null, "date": "2026-11-21T10:45:52.958818", '
        '"appId": "APP-PY", "id": 4629, "userId": "u1", '
        '"machineId": "b1f5c5b7caf866bdaddd439b331f2640", "sessionId": 3479, "payload": null}, '
        '{"type": "init", "name": null, "date": "2026-11-21T10:45:52.958999", "appId": "APP-PY", '
        '"id": 3784, "userId": "u1", "machineId": "b1f5c5b7caf866bdaddd439b331f2640", '
        '"sessionId": 3479, "payload": null, "client": "python", "platform": "Linux", '
        '"osVersion": "6.18", "totalRam": 25, "version": "0.0.0", "locale": "en_US", "arch": 64, '
        '"moduleVersion": "0.3"}]}'
    )
    assert [e.kind for e in frame.events] == [Kind.USERID, Kind.INIT]
    assert (frame.events[1].arch, frame.events[1].language) == ("64", "en_US")
    assert frame.events[0].date == "2026-11-21T10:45:52.958818"
    assert golden_reply(frame) == b'{"reportedIds":[4629,3784]}'


def test_swift_sends_the_same_in_a_binary_frame() -> None:
    assert parse_frame(NODEJS_FIRST.encode()) == parse_frame(NODEJS_FIRST)
