"""Lists that are longer than one look at the store, and methods that no path answers to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from api_ends import get
from collectors import NOW, AppOf, now_ms, row

from collector.api.answers import STREAMED
from collector.api.endpoints import ENDPOINTS
from collector.store.duck import DuckStore
from collector.store.questions import SLICE, Questions
from collector.store.questions_people import AT_ONCE, Person


def test_a_long_list_of_users_is_sent_whole_and_each_once(app: AppOf) -> None:
    at, count = now_ms() - 60_000, 2 * STREAMED + 3
    events = [
        {"type": "init", "date": at + n, "machineId": f"m{n}", "userId": f"u{n}",
         "payload": {"n": n}}
        for n in range(count)
    ]  # fmt: skip
    # By POST: a socket that closes is the last that is seen of its devices, a moment later.
    track = f"/app/{app.id}/track"
    assert app.far_end.request("POST", track, {"data": events})[0] == 200
    status, said = get(app, "/users")
    assert (status, said["total"], len(said["data"])) == (200, count, count)
    assert [one["userId"] for one in said["data"]] == [f"u{n}" for n in reversed(range(count))]
    assert all(one["props"] == {"n": int(one["userId"][1:])} for one in said["data"])
    part = get(app, "/users", skip=STREAMED - 1, limit=STREAMED + 2)[1]
    assert part["data"] == said["data"][STREAMED - 1 : 2 * STREAMED + 1]


def test_an_export_has_each_of_many_events_of_one_moment_once(
    opened: Callable[..., DuckStore],
) -> None:
    store = opened()
    count = 2 * SLICE + 5
    store.write([row(user_id="u", name=f"E{n}", ts=NOW + n // SLICE) for n in range(count)])
    slices = list(Questions(store).held_rows("A", Person("u", "u"), []))
    names = [one.name for rows in slices for one in rows]
    assert len(slices) == 3
    assert len(names) == len(set(names)) == count
    assert list(Questions(store).held_rows("A", Person("u", "nobody"), [])) == []


def test_details_are_read_in_parts(opened: Callable[..., DuckStore]) -> None:
    store = opened()
    store.write([row(user_id=f"u{n}", ts=NOW + n, device_id=f"d{n}") for n in range(AT_ONCE + 7)])
    questions = Questions(store)
    parts = list(questions.details("A", questions.everybody("A")))
    assert [len(part) for part in parts] == [AT_ONCE, 7]
    assert parts[1][-1]["userId"] == "u0"
    assert parts[0][0]["devices"][0]["_id"] == f"d{AT_ONCE + 6}"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_method_that_no_question_has_is_refused_as_json(app: AppOf, method: str) -> None:
    for endpoint in ENDPOINTS:
        if ":" in endpoint.path or endpoint.method != "GET":
            continue
        status, said, headers = app.far_end.request(
            method,
            f"/api/v1/apps/{app.id}{endpoint.path}",
            headers={"Authorization": app.token},
        )
        assert (status, headers["Allow"]) == (405, "GET, POST"), endpoint.path
        assert said["code"] == "request"


def test_a_path_that_nobody_knows_is_a_json_404(app: AppOf) -> None:
    for path in ("/none", "/analytics/none/more/still", "/users/a/b", ""):
        status, said = get(app, path)
        assert status == 404
        assert set(said) >= {"error", "code", "field"}
