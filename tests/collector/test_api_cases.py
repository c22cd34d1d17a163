"""The cases D1 to D16 of NUCLEUS.md §8, each with its number, asked of a real collector."""

from __future__ import annotations

import contextlib
import datetime
import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from api_ends import SEED_END, SEED_START, delete, get, lately, person, segment, tell
from collectors import DAY, HOUR, AppOf, now_ms, until

from collector.store.local_time import Wall
from tracking.dates import iso

ROW = {
    *("app_id", "platform", "user_id", "machine_id", "version", "locale", "renderer"),
    *("module_version", "avail_ram", "type", "time", "country", "arch", "first_time"),
    *("session_id", "error_hash", "os_version", "data", "duration"),
}


def test_d1_every_way_to_say_a_token(app: AppOf) -> None:
    path = f"/api/v1/apps/{app.id}/analytics/quickglance"
    post = app.far_end.request
    assert post("GET", path)[0] == 401
    assert post("GET", path, headers={"Authorization": "dat1_wrong"})[0] == 401
    assert post("GET", path, headers={"Authorization": app.token})[0] == 200
    assert post("GET", path, headers={"Authorization": f"Bearer {app.token}"})[0] == 200
    assert post("POST", path, {"token": app.token})[0] == 200


def test_d1_a_post_has_the_parameters_in_its_body_or_in_the_query(app: AppOf) -> None:
    tell(app, *person("u", "m", now_ms() - HOUR))
    path, span = f"/api/v1/apps/{app.id}/analytics/events", lately()
    _, right = get(app, "/analytics/events", **span)
    assert sum(right["data"]["PLAYED"].values()) == 1
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    fields = f"token={app.token}&start={span['start']}&end={span['end']}"
    for path_, body, headers in (
        (path, {"token": app.token, **span}, {}),
        (path, {"token": app.token, **{k: str(v) for k, v in span.items()}}, {}),
        (path, fields, form),
        (f"{path}?start={span['start']}&end={span['end']}", {"token": app.token}, {}),
    ):
        status, said, _ = app.far_end.request("POST", path_, body, headers)
        assert (status, said) == (200, right)


def test_d2_three_starts_of_one_device_today(app: AppOf) -> None:
    at = now_ms() - 5000
    tell(
        app, *[{"type": "init", "date": at + n, "machineId": "m", "userId": "u"} for n in range(3)]
    )
    _, said = get(app, "/analytics/quickglance")
    assert said == {
        "data": {
            "installs": 1,
            "users": 1,
            "appStarts": 3,
            "errors": 0,
            "previousInstalls": 0,
            "previousUsers": 0,
            "previousAppStarts": 0,
            "previousErrors": 0,
        }
    }


def test_d3_an_event_of_25_hours_ago_is_of_the_day_before(app: AppOf) -> None:
    tell(app, {"type": "init", "date": now_ms() - 25 * HOUR, "machineId": "m"})
    glance = app.glance()
    assert {key for key, n in glance.items() if n} == {
        *("previousInstalls", "previousUsers", "previousAppStarts")
    }


@pytest.mark.parametrize("unit", [1, 1000])
def test_d4_the_days_of_the_sample_are_those_of_utc_minus_8(app: AppOf, unit: int) -> None:
    status, said = get(
        app, "/analytics", start=SEED_START * unit, end=SEED_END * unit, utcOffset=480
    )
    assert status == 200
    days = ["2021-04-09", "2021-04-10", "2021-04-11"]
    for key in ("usage", "newUsers", "activeUsers", "nonNewUsers", "hours"):
        assert list(said["data"][key]) == days
    iso = {"start": "2021-04-09T23:17:28Z", "end": "2021-04-12T07:19:10.000Z"}
    assert get(app, "/analytics", **iso, utcOffset="480")[1] == said
    assert get(app, "/analytics", **iso, tz="Pacific/Pitcairn")[1] == said  # UTC-8 all year
    assert list(get(app, "/analytics", **iso)[1]["data"]["usage"])[-1] == "2021-04-12"
    assert said["data"]["avgSessionDuration"] == {}
    assert set(said["data"]) == {
        *("totalNumbers", "usage", "newUsers", "activeUsers", "nonNewUsers", "hours", "platforms"),
        *("ram", "languages", "versions", "countries", "avgSessionDuration", "allTime"),
    }


