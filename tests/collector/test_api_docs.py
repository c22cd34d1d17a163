"""docs/data-api.md is run: each request is sent, and the answer below it is the answer.

``"…"`` in an answer stands for whatever depends on the moment or on chance.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from collectors import DAY, HOUR, AppOf, Collector, now_ms, row

from collector.api.endpoints import ENDPOINTS
from collector.intake.attributes import attributes_of
from collector.places import Folder
from collector.store.duck import DuckStore
from collector.store.interface import (
    Attribute,
    Beat,
    Fact,
    Feedback,
    Membership,
    Seen,
    Stored,
)
from tracking.dates import iso, parse_ms

PAGE = (Path(__file__).parents[2] / "docs" / "data-api.md").read_text()
EXAMPLE = re.compile(r"```sh\n(curl .*?)```\n\n(?:```json\n(.*?)```|(Answer: [^\n]+))", re.DOTALL)
ANY = "…"


class Example(NamedTuple):
    words: list[str]
    answer: Any
    status: int


def examples() -> Iterator[Example]:
    for found in EXAMPLE.finditer(PAGE):
        words = shlex.split(found[1].replace("\\\n", " "))
        if found[2] is None:
            yield Example(words, None, int(re.findall(r"\b[2-5]\d\d\b", found[3])[0]))
        else:
            yield Example(words, json.loads(found[2]), 200)


EXAMPLES = list(examples())
MONDAY = parse_ms("2026-10-05T09:00:00Z") or 0


def said(payload: dict[str, Any], **more: Any) -> Stored:
    """One event of the scene."""
    text = json.dumps(payload, separators=(",", ":"))
    keys, values = attributes_of(text)
    more = {"app_id": "acme-notes", "recv_ts": more["ts"] + 150, **more}
    return row(payload=text, attr_keys=keys, attr_values=values, **more)


def scene() -> tuple[list[Stored], list[Fact]]:
    """Two people and a nameless device, over two weeks of October 2026."""
    ada = {"user_id": "ada@example.com", "device_id": "mac-1", "session_id": "4711"}
    bob = {"user_id": "bob", "device_id": "pc-1", "session_id": "1234"}
    mac = {"platform": "darwin", "os_version": "14.1", "version": "1.2.0", "locale": "en-GB"}
    win = {"platform": "win32", "os_version": "10.0", "version": "1.1.0", "locale": "fr"}
    init = {"kind": "init", "type": "init", "name": "", "avail_ram": 16}
    stack = {"message": "boom", "stack": "Error: boom\n    at save (0x7f3a:12)"}
    oops = {"kind": "error", "type": "error", "name": "uncaughtException"}
    at, week, again = MONDAY, 7 * DAY, {"session_id": "4712"}
    named = {"event_id": '"V1StGXR8_Z5jdHi6B-myT"', "said_ts": at + 60_000}
    rows = [
        said({"plan": "pro", "seats": 3}, ts=at, **init, **ada, **mac),
        said({"title": "Shopping"}, ts=at + 60_000, name="NOTE_SAVED", **ada, **named),
        said({"title": "Ideas"}, ts=at + 120_000, name="NOTE_SAVED", **ada),
        said(stack, ts=at + 180_000, **oops, **ada),
        said({"plan": "free"}, ts=at + DAY, **init, **bob, **win),
        said({"title": "Shopping"}, ts=at + DAY + 30_000, name="NOTE_SAVED", **bob),
        said({"to": "pdf"}, ts=at + DAY + 90_000, name="NOTE_SHARED", **bob),
        said({}, ts=at + DAY + HOUR, **init, device_id="tablet", anon_id="xfQDpOf5gU2R"),
        said(
            {"plan": "pro", "seats": 5},
            ts=at + week,
            **init,
            **{**ada, **again},
            **mac,
        ),
    ]
    bucket = {"user_id": "bob", "company_id": "acme", "device_id": "", "flags": 8}
    rows.append(said({"amount": 9}, ts=at + 2 * DAY, name="paid", **bucket))
    app = "acme-notes"
    facts: list[Fact] = [
        Beat(app, "mac-1", "4711", "ada@example.com", at + 200_000, at + 600_000),
        Seen(app, "company", "acme", at + 2 * DAY, at + 2 * DAY),
        Attribute(app, "company", "acme", "tier", '"gold"', at, at),
        Attribute(app, "user", "bob", "name", '"Bob"', at, at),
        Membership(app, "bob", "acme", at + 2 * DAY, at + 2 * DAY),
        Seen(app, "user", "bob", at + 2 * DAY, at + 2 * DAY),
    ]
    for id_, score, comment in (("f-1", 4.0, "Nice"), ("f-2", 5.0, "")):
        when = at + 2 * DAY + HOUR * int(id_[-1])
        facts.append(
            Feedback(app, id_, "sharing", "bob", "acme", score, comment, "widget", "", "", when,
                     when, json.dumps({"featureId": "sharing", "score": score}))
        )  # fmt: skip
    return rows, facts


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    folder = Folder(tmp_path_factory.mktemp("docs") / "data").prepare()
    with contextlib.closing(DuckStore(folder.events, now_ms())) as store:
        store.write(*scene())
    far_end = Collector(folder.path)
    for app_id in ("acme-notes", "acme-live"):
        AppOf(far_end, app_id)
    live = AppOf(far_end, "acme-live")
    at = now_ms() - 1000
    facts = {"deviceId": "mac-1", "userId": "ada", "platform": "darwin", "osVersion": "14.1"}
    ws = far_end.ws("/app/acme-live/track")
    event = {"type": "event", "name": "NOTE_SAVED", "date": at, "payload": {"title": "x"}, **facts}
    ws.send(json.dumps({"data": [{"type": "init", "date": at - 10, **facts}, event]}))
    ws.recv()
    assert live.glance()["appStarts"] == 1
    yield far_end
    assert far_end.stop() == 0


def sent(far_end: Collector, words: list[str]) -> tuple[int, Any]:
    """Send what a line with curl says."""
    method, headers, body, url = "GET", {}, None, ""
    rest = iter(words[1:])
    for word in rest:
        match word:
            case "-X":
                method = next(rest)
            case "-H":
                name, _, value = next(rest).partition(": ")
                headers[name] = value
            case "-d":
                body = next(rest)
                method = "POST" if method == "GET" else method
            case _:
                url = word
    parts = urlsplit(url)
    app_id = parts.path.split("/")[4]
    token = far_end.app(app_id, "admin")
    headers = {name: value.replace("$TOKEN", token) for name, value in headers.items()}
    body = None if body is None else body.replace("$TOKEN", token)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return far_end.request(method, path, body, headers)[:2]


def fits(answer: Any, shown: Any) -> bool:
    """Whether an answer is what the page shows."""
    if shown == ANY:
        return True
    if isinstance(shown, dict):
        return (
            isinstance(answer, dict)
            and list(answer) == list(shown)
            and all(fits(answer[key], value) for key, value in shown.items())
        )
    if isinstance(shown, list):
        return (
            isinstance(answer, list) and len(answer) == len(shown) and all(map(fits, answer, shown))
        )
    return type(answer) is type(shown) and bool(answer == shown)


def test_every_example_is_answered_as_the_page_shows(served: Collector) -> None:
    assert EXAMPLES
    for example in EXAMPLES:  # in the order of the page: the deletion comes last
        status, answer = sent(served, example.words)
        assert status == example.status, (example.words, answer)
        if example.answer is not None and not fits(answer, example.answer):
            assert answer == example.answer, example.words


def test_every_endpoint_has_an_example_and_a_heading() -> None:
    shown = [urlsplit(word).path for one in EXAMPLES for word in one.words if "://" in word]
    for endpoint in ENDPOINTS:
        pattern = re.sub(r":[A-Za-z]+", "[^/]+", endpoint.full)
        assert any(re.fullmatch(pattern, path) for path in shown), endpoint.path
        assert f"`{endpoint.method} {endpoint.path}`" in PAGE, endpoint.path
        assert endpoint.scope in PAGE
    assert iso(MONDAY).startswith("2026-10-05")
