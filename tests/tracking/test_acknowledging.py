"""Durable or delivered, as each request asks, over real sockets on every way in."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.tracking.conftest import FarEnd, MemorySink
from tracking.acknowledging import asked_of_frame, wait_of_request
from tracking.errors import OverQuota, RequestFault
from tracking.events import Asked, Frame
from tracking.nucleus import parse_frame
from tracking.sink import Origin, Receipt

Lines = Callable[[socket.socket, int], list[bytes]]
ASK = {"Homing-Ack": "delivered; timeout=20"}


class Journey:
    """What became durable, until a test lets it arrive."""

    def __init__(self) -> None:
        self.hearers: list[Callable[[], None]] = []
        self.given_up = 0

    def tell(self, told: Callable[[], None]) -> Callable[[], None]:
        self.hearers.append(told)

        def give_up() -> None:
            self.given_up += 1

        return give_up


class Agent(MemorySink):
    """A sink that passes on what it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.passes_on = True  #: Or it keeps for good, as a collector does.
        self.journeys: list[Journey] = []

    def _keep(self, app_id: str, frame: Frame, origin: Origin) -> Receipt:
        receipt = super()._keep(app_id, frame, origin)
        if origin.wait_s is None or receipt.fault is not None or not self.passes_on:
            return receipt
        self.journeys.append(Journey())
        return Receipt(arrival=self.journeys[-1])


@pytest.fixture
def sink() -> Agent:
    return Agent()


def arrive(far_end: Any, number: int = 0) -> None:
    assert isinstance(far_end.sink, Agent)
    for hearer in far_end.sink.journeys[number].hearers:
        far_end.loop.call_soon_threadsafe(hearer)


def frame(*ids: int, **top: object) -> str:
    return json.dumps({**top, "data": [{"name": "E", "machineId": "m", "id": n} for n in ids]})


