"""Slow peers and bombs against a whole server (SECURITY.md, threats 57 and 58).

The protocols' own deadlines and caps are tested in tests/tracking; here a process with its settings
has to keep answering, and its memory has to stay where it is.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import websocket
from collectors import Collector, until

pytestmark = [pytest.mark.system, pytest.mark.alone]

Run = Callable[..., Collector]
MIB = 1024 * 1024
POST = b"POST /app/A/track HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n"
UPGRADE = (
    b"GET /app/A/track HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
#: Nothing, half a header, half a body, an idle WebSocket, half a frame.
STARTS = (b"", b"POST /app/", POST + b'{"data":[', UPGRADE, UPGRADE + b"\x81\xfe\x10\x00aaaaaa")


@contextlib.contextmanager
def slow(
    far_end: Collector, count: int, starts: tuple[bytes, ...]
) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        made = []
        for n in range(count):
            sock = socket.create_connection(("127.0.0.1", far_end.port), 10)
            made.append(stack.enter_context(sock))
            with contextlib.suppress(OSError):
                sock.sendall(starts[n % len(starts)])
        yield made


def post(far_end: Collector, n: int, source: str = "127.0.0.1") -> int:
    """Report one event from an address; 0 if the connection was closed unread."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", far_end.port, timeout=10, source_address=(source, 0)
    )
    body = json.dumps({"data": [{"name": "E", "id": n, "machineId": "m"}]})
    with contextlib.closing(connection):
        try:
            connection.request("POST", "/app/A/track", body)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0


def closed(sock: socket.socket) -> bool:
    """Tell whether the far side has closed, whatever it said before."""
    try:
        while select.select([sock], [], [], 0)[0]:
            if not sock.recv(65536):
                return True
    except OSError:
        return True
    return False


def sent_until_closed(sock: socket.socket, frame: bytes) -> int:
    """Send a frame up to 64 times, reading nothing; return how many went before the close."""
    sock.settimeout(20)
    for n in range(64):
        try:
            sock.sendall(frame)
        except ConnectionError:
            return n
    return 64


class Healthy(threading.Thread):
    """Reports all the while; remembers the longest wait."""

    def __init__(self, far_end: Collector) -> None:
        super().__init__()
        self.far_end = far_end
        self.ended = threading.Event()
        self.answers: list[int] = []
        self.slowest_s = 0.0

    def run(self) -> None:
        while not self.ended.is_set():
            began = time.monotonic()
            self.answers.append(post(self.far_end, len(self.answers)))
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            time.sleep(0.02)

    def __enter__(self) -> Healthy:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join(30)


def test_57_slow_sockets_lose_their_places_to_who_is_not_slow(run: Run) -> None:
    far_end = run(
        *("--connections", "60", "--header-s", "1", "--body-s", "1", "--idle-s", "2"),
        *("--ping-s", "600"),
    )
    far_end.app("A")
    with slow(far_end, 60, STARTS) as sockets:
        assert post(far_end, 0) == 0  # every place is taken
        began = time.monotonic()
        until(lambda: post(far_end, 1) == 200, 10)
        assert time.monotonic() - began < 3
        until(lambda: all(map(closed, sockets)), 15)
    assert far_end.stop() == 0


def test_57_one_address_cannot_take_every_place(run: Run) -> None:
    far_end = run("--connections", "100", "--per-peer", "40")
    far_end.app("A")
    with slow(far_end, 200, STARTS) as sockets:
        began = time.monotonic()
        for n in range(20):
            assert post(far_end, n, "127.0.0.2") == 200
        assert time.monotonic() - began < 2
        assert post(far_end, 99) == 0
        assert sum(map(closed, sockets)) >= 160


def test_57_who_never_reads_is_closed_and_what_it_held_is_free_again(run: Run) -> None:
    """Frames whose replies nobody reads fill what may be in flight; others wait meanwhile."""
    far_end = run("--body-s", "1", "--app-burst", "1000000")
    far_end.app("A")
    process = psutil.Process(far_end.process.pid)
    before = process.memory_info().rss
    events = [{"name": "", "id": "x" * 1000} for _ in range(2000)]
    frame = json.dumps({"data": events}).encode()  # 2 MB, and so is the reply
    raw = websocket.ABNF.create_frame(frame, websocket.ABNF.OPCODE_TEXT).format()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(far_end.ws())) for _ in range(5)]
        senders = stack.enter_context(ThreadPoolExecutor(5))
        ends = [senders.submit(sent_until_closed, client.sock, raw) for client in clients]
        began = time.monotonic()
        assert post(far_end, 1) == 200
        assert time.monotonic() - began < 6
        assert process.memory_info().rss - before < 500 * MIB
        # More replies than the kernel's buffers hold: nobody gets all of the frames through.
        assert all(end.result(30) < 64 for end in ends)
    assert post(far_end, 2) == 200


