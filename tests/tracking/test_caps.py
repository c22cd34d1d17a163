"""Caps: the listener against too much, too many and strangers (SECURITY.md, threats 24, 25, 57)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import websocket
from on_the_wire import FRAME, LINE, close_code, is_served, until_closed

from tracking.events import Limits
from tracking.peers import peer_key


def test_a_header_of_any_length_is_not_taken(serve: Callable[..., Any]) -> None:
    far_end = serve()
    for header in (b"X: " + b"y" * 300_000, b"X-Y: z\r\n" * 20_000, b"X" * 300_000):
        sock = far_end.connect()
        with contextlib.suppress(OSError):
            sock.sendall(b"POST /A HTTP/1.1\r\n" + header + b"\r\n\r\n")
        assert until_closed(sock)[:12] in (b"HTTP/1.1 431", b"")
    sock = far_end.connect()
    with contextlib.suppress(OSError):
        sock.sendall(b"GET /" + b"y" * 300_000 + b" HTTP/1.1\r\n\r\n")
    assert until_closed(sock)[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"")
    assert not far_end.sink.stored
    assert is_served(far_end)


def test_a_header_that_just_fits_is_taken(far_end: Any) -> None:
    status, _, _ = far_end.request("POST", "/A", FRAME, {"X-Long": "y" * 60_000})
    assert status == 200


def test_one_connection_too_many_is_closed_unread(serve: Callable[..., Any]) -> None:
    far_end = serve(max_connections=3)
    first = [far_end.connect(unix=True) for _ in range(3)]
    for sock in first:
        sock.sendall(LINE)
        assert sock.recv(100) == b'{"reportedIds":[1]}\n'
    assert until_closed(far_end.connect()) == b""
    assert far_end.listener.refused == 1
    first[0].close()
    deadline = time.monotonic() + 5
    while len(far_end.listener.connections) > 2:
        assert time.monotonic() < deadline
    assert is_served(far_end)


def test_one_peer_may_not_take_every_connection(serve: Callable[..., Any]) -> None:
    far_end = serve(max_per_peer=2)
    held = [far_end.connect() for _ in range(2)]
    for sock in held:
        sock.sendall(LINE)
        assert sock.recv(100) == b'{"reportedIds":[1]}\n'
    assert until_closed(far_end.connect()) == b""
    other = far_end.connect(unix=True)  # another peer, by its process
    other.sendall(LINE)
    assert other.recv(100) == b'{"reportedIds":[1]}\n'


def test_peers_are_counted_by_address_and_in_ipv6_by_household() -> None:
    assert peer_key("192.0.2.7") == "192.0.2.7"
    assert peer_key("2001:db8::1") == peer_key("2001:db8::ffff:1")
    assert peer_key("2001:db8::1") != peer_key("2001:db8:0:1::1")
    assert peer_key("::ffff:192.0.2.7") == "192.0.2.7"
    assert peer_key("fe80::1%eth0") == "fe80::/64"
    assert peer_key("pid:12") == "pid:12"
    assert peer_key("not:an:address") == "not:an:address"
    assert peer_key("") == ""


def test_a_stranger_is_closed_before_its_first_byte_is_read(serve: Callable[..., Any]) -> None:
    seen: list[str] = []

    def allow(transport: asyncio.BaseTransport) -> bool:
        seen.append(transport.get_extra_info("socket").family.name)
        return False

    far_end = serve(allow=allow)
    for unix in (True, False):
        sock = far_end.connect(unix=unix)
        with contextlib.suppress(OSError):
            sock.sendall(LINE)
        assert until_closed(sock) == b""
    assert seen == ["AF_UNIX", "AF_INET"]
    assert not far_end.sink.stored


def test_who_cannot_be_told_from_a_stranger_is_a_stranger(
    serve: Callable[..., Any], expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("asyncio")  # it says that the check itself failed

    def allow(transport: asyncio.BaseTransport) -> bool:
        raise OSError("no credentials")

    far_end = serve(allow=allow)
    sock = far_end.connect(unix=True)
    with contextlib.suppress(OSError):
        sock.sendall(LINE)
    assert until_closed(sock) == b""
    assert not far_end.sink.stored


def test_unfinished_frames_are_bounded_in_all(
    serve: Callable[..., Any], expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("tracking.serving")
    far_end = serve(unfinished_bytes=1_000_000)
    head = b"\x81\xff" + (900_000).to_bytes(8, "big") + b"mask"
    frames = [far_end.websocket() for _ in range(2)]
    with contextlib.suppress(OSError):
        for ws in frames:
            ws.sock.sendall(head + b"x" * 800_000)
    assert close_code(frames[1]) == 1013
    assert is_served(far_end)  # small things pass meanwhile
    frames[0].sock.close()


def test_endless_fragments_are_refused(far_end: Any) -> None:
    ws = far_end.websocket()
    fragment = websocket.ABNF(0, 0, 0, 0, websocket.ABNF.OPCODE_CONT, 1, b"x").format()
    with contextlib.suppress(OSError):
        ws.sock.sendall(websocket.ABNF(0, 0, 0, 0, 1, 1, b"x").format() + fragment * 5000)
    assert close_code(ws) == 1008
    assert is_served(far_end)


def test_who_pings_and_does_not_read_is_not_read(far_end: Any) -> None:
    ws = far_end.websocket(unix=True)
    ping = websocket.ABNF(1, 0, 0, 0, websocket.ABNF.OPCODE_PING, 1, b"x" * 125).format()
    ws.sock.settimeout(2)
    with pytest.raises(TimeoutError):  # read at all, it would be gone in half the time
        ws.sock.sendall(ping * 40_000)
    (connection,) = far_end.listener.connections
    assert connection.transport.get_write_buffer_size() < 2 * 1024 * 1024
    assert is_served(far_end)


def test_limits_reach_the_websocket(serve: Callable[..., Any]) -> None:
    far_end = serve(limits=Limits(event_bytes=100))
    ws = far_end.websocket()
    ws.send(json.dumps({"data": [{"name": "E", "id": 5, "payload": {"a": "x" * 100}}]}))
    assert ws.recv() == '{"reportedIds":[5]}'
    assert far_end.sink.bad == 1
    ws.close()
