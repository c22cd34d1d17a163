"""Who is live, under a clock that a test holds, and once under the real one (D15, D16)."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from collectors import NOW, AppOf, now_ms, until

from collector.intake.presence import GRACE_MS, MOST_A_SOCKET, Presence
from tracking.events import Event, Kind
from tracking.nucleus import normal_platform

COLUMNS = {
    *("app_id", "platform", "user_id", "machine_id", "version", "locale", "renderer"),
    *("module_version", "avail_ram", "type", "time", "country", "arch", "first_time"),
    *("session_id", "error_hash", "os_version", "data", "duration"),
}


USER = {"userDbId", "userId", "deviceId", "platform", "osVersion", "country", "lastSeen"}


class Clock:
    def __init__(self) -> None:
        self.ms = NOW

    def __call__(self) -> int:
        return self.ms


def beat(**more: Any) -> tuple[Event]:
    return (Event(kind=Kind.HEARTBEAT, type="heartbeat", **more),)


def names(presence: Presence, app: str = "A") -> list[str]:
    return [device.device_id for device in presence.live(app)]


def test_d15_live_while_open_and_ten_seconds_longer() -> None:
    clock = Clock()
    presence = Presence(clock, normal_platform)
    presence.joined(1)
    assert names(presence) == []  # a socket that said nothing is nobody
    presence.seen("A", 1, "d", beat())
    clock.ms += 3_600_000
    assert names(presence) == ["d"]  # official clients are silent while idle
    presence.left(1)
    clock.ms += GRACE_MS
    assert names(presence) == ["d"]
    clock.ms += 1
    assert names(presence) == []


def test_d15_a_device_on_two_sockets_is_one_and_stays_until_the_second_closes() -> None:
    clock = Clock()
    presence = Presence(clock, normal_platform)
    for connection in (1, 2):
        presence.joined(connection)
        presence.seen("A", connection, "d", beat())
    presence.left(1)
    clock.ms += 60_000
    assert names(presence) == ["d"]
    presence.left(2)
    presence.joined(3)
    presence.seen("A", 3, "d", beat())  # back within the grace
    clock.ms += 60_000
    assert names(presence) == ["d"]


def test_d15_a_frame_after_the_close_makes_nobody_live() -> None:
    presence = Presence(Clock(), normal_platform)
    presence.joined(1)
    presence.left(1)
    presence.seen("A", 1, "d", beat())
    assert names(presence) == []


def test_d15_apps_are_strangers_and_facts_are_kept() -> None:
    presence = Presence(Clock(), normal_platform)
    presence.joined(1)
    presence.seen("A", 1, "d", beat(user_id="u", platform="Darwin", os_version="14"))
    presence.seen("A", 1, "d", beat())
    (device,) = presence.live("A")
    assert (device.user_id, device.platform, device.os_version) == ("u", "mac", "14")
    assert names(presence, "B") == []


def test_a5_a_nameless_heartbeat_is_of_the_device_that_spoke_last() -> None:
    presence = Presence(Clock(), normal_platform)
    presence.joined(1)
    for device in ("x", "y", "z", "x"):
        presence.seen("A", 1, device, beat())
    assert presence.device_on(1) == "x"
    assert presence.device_on(2) == ""


def test_a_million_invented_devices_leave_no_memory() -> None:
    clock = Clock()
    presence = Presence(clock, normal_platform)
    presence.joined(1)
    for n in range(5 * MOST_A_SOCKET):
        presence.seen("A", 1, f"d{n}", beat())
        clock.ms += 20
    presence.left(1)
    clock.ms += GRACE_MS + 1
    presence.joined(2)
    presence.left(2)  # nobody ever asks who is live
    assert presence._apps == {}
    assert not presence._departures
    assert not presence._devices_of


def test_d15_on_a_real_socket(app: AppOf) -> None:
    with contextlib.closing(app.far_end.ws(f"/app/{app.id}/track")) as ws:
        assert app.ask("/live/users/count") == 0
        frame = {"type": "init", "deviceId": "d", "userId": "u", "platform": "Windows_NT"}
        ws.send(json.dumps({"data": [frame]}))
        ws.recv()
        assert app.ask("/live/users/count") == 1
        (user,) = app.ask("/live/users")
        assert set(user) == {
            "userDbId",
            "userId",
            "deviceId",
            "platform",
            "osVersion",
            "country",
            "lastSeen",
        }
        assert (user["userId"], user["deviceId"], user["platform"]) == ("u", "d", "win")
    began = now_ms()
    until(lambda: app.ask("/live/users/count") == 0, 20)
    assert 9_000 < now_ms() - began < 13_000


def test_d16_a_live_row_has_exactly_the_nineteen_keys(app: AppOf) -> None:
    at = now_ms()
    common = {"machineId": "m", "date": at, "sessionId": 1234}
    big = {"big": 2**53 - 1, "list": [1, {"a": None}], "text": "<b>"}
    app.say(
        {
            "data": [
                {"type": "init", "id": 1, "userId": "u", "totalRam": 23.5, "arch": 64, **common},
                {"type": "event", "name": "PLAYED", "payload": big, **common},
                {"type": "error", "name": "Oops", "payload": {"stack": "at x:12"}, **common},
                {"type": "error", "name": "Oops", "payload": {"stack": "at x:99"}, **common},
                {"type": "userid", "userId": "u", **common},
                {"type": "props", "payload": {"a": 1}, **common},
                {"type": "nucleus:view", "name": "Home", "payload": {"b": 2}, **common},
            ]
        }
    )
    rows = app.ask("/live/events")
    assert all(set(r) == COLUMNS for r in rows)
    by_type = {r["type"]: r for r in rows}
    assert set(by_type) == {
        *("init", "PLAYED", "error:Oops", "nucleus:userid", "nucleus:props", "nucleus:view")
    }
    assert by_type["PLAYED"]["data"] == big
    assert by_type["nucleus:view"]["data"] == {"name": "Home", "b": 2}
    assert len({r["error_hash"] for r in rows if r["type"] == "error:Oops"}) == 1
    assert by_type["init"]["first_time"] is True
    assert by_type["init"]["avail_ram"] == 24
    assert by_type["init"]["session_id"] == "1234"


def test_live_events_are_the_newest_hundred(app: AppOf) -> None:
    for part in range(2):
        events = [
            {"type": "event", "name": f"E{part}-{n}", "machineId": "m", "date": now_ms()}
            for n in range(75)
        ]
        app.say({"data": events})
    kept = [r["type"] for r in app.ask("/live/events")]
    assert len(kept) == 100
    assert {f"E1-{n}" for n in range(75)} <= set(kept[:75])