def test_d5_what_is_told_twice_is_told_alike(app: AppOf) -> None:
    now = now_ms()
    for n in range(6):
        tell(app, *person(f"u{n % 3}", f"m{n % 4}", now - n * 13 * HOUR))
    data = get(app, "/analytics", **lately(5), utcOffset=-330)[1]["data"]
    assert sum(data["usage"].values()) == 6
    for day, hours in data["hours"].items():
        assert len(hours) == 24
        assert sum(hours) == data["usage"][day]
        new, active = data["newUsers"][day], data["activeUsers"][day]
        assert data["nonNewUsers"][day] == active - new
    assert data["totalNumbers"]["users"] >= max(data["activeUsers"].values())
    assert data["totalNumbers"] == data["allTime"] == {"users": 3, "installs": 4}


def test_d6_a_session_lasts_from_its_start_to_its_last_event(app: AppOf) -> None:
    noon = (now_ms() // DAY - 1) * DAY + 12 * HOUR
    tell(
        app,
        {"type": "init", "date": noon, "machineId": "m", "sessionId": 1},
        {"type": "event", "name": "E", "date": noon + 100_000, "machineId": "m", "sessionId": 1},
        {"type": "init", "date": noon - DAY, "machineId": "m", "sessionId": 2},
    )
    data = get(app, "/analytics", start=noon - 2 * DAY, end=noon + DAY)[1]["data"]
    assert list(data["avgSessionDuration"].values()) == [100]
    assert sum(data["usage"].values()) == 2


def test_d7_languages_are_the_first_subtag_and_c_is_none(app: AppOf) -> None:
    for n, locale in enumerate(["en-US", "en_GB", "C"]):
        tell(app, {"type": "init", "date": now_ms(), "machineId": f"m{n}", "locale": locale})
    data = get(app, "/analytics", **lately())[1]["data"]
    assert data["languages"] == [{"value": "en", "count": 2}]


def test_d8_platforms_are_spelled_as_the_samples_do(app: AppOf) -> None:
    for n, platform in enumerate(["Darwin", "Windows_NT", "Mac OS X 10.15.7"]):
        tell(app, {"type": "init", "date": now_ms(), "machineId": f"m{n}", "platform": platform})
    data = get(app, "/analytics", **lately())[1]["data"]
    assert data["platforms"] == [{"value": "mac", "count": 2}, {"value": "win", "count": 1}]


def test_d9_properties_are_told_by_event_and_json_type(app: AppOf) -> None:
    tell(app, *person("u", "m", now_ms() - HOUR))
    assert get(app, "/analytics/eventsprops", **lately())[1] == {
        "data": [
            {"event": "PLAYED", "keys": ["t"], "type": "string"},
            {"event": "error:Oops", "keys": ["message", "stack"], "type": "string"},
            {"event": "init", "keys": ["n"], "type": "number"},
            {"event": "init", "keys": ["plan"], "type": "string"},
        ]
    }


def test_d10_values_are_counted_most_frequent_first(app: AppOf) -> None:
    plans: list[Any] = ["pro", "pro", "free", 2, 2.0, True]
    at = now_ms() - HOUR
    tell(
        app,
        *[
            {"type": "init", "date": at + n, "machineId": "m", "payload": {"plan": plan}}
            for n, plan in enumerate(plans)
        ],
    )
    assert get(app, "/analytics/events/init/plan", **lately())[1] == {
        "data": [
            {"value": "pro", "count": 2},
            {"value": 2, "count": 2},
            {"value": "free", "count": 1},
            {"value": True, "count": 1},
        ]
    }
    one = get(app, "/analytics/events/init", **lately())[1]["data"]
    assert list(one) == ["init"]
    assert sum(one["init"].values()) == 6


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"end": 2}, "start"),
        ({"start": 1}, "end"),
        ({"start": 5, "end": 4}, "start"),
        ({"start": "soon", "end": 4}, "start"),
        ({"start": "NaN", "end": 4}, "start"),
        ({"start": "", "end": 4}, "start"),
        ({"start": 0, "end": 400 * 86_400 + 1}, "end"),
        ({"start": 1, "end": "9999-12-31"}, "end"),
        ({"start": 1, "end": 2, "utcOffset": 841}, "utcOffset"),
        ({"start": 1, "end": 2, "utcOffset": "1.5"}, "utcOffset"),
        ({"start": 1, "end": 2, "utcOffset": "east"}, "utcOffset"),
        ({"start": 1, "end": 2, "tz": "Mars/Olympus"}, "tz"),
        ({"start": 1, "end": 2, "tz": "../../etc/passwd"}, "tz"),
        ({"start": 1, "end": 2, "tz": "Europe/Paris", "utcOffset": 1}, "tz"),
    ],
)
def test_d11_what_makes_no_sense_is_refused_by_name(
    app: AppOf, query: dict[str, Any], field: str
) -> None:
    for path in ("", "/events", "/eventsprops", "/errors", "/events/E", "/events/E/attr"):
        status, said = get(app, f"/analytics{path}", **query)
        assert (status, said["field"], said["code"]) == (400, field, "request"), path
        assert field in said["error"] or "400 days" in said["error"]


