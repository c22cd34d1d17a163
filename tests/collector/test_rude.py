"""The rude: slow sockets, bombs, forged addresses (SECURITY.md, threats 55, 57, 58, 61)."""

from __future__ import annotations

import contextlib
import gzip
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from collectors import AppOf, Collector, now_ms

from tracking.dates import iso

UPGRADE = (
    "GET /app/{}/track HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@contextlib.contextmanager
def sockets(far_end: Collector, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", far_end.port), 10))
            for _ in range(count)
        ]


def test_57_two_hundred_slow_sockets_keep_nobody_waiting(app: AppOf) -> None:
    post = f"POST /app/{app.id}/track HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n"
    with sockets(app.far_end, 200) as slow:
        for n, sock in enumerate(slow):
            match n % 5:
                case 1:
                    sock.sendall(b"POST /app/")
                case 2:
                    sock.sendall(post.encode() + b'{"data":[')
                case 3:
                    sock.sendall(UPGRADE.format(app.id).encode())
                case 4:  # half a WebSocket frame
                    sock.sendall(UPGRADE.format(app.id).encode() + b"\x81\xfe\x10\x00aaaaaa")
        slowest = 0.0
        for n in range(20):
            began = time.monotonic()
            assert app.say({"data": [{"name": "E", "id": n, "machineId": "m"}]})
            assert app.ask("/live/users/count") == 1
            slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1
    assert len(app.stored) == 20


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_58_a_compressed_body_is_not_unpacked(app: AppOf, encoding: str) -> None:
    bomb = gzip.compress(b" " * 10_000_000) if encoding == "gzip" else zlib.compress(b"{}")
    status, said, _ = app.far_end.request(
        "POST", f"/app/{app.id}/track", bomb, {"Content-Encoding": encoding}
    )
    assert (status, said["reportedIds"]) == (415, [])


def test_58_a_websocket_is_never_compressed(app: AppOf) -> None:
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    ws = app.far_end.ws(f"/app/{app.id}/track", header=offer)
    with contextlib.closing(ws):
        assert "sec-websocket-extensions" not in (ws.headers or {})


def test_58_deep_and_wide_json_costs_neither_stack_nor_memory(app: AppOf) -> None:
    process = psutil.Process(app.far_end.process.pid)
    before = process.memory_info().rss
    deep = '{"a":' * 200_000 + "1" + "}" * 200_000
    wide = "{" + ",".join(f'"k{n}":1' for n in range(50_000)) + "}"
    bombs = ["[" * 1_000_000, deep, f'{{"data":[{{"payload":{deep},"machineId":"m"}}]}}']
    bombs += [f'{{"data":[{{"name":"E","payload":{wide},"machineId":"m"}}]}}']
    bombs += ['{"data":[' + "{}," * 300_000 + "{}]}"]
    for bomb in bombs:
        assert app.say(bomb) == {"reportedIds": []}
        assert app.far_end.request("POST", f"/app/{app.id}/track", bomb)[0] in (200, 400, 413)
    assert app.stored == []
    assert process.memory_info().rss - before < 300_000_000


def test_58_a_body_that_is_too_large_is_refused_before_it_is_read(app: AppOf) -> None:
    with sockets(app.far_end, 1) as (sock,):
        head = f"POST /app/{app.id}/track HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n"
        sock.sendall(head.encode())
        assert b" 413 " in sock.recv(4096).split(b"\r\n")[0]


def test_61_events_are_counted_for_who_sent_them_whatever_a_header_says(
    run: Callable[..., Collector],
) -> None:
    """No proxy is configured, so nobody's word about others is believed."""
    far_end = run("--peer-burst", "3", "--peer-events-per-s", "0.01")
    far_end.app("A")
    answers = []
    for n in range(5):
        body = {"data": [{"name": "E", "id": n, "machineId": "m"}]}
        address = f"198.51.100.{n}"
        headers = dict.fromkeys(("X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP"), address)
        headers["Forwarded"] = f"for={address}"
        answers.append(far_end.request("POST", "/app/A/track", body, headers)[0])
    assert answers == [200, 200, 200, 429, 429]


def test_55_dates_of_every_kind_are_stored_as_believed(app: AppOf) -> None:
    dates: list[Any] = [
        0,
        "1970-01-01",
        "2100-01-01T00:00:00Z",
        "NaN",
        "0",
        "",
        True,
        [],
        -5,
        1e300,
    ]
    events = [{"name": "E", "id": n, "date": d, "machineId": "m"} for n, d in enumerate(dates)]
    good = now_ms() - 1000
    events.append({"name": "E", "id": 99, "date": good, "machineId": "m"})
    reply = app.say({"data": events})
    assert reply["reportedIds"][-1] == 99
    assert app.say({"data": events}) == reply
    kept = {e["id"]: e for e in app.stored}
    assert kept[99]["date"] == iso(good)
    others = [e for id_, e in kept.items() if id_ != 99]
    assert all(e["date"] == e["receivedAt"] for e in others)
    assert {0, 1, 2, 3, 4} <= set(kept)


def test_names_that_look_like_queries_are_names(app: AppOf) -> None:
    names = ["'; DROP TABLE events; --", '$."x"', "{app}", "%s", "\\", "a/b?c#d", "<script>"]
    for name in names:
        app.say({"data": [{"name": name, "userId": name, "deviceId": name, "date": now_ms()}]})
    assert [e["name"] for e in app.stored] == names
    assert {r["type"] for r in app.ask("/live/events")} == set(names)
    assert app.glance()["users"] == len(names)
    assert app.far_end.request("GET", "/api/v1/apps/'%20OR%201=1--/live/events")[0] == 401


def test_who_leaves_in_the_midst_of_a_body_is_no_error_in_the_log(app: AppOf) -> None:
    log = Path(app.far_end.log.name)
    before = len(log.read_bytes())
    for path in (f"/api/v1/apps/{app.id}/analytics/quickglance", f"/app/{app.id}/track", "/event"):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", app.far_end.port)) as sock:
            sock.sendall(f"{head}Content-Length: 999\r\n\r\n{{".encode())
            time.sleep(0.2)
    assert app.ask("/live/users/count") == 0
    time.sleep(0.3)
    assert log.read_bytes()[before:] == b""
