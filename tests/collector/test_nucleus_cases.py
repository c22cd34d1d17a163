"""The cases S1 to S33 of NUCLEUS.md §8, said to a real server: what it answers and what it keeps.

Over 400 lines, because it follows the table of the cases. S33, and the part of S4 that is about
restarts, need servers that are killed: test_kill.py.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import websocket
from collectors import DAY, HOUR, AppOf, now_ms

from tracking.dates import iso


def init(**more: Any) -> dict[str, Any]:
    return {"type": "init", "id": 733053, "date": now_ms(), "machineId": "m", **more}


def event(name: str = "E", **more: Any) -> dict[str, Any]:
    return {"type": "event", "name": name, "date": now_ms(), "machineId": "m", **more}


def data(*events: Any, **more: Any) -> dict[str, Any]:
    return {**more, "data": list(events)}


def person(app: AppOf, user_id: str) -> Any:
    """Return what the Data API says of a user and of their sessions."""
    path = f"/api/v1/apps/{app.id}/users/{quote(user_id, safe='')}"
    status, said, _ = app.far_end.request("GET", path, headers={"Authorization": app.token})
    assert status == 200, said
    return said


def today(app: AppOf, path: str) -> Any:
    """Ask about yesterday and today."""
    return app.ask(f"{path}?start={now_ms() - DAY}&end={now_ms() + HOUR}")


@pytest.mark.parametrize(
    "path", ["/app/{}/track", "/app/{}/track/", "//app/{}/track", "/{}", "/{}/"]
)
@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "tauri://localhost"])
def test_s1_every_spelling_of_the_path_and_every_origin_comes_in(
    app: AppOf, path: str, origin: str | None
) -> None:
    more: dict[str, Any] = {"suppress_origin": True} if origin is None else {"origin": origin}
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    with contextlib.closing(app.far_end.ws(path.format(app.id), header=offer, **more)) as ws:
        ws.send(json.dumps(data(init())))
        assert ws.recv() == '{"reportedIds":[733053]}'
    assert [e["type"] for e in app.stored] == ["init"]


@pytest.mark.parametrize("id_", [733053, "a1", "733053", 0, -5, 2**53 - 1, "ünïcode ✓", 1.5])
def test_s2_s3_an_id_comes_back_in_its_own_type_and_is_stored(app: AppOf, id_: Any) -> None:
    ids = [id_, 1, "x"]
    assert app.say(data(*(init(id=i) for i in ids))) == {"reportedIds": ids}
    assert [e["id"] for e in app.stored] == ids


def test_every_case_of_the_table_has_a_test_with_its_number() -> None:
    here = Path(__file__).parent
    text = "".join(path.read_text() for path in sorted(here.glob("test_*.py")))
    numbers = {
        int(number)
        for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)
        for number in re.findall(r"(?<=_)s(\d+)(?=_)", name)
    }
    assert numbers == set(range(1, 34))


def test_s4_the_same_frame_again_is_acknowledged_and_stored_once(app: AppOf) -> None:
    frame = json.dumps(data(init(id=1), event(id="b"), event()))
    for _ in range(3):
        assert app.say(frame) == {"reportedIds": [1, "b"]}
    assert len(app.stored) == 3
    assert app.glance()["appStarts"] == 1


def test_s4_the_same_frame_at_once_on_many_sockets_is_stored_once(app: AppOf) -> None:
    frame = json.dumps(data(*(event(id=n, payload={"n": n}) for n in range(200))))
    sockets = [app.far_end.ws(f"/app/{app.id}/track") for _ in range(4)]
    start = threading.Barrier(4)

    def talk(ws: websocket.WebSocket) -> None:
        start.wait()
        for _ in range(3):
            ws.send(frame)
        replies.extend(len(json.loads(ws.recv())["reportedIds"]) for _ in range(3))

    replies: list[int] = []
    threads = [threading.Thread(target=talk, args=(ws,)) for ws in sockets]
    for thread in threads:
        thread.start()
    for thread, ws in zip(threads, sockets, strict=True):
        thread.join()
        ws.close()
    assert replies == [200] * 12
    assert len(app.stored) == 200


def test_s5_events_of_one_id_and_different_content_are_all_stored(app: AppOf) -> None:
    at = now_ms()
    different = [
        event("A", id=7, date=at),
        event("B", id=7, date=at),
        event("A", id=7, date=at - 1),
        event("A", id="7", date=at),
        event("A", id=7, date=at, payload={"n": 1}),
        event("A", id=7, date=at, sessionId=5),
        event("A", id=7, date=at, machineId="other"),
        {**event("A", id=7, date=at), "type": "error"},
    ]
    assert app.say(data(*different)) == {"reportedIds": [e["id"] for e in different]}
    assert app.say(data(*reversed(different)))["reportedIds"]
    assert len(app.stored) == len(different)


def test_s6_events_without_ids_are_stored_once_even_with_another_token(app: AppOf) -> None:
    frame = data({"appType": "electron", "event": "ITEM", "date": iso(now_ms()), "machineId": "m"})
    for token in ("0.5", "0.6906826772213237"):
        assert app.say({**frame, "confirmation": token}) == {
            "reportedIds": [],
            "confirmation": token,
        }
    assert [e["name"] for e in app.stored] == ["ITEM"]


def test_s7_a_reply_has_no_key_that_nobody_asked_for(app: AppOf) -> None:
    assert list(app.say(data(init(id=5)))) == ["reportedIds"]


@pytest.mark.parametrize("anon", ["X", '"X"'])
def test_s8_an_anonymous_id_comes_back_without_quotes(app: AppOf, anon: str) -> None:
    assert app.say(data(init(anonId=anon)))["anonId"] == "X"
    assert app.stored[0]["anonId"] == "X"


def test_s9_a_quoted_user_is_the_user(app: AppOf) -> None:
    app.say(data(init(id=1, userId='"bob-1"')))
    app.say(data(event(id=2, userId="bob-1", machineId="m2")))
    assert [e["userId"] for e in app.stored] == ["bob-1", "bob-1"]
    assert app.glance()["users"] == 1
    assert {device["_id"] for device in person(app, "bob-1")["user"]["devices"]} == {"m", "m2"}


@pytest.mark.parametrize(
    ("beat", "ids"),
    [
        ({"type": "heartbeat", "machineId": "m"}, []),
        (
            {
                **dict.fromkeys(("name", "payload", "userId")),
                **{"type": "heartbeat", "id": 119048, "deviceId": "m", "date": 1795225311669},
            },
            [119048],
        ),
        ({"event": "nucleus:heartbeat", "machineId": "m"}, []),
    ],
)
def test_s10_s11_s12_a_heartbeat_makes_live_and_leaves_no_event(
    app: AppOf, beat: dict[str, Any], ids: list[int]
) -> None:
    with contextlib.closing(app.far_end.ws(f"/app/{app.id}/track")) as ws:
        ws.send(json.dumps(data(beat)))
        assert json.loads(ws.recv()) == {"reportedIds": ids}
        assert [user["deviceId"] for user in app.ask("/live/users")] == ["m"]
        assert app.ask("/live/users/count") == 1
    assert app.stored == []
    assert app.glance()["appStarts"] == 0


def test_a5_a_heartbeat_that_names_nobody_is_of_the_device_that_spoke_last(app: AppOf) -> None:
    def live() -> set[str]:
        return {user["deviceId"] for user in app.ask("/live/users")}

    nameless = json.dumps(data({"type": "heartbeat"}))
    with contextlib.closing(app.far_end.ws(f"/app/{app.id}/track")) as ws:
        ws.send(nameless)
        assert json.loads(ws.recv()) == {"reportedIds": []}
        assert live() == set()
        ws.send(json.dumps(data(event(id=1, machineId="m"), event(id=2, machineId="n"))))
        ws.recv()
        ws.send(nameless)
        ws.recv()
        assert live() == {"m", "n"}
        seen = {user["deviceId"]: user["lastSeen"] for user in app.ask("/live/users")}
        assert seen["n"] >= seen["m"]
        # an event of somebody else is theirs, whoever spoke last (A19)
        ws.send(json.dumps(data({"name": "E", "id": 3, "anonId": "x", "date": now_ms()})))
        ws.recv()
        assert live() == {"m", "n", "x"}
    assert [e["deviceId"] for e in app.stored] == ["m", "n", "x"]


def test_s13_an_old_error_is_an_error_with_its_name(app: AppOf) -> None:
    app.say(data({"event": "error:weird", "payload": {"stack": "x", "message": "y"}, **dated()}))
    assert [(e["type"], e["name"]) for e in app.stored] == [("error", "weird")]
    assert app.glance()["errors"] == 1
    assert app.ask("/live/events")[0]["type"] == "error:weird"
    assert [sum(days.values()) for days in today(app, "/analytics/errors").values()] == [1]
    assert set(today(app, "/analytics/errors")) == {"weird"}


def dated() -> dict[str, Any]:
    return {"date": now_ms(), "machineId": "m"}


def test_s14_s15_an_event_without_a_type_is_one_and_a_type_wins(app: AppOf) -> None:
    app.say(data({"event": "ITEM", **dated()}, {"type": "init", "event": "x", **dated()}))
    assert [(e["type"], e.get("name")) for e in app.stored] == [("event", "ITEM"), ("init", None)]


def test_s16_every_form_of_a_date_is_the_same_instant(app: AppOf) -> None:
    at = (now_ms() - HOUR) // 1000 * 1000
    forms: list[Any] = [iso(at), at, at + 0.25, str(at), at // 1000, iso(at)[:-1] + "+00:00"]
    app.say(data(*(event(date=form, id=n) for n, form in enumerate(forms))))
    assert {e["date"] for e in app.stored} == {iso(at)}
    before = now_ms()
    app.say(data({"type": "event", "name": "undated", "machineId": "m"}))
    (undated,) = [e for e in app.stored if e["name"] == "undated"]
    assert iso(before) <= undated["date"] <= iso(now_ms())
    assert undated["date"] == undated["receivedAt"]


@pytest.mark.parametrize(
    "said",
    [
        {"client": "python", "zone": "958"},
        {"appType": "electron", "moduleVersion": "1.13.1", "zone": "Z"},
    ],
)
def test_s17_wall_time_is_brought_back_to_now(app: AppOf, said: dict[str, str]) -> None:
    """Tokyo, nine hours ahead: python names no zone, electron before 2 calls it UTC (A7)."""
    more = {key: value for key, value in said.items() if key != "zone"}
    wall = iso(now_ms() + 9 * HOUR)[:-1] + said["zone"]
    assert app.say(data(init(date=wall, **more))) == {"reportedIds": [733053]}
    (stored,) = app.stored
    assert abs(seconds(stored["date"]) - time.time()) < 20
    assert stored["saidDate"] == wall


def seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def test_s18_a_date_in_the_future_is_the_time_of_receipt(app: AppOf) -> None:
    ahead = now_ms() + 2 * DAY
    for _ in range(2):  # and a repeat is known by the date that it says
        assert app.say(data(init(date=ahead))) == {"reportedIds": [733053]}
    (stored,) = app.stored
    assert stored["date"] == stored["receivedAt"]
    assert stored["saidDate"] == ahead
    assert app.glance()["appStarts"] == 1


@pytest.mark.parametrize(
    "date", [0, "1970-01-01T00:00:00.000Z", "2100-01-01T00:00:00.000Z", 4102444800000, "NaN", "0"]
)
def test_55_a_date_that_nobody_can_believe_is_the_time_of_receipt(app: AppOf, date: Any) -> None:
    before = now_ms()
    assert app.say(data(init(id=5, date=date))) == {"reportedIds": [5]}
    (stored,) = app.stored
    assert iso(before) <= stored["date"] == stored["receivedAt"] <= iso(now_ms())
    assert stored["saidDate"] == date
    assert app.glance()["appStarts"] == 1


def test_55_a_date_that_is_no_json_counts_as_absent_and_spoils_nothing(app: AppOf) -> None:
    bad = '{"type":"init","id":1,"machineId":"m","date":NaN}'
    assert app.say(f'{{"data":[{bad},{json.dumps(event(id=2))}]}}') == {"reportedIds": [1, 2]}
    kept = {e["id"]: e["date"] for e in app.stored}
    assert set(kept) == {1, 2}
    assert abs(seconds(kept[1]) - time.time()) < 20


def test_s19_who_is_named_before_the_init_starts_once(app: AppOf) -> None:
    user = {"type": "userid", "userId": "u", "sessionId": 1, "id": 1, **dated()}
    app.say(data(user))
    app.say(data(init(sessionId=1, userId="u")))
    glance = app.glance()
    assert (glance["appStarts"], glance["installs"], glance["users"]) == (1, 1, 1)
    (session,) = person(app, "u")["sessions"]
    assert (session["session"], session["actions"], session["device"]) == ("1", 2, "m")


def test_s20_a_page_view_alone_installs_and_does_not_start(app: AppOf) -> None:
    view = {"type": "$pageview", "name": "/index.html", "id": 5, "sessionId": 1, **dated()}
    app.say(data(view))
    app.say(data({**view, "id": 6, "name": "/other"}))
    glance = app.glance()
    assert (glance["appStarts"], glance["installs"], glance["users"]) == (0, 1, 1)
    rows = app.ask("/live/events")
    assert {r["type"] for r in rows} == {"$pageview"}
    assert {r["data"]["name"] for r in rows} == {"/index.html", "/other"}
    (session,) = person(app, "m")["sessions"]
    assert (session["session"], session["actions"], session["errors"]) == ("1", 2, 0)


def test_s21_properties_are_stored_whole_with_their_nulls_and_whose_they_are(app: AppOf) -> None:
    """Each set replaces the one before (A11); null says that a key goes (A10)."""
    at = now_ms()
    who = {"type": "props", "machineId": "m", "userId": "u"}
    first = {**who, "id": 1, "date": at - 3, "payload": {"plan": "pro", "age": 3}}
    second = {**who, "id": 2, "date": at - 2, "payload": {"plan": None, "n": 1}}
    third = {**who, "id": 3, "date": at - 1, "data": {"seats": 2}}  # A9
    sets = [({"plan": "pro", "age": 3}, first), ({"n": 1}, second), ({"seats": 2}, third)]
    for props, said in sets:
        assert app.say(data(said)) == {"reportedIds": [said["id"]]}
        assert person(app, "u")["user"]["props"] == props
    app.say(data(first))  # an old set that comes again changes nothing
    assert person(app, "u")["user"]["props"] == {"seats": 2}
    assert [(e["type"], e["deviceId"], e["payload"]) for e in app.stored] == [
        ("props", "m", first["payload"]),
        ("props", "m", second["payload"]),
        ("props", "m", third["data"]),
    ]


def test_s22_a_userid_with_properties_names_the_user_and_keeps_them(app: AppOf) -> None:
    python = {"type": "userid", "id": 3, "userId": "u", "payload": {"x": 1, "y": None}, **dated()}
    legacy = {"event": "nucleus:userid", "id": 4, "userId": "u2", "payload": None, **dated()}
    beacon = {"event": "nucleus:beacon", "id": 5, "userId": "u3", **dated()}
    assert app.say(data(python, legacy, beacon)) == {"reportedIds": [3, 4, 5]}
    assert [(e["type"], e["userId"], e.get("payload")) for e in app.stored] == [
        ("userid", "u", python["payload"]),
        ("userid", "u2", None),
        ("userid", "u3", None),
    ]
    assert app.glance()["users"] == 3
    assert person(app, "u")["user"]["props"] == {"x": 1}
    assert person(app, "u2")["user"]["props"] == {}


def test_s23_another_apps_queue_is_acknowledged_and_counts_nowhere(app: AppOf) -> None:
    before = app.far_end.status()["counts"].get("foreign", 0)
    assert app.say(data(init(appId="APP-A"))) == {"reportedIds": [733053]}
    assert app.far_end.status()["counts"]["foreign"] > before
    assert app.say(data({"type": "heartbeat", "appId": "APP-A", "machineId": "x"}))
    assert app.stored == []
    assert app.glance() == dict.fromkeys(app.glance(), 0)
    app.say(data(init(appId=app.id)))
    assert len(app.stored) == 1


def test_s24_one_bad_event_takes_no_other_with_it(app: AppOf) -> None:
    with contextlib.closing(app.far_end.ws(f"/app/{app.id}/track")) as ws:
        bad = {"type": "event", "name": "x" * 300, "id": 9, "machineId": "m"}
        ws.send(json.dumps(data(None, 5, {}, bad, event(id=1), {"name": "nobody", "id": 2})))
        assert json.loads(ws.recv()) == {"reportedIds": [9, 1, 2]}
        ws.send(json.dumps(data(event(id=3))))
        assert json.loads(ws.recv()) == {"reportedIds": [3]}
    assert [e["id"] for e in app.stored] == [1, 3]


@pytest.mark.parametrize(
    "junk",
    ["not json", '{"x":1}', "[]", "", "null", "5", '{"data":5}', "[" * 100_000, b"\xff\xfe", b"\0"],
)
def test_s25_junk_gets_an_empty_answer_and_the_socket_stays(app: AppOf, junk: str | bytes) -> None:
    with contextlib.closing(app.far_end.ws(f"/app/{app.id}/track")) as ws:
        abnf = websocket.ABNF
        opcode = abnf.OPCODE_BINARY if isinstance(junk, bytes) else abnf.OPCODE_TEXT
        for _ in range(2):
            ws.send(junk, opcode)
            assert json.loads(ws.recv()) == {"reportedIds": []}
        ws.send(json.dumps(data(event(id=1))))
        assert json.loads(ws.recv()) == {"reportedIds": [1]}
    assert [e["id"] for e in app.stored] == [1]


def test_s26_a_binary_frame_is_as_good(app: AppOf) -> None:
    """NucleusSwift sends nothing else, and ends its app at any answer but this (§3)."""
    frame = data(init(date=now_ms() + 0.25, client="swift", userId="ünï", payload={"ü": "✓"}))
    with contextlib.closing(app.far_end.ws(f"/app/{app.id}/track")) as ws:
        for _ in range(2):
            ws.send_binary(json.dumps(frame, ensure_ascii=False).encode())
            opcode, reply = ws.recv_data()
            assert (opcode, reply) == (websocket.ABNF.OPCODE_TEXT, b'{"reportedIds":[733053]}')
    assert app.say(frame)  # as text it is the same event
    (stored,) = app.stored
    assert (stored["userId"], stored["payload"]) == ("ünï", {"ü": "✓"})


def test_s27_a_queue_of_20001_events_in_one_frame_is_taken_while_others_are_served(
    app: AppOf,
) -> None:
    many = [event("QUEUED", id=n, payload={"text": "x" * 150}) for n in range(20_001)]
    frame = json.dumps(data(*many))
    assert len(frame) > 4_995_965
    slowest = 0.0
    with contextlib.closing(app.far_end.ws(f"/app/{app.id}/track")) as ws:
        ws.settimeout(30)
        began = time.monotonic()
        ws.send(frame)
        replies: list[str | bytes] = []
        reader = threading.Thread(target=lambda: replies.append(ws.recv()))
        reader.start()
        while reader.is_alive():
            asked = time.monotonic()
            app.say(data({"type": "heartbeat", "machineId": "other"}))
            slowest = max(slowest, time.monotonic() - asked)
        took = time.monotonic() - began
    assert json.loads(replies[0])["reportedIds"] == list(range(20_001))
    assert took < 5
    assert slowest < 1
    assert len(app.stored) == 20_001


def test_s28_a_session_is_the_same_as_number_and_as_text(app: AppOf) -> None:
    at = now_ms()
    app.say(data(event(id=1, sessionId=315091, date=at)))
    app.say(data(event(id=1, sessionId="315091", date=at)))  # the same event, sent after a reload
    app.say(data(event(id=2, sessionId="315091", date=at)))
    assert [(e["id"], e["sessionId"]) for e in app.stored] == [(1, "315091"), (2, "315091")]
    assert [s["actions"] for s in person(app, "m")["sessions"]] == [2]


def test_s29_d15_a_post_is_answered_and_makes_nobody_live(app: AppOf) -> None:
    status, said, _ = app.far_end.request("POST", f"/app/{app.id}/track", data(init()))
    assert (status, said) == (200, {"reportedIds": [733053]})
    assert app.ask("/live/users") == []
    assert app.glance()["appStarts"] == 1


def test_s30_wrong_http_is_named(app: AppOf) -> None:
    path = f"/app/{app.id}/track"
    status, said, _ = app.far_end.request("POST", path, "not json")
    assert (status, said["reportedIds"]) == (400, [])
    assert app.far_end.request("GET", path)[0] == 426
    status, _, headers = app.far_end.request("OPTIONS", path)
    assert (status, headers["Access-Control-Allow-Origin"]) == (204, "*")


def test_s31_an_unknown_app_is_refused_before_the_upgrade(app: AppOf) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        app.far_end.ws("/app/nobody-here/track")
    assert refused.value.status_code == 404
    assert app.far_end.request("POST", "/app/nobody-here/track", data(init()))[0] == 404


def test_s31_an_app_made_while_it_serves_is_known_at_once(app: AppOf) -> None:
    made = AppOf(app.far_end, f"{app.id}-2")
    assert made.say(data(init())) == {"reportedIds": [733053]}


def test_s32_what_old_clients_also_ask_is_answered_in_the_shape_they_read(app: AppOf) -> None:
    ask = app.far_end.request
    license_ = {"key": "k", "userId": "u", "machineId": "m", "platform": "linux", "version": "1"}
    for end in ("", "/"):
        path = f"/app/{app.id}/license/validate{end}"
        status, said, headers = ask("POST", path, {"data": license_})
        assert (status, said) == (200, {"valid": False, "status": "nolicense"})
        assert headers["Content-Type"] == "application/json"
        assert ask("GET", f"/app/{app.id}/customdata{end}")[:2] == (200, {})
        minidump = (
            '--x\r\nContent-Disposition: form-data; name="userId"\r\n\r\nu\r\n'
            '--x\r\nContent-Disposition: form-data; name="upload_file_minidump"; filename="a"\r\n'
            "Content-Type: application/octet-stream\r\n\r\nMDMP\r\n--x--\r\n"
        )
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        assert ask("POST", f"/app/{app.id}/crash{end}", minidump, kind)[:2] == (204, b"")
    for call, method in (("license/validate", "GET"), ("customdata", "POST"), ("crash", "GET")):
        assert ask(method, f"/app/{app.id}/{call}")[0] == 405
        status, said, _ = ask("POST", f"/app/nobody-here/{call}", {})
        assert (status, said["error"] != "") == (404, True)
    assert app.stored == []


# --- threats (SECURITY.md) ---------------------------------------------------------------------


def test_54_an_id_that_an_attacker_used_first_suppresses_no_event(app: AppOf) -> None:
    victim = event("BOUGHT", id="k3f9a2x7q1", date=now_ms(), sessionId=7, payload={"n": 1})
    for guess in (
        {**victim, "payload": {"n": 2}},
        {**victim, "name": "OTHER"},
        {**victim, "date": victim["date"] - 1},
        {"type": "event", "name": "x", "id": victim["id"], "machineId": "m"},
    ):
        assert app.say(data(guess)) == {"reportedIds": [victim["id"]]}
    for _ in range(2):  # an exact retry is one row
        assert app.say(data(victim)) == {"reportedIds": [victim["id"]]}
    stored = app.stored
    assert len(stored) == 5
    said = [(e["name"], e["date"], e.get("payload")) for e in stored]
    assert said.count(("BOUGHT", iso(victim["date"]), {"n": 1})) == 1


def test_56_two_devices_that_claim_one_user_keep_what_each_of_them_said(app: AppOf) -> None:
    claim = {"type": "props", "userId": "victim", "sessionId": 1, "date": now_ms()}
    app.say(data({**claim, "machineId": "theirs", "id": 1, "payload": {"plan": "pro"}}))
    app.say(data({**claim, "machineId": "attacker", "id": 2, "payload": {"plan": "free"}}))
    assert [(e["userId"], e["deviceId"], e["payload"]) for e in app.stored] == [
        ("victim", "theirs", {"plan": "pro"}),
        ("victim", "attacker", {"plan": "free"}),
    ]
    user = person(app, "victim")["user"]
    assert user["verified"] is False  # nothing proves who sent them
    assert user["propsByDevice"] == {"theirs": {"plan": "pro"}, "attacker": {"plan": "free"}}
