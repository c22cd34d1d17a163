"""What is kept of what was said, byte for byte, and handed out again."""

from __future__ import annotations

import json
from typing import Any

from collectors import AppOf, now_ms


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
