"""``live/stream`` on a real socket: who may watch, what is told, and how it ends."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import websocket
from api_ends import get, tell
from collectors import AppOf, Collector, now_ms

from collector.access.tokens import digest_of


@contextlib.contextmanager
def watching(app: AppOf, token: str = "", **options: Any) -> Iterator[websocket.WebSocket]:
    header = {"header": {"Authorization": token}} if token else {}
    client = app.far_end.ws(f"/api/v1/apps/{app.id}/live/stream", **header, **options)
    try:
        yield client
    finally:
        client.close(timeout=1)


def said(client: websocket.WebSocket) -> Any:
    return json.loads(client.recv())


def ended(client: websocket.WebSocket, seconds: float = 10) -> int:
    """Return the code with which a conversation was ended."""
    client.settimeout(seconds)
    while True:
        code, data = client.recv_data()
        if code == websocket.ABNF.OPCODE_CLOSE:
            return int(struct.unpack(">H", data[:2])[0])


def test_a_snapshot_and_then_what_changes(app: AppOf) -> None:
    tell(app, {"type": "event", "name": "BEFORE", "date": now_ms(), "machineId": "m"})
    with watching(app, app.token) as client:
        first = said(client)
        assert first["type"] == "snapshot"
        assert [row["type"] for row in first["events"]] == ["BEFORE"]
        assert first["count"] == get(app, "/live/users/count")[1]["data"]
        with contextlib.closing(app.far_end.ws(f"/app/{app.id}/track")) as ws:
            event = {"type": "event", "name": "AFTER", "date": now_ms(), "machineId": "m2"}
            ws.send(json.dumps({"data": [event]}))
            ws.recv()
            change = said(client)
            assert change["type"] == "change"
            assert change["count"] == first["count"] + 1
            if not change["events"]:  # it looked between the arrival and the commit
                change = said(client)
            assert [row["type"] for row in change["events"]] == ["AFTER"]


def test_the_token_may_be_the_first_message(app: AppOf) -> None:
    with watching(app) as client:
        client.send(json.dumps({"token": app.token}))
        assert said(client)["type"] == "snapshot"


@pytest.mark.parametrize("first", ["{}", '{"token":"dat1_wrong"}', "rubbish", '{"token":1}', "[]"])
def test_without_a_token_nothing_is_told(app: AppOf, first: str) -> None:
    with watching(app) as client:
        client.send(first)
        assert ended(client) == 4401


def test_a_wrong_token_in_the_header_is_refused_before_the_upgrade(app: AppOf) -> None:
    reader = app.far_end.app(app.id, "stats:read")
    for token, status in (("dat1_wrong", 401), (reader, 403)):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:  # noqa: SIM117
            with watching(app, token):
                pass
        assert refused.value.status_code == status
    with watching(app) as client:
        client.send(json.dumps({"token": reader}))
        assert ended(client) == 4403


def test_a_revoked_token_ends_it_within_two_seconds(app: AppOf) -> None:
    token = app.far_end.app(app.id, "users:read")
    with watching(app, token) as client:
        said(client)
        assert app.far_end.command("token", "revoke", token[5:13]).returncode == 0
        began = time.monotonic()
        assert ended(client) == 4401
        assert time.monotonic() - began < 2


def test_an_expired_token_ends_it_within_two_seconds(app: AppOf) -> None:
    token = app.far_end.app(app.id, "users:read")
    with watching(app, token) as client:
        said(client)
        with contextlib.closing(sqlite3.connect(app.far_end.folder.accounts)) as db, db:
            db.execute(
                "UPDATE token SET expires_ms = ? WHERE digest = ?",
                (now_ms() + 500, digest_of(token)),
            )
        began = time.monotonic()
        assert ended(client) == 4401
        assert time.monotonic() - began < 2.5


@pytest.mark.system
def test_who_does_not_read_is_ended_and_others_are_told(
    run: Callable[..., Collector],
) -> None:
    app = AppOf(run(), "A")
    big = {"text": "x" * 30_000}
    with watching(app, app.token) as slow, watching(app, app.token) as quick:
        said(quick)
        for number in range(22):
            events = [
                {"type": "event", "name": "E", "date": now_ms(), "machineId": f"m{number}-{n}",
                 "payload": big}
                for n in range(100)
            ]  # fmt: skip
            tell(app, *events)
            assert said(quick)["type"] == "change"
        try:
            code = ended(slow)
        except (websocket.WebSocketConnectionClosedException, ConnectionResetError):
            code = 1013  # cut, because not even the close was read
        assert code == 1013
        assert get(app, "/analytics/quickglance")[0] == 200
        tell(app, {"type": "event", "name": "LAST", "date": now_ms(), "machineId": "z"})
        names = {row["type"] for row in said(quick)["events"]}
        assert names <= {"E", "LAST"}
