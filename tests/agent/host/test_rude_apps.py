"""Local apps that send too much, too slowly, too often or nonsense, to a whole agent: threat rows
24, 25, 27 and 29 on the local socket.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import time
from typing import Any

import psutil
import pytest
import websocket

from agent.host import Agent
from tests.agent.host.counter import FarEnd, Make, apps, events, lines, post, until

MIB = 1024 * 1024
PIECE = 256 * 1024
UPGRADE = (
    b"GET /app/acme/track HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n"
)


def open_websocket(agent: Agent) -> socket.socket:
    sock = lines(agent)
    sock.sendall(UPGRADE % base64.b64encode(os.urandom(16)))
    assert sock.recv(4096).startswith(b"HTTP/1.1 101")
    return sock


def ended(sock: socket.socket) -> bool:
    """Return whether the agent has closed, whatever it said before."""
    sock.settimeout(20)
    with contextlib.suppress(ConnectionError):
        while sock.recv(65_536):
            pass
    return True


def test_row_24_frames_that_are_too_large_or_never_end_cost_nothing(
    make_agent: Make, far: FarEnd
) -> None:
    agent, door = make_agent(apps(far, "acme"))
    open_websocket(agent).close()
    post(agent, events({"name": "first"}))  # what is loaded once is not what a frame costs
    before = psutil.Process().memory_info().rss
    announced = open_websocket(agent)  # a frame of 4 GiB, of which nothing comes
    announced.sendall(b"\x81\xff" + (0xFFFFFFFF).to_bytes(8, "big") + b"mask")
    assert ended(announced)
    half = open_websocket(agent)  # half a frame, and silence
    half.sendall(b"\x81\xfe\x10\x00mask" + b"x" * 100)
    slow = lines(agent)  # a byte at a time, while others are served
    slow.sendall(b"POST /app/acme/track HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
    endless = lines(agent)
    endless.sendall(b'{"appId":"acme","data":[' + b" " * PIECE)
    for _ in range(5):
        slow.sendall(b"x")
        endless.sendall(b" " * PIECE)
        began = time.monotonic()
        assert post(agent, events({"name": "calm"}))[0] == 200
        assert time.monotonic() - began < 5
    assert psutil.Process().memory_info().rss - before < 20 * MIB
    for sock in (announced, half, slow, endless):
        sock.close()
    assert door.status().apps[0].accepted >= 5


def test_row_25_a_flood_of_connections_leaves_the_agent_answering(
    make_agent: Make, far: FarEnd
) -> None:
    agent, door = make_agent(apps(far, "acme"))
    flood: list[socket.socket] = []
    for _ in range(500):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(5)
        with contextlib.suppress(OSError):  # turned away
            sock.connect(str(agent.places.socket))
        flood.append(sock)
    began = time.monotonic()
    assert door.status().pid > 0
    assert time.monotonic() - began < 5
    for sock in flood:
        sock.close()

    def answers() -> bool:
        try:
            return post(agent, events({"name": "after"}))[0] == 200
        except OSError:
            return False

    until(answers)


POISON: tuple[bytes, ...] = (
    rb'{"name":"\ud800"}',
    b'{"name":"big","payload":{"n":9223372036854775808}}',
    b'{"name":"nan","payload":{"n":NaN}}',
    b'{"name":"inf","payload":{"n":1e999}}',
    b'{"name":"deep","payload":{"n":' + b"[" * 40 + b"]" * 40 + b"}}",
    b'{"name":"twice","payload":{"a":1,"a":2}}',
    b'{"name":"zero","payload":{"a":"\\u0000"}}',
    b'{"name":"wide","payload":{%b}}' % b",".join(b'"k%d":1' % n for n in range(200)),
    b'{"name":"no payload","payload":[1]}',
    b'{"name":"' + b"x" * 300 + b'"}',
    b'{"type":"event"}',
    b"7",
)


@pytest.mark.parametrize("bad", POISON)
def test_row_27_a_poison_event_is_never_stored_and_its_neighbour_is(
    make_agent: Make, far: FarEnd, bad: bytes
) -> None:
    agent, door = make_agent(apps(far, "acme"))
    sock = lines(agent)
    sock.sendall(b'{"appId":"acme","data":[{"name":"good","id":1},' + bad + b"]}\n")
    answer = json.loads(sock.makefile().readline())
    sock.close()
    assert 1 in answer["reportedIds"] or "error" in answer
    post(agent, events({"name": "alive"}))
    until(lambda: any(event.get("name") == "alive" for event in far.heard))
    kept = {event.get("name") for event in far.heard if event["type"] == "event"}
    assert kept <= {"good", "alive"}
    assert ("good" in kept) == (1 in answer["reportedIds"])
    assert door.status().apps[0].balanced


def test_row_29_an_sdk_that_repeats_what_is_bad_gets_rid_of_it(
    make_agent: Make, far: FarEnd
) -> None:
    agent, door = make_agent(apps(far, "acme"))
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(agent.places.socket))
    ws = websocket.create_connection("ws://localhost/app/acme/track", timeout=20, socket=sock)
    queue: list[dict[str, Any]] = [
        {"type": "event", "name": "good", "id": 1},
        {"type": "event", "name": "bad", "id": 2, "payload": [1]},
        {"type": "event", "id": 3},
    ]
    for _ in range(3):
        if not queue:
            break
        ws.send(json.dumps({"data": queue}))  # all that it has, as SDKs do
        told = json.loads(ws.recv())
        assert set(told) == {"reportedIds"}
        queue = [event for event in queue if event["id"] not in told["reportedIds"]]
    assert queue == []
    ws.close()
    assert door.status().apps[0].refused == 2
