"""What HTTP answers is what the model says, to the last key, over a store that was there before."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from api_ends import get, segment
from collectors import DAY, AppOf, Collector, now_ms
from model import Clock
from model_people import PeopleModel
from test_numbers import same

from collector.places import Folder
from collector.store.duck import DuckStore

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks: beside the tests

from benchmarks.dataset import History

EVENTS = 3_000
CLOCKS: tuple[tuple[dict[str, Any], Clock], ...] = (
    ({}, Clock()),
    ({"utcOffset": 480}, Clock(480)),
    ({"utcOffset": "-330"}, Clock(-330)),
    ({"tz": "Europe/Berlin"}, Clock(0, "Europe/Berlin")),
)
APP = "app2"


def iso(ms: int | None) -> str | None:
    if ms is None:
        return None
    moment = datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03}Z"


def dated(value: Any, *keys: str) -> Any:
    """Return an answer of the model with the times at some keys as the seeds write them."""
    if isinstance(value, list):
        return [dated(one, *keys) for one in value]
    if isinstance(value, dict):
        return {key: iso(one) if key in keys else dated(one, *keys) for key, one in value.items()}
    return value


@pytest.fixture
def told(tmp_path: Path, run: Callable[..., Collector]) -> tuple[AppOf, PeopleModel]:
    """An app with a history of thirty days that ends now, served by a real process."""
    history = History(EVENTS, days=30, end=now_ms())
    folder = tmp_path / "data"
    store = DuckStore(Folder(folder).prepare().events, history.start)
    batches = list(history)
    for rows, facts in batches:
        store.write(rows, facts)
    store.close()
    model = PeopleModel(
        APP,
        [row for rows, _ in batches for row in rows],
        [f for _, facts in batches for f in facts],
    )
    return AppOf(run(folder=folder), APP), model


def ok(answer: tuple[int, Any]) -> Any:
    status, said = answer
    assert status == 200, said
    return said


def test_d5_the_numbers_over_http_are_those_of_the_model(told: tuple[AppOf, PeopleModel]) -> None:
    app, model = told
    assert len(model.events) > EVENTS / 6
    before = now_ms()
    glance = ok(get(app, "/analytics/quickglance"))["data"]
    assert any(glance == model.quickglance(now) for now in range(before, now_ms() + 1))
    end = now_ms() // 1000
    for query, clock in CLOCKS:
        for days in (3, 29):
            start = end - days * 86_400 - 1_234
            at = {"start": start, "end": end, **query}
            span = (start * 1000, end * 1000)
            same(ok(get(app, "/analytics", **at))["data"], model.daily(*span, clock))
            same(ok(get(app, "/analytics/events", **at))["data"], model.events_by_day(*span, clock))
            same(
                ok(get(app, "/analytics/errors", **at))["data"],
                model.events_by_day(*span, clock, "error"),
            )
            same(
                ok(get(app, "/analytics/events/ITEM_PLAYED", **at))["data"],
                model.one_event(*span, clock, "ITEM_PLAYED"),
            )
    same(ok(get(app, "/analytics/eventsprops", **at))["data"], model.eventsprops(*span))
    for name, attr in (("ITEM_PLAYED", "count"), ("init", "plan"), ("nucleus:props", "beta")):
        said = ok(get(app, f"/analytics/events/{segment(name)}/{attr}", **at))["data"]
        same(said, model.attribute_counts(*span, name, attr))


def test_d12_people_over_http_are_those_of_the_model(told: tuple[AppOf, PeopleModel]) -> None:
    app, model = told
    people = model.users()
    said = ok(get(app, "/users"))
    assert said["total"] == len(people) > 30
    times = ("createdAt", "lastSeen", "start", "end")
    keys = ("_id", "userId", "createdAt", "lastSeen", "devices", "props")
    wanted = dated([{key: one[key] for key in keys} for one in people], *times)
    same([{key: one[key] for key in keys} for one in said["data"]], wanted)
    part = ok(get(app, "/users", skip=7, limit=5))
    assert [one["_id"] for one in part["data"]] == [one["_id"] for one in people[7:12]]
    for one in (*people[:6], *(hidden for hidden in people if not hidden["userId"])):
        details = ok(get(app, f"/users/{segment(one['userId'] or one['_id'])}"))
        who = ("u", one["userId"]) if one["userId"] else ("a", one["anonId"])
        same(details["sessions"], dated(model.sessions_of(who), *times))
        same(details["user"]["propsByDevice"], one["propsByDevice"])
        assert details["user"]["verified"] is False
        for session in details["sessions"][:2]:
            path = f"/users/{one['_id']}/session/{session['session']}"
            rows = ok(get(app, path, device=session["device"]))["data"]
            its = [
                event
                for event in model.events
                if (event.device_id, event.session_id) == (session["device"], session["session"])
                and event.user_id in ("", one["userId"])
            ]
            assert [row["time"] for row in rows] == [iso(event.ts) for event in its]


def test_a_day_of_history_is_believable() -> None:
    """What the other tests stand on is no desert: every kind, repeats, late ones, people."""
    history = History(EVENTS, days=30)
    rows = [row for rows, _ in history for row in rows]
    assert len({(row.key_a, row.key_b) for row in rows}) == EVENTS == len(rows) - history.repeats
    assert history.repeats > 5
    assert {row.kind for row in rows} == {"init", "event", "error", "props", "userid", "other"}
    assert sum(row.recv_ts - row.ts > DAY for row in rows) > 3
    assert len({row.user_id for row in rows}) > 50
    assert [row.recv_ts for row in rows] == sorted(row.recv_ts for row in rows)
    assert rows == [row for rows, _ in history for row in rows]