def test_58_a_deflated_frame_is_an_error_and_is_not_unpacked(run: Run) -> None:
    far_end = run()
    far_end.app("A")
    process = psutil.Process(far_end.process.pid)
    before = process.memory_info().rss
    packer = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(packer.compress(b" " * MIB) for _ in range(300)) + packer.flush()
    assert len(bomb) < MIB
    client = far_end.ws(header={"Sec-WebSocket-Extensions": "permessage-deflate"})
    frame = websocket.ABNF(1, 1, 0, 0, websocket.ABNF.OPCODE_TEXT, 1, bomb)  # RSV1: compressed
    with contextlib.suppress(OSError):
        client.sock.sendall(frame.format())
    answer = client.recv_frame()
    assert answer.opcode == websocket.ABNF.OPCODE_CLOSE
    assert struct.unpack("!H", answer.data[:2]) == (1002,)
    assert process.memory_info().rss - before < 30 * MIB
    assert post(far_end, 1) == 200


def test_58_many_large_frames_at_once_are_bounded_in_all(run: Run) -> None:
    far_end = run()
    far_end.app("A")
    process = psutil.Process(far_end.process.pid)
    before = peak = process.memory_info().rss
    head = b"\x81\xff" + (30 * MIB).to_bytes(8, "big") + b"\0\0\0\0"
    with contextlib.ExitStack() as stack, Healthy(far_end) as healthy:
        clients = [stack.enter_context(contextlib.closing(far_end.ws())) for _ in range(16)]
        for client in clients:  # 16 x 20 MiB of frames that never end
            client.sock.settimeout(1)
            with contextlib.suppress(OSError):
                client.sock.sendall(head)
                for _ in range(20):
                    client.sock.sendall(b" " * MIB)
            peak = max(peak, process.memory_info().rss)
        assert peak - before < 400 * MIB
        assert sum(closed(client.sock) for client in clients) >= 8
    assert set(healthy.answers) == {200}
    assert healthy.slowest_s < 1


BOMBS: dict[str, str] = {
    "digits": '{"data":[{"name":"E","date":' + "9" * 7_000_000 + "}]}",
    "deep": '{"data":' + "[" * 4_000_000 + "]" * 4_000_000 + "}",
    "nested": '{"data":[[' + "[[]]," * 1_600_000 + "1]]}",
    "stairs": '{"data":' + '["a",' * 1_600_000,
    "elements": '{"data":[' + "1," * 4_000_000 + "1]}",
    "members": '{"data":[{' + '"a":1,' * 1_300_000 + '"b":1}]}',
    "wide": '{"data":[{"name":"E","payload":{'
    + ",".join(f'"k{n}":0' for n in range(500_000))
    + "}}]}",
    "same": '{"data":[{"name":"E","payload":{' + ",".join(['"k":0'] * 900_000) + "}}]}",
    "escapes": '{"data":[{"name":"' + "\\ud83d" * 1_200_000 + '"}]}',
    "blank": " " * 8_000_000,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_58_json_that_is_made_to_hurt_keeps_nobody_waiting(run: Run, bomb: str) -> None:
    far_end = run("--app-burst", "1000", "--app-events-per-s", "1000")
    far_end.app("A")
    process = psutil.Process(far_end.process.pid)
    before = process.memory_info().rss
    text = BOMBS[bomb]
    assert len(text) <= 8 * MIB
    with Healthy(far_end) as healthy:
        for _ in range(2):
            status, _, _ = far_end.request("POST", "/app/A/track", text)
            assert status in (200, 400, 413, 429, 503), status
    assert process.memory_info().rss - before < 400 * MIB
    assert set(healthy.answers) <= {200, 429}
    assert healthy.slowest_s < 5  # on a busy machine; it was ten
