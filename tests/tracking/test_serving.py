"""What the listener serves: odd talk and garbage answered, pipelines, an end, and silence."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import websocket
from on_the_wire import FRAME, LINE, POST, UPGRADE, close_code, is_served, until_closed


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


def test_answers_leave_at_once_though_they_are_two_packets(far_end: Any) -> None:
    client = far_end.connect()
    client.sendall(b"GET /A HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.recv(1000).startswith(b"HTTP/1.1 426")
    (connection,) = far_end.listener.connections
    sock = connection.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
