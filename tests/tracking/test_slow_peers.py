"""Deadlines: the listener against the slow and the silent (SECURITY.md, threats 24, 25, 57)."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import websocket
from on_the_wire import FRAME, LINE, POST, UPGRADE, close_code, is_served, until_closed

SHORT = {"header_s": 0.3, "body_s": 0.3}


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"P", b"HTTP/1.1 408"),
        (b"POST /A HTTP/1.1\r\nHost: x\r\nX-Long: ", b"HTTP/1.1 408"),
        (POST, b"HTTP/1.1 408"),
        (POST + b'{"data":', b"HTTP/1.1 408"),
        (b"POST /A HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5", b"HTTP/1.1 408"),
        (b'{"appId":"A","da', b'{"error":"the rest did not come"'),
        (UPGRADE + b"", None),
    ],
)
def test_who_stops_in_the_middle_is_told_and_closed(
    serve: Callable[..., Any], sent: bytes, answer: bytes | None
) -> None:
    far_end = serve(**SHORT)
    sock = far_end.connect()
    sock.sendall(sent)
    if answer is None:  # an upgrade is the end of a header, not the middle of one
        sock.settimeout(0.8)
        assert sock.recv(1000).startswith(b"HTTP/1.1 101")
        with pytest.raises(TimeoutError):
            sock.recv(1)
        return
    began = time.monotonic()
    assert until_closed(sock).startswith(answer)
    assert 0.2 < time.monotonic() - began < 3
    assert is_served(far_end)


def test_half_a_websocket_frame_is_closed(serve: Callable[..., Any]) -> None:
    far_end = serve(**SHORT)
    ws = far_end.websocket()
    ws.sock.sendall(b"\x81\xff" + (2**20).to_bytes(8, "big") + b"mask" + b"x" * 1000)
    assert close_code(ws) == 1008
    assert is_served(far_end)


def test_a_drip_is_no_progress(serve: Callable[..., Any]) -> None:
    far_end = serve(header_s=0.5, body_s=0.5)
    for start in (b"POST /A HTTP/1.1\r\nX: ", POST, b'{"appId":"'):
        sock = far_end.connect()
        sock.sendall(start)
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - began < 5:
                sock.sendall(b"x")
                time.sleep(0.05)  # the attack, not a wait
        assert time.monotonic() - began < 3


def test_a_slow_but_steady_body_is_taken(serve: Callable[..., Any]) -> None:
    far_end = serve(header_s=0.2, body_s=0.2)
    sock = far_end.connect()
    body = FRAME.encode().ljust(6 * 2000)
    sock.sendall(b"POST /A HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
    for n in range(6):
        sock.sendall(body[n * 2000 : (n + 1) * 2000])
        time.sleep(0.1)  # the slow line, not a wait
    assert sock.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_header_has_its_time_however_steadily_it_comes(serve: Callable[..., Any]) -> None:
    far_end = serve(header_s=0.4, body_s=30)
    sock = far_end.connect()
    sock.sendall(b"POST /A HTTP/1.1\r\nX: ")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(20):
            sock.sendall(b"x" * 2000)
            time.sleep(0.05)  # the pace of the attack
    assert until_closed(sock).startswith(b"HTTP/1.1 408")


def test_two_hundred_slow_sockets_do_not_slow_a_healthy_client(serve: Callable[..., Any]) -> None:
    far_end = serve(header_s=3.0, body_s=3.0)
    starts = [b"", b"P", POST, b'{"app', UPGRADE[:-2], UPGRADE + b"\x81\xfe"]
    for n in range(200):
        far_end.connect(unix=n % 2 == 0).sendall(starts[n % len(starts)])
    began = time.monotonic()
    for _ in range(10):
        assert is_served(far_end)
    ws = far_end.websocket()
    ws.send(FRAME)
    assert ws.recv() == '{"reportedIds":[1]}'
    assert time.monotonic() - began < 1
    ws.close()


def test_an_idle_connection_is_closed_and_one_in_use_is_not(serve: Callable[..., Any]) -> None:
    far_end = serve(idle_s=0.6, header_s=0.3, body_s=0.3)
    quiet = far_end.websocket()
    lines, http = far_end.connect(), far_end.connect()
    lines.sendall(LINE)
    http.sendall(b"GET /app/A/customdata HTTP/1.1\r\nHost: x\r\n\r\n")
    busy = far_end.websocket()
    began = time.monotonic()
    while time.monotonic() - began < 2:
        busy.send(FRAME)
        assert busy.recv() == '{"reportedIds":[1]}'
        time.sleep(0.2)  # the pace of an app
    assert close_code(quiet) == 1001
    assert until_closed(lines) == b'{"reportedIds":[1]}\n'
    assert until_closed(http).endswith(b"{}")
    busy.close()


def test_a_websocket_that_answers_no_ping_is_closed(serve: Callable[..., Any]) -> None:
    far_end = serve(ws_ping_s=0.2)
    dead, alive = far_end.connect(), far_end.websocket()
    dead.sendall(UPGRADE)
    began = time.monotonic()
    listening = threading.Thread(target=alive.recv_data)  # answers pings
    listening.start()
    until_closed(dead)
    assert time.monotonic() - began < 3
    alive.send(FRAME)
    listening.join(5)
    assert far_end.sink.stored
    alive.close()


def test_who_asks_and_never_reads_is_closed(serve: Callable[..., Any]) -> None:
    far_end = serve(body_s=0.5)
    ws = far_end.websocket()
    ws.sock.settimeout(0.3)
    ids = [{"name": "", "id": "x" * 1000} for _ in range(500)]
    frame = websocket.ABNF.create_frame(json.dumps({"data": ids}), websocket.ABNF.OPCODE_TEXT)
    raw = frame.format()
    with contextlib.suppress(OSError):
        for _ in range(200):
            ws.sock.sendall(raw)
        pytest.fail("sooner or later it is not read either")
    began = time.monotonic()
    while far_end.listener.connections and time.monotonic() - began < 10:
        time.sleep(0.05)  # until the listener has had enough
    assert not far_end.listener.connections
    assert is_served(far_end)
    ws.shutdown()


def test_who_reads_slowly_but_steadily_is_kept(serve: Callable[..., Any]) -> None:
    far_end = serve(body_s=2.0)
    ws = far_end.websocket()
    ids = [{"name": "", "id": f"{n}" + "x" * 1000} for n in range(500)]
    frame = websocket.ABNF.create_frame(json.dumps({"data": ids}), websocket.ABNF.OPCODE_TEXT)
    raw, count = frame.format(), 30
    # More than sockets hold: the rest waits in the server, far longer than two seconds.
    sending = threading.Thread(target=ws.sock.sendall, args=(raw * count,))
    sending.start()
    for _ in range(count):
        time.sleep(0.2)  # the pace of a slow line
        assert len(json.loads(ws.recv())["reportedIds"]) == 500
    sending.join(10)
    ws.close()
