"""What every official client says, and what it gets back (NUCLEUS.md §8, S1 to S32)."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import Any

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
    app.say(data(init(userId='"bob-1"')))
    assert app.stored[0]["userId"] == "bob-1"


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


def test_s13_an_old_error_is_an_error_with_its_name(app: AppOf) -> None:
    app.say(data({"event": "error:weird", "payload": {"stack": "x", "message": "y"}, **dated()}))
    assert [(e["type"], e["name"]) for e in app.stored] == [("error", "weird")]
    assert app.glance()["errors"] == 1
    assert app.ask("/live/events")[0]["type"] == "error:weird"


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


def test_s17_wall_time_of_python_is_brought_back_to_now(app: AppOf) -> None:
    wall = iso(now_ms() + 9 * HOUR)[:-1] + "958"
    app.say(data(init(client="python", date=wall)))
    (stored,) = app.stored
    assert abs(seconds(stored["date"]) - time.time()) < 20


def seconds(text: str) -> float:
    import datetime

    return datetime.datetime.fromisoformat(text).timestamp()


def test_s18_a_date_in_the_future_is_the_time_of_receipt(app: AppOf) -> None:
    assert app.say(data(init(date=now_ms() + 2 * DAY))) == {"reportedIds": [733053]}
    (stored,) = app.stored
    assert stored["date"] == stored["receivedAt"]
    assert app.glance()["appStarts"] == 1


def test_s19_who_is_named_before_the_init_starts_once(app: AppOf) -> None:
    user = {"type": "userid", "userId": "u", "sessionId": 1, "id": 1, **dated()}
    app.say(data(user))
    app.say(data(init(sessionId=1, userId="u")))
    glance = app.glance()
    assert (glance["appStarts"], glance["installs"], glance["users"]) == (1, 1, 1)


def test_s20_a_page_view_alone_installs_and_does_not_start(app: AppOf) -> None:
    view = {"type": "$pageview", "name": "/index.html", "id": 5, "sessionId": 1, **dated()}
    app.say(data(view))
    app.say(data({**view, "id": 6, "name": "/other"}))
    glance = app.glance()
    assert (glance["appStarts"], glance["installs"], glance["users"]) == (0, 1, 1)
    rows = app.ask("/live/events")
    assert {r["type"] for r in rows} == {"$pageview"}
    assert {r["data"]["name"] for r in rows} == {"/index.html", "/other"}


def test_s21_s22_properties_are_stored_as_they_came_and_whose_they_are(app: AppOf) -> None:
    first = {"type": "props", "id": 1, "payload": {"plan": "pro", "age": 3}, **dated()}
    second = {"type": "props", "id": 2, "payload": {"plan": None}, **dated()}
    python = {"type": "userid", "id": 3, "userId": "u", "payload": {"x": 1}, **dated()}
    assert app.say(data(first, second, python)) == {"reportedIds": [1, 2, 3]}
    assert [(e["type"], e.get("userId"), e["payload"]) for e in app.stored] == [
        ("props", None, first["payload"]),
        ("props", None, second["payload"]),
        ("userid", "u", python["payload"]),
    ]


def test_s23_another_apps_queue_is_acknowledged_and_counts_nowhere(app: AppOf) -> None:
    assert app.say(data(init(appId="APP-A"))) == {"reportedIds": [733053]}
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


@pytest.mark.parametrize("junk", ["not json", '{"x":1}', "[]", "", "null", "5", '{"data":5}'])
def test_s25_junk_gets_an_empty_answer_and_the_socket_stays(app: AppOf, junk: str) -> None:
    with contextlib.closing(app.far_end.ws(f"/app/{app.id}/track")) as ws:
        for _ in range(2):
            ws.send(junk)
            assert json.loads(ws.recv()) == {"reportedIds": []}


def test_s26_a_binary_frame_is_as_good(app: AppOf) -> None:
    with contextlib.closing(app.far_end.ws(f"/app/{app.id}/track")) as ws:
        ws.send_binary(json.dumps(data(init())).encode())
        assert json.loads(ws.recv()) == {"reportedIds": [733053]}
    assert len(app.stored) == 1


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
        replies: list[str] = []
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
    assert [e["sessionId"] for e in app.stored] == ["315091"]


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


def test_s32_what_old_clients_also_ask_is_answered(app: AppOf) -> None:
    ask = app.far_end.request
    status, said, _ = ask("POST", f"/app/{app.id}/license/validate", {"data": {"key": "k"}})
    assert (status, said["valid"]) == (200, False)
    assert ask("GET", f"/app/{app.id}/customdata")[:2] == (200, {})
    assert ask("POST", f"/app/{app.id}/crash", b"minidump")[0] == 204


def test_order_and_payload_bytes_are_kept(app: AppOf) -> None:
    payload = '{"b" : 1.50,"a":"\\u00e9/\\/","nested":{"z":[1,  2]},"big":9007199254740991}'
    lines = [
        f'{{"type":"event","name":"E{n}","id":{n},"date":{now_ms()},"deviceId":"d","payload":{payload}}}'
        for n in range(300)
    ]
    app.say(f'{{"data":[{",".join(lines)}]}}')
    done = app.far_end.command("export", app.id)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == list(range(300))
    assert done.stdout.count(f'"payload":{payload}}}') == 300


def test_a_payload_of_many_lines_is_exported_on_one(app: AppOf) -> None:
    pretty = json.dumps(data(event(id=1, payload={"a": [1, "x\ny"]}), event(id=2)), indent=2)
    app.say(pretty.replace("\n", "\r\n"))
    assert [e.get("payload") for e in app.stored] == [{"a": [1, "x\ny"]}, None]
    assert {"a": [1, "x\ny"]} in [r["data"] for r in app.ask("/live/events")]


def test_a17_platform_and_language_are_kept_as_sent_and_answered_as_documented(app: AppOf) -> None:
    app.say(data(init(platform="Mac OS X 10.15.7", locale="en_GB")))
    assert [(e["platform"], e["language"]) for e in app.stored] == [("Mac OS X 10.15.7", "en_GB")]
    assert [(r["platform"], r["locale"]) for r in app.ask("/live/events")] == [("mac", "en")]