def later(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    return thread, found


@pytest.mark.parametrize(
    ("headers", "path", "top"),
    [
        (ASK, "/app/A/track", {}),
        ({}, "/app/A/track?ack=delivered&timeout=20", {}),
        ({}, "/app/A/track", {"ack": "delivered", "timeout": 20}),
        ({"Homing-Ack": "delivered"}, "/app/A/track?ack=durable", {"ack": "durable"}),
    ],
)
def test_http_answers_when_everybody_has_it(
    far_end: Any, eventually: Any, headers: Any, path: str, top: Any
) -> None:
    thread, found = later(lambda: far_end.request("POST", path, frame(1, **top), headers))
    eventually(lambda: far_end.sink.journeys)
    assert far_end.sink.names == ["E"]  # it is durable, and the sender waits for more
    assert not found
    arrive(far_end)
    thread.join(10)
    status, body, _ = found[0]
    assert (status, body) == (200, b'{"reportedIds":[1],"delivered":true}')


def test_http_says_after_the_time_that_it_is_durable_and_not_yet_delivered(far_end: Any) -> None:
    headers = {"Homing-Ack": 'delivered; timeout="0.2"'}
    began = time.monotonic()
    status, body, _ = far_end.request("POST", body=frame(1, 2), headers=headers)
    assert 0.2 <= time.monotonic() - began < 5
    assert (status, body) == (202, b'{"reportedIds":[1,2],"delivered":false}')
    assert far_end.sink.journeys[0].given_up == 1


def test_who_asks_for_nothing_is_answered_as_ever(far_end: Any) -> None:
    assert far_end.request("POST", body=frame(1))[:2] == (200, b'{"reportedIds":[1]}')
    headers = {"Homing-Ack": "durable"}
    assert far_end.request("POST", body=frame(2), headers=headers)[:2] == (
        200,
        b'{"reportedIds":[2]}',
    )
    ws = far_end.websocket()
    ws.send(frame(3, ack="sooner or later"))
    assert ws.recv() == '{"reportedIds":[3]}'
    ws.close()


@pytest.mark.parametrize("said", ["sooner", "delivered; timeout=soon", "delivered;wait=1", ""])
def test_a_header_that_asks_for_something_unknown_is_refused(far_end: Any, said: str) -> None:
    status, body, _ = far_end.request("POST", body=frame(1), headers={"Homing-Ack": said})
    assert status == 400
    assert json.loads(body)["field"] == "Homing-Ack"
    assert far_end.sink.names == []


def test_nobody_waits_for_a_delivery_when_the_sender_has_gone(
    far_end: Any, eventually: Any
) -> None:
    sock = far_end.connect()
    body = frame(1).encode()
    sock.sendall(
        b"POST /app/A/track HTTP/1.1\r\nHost: x\r\nHoming-Ack: delivered; timeout=3600\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    eventually(lambda: far_end.sink.journeys)
    sock.close()
    eventually(lambda: far_end.sink.journeys[0].given_up == 1)


def test_where_durable_is_delivered_both_are_one(far_end: Any) -> None:
    far_end.sink.passes_on = False
    assert far_end.request("POST", body=frame(1), headers=ASK)[:2] == (
        200,
        b'{"reportedIds":[1],"delivered":true}',
    )
    ws = far_end.websocket()
    ws.send(frame(2, ack="delivered"))
    assert ws.recv() == '{"reportedIds":[2],"delivered":true}'
    ws.close()


def test_a_frame_that_waits_does_not_hold_up_those_behind_it(far_end: Any, eventually: Any) -> None:
    ws = far_end.websocket()
    ws.send(frame(1, ack="delivered", timeout=20))
    ws.send(frame(2))
    ws.send(frame(3, ack="delivered", timeout=20))
    assert ws.recv() == '{"reportedIds":[2]}'
    eventually(lambda: len(far_end.sink.journeys) == 2)
    arrive(far_end, 1)
    assert ws.recv() == '{"reportedIds":[3],"delivered":true}'
    arrive(far_end, 0)
    assert ws.recv() == '{"reportedIds":[1],"delivered":true}'
    ws.close()


def test_frames_that_wait_take_no_room_from_other_connections(
    serve: Callable[..., FarEnd], eventually: Any
) -> None:
    far_end = serve(in_flight_bytes=200)
    waiting = far_end.websocket()
    for n in range(20):
        waiting.send(frame(n, ack="delivered", timeout=60))
    eventually(lambda: len(far_end.sink.journeys) == 20)
    ws = far_end.websocket()
    ws.send(frame(99))
    assert ws.recv() == '{"reportedIds":[99]}'
    for number in range(20):
        arrive(far_end, number)
    heard = sorted(json.loads(waiting.recv())["reportedIds"][0] for _ in range(20))
    assert heard == list(range(20))
    waiting.close()
    ws.close()


def test_a_websocket_that_leaves_waits_for_nothing(far_end: Any, eventually: Any) -> None:
    ws = far_end.websocket()
    ws.send(frame(1, ack="delivered", timeout=3600))
    eventually(lambda: far_end.sink.journeys)
    ws.close()
    eventually(lambda: far_end.sink.journeys[0].given_up == 1)
    eventually(lambda: not far_end.sink.live)


def test_lines_are_answered_in_order_and_taken_in_meanwhile(
    far_end: Any, lines: Lines, eventually: Any
) -> None:
    sock = far_end.connect()
    waits = frame(1, appId="A", ack="delivered", timeout=20)
    sock.sendall(f"{waits}\n{frame(2, appId='A')}\n".encode())
    eventually(lambda: len(far_end.sink.stored) == 2)
    eventually(lambda: far_end.sink.journeys)
    arrive(far_end)
    assert lines(sock, 2) == [b'{"reportedIds":[1],"delivered":true}', b'{"reportedIds":[2]}']


def test_a_line_says_after_its_time_that_it_is_not_yet_delivered(
    far_end: Any, lines: Lines, eventually: Any
) -> None:
    sock = far_end.connect()
    sock.sendall(frame(1, appId="A", ack="delivered", timeout=0.2).encode() + b"\n")
    assert lines(sock, 1) == [b'{"reportedIds":[1],"delivered":false}']
    sock.sendall(frame(2, appId="A", ack="delivered", timeout=3600).encode() + b"\n")
    eventually(lambda: len(far_end.sink.journeys) == 2)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()  # a reset; one that only ends its side may still be reading
    eventually(lambda: far_end.sink.journeys[1].given_up == 1)


def test_only_who_asked_is_told_on_a_websocket_why_something_is_not_safe(far_end: Any) -> None:
    far_end.sink.fault = OverQuota("too fast", retry_after_s=1.2, advice="Batch events.")
    ws = far_end.websocket()
    ws.send(frame(1))
    assert ws.recv() == '{"reportedIds":[]}'  # Swift's SDK ends its app at any key it does not know
    for word in ("durable", "delivered"):
        ws.send(frame(1, ack=word))
        assert json.loads(ws.recv()) == {
            "error": "too fast",
            "code": "request.over_quota",
            "field": "",
            "advice": "Batch events.",
            "retryAfter": 2,
            "reportedIds": [],
        }
    ws.close()
    status, body, headers = far_end.request("POST", body=frame(1), headers=ASK)
    assert (status, headers["retry-after"], json.loads(body)["retryAfter"]) == (429, "2", 2)


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ({}, None),
        ({"ack": "delivered"}, Asked(30.0)),
        ({"ack": "delivered", "timeout": 1.5}, Asked(1.5)),
        ({"ack": "delivered", "timeout": 1e9}, Asked(3600.0)),
        ({"ack": "delivered", "timeout": -1}, Asked(0.1)),
        ({"ack": "delivered", "timeout": True}, Asked(30.0)),
        ({"ack": "delivered", "timeout": [1]}, Asked(30.0)),
        ({"ack": "durable"}, Asked(None)),
        ({"ack": 1}, None),
        ({"ack": {"a": 1}}, None),
    ],
)
def test_what_a_frame_asks_is_read_on_every_road(said: Any, asked: Asked | None) -> None:
    for text in (frame(1, **said), json.dumps(json.loads(frame(1, **said)), indent=1)):
        parsed = parse_frame(text.encode())
        assert parsed.asked == asked
        assert [event.id for event in parsed.events] == [1]
    members = {key: json.dumps(value) for key, value in said.items()}
    assert asked_of_frame(members) == asked


def test_a_query_is_read_only_where_it_asks() -> None:
    assert wait_of_request({}, b"") is None
    assert wait_of_request({}, b"back=1") is None
    assert wait_of_request({}, b"ack=delivered") == 30.0
    with pytest.raises(RequestFault):
        wait_of_request({}, b"ack=maybe")
