"""What is kept of what was said, byte for byte, and handed out again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collectors import DAY, AppOf, Collector, now_ms

from tracking.dates import iso


def event(**more: Any) -> dict[str, Any]:
    return {"type": "event", "name": "E", "date": now_ms(), "machineId": "m", **more}


def test_order_and_payload_bytes_are_kept(app: AppOf) -> None:
    payload = '{"b" : 1.50,"a":"\\u00e9/\\/","nested":{"z":[1,  2]},"big":9007199254740991}'
    lines = [
        f'{{"type":"event","name":"E{n}","id":{n},"date":{now_ms()},"deviceId":"d","payload":{payload}}}'
        for n in range(300)
    ]
    app.say(f'{{"data":[{",".join(lines)}]}}')
    exported = app.far_end.admin(f"/export/{app.id}").decode()
    assert [json.loads(line)["id"] for line in exported.splitlines()] == list(range(300))
    assert exported.count(f'"payload":{payload}}}') == 300


def test_a_payload_of_many_lines_is_exported_on_one(app: AppOf) -> None:
    pretty = json.dumps({"data": [event(id=1, payload={"a": [1, "x\ny"]}), event(id=2)]}, indent=2)
    app.say(pretty.replace("\n", "\r\n"))
    assert [e.get("payload") for e in app.stored] == [{"a": [1, "x\ny"]}, None]
    assert {"a": [1, "x\ny"]} in [r["data"] for r in app.ask("/live/events")]


def test_a17_platform_and_language_are_kept_as_sent_and_answered_as_documented(app: AppOf) -> None:
    app.say({"data": [event(type="init", platform="Mac OS X 10.15.7", locale="en_GB")]})
    assert [(e["platform"], e["language"]) for e in app.stored] == [("Mac OS X 10.15.7", "en_GB")]
    assert [(r["platform"], r["locale"]) for r in app.ask("/live/events")] == [("mac", "en")]


def test_an_export_that_is_imported_into_an_empty_collector_is_exported_again_line_for_line(
    run: Callable[..., Collector], tmp_path: Path
) -> None:
    here, there = run(folder=tmp_path / "here"), run(folder=tmp_path / "there")
    for far_end in (here, there):
        far_end.app("A")
    at = now_ms()
    dates: list[Any] = [
        *(at, iso(at), iso(at)[:-1] + "+00:00", at // 1000, at + 0.5, str(at), iso(at)[:10]),
        *(None, 0, "0", "NaN", "2100-01-01", at - 70 * DAY, iso(at - 70 * DAY), at + DAY),
    ]
    dated = [{"name": "E", "id": n, "deviceId": "d", "date": d} for n, d in enumerate(dates)]
    kinds = [
        {"type": "init", "id": "a", "machineId": "m", "deviceId": "d", "payload": {"b": 2.0}},
        {"type": "error", "name": "Oops", "id": 1.5, "machineId": "m", "totalRam": 23.5},
        {"type": "userid", "userId": "u", "anonId": "x", "sessionId": 7, "payload": {"a": None}},
        {"type": "props", "deviceId": "d", "data": {"a": 1}, "locale": "en_GB", "arch": 64},
        {"type": "$pageview", "name": "/", "anonId": "only", "client": "desktop"},
        {
            "type": "event",
            "name": "clicked",
            "deviceId": "d",
        },  # twice the same: neither id nor date
        {"type": "event", "name": "clicked", "deviceId": "d"},
    ]
    frame = {"data": [*dated, *kinds]}
    here.say(frame)
    first, second = tmp_path / "first.ndjson", tmp_path / "second.ndjson"
    assert here.command("export", "A", "--output", str(first)).returncode == 0
    for _ in range(2):  # a second time changes nothing
        done = there.command("import", str(first))
        assert done.returncode == 0, done.stderr
    assert there.command("export", "A", "--output", str(second)).returncode == 0
    assert len(first.read_bytes().splitlines()) >= len(frame["data"])
    assert sorted(second.read_bytes().splitlines()) == sorted(first.read_bytes().splitlines())
    # and what its senders send again is known there
    there.say({"data": [*dated[:7], *dated[8:], *kinds[:2]]})
    assert len(there.export()) == len(frame["data"])
