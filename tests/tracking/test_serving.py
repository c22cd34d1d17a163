"""Deadlines, caps and garbage: the listener against the rude (SECURITY.md, threats 24, 25, 57)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import websocket

from tracking.events import Limits
from tracking.serving import peer_key

FRAME = '{"data":[{"name":"E","id":1,"machineId":"m"}]}'
LINE = b'{"appId":"A","data":[{"name":"E","id":1}]}\n'
POST = b"POST /A HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
UPGRADE = (
    b"GET /A HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SHORT = {"header_s": 0.3, "body_s": 0.3}


def until_closed(sock: socket.socket) -> bytes:
    """Read until the far side closes."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := sock.recv(65536):
            data += more
    return data


def close_code(ws: websocket.WebSocket) -> int:
    """Read until the far side says that it closes; return why."""
    while (frame := ws.recv_frame()).opcode != websocket.ABNF.OPCODE_CLOSE:
        pass
    code: int = struct.unpack("!H", frame.data[:2])[0]
    return code


def is_served(far_end: Any) -> bool:
    return bool(far_end.request("POST", "/A", FRAME)[1] == b'{"reportedIds":[1]}')


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


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"X: y\r\n" * 200, b"431"),
        (b"X: " + b"y" * 20_000 + b"\r\n", b"431"),
        (b"Sec-WebSocket-Version: 8\r\n", b"400"),
        (b"X: \xff\xfe\r\n", b"101"),
    ],
)
def test_an_odd_handshake_is_answered_and_disturbs_nobody(
    far_end: Any, head: bytes, status: bytes
) -> None:
    sock = far_end.connect()
    sock.sendall(UPGRADE[:-2] + head + b"\r\n")
    assert sock.recv(1000).split()[1] == status
    assert is_served(far_end)


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


def test_a_message_in_fragments_is_one_message(far_end: Any) -> None:
    ws = far_end.websocket()
    for n, part in enumerate((FRAME[:9], FRAME[9:20], FRAME[20:])):
        opcode = websocket.ABNF.OPCODE_CONT if n else websocket.ABNF.OPCODE_TEXT
        ws.send_frame(websocket.ABNF(n == 2, 0, 0, 0, opcode, 1, part.encode()))
    assert ws.recv() == '{"reportedIds":[1]}'
    ws.close()


def test_text_that_is_no_utf_8_closes_its_socket_with_1007(far_end: Any) -> None:
    ws = far_end.websocket()
    ws.send(b"\xff\xff", opcode=websocket.ABNF.OPCODE_TEXT)
    assert close_code(ws) == 1007
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


def test_a_header_has_its_time_however_steadily_it_comes(serve: Callable[..., Any]) -> None:
    far_end = serve(header_s=0.4, body_s=30)
    sock = far_end.connect()
    sock.sendall(b"POST /A HTTP/1.1\r\nX: ")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(20):
            sock.sendall(b"x" * 2000)
            time.sleep(0.05)  # the pace of the attack
    assert until_closed(sock).startswith(b"HTTP/1.1 408")


def test_random_garbage_never_stops_the_far_end(far_end: Any) -> None:
    chance = random.Random(24)
    starts = [b"", b"GET ", b"POST /A HTTP/1.1\r\n", POST, UPGRADE]
    starts += [b'{"appId":"A","data":[', b"{", b" \n"]
    for n in range(150):
        sock = far_end.connect(unix=n % 2 == 0)
        noise = chance.randbytes(chance.randrange(1, 300))
        with contextlib.suppress(OSError):
            sock.sendall(starts[n % len(starts)] + noise + b"\n\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
            until_closed(sock)
        sock.close()
    assert is_served(far_end)


def test_keep_alive_and_pipelined_requests_are_answered_in_order(far_end: Any) -> None:
    sock = far_end.connect()
    bodies = [FRAME.replace("1", str(n), 1).encode() for n in range(5)]
    sock.sendall(
        b"".join(
            b"POST /A HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            for body in bodies
        )
    )
    data = b""
    while data.count(b"}") < 5:
        data += sock.recv(65536)
    assert [data.find(b'{"reportedIds":[%d]}' % n) for n in range(5)] == sorted(
        data.find(b'{"reportedIds":[%d]}' % n) for n in range(5)
    )


def test_draining_sends_websockets_away_and_answers_what_was_read(
    serve: Callable[..., Any],
) -> None:
    far_end = serve()
    ws = far_end.websocket()
    ws.send(FRAME)
    ws.recv()
    lines = far_end.connect(unix=True)
    far_end.sink.turn_s = 0.3
    lines.sendall(LINE)
    deadline = time.monotonic() + 5
    while not far_end.sink.waiting:
        assert time.monotonic() < deadline
    began = time.monotonic()
    far_end.run(far_end.listener.drain(5))
    assert time.monotonic() - began < 3
    assert close_code(ws) == 1012
    assert until_closed(lines) == b'{"reportedIds":[1]}\n'
    with pytest.raises(ConnectionRefusedError):
        far_end.connect()


def test_draining_cuts_off_who_does_not_go(serve: Callable[..., Any]) -> None:
    far_end = serve()
    far_end.sink.turn_s = 30
    sock = far_end.connect()
    sock.sendall(LINE)
    deadline = time.monotonic() + 5
    while not far_end.sink.waiting:
        assert time.monotonic() < deadline
    began = time.monotonic()
    far_end.run(far_end.listener.drain(0.2))
    assert time.monotonic() - began < 2
    assert not far_end.listener.connections


IDLE = """
import asyncio, socket, sys
from starlette.applications import Starlette
from tracking.events import Limits
from tracking.serving import Listener

async def main():
    listener = Listener(Starlette(), limits=Limits())
    sock = socket.create_server(("127.0.0.1", 0))
    await listener.on_socket(sock)
    print(sock.getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_nothing_wakes_while_nothing_is_connected() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", IDLE], stdout=subprocess.PIPE, env={**os.environ}
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with contextlib.closing(socket.create_connection(("127.0.0.1", port))) as sock:
            sock.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            until_closed(sock)
        switches = [wake_ups(process.pid)]
        deadline = time.monotonic() + 10
        # It has settled when a look finds what the last one found; then a second must be silent.
        while time.monotonic() < deadline:
            threading.Event().wait(1.0)
            switches.append(wake_ups(process.pid))
            if switches[-1] == switches[-2]:
                break
        assert switches[-1] == switches[-2], switches
    finally:
        process.kill()
        process.communicate()


def wake_ups(pid: int) -> int:
    """How often the process gave up the processor by itself, and so must have been woken."""
    with open(f"/proc/{pid}/status") as status:
        fields = dict(row.split(":", 1) for row in status)
    return int(fields["voluntary_ctxt_switches"])


def test_limits_reach_the_websocket(serve: Callable[..., Any]) -> None:
    far_end = serve(limits=Limits(event_bytes=100))
    ws = far_end.websocket()
    ws.send(json.dumps({"data": [{"name": "E", "id": 5, "payload": {"a": "x" * 100}}]}))
    assert ws.recv() == '{"reportedIds":[5]}'
    assert far_end.sink.bad == 1
    ws.close()
