"""Quotas, shares and imports: a whole agent, real sockets, a real far end. Threat row 28; FIELD.md
§3 item 23.
"""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
from typing import Any

from agent.door.gateway import GiveToken
from tests.agent.host.counter import FarEnd, Make, apps, events, lines, post, until

# --- who has to wait -----------------------------------------------------------------------------


def test_row_28_a_flood_of_one_app_delays_another_by_little_and_is_told(
    make_agent: Make, far: FarEnd
) -> None:
    quota = "[limits]\nevents_per_s = 1000\nburst = 2000\n"
    agent, door = make_agent(quota + apps(far, "noisy", "calm"))

    def latency(number: int) -> float:
        began = time.monotonic()
        answered = post(
            agent,
            events({"name": f"calm-{number}"}),
            "/app/calm/track",
            Homing_Ack="delivered; timeout=5",
        )
        assert answered[1]["delivered"] is True
        return time.monotonic() - began

    latency(0)
    alone = [latency(n) for n in range(1, 11)]
    enough = threading.Event()
    answers: list[dict[str, Any]] = []

    def flood() -> None:
        sock = lines(agent)
        reader = sock.makefile()
        frame = json.dumps(events(*[{"name": "noise"}] * 200, appId="noisy")).encode() + b"\n"
        while not enough.is_set():
            sock.sendall(frame * 10)
            answers.extend(json.loads(reader.readline()) for _ in range(10))
        sock.close()

    floods = [threading.Thread(target=flood) for _ in range(2)]
    for thread in floods:
        thread.start()
    try:
        until(lambda: any(n.code == "app.noisy.noisy" for n in door.status().notices))
        flooded = [latency(n) for n in range(11, 31)]
        until(lambda: {a.app_id: a for a in door.status().apps}["noisy"].events_per_s > 2000)
        now = door.status()
    finally:
        enough.set()
        for thread in floods:
            thread.join(30)
    ratio = statistics.median(flooded) / statistics.median(alone)
    assert max(flooded) < 5.0, f"calm waits {ratio:.1f} times as long as alone"
    told = {app.app_id: app for app in now.apps}
    assert told["noisy"].over_quota > 0
    assert told["calm"].over_quota == 0
    (notice,) = [notice for notice in now.notices if notice.code == "app.noisy.noisy"]
    assert "noisy sends " in notice.text
    assert "events/s, 1,000 are allowed" in notice.text
    refused = [answer for answer in answers if answer.get("code") == "request.over_quota"]
    assert refused
    assert refused[0]["reportedIds"] == []
    assert refused[0]["retryAfter"] >= 1
    assert "events_per_s" in refused[0]["advice"]
    status, body, headers = post(agent, events(*[{"name": "more"}] * 2000), "/app/noisy/track")
    assert (status, body["code"]) == (429, "request.over_quota")
    assert int(headers["retry-after"]) == body["retryAfter"]


def test_one_app_may_have_a_quota_and_a_share_of_its_own(make_agent: Make, far: FarEnd) -> None:
    far.acknowledges.clear()
    bounds = "[outbox]\nmax_events = 1000\n"
    own = "events_per_s = 5\nburst = 400\nshare = 30\n"
    agent, door = make_agent(bounds + apps(far, "acme", more=own) + apps(far, "calm"))
    assert post(agent, events(*[{"name": "a"}] * 200))[0] == 200
    assert post(agent, events(*[{"name": "a"}] * 150))[0] == 200
    status, body, _ = post(agent, events({"name": "a"}))
    assert (status, body["code"], body["retryAfter"]) == (429, "request.over_quota", 30)
    assert "30% of the outbox" in body["error"]
    assert any("30% of the outbox" in notice.text for notice in door.status().notices)
    assert post(agent, events({"name": "b"}), "/app/calm/track")[0] == 200
    far.acknowledges.set()
    until(lambda: door.status().apps[0].pending == 0)
    status, body, _ = post(agent, events(*[{"name": "a"}] * 100))
    assert (status, body["retryAfter"] > 1) == (429, True)  # 5 a second are its own
    assert post(agent, events({"name": "a"}))[0] == 200


def test_events_that_were_known_do_not_use_up_the_quota(make_agent: Make, far: FarEnd) -> None:
    agent, _ = make_agent("[limits]\nevents_per_s = 1\nburst = 20\n" + apps(far, "acme"))
    said = events(*({"name": "a", "id": n} for n in range(9)))
    for _ in range(20):
        assert post(agent, said)[0] == 200
    assert post(agent, events({"name": "new", "id": "n"}))[0] == 200


def test_an_import_passes_by_the_quota_and_its_app_may_report_meanwhile(
    make_agent: Make, far: FarEnd
) -> None:
    agent, _ = make_agent("[limits]\nevents_per_s = 10\nburst = 50\n" + apps(far, "acme"))
    sock, number = lines(agent), 40
    began = time.monotonic()
    for n in range(number):
        items = ({"name": "old", "id": f"{n}-{m}"} for m in range(500))
        said = events(*items, appId="acme", ack="durable")
        said["import"] = True
        sock.sendall(json.dumps(said).encode() + b"\n")
    assert post(agent, events({"name": "live"}))[0] == 200
    reader = sock.makefile()
    answers = [json.loads(reader.readline()) for _ in range(number)]
    took = time.monotonic() - began
    sock.close()
    assert all(len(answer["reportedIds"]) == 500 for answer in answers)
    assert took < 30  # 20,000 events at ten a second would be half an hour
    assert post(agent, events({"name": "live"}))[0] == 200


def test_nobody_imports_through_the_gateway(make_agent: Make, far: FarEnd) -> None:
    _, door = make_agent("[limits]\nevents_per_s = 1\nburst = 3\n" + apps(far, "acme"))
    token = door.ask(GiveToken(app_id="acme"))
    said: dict[str, Any] = events(*[{"name": "a"}] * 3, ack="durable") | {"import": True}
    found = []
    for _ in range(2):
        page = http.client.HTTPConnection("127.0.0.1", token.port, timeout=20)
        path, kind = f"/t/{token.token}/app/acme/track", {"Content-Type": "application/json"}
        page.request("POST", path, json.dumps(said), kind)
        found.append(page.getresponse().status)
        page.close()
    assert found == [200, 429]