@pytest.mark.parametrize(
    "user", ["user@x.com", "a/b", "a b", "é", "%2F", "..", "x?y=1#z", "'\";--"]
)
def test_d12_a_user_is_found_by_any_spelling_that_is_theirs(app: AppOf, user: str) -> None:
    tell(app, *person(user, "m", now_ms() - HOUR))
    status, said = get(app, f"/users/{segment(user)}")
    assert status == 200, said
    assert said["user"]["userId"] == user
    by_id = get(app, f"/users/{said['user']['_id']}")[1]
    assert by_id["user"]["userId"] == user


def test_d12_an_anonymous_one_is_found_by_id_and_by_anon_id(app: AppOf) -> None:
    tell(app, *person(None, "m/1", now_ms() - HOUR, anonId="anon-1"))
    status, said = get(app, "/users/anon-1")
    assert (status, said["user"]["userId"], said["user"]["anonId"]) == (200, None, "anon-1")
    assert get(app, f"/users/{said['user']['_id']}")[1]["user"]["anonId"] == "anon-1"
    assert get(app, "/users/nobody")[0] == 404


def test_d13_a_session_of_two_devices_needs_the_device(app: AppOf) -> None:
    now = now_ms() - HOUR
    tell(app, *person("u", "m1", now), *person("u", "m2", now + 1))
    status, said = get(app, "/users/u/session/4711")
    assert (status, said["field"]) == (400, "device")
    status, said = get(app, "/users/u/session/4711", device="m2")
    assert status == 200
    assert [row["type"] for row in said["data"]] == ["init", "PLAYED", "error:Oops"]
    assert {row["machine_id"] for row in said["data"]} == {"m2"}
    assert all(set(row) == ROW for row in said["data"])
    assert get(app, "/users/u/session/1")[0] == 404
    assert get(app, "/users/u/session/4711", device="m3")[0] == 404
    tell(app, *person("v", "m3", now))
    assert len(get(app, "/users/v/session/4711")[1]["data"]) == 3


def test_d14_a_deleted_user_is_gone_from_all_that_is_counted(app: AppOf) -> None:
    now = now_ms() - HOUR
    tell(app, *person("gone", "m1", now), *person("stays", "m2", now))
    before = app.glance()
    assert delete(app, "/users/gone") == (204, b"")
    assert get(app, "/users/gone")[0] == 404
    assert delete(app, "/users/gone")[0] == 404
    after = app.glance()
    for key in ("installs", "users", "appStarts", "errors"):
        assert (before[key], after[key]) == (2, 1)
    assert [row["userId"] for row in get(app, "/users")[1]["data"]] == ["stays"]
    tell(app, *person("gone", "m1", now))  # what its queue still held
    assert get(app, "/users/gone")[0] == 404
    assert app.glance() == after
    tell(app, *person("gone", "m1", now_ms() + 1000))  # and what it does later
    assert get(app, "/users/gone")[0] == 200


def test_d14_an_anonymous_one_can_be_deleted_too(app: AppOf) -> None:
    tell(app, *person(None, "m", now_ms() - HOUR, anonId="a1"))
    assert delete(app, "/users/a1")[0] == 204
    assert get(app, "/users")[1] == {"total": 0, "data": []}


def test_d15_http_makes_nobody_live_and_a_socket_does(app: AppOf) -> None:
    path = f"/app/{app.id}/track"
    app.far_end.request("POST", path, {"data": [{"type": "init", "machineId": "h"}]})
    assert get(app, "/live/users/count")[1] == {"data": 0}
    with contextlib.closing(app.far_end.ws(path)) as ws:
        ws.send(json.dumps({"data": [{"type": "init", "machineId": "m", "userId": "u"}]}))
        ws.recv()
        assert get(app, "/live/users/count")[1] == {"data": 1}
        (user,) = get(app, "/live/users")[1]["data"]
        assert user["userDbId"] == get(app, "/users/u")[1]["user"]["_id"]
        assert set(user) == {
            *("userDbId", "userId", "deviceId", "platform", "osVersion", "country", "lastSeen")
        }


