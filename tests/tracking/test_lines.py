"""The line protocol over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking.errors import OverQuota
from tracking.events import Frame, Limits
from tracking.lines import LineProtocol
from tracking.sink import Origin, Receipt

Lines = Callable[[socket.socket, int], list[bytes]]


def line(*events: dict[str, Any], app: str | None = "A") -> bytes:
    top = {} if app is None else {"appId": app}
    return json.dumps({**top, "data": list(events)}, separators=(",", ":")).encode() + b"\n"


def event(**more: Any) -> dict[str, Any]:
    return {"name": "E", **more}


@pytest.mark.parametrize("unix", [False, True])
def test_a_line_is_answered_by_a_line(far_end: Any, lines: Lines, unix: bool) -> None:
    sock = far_end.connect(unix=unix)
    sock.sendall(line(event(id="a"), event(id=7, anonId="X")))
    assert lines(sock, 1) == [b'{"reportedIds":["a",7],"anonId":"X"}']
    assert [(app, e.id) for app, e in far_end.sink.stored] == [("A", "a"), ("A", 7)]
    assert far_end.sink.origins[0].transport == "line"


def test_blank_lines_and_carriage_returns_mean_nothing(far_end: Any, lines: Lines) -> None:
    sock = far_end.connect()
    sock.sendall(b"\r\n  \n" + line(event(id=1)).replace(b"\n", b"\r\n") + b"\n")
    assert lines(sock, 1) == [b'{"reportedIds":[1]}']


def test_lines_are_pipelined_and_answered_in_order_whoever_is_ready_first(
    far_end: Any, lines: Lines
) -> None:
    far_end.sink.turn_s = 0.2
    sock = far_end.connect(unix=True)
    began = time.monotonic()
    sock.sendall(b"".join(line(event(id=n)) if n % 3 else b'{"x":1}\n' for n in range(500)))
    replies = [json.loads(reply) for reply in lines(sock, 500)]
    assert time.monotonic() - began < 5  # one by one it would be 66 s
    assert len(replies) == 500
    for n, reply in enumerate(replies):
        assert reply["reportedIds"] == ([n] if n % 3 else [])
        assert ("error" in reply) == (n % 3 == 0)


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (b"{\n", "frame"),
        (b'{"appId":"A"}\n', "data"),
        (b'{"appId":"A","data":5}\n', "data"),
        (line(event(id=1), app=None), "appId"),
        (line(event(id=1), app="../../x"), "appId"),
        (line(event(id=1), app="x" * 65), "appId"),
        (line(event(id=1), app="nobody"), "appId"),
        (line({"type": "event"}), "data[0].name"),
        (line(event(payload={"user": "a\0"})), "data[0].payload.user"),
        (b'{"appId":5,"data":[]}\n', "appId"),
        (b'{"\xff":1,"appId":"A","data":[{"name":"\xff"}]}\n', "data[0].name"),
    ],
)
def test_a_bad_line_gets_an_error_that_names_the_field_and_the_next_is_served(
    far_end: Any, lines: Lines, sent: bytes, field: str
) -> None:
    sock = far_end.connect()
    sock.sendall(sent + line(event(id=2)))
    bad, good = lines(sock, 2)
    answer = json.loads(bad)
    assert answer["field"] == field
    assert answer["error"]
    assert answer["code"] == "request"
    assert "reportedIds" in answer
    assert good == b'{"reportedIds":[2]}'
    assert far_end.sink.names == ["E"]


def test_a_line_with_one_bad_event_keeps_the_others_and_says_which(
    far_end: Any, lines: Lines
) -> None:
    sock = far_end.connect()
    sock.sendall(line(event(id=1, payload=[]), event(id=2)))
    answer = json.loads(lines(sock, 1)[0])
    assert answer["reportedIds"] == [1, 2]
    assert [r["field"] for r in answer["refused"]] == ["data[0].payload"]
    assert far_end.sink.bad == 1


def test_what_is_not_safe_is_an_error_line_with_the_ids_that_are(
    far_end: Any, lines: Lines
) -> None:
    far_end.sink.fault = OverQuota("too many events", retry_after_s=1)
    far_end.sink.unacknowledged = (1,)
    sock = far_end.connect()
    sock.sendall(line(event(id=1), event(id=2)))
    answer = json.loads(lines(sock, 1)[0])
    assert (answer["code"], answer["reportedIds"]) == ("request.over_quota", [1])


@pytest.mark.parametrize("newline", [b"\n", b""])
def test_a_line_that_is_too_long_is_told_so_and_the_connection_ends(
    serve: Callable[..., Any], lines: Lines, newline: bytes
) -> None:
    far_end = serve(limits=Limits(frame_bytes=1000))
    far_end.sink.turn_s = 0.05
    sock = far_end.connect()
    sock.sendall(line(event(id=1)) + b"{" + b" " * 1000 + newline)
    first, last, *rest = lines(sock, 3)
    assert first == b'{"reportedIds":[1]}'
    assert "longer than 1000" in json.loads(last)["error"]
    assert rest == []
    other = far_end.connect()
    other.sendall(line(event(id=2)))
    assert lines(other, 1) == [b'{"reportedIds":[2]}']


def test_a_sender_that_ends_its_side_is_answered_first_even_without_a_newline(
    far_end: Any, lines: Lines
) -> None:
    far_end.sink.turn_s = 0.1
    sock = far_end.connect(unix=True)
    sock.sendall(line(event(id=1)) + line(event(id=2)).rstrip())
    sock.shutdown(socket.SHUT_WR)
    assert lines(sock, 3) == [b'{"reportedIds":[1]}', b'{"reportedIds":[2]}']
    assert sock.recv(1) == b""


def test_a_connection_carries_any_number_of_lines(far_end: Any, lines: Lines) -> None:
    sock = far_end.connect(unix=True)
    frame = line(*(event(id=n, payload={"text": "x" * 1000}) for n in range(100)))
    count = 4 * 1024 * 1024 // len(frame)  # four times what may be unanswered
    sending = threading.Thread(target=sock.sendall, args=(frame * count,))
    sending.start()
    assert len(lines(sock, count)) == count
    sending.join()
    assert len(far_end.sink.stored) == 100 * count


def test_a_sender_that_does_not_read_is_not_read(
    far_end: Any, eventually: Callable[..., None]
) -> None:
    sock = far_end.connect(unix=True)
    sock.settimeout(0.5)
    frame = line(*(event(id=f"{n:0100}") for n in range(50))) * 10
    with pytest.raises(TimeoutError):
        sock.sendall(frame * 500)
    (connection,) = far_end.listener.connections
    assert connection.inner.read_paused
    assert connection.transport.get_write_buffer_size() < 4 * 1024 * 1024
    sock.close()
    eventually(lambda: not far_end.listener.connections)


class Wire(asyncio.Transport):
    """A transport of which only the bytes matter."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Keeper:
    """Replies at once."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def take(
        self, app_id: str, frame: Frame, origin: Origin, reply: Callable[[Receipt], None]
    ) -> None:
        self.frames.append(frame)
        reply(Receipt())

    def refused(self, app_id: str, frame: Frame) -> None:
        self.frames.append(frame)


class Turns:
    """The part of a loop that the protocol uses: what is to run in the next turn."""

    def __init__(self) -> None:
        self.next: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.next.append(callback)

    def run(self) -> None:
        while self.next:
            self.next.pop(0)()


def converse(pieces: list[bytes]) -> tuple[bytes, list[Frame]]:
    """Feed the protocol piece by piece; return what it wrote and kept."""
    keeper, wire, turns = Keeper(), Wire(), Turns()
    loop = cast(asyncio.AbstractEventLoop, turns)
    protocol = LineProtocol(keeper, Limits(frame_bytes=400), loop=loop)
    protocol.connection_made(wire)
    for piece in pieces:
        protocol.data_received(piece)
        turns.run()
    return wire.written, keeper.frames


STREAM = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [line(event(id=1)), line(event(id="a"), event()), b"{\n", b"\n", b"x" * 500]
        ),
    ),
    max_size=8,
).map(b"".join)


@given(STREAM, st.data())
@settings(max_examples=150)
def test_it_does_not_matter_where_the_bytes_are_split(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = converse([stream])
    split = converse([piece for piece in pieces if piece])
    assert split[0] == whole[0]
    assert [f.ids for f in split[1]] == [f.ids for f in whole[1]]
