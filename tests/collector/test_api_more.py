"""What is asked beyond the seeds: companies, feedback, cohorts, funnels, errors, export, status."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from api_ends import delete, get, lately, person, segment, tell
from collectors import DAY, HOUR, NOW, AppOf, now_ms, row

from collector.access.accounts import Accounts
from collector.api.threads import AT_ONCE, MOST_WAITING, Threads
from collector.receipts import digest, verify
from collector.store.duck import DuckStore
from collector.store.questions import Questions
from tracking.errors import OverQuota, RequestFault, StorageFault


class Firm:
    """Reports over the Bucket API to an app of the shared collector."""

    def __init__(self, app: AppOf) -> None:
        self.app = app
        accounts = Accounts(app.far_end.folder.accounts)
        (known,) = [one for one in accounts.apps() if one.app_id == app.id]
        accounts.close()
        self.key = known.tracking_key

    def call(self, what: str, body: dict[str, Any]) -> None:
        status, said, _ = self.app.far_end.request(
            "POST", f"/{self.key}/{what}", body, {"Content-Type": "application/json"}
        )
        assert status in (200, 201, 202), said


@pytest.fixture
def firm(app: AppOf) -> Firm:
    return Firm(app)


def test_companies_with_their_users_attributes_and_events(app: AppOf, firm: Firm) -> None:
    firm.call("user", {"userId": "u1", "attributes": {"name": "Ada"}})
    firm.call("company", {"companyId": "c1", "userId": "u1", "attributes": {"seats": 3}})
    firm.call("event", {"userId": "u1", "companyId": "c1", "event": "paid"})
    firm.call("company", {"companyId": "c/2", "attributes": {}})
    status, said = get(app, "/companies")
    assert status == 200
    assert said["total"] == 2
    by_id = {one["companyId"]: one for one in said["data"]}
    one = by_id["c1"]
    assert (one["users"], one["events"], one["attributes"]) == (1, 1, {"seats": 3})
    assert one["firstSeen"] <= one["lastSeen"]
    assert get(app, "/companies/c1")[1]["data"]["users"] == ["u1"]
    assert get(app, f"/companies/{segment('c/2')}")[1]["data"]["events"] == 0
    assert get(app, "/companies/none")[0] == get(app, "/companies/none/events")[0] == 404
    (paid,) = get(app, "/companies/c1/events")[1]["data"]
    assert (paid["type"], paid["user_id"], paid["machine_id"]) == ("paid", "u1", None)
    assert get(app, "/companies", limit=1)[1] == {"total": 2, "data": said["data"][:1]}
    assert get(app, "/users/u1")[1]["user"]["props"]["name"] == "Ada"


def test_feedback_is_listed_averaged_and_counted_by_day(app: AppOf, firm: Firm) -> None:
    feature = {"featureId": "f1", "userId": "u1"}
    firm.call("feedback", {**feature, "feedbackId": "a", "score": 2, "comment": "hm"})
    firm.call("feedback", {**feature, "feedbackId": "a", "score": 4, "comment": "better"})
    firm.call("feedback", {**feature, "feedbackId": "b", "score": 5})
    firm.call("feedback", {**feature, "feedbackId": "c", "comment": "no score"})
    status, said = get(app, "/feedback")
    assert (status, said["total"]) == (200, 3)
    by_id = {one["feedbackId"]: one for one in said["data"]}
    assert (by_id["a"]["score"], by_id["a"]["comment"]) == (4, "better")
    assert by_id["c"]["score"] is None
    assert get(app, "/feedback/average")[1] == {
        "data": [{"feature": "f1", "count": 3, "average": 4.5}]
    }
    days = get(app, "/feedback/daily", **lately(2))[1]["data"]
    assert sum(day["count"] for day in days.values()) == 3
    assert [day["average"] for day in days.values() if day["count"]] == [4.5]
    assert get(app, "/feedback", start=1, end=2)[1] == {"total": 0, "data": []}


def test_a_cohort_is_who_came_first_in_a_week_and_a_cell_who_came_again(app: AppOf) -> None:
    monday = (now_ms() // DAY - 3) // 7 * 7 * DAY + 4 * DAY - 4 * 7 * DAY
    weeks = {"early": [0, 1, 3], "once": [0], "late": [1, 2]}
    for user, when in weeks.items():
        for week in when:
            at = monday + week * 7 * DAY + HOUR
            tell(app, {"type": "init", "date": at, "machineId": f"m-{user}", "userId": user})
    tell(app, {"type": "init", "date": monday + HOUR, "machineId": "nameless"})
    status, said = get(app, "/retention", start=monday, end=monday + 21 * DAY)
    assert status == 200
    cells = [(one["size"], one["weeks"]) for one in said["data"]]
    assert cells == [(3, [3, 1, 0, 1]), (1, [1, 1])]
    assert time.gmtime(monday // 1000).tm_wday == 0


def test_a_funnel_counts_who_got_how_far_in_order_and_in_time(app: AppOf) -> None:
    at = now_ms() - 2 * DAY

    def does(user: str, *steps: tuple[str, int]) -> None:
        events = [
            {"type": "event", "name": name, "date": at + ms, "machineId": user, "userId": user}
            for name, ms in steps
        ]
        tell(app, *events)

    does("all", ("SEE", 0), ("BUY", 1000), ("PAY", 2000))
    does("two", ("SEE", 0), ("BUY", 1000))
    does("backwards", ("BUY", 0), ("SEE", 1000), ("PAY", 2000))
    does("slow", ("SEE", 0), ("BUY", HOUR + 1000))
    does("never", ("PAY", 0))
    span = lately()
    status, said = get(app, "/funnel", **span, steps="SEE,BUY,PAY")
    assert status == 200
    assert said["data"] == [
        {"step": "SEE", "count": 4},
        {"step": "BUY", "count": 3},
        {"step": "PAY", "count": 1},
    ]
    counts = get(app, "/funnel", **span, steps='["SEE","BUY"]', window=HOUR // 1000)[1]["data"]
    assert [one["count"] for one in counts] == [4, 2]
    body = {"token": app.token, **span, "steps": ["SEE", "BUY"]}
    path = f"/api/v1/apps/{app.id}/funnel"
    assert app.far_end.request("POST", path, body)[1]["data"][1]["count"] == 3
    for steps in ("SEE", "SEE,SEE", "A,B,C,D,E,F,G,H,I", "A,,B", "[1,2]", "[", ""):
        assert get(app, "/funnel", **span, steps=steps)[0] == 400, steps
    assert len(get(app, "/funnel", **span, steps="A,B,C,D,E,F,G,H")[1]["data"]) == 8


def test_what_came_before_the_sign_in_belongs_to_who_signed_in_alone_on_that_device(
    app: AppOf,
) -> None:
    monday = (now_ms() // DAY - 3) // 7 * 7 * DAY + 4 * DAY - 3 * 7 * DAY

    def does(device: str, *steps: tuple[int, str, str | None]) -> None:
        tell(
            app,
            *(
                {
                    **({"type": "init"} if name == "init" else {"type": "event", "name": name}),
                    **({} if user is None else {"userId": user}),
                    "date": monday + at,
                    "machineId": device,
                }
                for at, name, user in steps
            ),
        )

    span = {"start": monday, "end": monday + 14 * DAY}

    def told() -> tuple[list[int], list[tuple[int, list[int]]]]:
        steps = get(app, "/funnel", **span, steps="SEE,BUY", window=7 * DAY // 1000)[1]["data"]
        cohorts = get(app, "/retention", **span)[1]["data"]
        return [one["count"] for one in steps], [(one["size"], one["weeks"]) for one in cohorts]

    week = 7 * DAY
    does("hers", (6 * DAY, "SEE", None))
    assert told() == ([1, 0], [(1, [1])])
    does("hers", (week + HOUR, "init", "ada"), (week + 2 * HOUR, "BUY", "ada"))
    assert told() == ([1, 1], [(1, [1, 1])])
    does("phone", (week + 3 * HOUR, "BUY", None), (week + 4 * HOUR, "init", "ada"))
    assert told() == ([1, 1], [(1, [1, 1])]), "one person on two devices"
    does("kiosk", (HOUR, "SEE", None), (2 * HOUR, "BUY", None))
    assert told() == ([2, 2], [(2, [2, 1])])
    does("kiosk", (3 * HOUR, "init", "bob"))
    assert told() == ([2, 2], [(2, [2, 1])])
    does("kiosk", (week + 3 * HOUR, "init", "cyd"))
    assert told() == ([1, 1], [(2, [2, 1]), (1, [1])]), "nobody knows whose those were"


def test_errors_are_grouped_by_a_stack_without_lines_and_addresses(app: AppOf) -> None:
    at = now_ms() - HOUR
    tell(app, *person("u", "m1", at), *person("v", "m2", at + 1))
    tell(
        app,
        {"type": "error", "name": "Oops", "date": at, "machineId": "m3", "version": "9"},
        {
            "type": "error", "name": "Oops", "date": at + 5, "machineId": "m3",
            "payload": {"stack": "elsewhere:1"},
        },
    )  # fmt: skip
    status, said = get(app, "/errors")
    assert (status, said["total"]) == (200, 3)
    most = said["data"][0]
    assert (most["name"], most["count"]) == ("Oops", 2)
    record = get(app, f"/errors/{most['hash']}")[1]["data"]
    assert {one["deviceId"] for one in record["devices"]} == {"m1", "m2"}
    assert (record["count"], record["deviceCount"]) == (2, 2)
    assert record["stack"].startswith("at run (0xf00:")
    assert record["sample"]["error_hash"] == most["hash"]
    assert record["firstSeen"] < record["lastSeen"]
    records = [get(app, f"/errors/{one['hash']}")[1]["data"] for one in said["data"]]
    (bare,) = [one for one in records if one["stack"] is None]
    assert bare["versions"] == [{"value": "9", "count": 1}]
    assert get(app, "/errors/0000000000000000")[0] == 404
    assert get(app, "/errors", start=1, end=2)[1] == {"total": 0, "data": []}


def test_an_export_has_all_that_is_held_and_nothing_of_others(app: AppOf, firm: Firm) -> None:
    at = now_ms() - HOUR
    tell(app, *person("me", "mine", at), *person("other", "theirs", at))
    tell(app, {"type": "event", "name": "UNNAMED", "date": at + 7, "machineId": "mine"})
    firm.call("user", {"userId": "me", "attributes": {"name": "Ada"}})
    firm.call("company", {"companyId": "c1", "userId": "me"})
    firm.call("feedback", {"featureId": "f", "userId": "me", "score": 3})
    status, said = get(app, "/users/me/export")
    assert status == 200
    assert [one["name"] for one in said["events"] if "name" in one] == ["UNNAMED", "PLAYED", "Oops"]
    assert said["events"][0]["payload"] == {"plan": "pro", "n": 1}
    assert said["devices"] == ["mine"]
    assert said["user"]["props"]["name"] == "Ada"
    assert {one["key"]: one["value"] for one in said["attributes"]} == {"name": '"Ada"'}
    assert [one["companyId"] for one in said["memberships"]] == ["c1"]
    assert len(said["feedback"]) == 1
    text = json.dumps(said)
    assert "theirs" not in text
    assert '"other"' not in text
    assert get(app, "/users/nobody/export")[0] == 404
    assert delete(app, "/users/me")[0] == 204
    assert get(app, "/users/me/export")[0] == 404


def test_the_status_tells_how_much_and_how_fast(app: AppOf) -> None:
    tell(app, *person("u", "m", now_ms() - 2000))
    said = get(app, "/status")[1]["data"]
    assert (said["engine"], said["events"]) == ("duckdb", 3)
    assert said["live"] == 1  # its socket closed a moment ago
    assert said["eventsPerSecond"] == 0.05
    assert said["sizeBytes"] > 0
    assert said["lagMs"] is not None
    assert said["unswept"] >= 0
    assert said["waiting"] >= 0
    reader = app.far_end.app(app.id, "stats:read")
    assert get(app, "/status", reader)[0] == 403


# --- receipts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/users/gone?receipt=1", {}), ("/users/gone", {"Prefer": "return=representation"})],
)
def test_an_erasure_can_be_had_in_writing(
    app: AppOf, path: str, headers: dict[str, str], tmp_path: Path
) -> None:
    tell(app, *person("gone", "m1", now_ms() - HOUR))
    status, said = delete(app, path, **headers)
    assert status == 200
    raw = json.dumps(said).encode()
    _, stated = verify(raw)
    assert stated["erased"]["events"] == 3
    assert stated["appId"] == app.id
    assert stated["subject"] == digest(stated["salt"], app.id, "gone")
    assert stated["unswept"] > 0
    assert "gone" not in raw.decode()
    key = app.far_end.folder.path / "receipts.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    file = tmp_path / "receipt.json"
    file.write_bytes(raw)
    done = app.far_end.command("verify-receipt", str(file))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["erased"] == stated["erased"]
    file.write_bytes(raw.replace(b'\\"events\\":3', b'\\"events\\":4'))
    done = app.far_end.command("verify-receipt", str(file))
    assert done.returncode == 64
    assert "signature" in done.stderr


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff", b'{"statement":"{}","algorithm":"x"}'])
def test_what_is_no_receipt_is_none(raw: bytes) -> None:
    with pytest.raises(RequestFault):
        verify(raw)


def test_no_receipt_without_an_erasure(app: AppOf) -> None:
    assert delete(app, "/users/nobody?receipt=1")[0] == 404
    assert delete(app, "/users/nobody?receipt=maybe")[0] == 400


# --- deadlines ---------------------------------------------------------------------------------

ENDLESS = (
    "SELECT count(*) FROM events AS a, events AS b, events AS c, events AS d WHERE a.ts <> b.ts"
)


def test_a_question_is_interrupted_at_its_deadline(opened: Callable[..., DuckStore]) -> None:
    store = opened()
    store.write([row(ts=NOW + n, name=f"E{n}") for n in range(2_000)])
    began = time.monotonic()
    with pytest.raises(StorageFault, match="too long"):
        Questions(store, 0.5)._ask(ENDLESS)
    assert time.monotonic() - began < 5
    assert Questions(store).quickglance("A", NOW + 3000)["users"] == 1


def test_two_endless_questions_hold_nobody_up_who_asks_what_is_live(
    opened: Callable[..., DuckStore],
) -> None:
    store = opened()
    store.write([row(ts=NOW + n, name=f"E{n}") for n in range(2_000)])
    threads = Threads(2.0)

    async def scene() -> None:
        def endless() -> object:
            return Questions(store, 2.0)._ask(ENDLESS)

        slow = [asyncio.create_task(threads.run(endless)) for _ in range(AT_ONCE + MOST_WAITING)]
        await asyncio.sleep(0.1)
        with pytest.raises(OverQuota):
            await threads.run(endless)
        began = time.monotonic()
        rows = await threads.run(lambda: store.newest("A", 0, 10), heavy=False)
        assert len(rows) == 10
        assert time.monotonic() - began < 1.5
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        threads.close()

    asyncio.run(scene())