def test_d16_a_live_row_is_a_row_of_the_seeds(app: AppOf) -> None:
    at = now_ms()
    tell(app, {"type": "event", "name": "ITEM_PLAYED", "date": at, "machineId": "m", "userId": "t"})
    (row,) = get(app, "/live/events")[1]["data"]
    assert set(row) == ROW
    assert (row["type"], row["user_id"], row["app_id"]) == ("ITEM_PLAYED", "t", app.id)
    assert (row["data"], row["first_time"], row["error_hash"]) == (None, True, None)


# --- shapes, as the seeds write them -------------------------------------------------------------


def test_the_list_of_users_has_the_shape_of_the_seeds(app: AppOf) -> None:
    at, before = now_ms() - HOUR, iso(now_ms())
    tell(app, *person("test_user", "m1", at))
    # Its socket closed a moment ago, which is the last that is seen of it when it has been written.
    until(lambda: get(app, "/users")[1]["data"][0]["lastSeen"] >= before)
    status, said = get(app, "/users")
    assert status == 200
    (user,) = said["data"]
    assert said["total"] == 1
    assert set(user) == {*("_id", "userId", "createdAt", "devices", "lastSeen", "props", "anonId")}
    assert len(user["_id"]) == 24
    (device,) = user["devices"]
    assert device == {
        "lastSeen": device["lastSeen"],
        "_id": "m1",
        "platform": "mac",
        "osVersion": "14",
        "version": "1.2",
    }
    assert user["props"] == {"plan": "pro", "n": 1}
    details = get(app, "/users/test_user")[1]
    assert set(details) == {"user", "sessions"}
    assert {key: details["user"][key] for key in user} == user
    assert details["user"]["__v"] == 0
    assert details["user"]["appId"] == app.id
    assert details["user"]["updatedAt"] == user["lastSeen"]
    assert details["user"]["verified"] is False
    assert details["user"]["propsByDevice"] == {"m1": {"plan": "pro", "n": 1}}
    (session,) = details["sessions"]
    assert session == {
        "device": "m1",
        "actions": 2,
        "errors": 1,
        "start": session["start"],
        "end": session["end"],
        "session": "4711",
    }


def test_events_and_errors_are_told_by_name_and_day(app: AppOf) -> None:
    noon = (now_ms() // DAY - 1) * DAY + 12 * HOUR
    tell(app, *person("u", "m", noon), *person("u", "m", noon - DAY))
    span = {"start": noon - 3 * DAY, "end": noon + DAY}
    days = list(get(app, "/analytics/events", **span)[1]["data"]["PLAYED"].items())
    assert [n for _, n in days] == [1, 1]
    assert sorted(day for day, _ in days) == [day for day, _ in days]
    assert get(app, "/analytics/errors", **span)[1] == {"data": {"Oops": dict(days)}}


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-10-25", 25), ("2026-03-29", 23), ("2026-10-24", 24)]
)
def test_a_day_with_a_clock_change_has_its_own_length(app: AppOf, day: str, hours: int) -> None:
    zone = ZoneInfo("Europe/Berlin")
    first = datetime.datetime.fromisoformat(day).replace(tzinfo=zone)
    next_day = (first.replace(tzinfo=None) + datetime.timedelta(days=1)).replace(tzinfo=zone)
    start, end = (round(at.timestamp() * 1000) for at in (first, next_day))
    assert end - start == hours * HOUR
    assert Wall(0, zone).days(start, end) == [day]
    data = get(app, "/analytics", start=start, end=end, tz="Europe/Berlin")[1]["data"]
    assert list(data["usage"]) == [day]
    assert len(data["hours"][day]) == 24


def test_users_can_be_read_in_parts(app: AppOf) -> None:
    now = now_ms() - HOUR
    for n in range(5):
        tell(app, {"type": "init", "date": now + n, "machineId": f"m{n}", "userId": f"u{n}"})
    everybody = get(app, "/users")[1]
    assert [row["userId"] for row in everybody["data"]] == ["u4", "u3", "u2", "u1", "u0"]
    part = get(app, "/users", skip=1, limit=2)[1]
    assert part == {"total": 5, "data": everybody["data"][1:3]}
    assert get(app, "/users", skip=9)[1] == {"total": 5, "data": []}
    for query in ({"limit": 0}, {"limit": 10_001}, {"skip": -1}, {"limit": "x"}):
        assert get(app, "/users", **query)[0] == 400
