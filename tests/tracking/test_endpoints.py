"""The tracking endpoints over real sockets, as the S-cases of NUCLEUS.md §8 ask.

Over 400 lines, because it follows the table of the cases.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, cast

import pytest
import websocket

from tracking import endpoints
from tracking.errors import OverQuota, StorageFault
from tracking.events import Frame, Limits
from tracking.nucleus import parse_in_steps

BASE = "/app/A/track"


def frame(*events: Any, **top: Any) -> str:
    return json.dumps({**top, "data": list(events)})


def event(**more: Any) -> dict[str, Any]:
    return {"type": "event", "name": "E", "machineId": "m", **more}


@pytest.fixture
def ws(far_end: Any) -> Iterator[websocket.WebSocket]:
    connection = far_end.websocket()
    with contextlib.closing(connection):
        yield connection


def ask(ws: websocket.WebSocket, said: str | bytes) -> Any:
    ws.send(said) if isinstance(said, str) else ws.send_binary(said)
    return json.loads(ws.recv())


@pytest.mark.parametrize(
    "path",
    ["/app/A/track", "/app/A/track/", "//app/A/track", "/A", "/A/", "/prefix/app/A/track"],
)
@pytest.mark.parametrize("unix", [False, True])
def test_s1_every_spelling_of_the_path_is_app_a(far_end: Any, path: str, unix: bool) -> None:
    connection = far_end.websocket(path, unix=unix)
    assert ask(connection, frame(event(id=1))) == {"reportedIds": [1]}
    assert [app for app, _ in far_end.sink.stored] == ["A"]
    connection.close()


@pytest.mark.parametrize(
    "origin", [None, "null", "file://", "tauri://localhost", "http://x.example"]
)
def test_s1_any_origin_and_an_offer_to_deflate_are_taken(far_end: Any, origin: str | None) -> None:
    connection = far_end.websocket(
        origin=origin,
        suppress_origin=origin is None,
        header=["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"],
    )
    assert "sec-websocket-extensions" not in connection.getheaders()
    assert ask(connection, frame(event(id=1))) == {"reportedIds": [1]}
    connection.close()


def test_s2_s3_ids_come_back_in_order_and_in_their_own_type(ws: Any) -> None:
    ws.send(frame({"type": "init", "id": 733053, "machineId": "m"}, event(id="a1"), event(id="7")))
    assert ws.recv() == '{"reportedIds":[733053,"a1","7"]}'


def test_s6_s7_s8_the_reply_has_what_the_frame_had_and_no_other_key(ws: Any) -> None:
    assert ask(ws, frame(event(), confirmation="0.5")) == {"reportedIds": [], "confirmation": "0.5"}
    assert ask(ws, frame(event(id=1))) == {"reportedIds": [1]}
    assert ask(ws, frame(event(id=1, anonId='"X"'))) == {"reportedIds": [1], "anonId": "X"}


def test_s10_s11_s12_heartbeats_are_answered_and_told_and_not_stored(far_end: Any, ws: Any) -> None:
    assert ask(ws, frame({"type": "heartbeat", "machineId": "m"})) == {"reportedIds": []}
    assert ask(ws, frame({"type": "heartbeat", "id": 119048, "name": None})) == {
        "reportedIds": [119048]
    }
    assert ask(ws, frame({"event": "nucleus:heartbeat", "machineId": "m"})) == {"reportedIds": []}
    assert not far_end.sink.stored
    assert [beat.device_id for _, beat in far_end.sink.heartbeats] == ["m", None, "m"]


def test_s24_a_bad_event_is_acknowledged_counted_and_spares_its_neighbours(
    far_end: Any, ws: Any
) -> None:
    bad = event(id=2, payload={"n": 2**60})
    assert ask(ws, frame(None, 5, {}, bad, event(id=3))) == {"reportedIds": [2, 3]}
    assert far_end.sink.bad == 4
    assert [e.id for _, e in far_end.sink.stored] == [3]
    assert ask(ws, frame(event(id=4))) == {"reportedIds": [4]}


@pytest.mark.parametrize(
    "garbage", ["", "OK", "{}", "[1", '{"data":5}', "[" * 200_000, b"\xff\xfe", '{"data":[NaN]}']
)
def test_s25_garbage_is_answered_with_no_ids_and_the_socket_stays_open(
    ws: Any, garbage: str | bytes
) -> None:
    assert ask(ws, garbage) == {"reportedIds": []}
    assert ask(ws, frame(event(id=1))) == {"reportedIds": [1]}


def test_s26_a_binary_frame_is_the_same_as_text(far_end: Any, ws: Any) -> None:
    assert ask(ws, frame(event(id=1)).encode()) == {"reportedIds": [1]}
    assert far_end.sink.names == ["E"]


def big_frame() -> str:
    events = [
        *(
            event(
                name=f"ITEM_{n}",
                id=n,
                date="2026-11-21T01:34:28.141Z",
                userId=None,
                sessionId=296594,
                payload={"n": n, "text": "x" * 60},
            )
            for n in range(20_000)
        ),
        {"type": "init", "id": 20_000, "machineId": "m", "totalRam": 23.540584564208984},
    ]
    return json.dumps({"data": events}, separators=(",", ":"))  # as nodejs writes it


def test_s27_one_frame_of_20001_events_is_acknowledged_while_others_are_served(
    far_end: Any, ws: Any
) -> None:
    said = big_frame()
    assert len(said) > 4_000_000
    others: list[float] = []
    done = threading.Event()

    def other() -> None:
        connection = far_end.websocket()
        while not done.is_set():
            began = time.monotonic()
            ask(connection, frame(event(id=1)))
            others.append(time.monotonic() - began)
        connection.close()

    neighbour = threading.Thread(target=other)
    neighbour.start()
    began = time.monotonic()
    ids = ask(ws, said)["reportedIds"]
    took = time.monotonic() - began
    done.set()
    neighbour.join()
    assert ids == list(range(20_001))
    assert took < 5
    assert max(others) < 2


def test_s29_s30_post_is_answered_like_a_frame_and_nobody_is_live(far_end: Any) -> None:
    status, body, headers = far_end.request("POST", BASE, frame(event(id=1)))
    assert (status, body) == (200, b'{"reportedIds":[1]}')
    assert headers["access-control-allow-origin"] == "*"
    assert headers["content-type"] == "application/json"
    assert far_end.sink.live == {}
    assert far_end.sink.origins[0].transport == "http"
    assert far_end.sink.origins[0].peer == "127.0.0.1"


@pytest.mark.parametrize("body", ["", "OK", "{}", '{"data":5}', '{"data":[1'])
def test_s30_a_bad_body_is_400_with_a_sentence(far_end: Any, body: str) -> None:
    status, said, _ = far_end.request("POST", BASE, body)
    answer = json.loads(said)
    assert status == 400
    assert answer["code"] == "request"
    assert answer["error"]
    assert answer["reportedIds"] == []
    assert far_end.sink.bad == 1


def test_s30_a_get_is_426_and_options_is_204(far_end: Any) -> None:
    status, _, headers = far_end.request("GET", BASE)
    assert (status, headers["upgrade"]) == (426, "websocket")
    status, body, headers = far_end.request("OPTIONS", BASE)
    assert (status, body) == (204, b"")
    assert headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
    assert far_end.request("DELETE", BASE)[0] == 405


def test_a_post_with_one_bad_event_says_which_and_with_only_bad_ones_is_400(far_end: Any) -> None:
    bad = event(id=1, payload={"user": "a\0b"})
    status, said, _ = far_end.request("POST", BASE, frame(bad, event(id=2)))
    answer = json.loads(said)
    assert (status, answer["reportedIds"]) == (200, [1, 2])
    (refusal,) = answer["refused"]
    assert (refusal["index"], refusal["field"]) == (0, "data[0].payload.user")
    status, said, _ = far_end.request("POST", BASE, frame(bad))
    answer = json.loads(said)
    assert (status, answer["field"]) == (400, "data[0].payload.user")
    assert answer["reportedIds"] == [1]
    assert answer["error"] == answer["refused"][0]["error"]


@pytest.mark.parametrize(
    "path", ["/app/nobody/track", "/nobody", "/app/a%2e%2e/track", "/app//track"]
)
def test_s31_an_unknown_app_is_refused_with_404_before_its_upgrade_and_its_body(
    far_end: Any, path: str
) -> None:
    status, said, _ = far_end.request("POST", path, frame(event(id=1)))
    assert (status, json.loads(said)["field"]) == (404, "appId")
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        far_end.websocket(path)
    assert refused.value.status_code == 404
    assert json.loads(refused.value.resp_body or b"")["reportedIds"] == []
    assert not far_end.sink.stored
    with contextlib.closing(far_end.connect()) as sock:
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n".encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 404")  # not one byte of the body was sent


def test_s32_the_side_calls_of_electron_nucleus_are_answered(far_end: Any) -> None:
    asked = '{"data":{"key":"k","userId":"u"}}'
    status, said, _ = far_end.request("POST", "/app/A/license/validate", asked)
    assert (status, json.loads(said)) == (200, {"valid": False, "status": "nolicense"})
    assert far_end.request("GET", "/app/A/customdata")[:2] == (200, b"{}")
    assert far_end.request("POST", "/app/A/crash", b"minidump" * 9999)[:2] == (204, b"")
    assert far_end.request("GET", "/app/A/crash")[0] == 405
    assert far_end.request("GET", "/app/nobody/customdata")[0] == 404


def test_frames_are_read_while_earlier_ones_become_durable_and_answered_in_order(
    far_end: Any, ws: Any
) -> None:
    far_end.sink.turn_s = 0.2
    began = time.monotonic()
    for n in range(200):
        ws.send(frame(event(id=n)))
    assert [json.loads(ws.recv())["reportedIds"] for _ in range(200)] == [[n] for n in range(200)]
    assert time.monotonic() - began < 5  # one by one it would be 40 s
    assert 8 < far_end.sink.most_waiting <= 66
    assert [e.id for _, e in far_end.sink.stored] == list(range(200))


def test_what_is_not_safe_is_not_acknowledged_over_websocket(far_end: Any, ws: Any) -> None:
    far_end.sink.fault = OverQuota("too many events", retry_after_s=1.5)
    far_end.sink.unacknowledged = (1,)
    said = frame(event(id=1), event(id=2), {"type": "heartbeat", "id": 3}, confirmation="c")
    assert ask(ws, said) == {"reportedIds": [1, 3]}
    far_end.sink.unacknowledged = ()
    assert ask(ws, said) == {"reportedIds": [3]}


def test_over_quota_is_429_with_a_delay_and_a_full_disk_is_503(far_end: Any) -> None:
    far_end.sink.fault = OverQuota("too many events", retry_after_s=1.5)
    far_end.sink.unacknowledged = (1,)
    status, said, headers = far_end.request("POST", BASE, frame(event(id=1), event(id=2)))
    assert (status, headers["retry-after"]) == (429, "2")
    answer = json.loads(said)
    assert (answer["code"], answer["reportedIds"]) == ("request.over_quota", [1])
    far_end.sink.fault, far_end.sink.unacknowledged = StorageFault("the disk is full"), ()
    status, said, _ = far_end.request("POST", BASE, frame(event(id=1)))
    answer = json.loads(said)
    assert (status, answer["code"], answer["reportedIds"]) == (503, "storage", [])


def test_an_encoded_body_is_415_and_a_large_one_413(serve: Callable[..., Any]) -> None:
    far_end = serve(limits=Limits(body_bytes=1000))
    gzip = {"Content-Encoding": "gzip"}
    assert far_end.request("POST", BASE, frame(event(id=1)), gzip)[0] == 415
    assert (
        far_end.request("POST", BASE, frame(event(id=1)), {"Content-Encoding": "identity"})[0]
        == 200
    )
    assert far_end.request("POST", BASE, " " * 1001)[0] == 413
    with contextlib.closing(far_end.connect()) as sock:  # chunked: nobody said how large
        sock.sendall(b"POST /A HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(100):
                sock.sendall(b"64\r\n" + b" " * 100 + b"\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 413")


def test_a_frame_beyond_the_limit_closes_its_connection_and_no_other(
    serve: Callable[..., Any],
) -> None:
    far_end = serve(limits=Limits(frame_bytes=1000))
    one, other = far_end.websocket(), far_end.websocket()
    one.send("x" * 1001)
    opcode, data = one.recv_data()
    assert (opcode, int.from_bytes(data[:2], "big")) == (websocket.ABNF.OPCODE_CLOSE, 1009)
    assert ask(other, frame(event(id=1))) == {"reportedIds": [1]}
    other.close()


def test_the_sink_hears_of_websockets_that_open_and_close(
    far_end: Any, ws: Any, eventually: Callable[..., None]
) -> None:
    eventually(lambda: list(far_end.sink.live.values()) == ["A"])
    other = far_end.websocket("/acme")
    eventually(lambda: sorted(far_end.sink.live.values()) == ["A", "acme"])
    ask(other, frame(event(id=1)))
    assert far_end.sink.origins[0].connection in far_end.sink.live
    other.shutdown()
    eventually(lambda: list(far_end.sink.live.values()) == ["A"])


def test_the_peer_of_a_unix_socket_is_its_process(far_end: Any) -> None:
    connection = far_end.websocket(unix=True)
    ask(connection, frame(event(id=1)))
    assert far_end.sink.origins[0].peer == f"pid:{os.getpid()}"
    connection.close()


def test_events_are_kept_when_their_sender_hangs_up_before_the_reply(
    far_end: Any, eventually: Callable[..., None]
) -> None:
    far_end.sink.turn_s = 0.2
    connection = far_end.websocket()
    for n in range(3):
        connection.send(frame(event(id=n)))
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.sock.close()
    eventually(lambda: not far_end.sink.live)
    assert [e.id for _, e in far_end.sink.stored] == [0, 1, 2][: len(far_end.sink.stored)]
    assert ask(far_end.websocket(), frame(event(id=9))) == {"reportedIds": [9]}


def test_a_sender_of_a_body_that_is_too_large_gets_to_read_why(far_end: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", far_end.port, timeout=10)
    with contextlib.closing(connection):
        for _ in range(2):  # and may go on with the same connection
            connection.request("POST", BASE, b" " * (9 * 1024 * 1024))
            response = connection.getresponse()
            assert response.status == 413
            assert b"larger than 8388608" in response.read()
        connection.request("POST", BASE, frame(event(id=1)))
        assert connection.getresponse().read() == b'{"reportedIds":[1]}'


def test_a_large_frame_that_needs_patience_does_not_stop_the_others(
    far_end: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, others_served = threading.Event(), threading.Event()
    steps: list[int] = []

    def held(raw: bytes | str, **options: Any) -> Generator[None, None, Frame]:
        """Go on in the same steps, the first of them until the others were served."""
        patient = parse_in_steps(raw, **options)
        end = time.monotonic() + 20
        while True:
            try:
                next(patient)
            except StopIteration as done:
                return cast(Frame, done.value)
            steps.append(1)
            begun.set()
            yield
            while not others_served.is_set() and time.monotonic() < end:
                yield

    monkeypatch.setattr(endpoints, "parse_in_steps", held)
    bad = '{"name":"E","payload":{"a":NaN},"id":'
    junk = ",".join([f"{bad}{n}}}" for n in range(10_000)])
    rude, other = far_end.websocket(), far_end.websocket()
    rude.send(f'{{"data":[{junk}]}}')
    assert begun.wait(20)
    for _ in range(20):
        assert ask(other, frame(event(id=1))) == {"reportedIds": [1]}
    assert not far_end.sink.bad
    others_served.set()
    assert len(json.loads(rude.recv())["reportedIds"]) == 10_000
    assert len(steps) >= 10_000 // 64  # none of them long
    for connection in (rude, other):
        connection.close()


def test_frames_in_flight_are_bounded_in_all_and_all_are_answered(
    serve: Callable[..., Any],
) -> None:
    far_end = serve(in_flight_bytes=10_000)
    far_end.sink.turn_s = 0.02
    sockets = [far_end.websocket() for _ in range(4)]
    said = frame(event(id=1, payload={"a": "x" * 6000}))
    for connection in sockets * 3:
        connection.send(said)
    answers: list[int] = []

    def post() -> None:
        answers.append(far_end.request("POST", BASE, said)[0])

    posting = threading.Thread(target=post)
    posting.start()
    for connection in sockets * 3:
        assert connection.recv() == '{"reportedIds":[1]}'
    posting.join()
    assert answers == [200]
    assert far_end.sink.most_waiting == 1


def test_an_event_of_nobody_is_refused_where_ids_are_required_and_cors_can_be_closed(
    serve: Callable[..., Any],
) -> None:
    far_end = serve(require_ids=True, cors=False, side_calls=False)
    nobody = {"name": "E", "id": 1}
    status, said, headers = far_end.request("POST", BASE, frame(nobody))
    assert (status, json.loads(said)["field"]) == (400, "data[0].deviceId")
    assert "access-control-allow-origin" not in headers
    assert far_end.request("GET", "/app/A/customdata")[0] == 404
