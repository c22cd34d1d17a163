"""How a server ends: clients are sent away one by one, and what was taken is kept."""

from __future__ import annotations

import asyncio
import json
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import websocket
from collectors import Collector, now_ms, until

from collector.draining import Ending, send_away, settled, spread_s
from tracking.dates import parse_ms

Run = Callable[..., Collector]
CLIENTS = 200


def closings(clients: list[websocket.WebSocket], within_s: float) -> list[tuple[float, int]]:
    """Wait for every client's close frame; return when each came, and its code."""
    waiting = {client.sock: client for client in clients}
    came = []
    end = time.monotonic() + within_s
    while waiting and time.monotonic() < end:
        ready, _, _ = select.select(list(waiting), [], [], 0.5)
        for sock in ready:
            frame = waiting.pop(sock).recv_frame()
            assert frame.opcode == websocket.ABNF.OPCODE_CLOSE
            came.append((time.monotonic(), struct.unpack("!H", frame.data[:2])[0]))
    return came


def upgrade(port: int) -> tuple[int, dict[str, str], bytes]:
    """Ask for a WebSocket; return what the server says instead."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(
            b"GET /app/A/track HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        )
        raw = b""
        while part := sock.recv(4096):
            raw += part
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, body


def test_two_hundred_clients_are_sent_away_one_after_another(run: Run) -> None:
    far_end = run("--drain-s", "60")
    far_end.app("A")
    clients = [far_end.ws() for _ in range(CLIENTS)]
    for n, client in enumerate(clients):
        client.send(json.dumps({"data": [{"name": "E", "id": n, "machineId": f"m{n}"}]}))
    for n, client in enumerate(clients):
        assert json.loads(client.recv())["reportedIds"] == [n]
    answers: list[Any] = []

    def meanwhile() -> None:
        answers.append(far_end.request("GET", "/readyz")[:2])
        answers.extend(upgrade(far_end.port) for _ in range(12))
        body = {"data": [{"name": "late", "id": 999, "machineId": "m"}]}
        answers.append(far_end.request("POST", "/app/A/track", body)[0])

    began = time.monotonic()
    far_end.process.send_signal(signal.SIGTERM)
    timer = threading.Timer(0.3, meanwhile)
    timer.start()
    came = closings(clients, 30)
    timer.join(20)
    assert [code for _, code in came] == [1012] * CLIENTS
    at = [when - began for when, _ in came]
    expected_s = spread_s(CLIENTS, 60)
    assert expected_s == 2
    assert 0.8 * expected_s < at[-1] - at[0] < expected_s + 2
    for part in range(4):  # evenly: each quarter of the time sees about a quarter of them
        low = at[0] + part * expected_s / 4
        share = sum(low <= when < low + expected_s / 4 for when in at)
        assert CLIENTS / 8 < share < CLIENTS / 2, (part, share)
    assert far_end.process.wait(10) == 0

    ready, *upgrades, late = answers
    assert ready == (503, {"ready": False, "reasons": ["draining"]})
    assert {status for status, _, _ in upgrades} == {503}
    told = [int(headers["retry-after"]) for _, headers, _ in upgrades]
    assert all(1 <= seconds <= 120 for seconds in told)
    assert len(set(told)) > 4  # by chance, not all the same
    assert json.loads(upgrades[0][2])["reportedIds"] == []
    assert late == 200  # what could still be taken was, and it is there:
    names = [json.loads(line) for line in far_end.command("export", "A").stdout.splitlines()]
    assert sorted(e["id"] for e in names) == [*range(CLIENTS), 999]


def test_a_second_signal_ends_the_waiting_at_once_and_loses_nothing(run: Run) -> None:
    far_end = run("--drain-s", "60")
    far_end.app("A")
    clients = [far_end.ws() for _ in range(CLIENTS)]
    clients[0].send(json.dumps({"data": [{"name": "E", "id": 1, "machineId": "m"}]}))
    assert json.loads(clients[0].recv())["reportedIds"] == [1]
    far_end.process.send_signal(signal.SIGTERM)
    until(lambda: far_end.request("GET", "/readyz")[0] == 503)
    began = time.monotonic()
    far_end.process.send_signal(signal.SIGTERM)
    came = closings(clients, 10)
    assert far_end.process.wait(10) == 0
    assert time.monotonic() - began < 1.5
    assert [code for _, code in came] == [1012] * CLIENTS
    assert len(far_end.command("export", "A").stdout.splitlines()) == 1


def test_a_setting_bounds_the_time(run: Run) -> None:
    far_end = run("--drain-s", "0")
    far_end.app("A")
    clients = [far_end.ws() for _ in range(50)]
    began = time.monotonic()
    far_end.process.send_signal(signal.SIGTERM)
    assert len(closings(clients, 10)) == 50
    assert far_end.process.wait(10) == 0
    assert time.monotonic() - began < 2.5


@pytest.mark.parametrize("politely", [True, False])
def test_who_leaves_at_the_moment_of_the_signal_was_there_until_then(
    run: Run, politely: bool
) -> None:
    far_end = run("--drain-s", "1")
    far_end.app("A")
    clients = [far_end.ws() for _ in range(50)]
    for n, client in enumerate(clients):
        client.send(json.dumps({"data": [{"name": "E", "id": n, "machineId": f"m{n}"}]}))
    for n, client in enumerate(clients):
        assert json.loads(client.recv())["reportedIds"] == [n]
    before = now_ms()
    time.sleep(0.05)
    far_end.process.send_signal(signal.SIGTERM)
    for client in clients:
        if politely:
            client.send_close()
        else:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sock.close()
    assert far_end.process.wait(15) == 0
    log = Path(far_end.log.name).read_text()
    assert "stays were not written" not in log
    assert "WARNING" not in log.upper()
    done = far_end.command("export", "A", "--what", "stays")
    ends = {said["deviceId"]: said["until"] for said in map(json.loads, done.stdout.splitlines())}
    assert sorted(ends) == sorted(f"m{n}" for n in range(50))
    assert all((parse_ms(last) or 0) > before for last in ends.values())


@pytest.mark.parametrize(
    ("count", "most_s", "seconds"), [(0, 8, 0), (3, 8, 0.03), (1000, 8, 8), (1000, 30, 10)]
)
def test_few_need_no_spreading_and_many_get_what_the_setting_allows(
    count: int, most_s: float, seconds: float
) -> None:
    assert spread_s(count, most_s) == pytest.approx(seconds)


class Guest:
    def __init__(self) -> None:
        self.told: list[float] = []

    def shutdown(self) -> None:
        self.told.append(time.monotonic())


def test_each_guest_is_told_once_in_an_order_by_chance() -> None:
    guests = [Guest() for _ in range(40)]

    async def scene() -> None:
        await send_away(list(guests), 0.4, asyncio.Event(), shuffle=list.reverse)

    asyncio.run(scene())
    assert all(len(guest.told) == 1 for guest in guests)
    order = sorted(guests, key=lambda guest: guest.told[0])
    assert order == guests[::-1]
    assert 0.3 < order[-1].told[0] - order[0].told[0] < 1


def test_the_third_signal_is_the_systems() -> None:
    async def scene() -> list[bool]:
        ending = Ending()
        ending.listen(stdin_eof=False)
        states = []
        for _ in range(2):
            ending.ask()
            states += [ending.stopping.is_set(), ending.hurry.is_set()]
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        return states

    assert asyncio.run(scene()) == [True, False, True, True]


def test_the_end_is_waited_for_and_not_for_ever() -> None:
    async def scene() -> tuple[int, float]:
        looks = iter([True, True, False])
        await settled(lambda: next(looks), 10)
        began = time.monotonic()
        await settled(lambda: True, 0.1)
        return len(list(looks)), time.monotonic() - began

    left, took_s = asyncio.run(scene())
    assert left == 0
    assert 0.1 <= took_s < 1
