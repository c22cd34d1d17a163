"""The link's thread on real sockets: what it carries, and how it is stopped."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from far_ends import FarEnd, frame, hold, upgrade
from rude_ends import (
    HEARTBEAT,
    FarEnds,
    Links,
    RawFarEnds,
    a_drip,
    connected,
    half_a_handshake,
    silence,
)
from websockets.sync.server import ServerConnection

from agent.adapters.links.websocket_link import Died, WebSocketLink
from agent.rules.link import Heard, Lost, Opened, Received

# --- the ordinary life -------------------------------------------------------------------------


def test_a_frame_goes_out_and_its_acknowledgement_comes_back(
    listener: Links, far_end: FarEnds
) -> None:
    there = far_end()
    here = connected(listener, f"{there.url}/acme/")
    here.link.send(1, b'{"data":[{"id":"a1"},{"id":733053}]}')
    reply = here.wait(Received)
    assert reply.ids == ("a1", "733053")
    assert reply.raw == b'{"reportedIds": ["a1", 733053]}'
    assert abs(reply.at_ms - time.time() * 1000) < 5000
    assert there.paths == ["/acme/"]


def test_the_handshake_names_no_origin_no_cookie_and_no_agent(
    listener: Links, far_end: FarEnds
) -> None:
    there = far_end()
    connected(listener, f"{there.url}/acme/")
    sent = there.headers[0].lower()
    assert f"host: 127.0.0.1:{there.port}" in sent
    for unwanted in ("origin", "cookie", "user-agent", "authorization", "extensions"):
        assert unwanted not in sent


def test_a_heartbeat_is_answered_by_a_pong_even_if_the_far_end_says_nothing(
    listener: Links, far_end: FarEnds
) -> None:
    there = far_end(lambda _, ws: [None for _ in ws] and None)
    here = connected(listener, there.url + "/a/")
    here.link.heartbeat(1, HEARTBEAT)
    assert here.next() == Heard(1)


def test_a_megabyte_goes_through_in_both_directions_at_once(
    listener: Links, far_end: FarEnds
) -> None:
    there = far_end()
    here = connected(listener, there.url + "/a/")
    ids = [f"{n:022d}" for n in range(500)]
    body = ",".join(f'{{"id":"{one}","payload":{{"x":"{"y" * 450}"}}}}' for one in ids)
    for _ in range(12):
        here.link.send(1, f'{{"data":[{body}]}}'.encode())
    for _ in range(12):
        assert here.wait(Received).ids == tuple(ids)
    assert here.link.sent_bytes > 12 * 240_000
    assert here.link.received_bytes > 12 * 12_000


def test_what_is_sent_on_an_ended_dial_goes_nowhere(listener: Links, far_end: FarEnds) -> None:
    there = far_end()
    here = connected(listener, there.url + "/a/")
    here.link.hang_up(1)
    here.link.send(1, b'{"data":[{"id":"late"}]}')
    here.connect(there.url + "/a/")
    assert here.next() == Opened(2)
    here.link.send(1, b'{"data":[{"id":"late"}]}')
    here.link.send(2, b'{"data":[{"id":"now"}]}')
    assert here.wait(Received).ids == ("now",)
    assert there.ids() == ["now"]


def test_hanging_up_says_goodbye_and_posts_nothing(listener: Links, far_end: FarEnds) -> None:
    codes: list[int | None] = []

    def listen(_: FarEnd, ws: ServerConnection) -> None:
        for _text in ws:
            pass
        codes.append(ws.close_code)

    there = far_end(listen)
    here = connected(listener, there.url + "/a/")
    here.link.hang_up(1)
    assert here.silent()
    until = time.monotonic() + 3
    while not codes and time.monotonic() < until:
        time.sleep(0.01)
    assert codes == [1000]


def test_frames_that_come_with_the_handshakes_answer_are_read(
    listener: Links, raw_far_end: RawFarEnds
) -> None:
    def eager(sock: socket.socket) -> None:
        upgrade(sock, frame(b'{"reportedIds":["x"]}') + frame(b'{"reportedIds":["y"]}'))
        hold(sock)

    here = connected(listener, raw_far_end(eager).url + "/a/")
    assert here.wait(Received).ids == ("x",)
    assert here.wait(Received).ids == ("y",)


def test_fragments_and_a_ping_between_them_make_one_message(
    listener: Links, raw_far_end: RawFarEnds
) -> None:
    pongs: list[bytes] = []

    def in_pieces(sock: socket.socket) -> None:
        upgrade(sock)
        sock.sendall(frame(b'{"reported', 1, fin=False) + frame(b"are you there", 9))
        pongs.append(sock.recv(1000))
        sock.sendall(frame(b'Ids":["x"', 0, fin=False) + frame(b"]}", 0))
        hold(sock)

    here = connected(listener, raw_far_end(in_pieces).url + "/a/")
    assert here.wait(Received).ids == ("x",)
    assert pongs[0][0] == 0x8A
    assert len(pongs[0]) == 2 + 4 + 13


@pytest.mark.parametrize("reply", [b"OK", b"[]", b"null", b'{"reportedIds":{}}', b"\xff\xfe", b""])
def test_a_text_that_is_no_reply_acknowledges_nothing_and_ends_nothing(
    listener: Links, raw_far_end: RawFarEnds, reply: bytes
) -> None:
    def nonsense(sock: socket.socket) -> None:
        upgrade(sock, frame(reply) + frame(b'{"reportedIds":["x"]}', 2))
        hold(sock)

    here = connected(listener, raw_far_end(nonsense).url + "/a/")
    first = here.wait(Received)
    assert (first.ids, first.raw) == ((), reply)
    assert here.wait(Received).ids == ("x",)


# --- stopping ----------------------------------------------------------------------------------


@pytest.mark.parametrize("behave", [silence, half_a_handshake, a_drip])
def test_stopping_while_a_handshake_hangs_takes_no_time(
    listener: Links, raw_far_end: RawFarEnds, behave: Callable[[socket.socket], None]
) -> None:
    there = raw_far_end(behave)
    here = listener(dial_s=30.0)
    here.connect(there.url + "/a/")
    until = time.monotonic() + 3
    while not there.accepted and time.monotonic() < until:
        time.sleep(0.005)
    started = time.monotonic()
    assert here.link.stop()
    assert time.monotonic() - started < 0.5
    assert here.silent(0.05)


def test_hanging_up_while_dialing_frees_the_thread_for_the_next_dial(
    listener: Links, raw_far_end: RawFarEnds, far_end: FarEnds
) -> None:
    here = listener(dial_s=30.0)
    here.connect(raw_far_end(silence).url + "/a/")
    here.link.hang_up(1)
    here.connect(far_end().url + "/a/")
    assert here.next() == Opened(2)


def test_a_link_that_never_dialed_has_no_thread_and_stops() -> None:
    before = threading.active_count()
    link = WebSocketLink("idle", lambda notice: None)
    assert threading.active_count() == before
    assert link.stop()
    assert link.stop()


def test_a_mistake_of_ours_is_posted_with_its_traceback() -> None:
    heard: list[Any] = []
    arrived = threading.Event()

    def post(notice: Any) -> None:
        heard.append(notice)
        arrived.set()

    link = WebSocketLink("doomed", post, resolve=None)  # type: ignore[arg-type]
    link.dial(1, "wss://any.example/a/")
    assert arrived.wait(3)
    assert isinstance(heard[0], Died)
    assert isinstance(heard[0].__cause__, TypeError)
    assert heard[0].__cause__.__traceback__ is not None
    assert link.stop()


def test_ten_dials_leave_no_file_descriptor_behind(listener: Links, far_end: FarEnds) -> None:
    import psutil

    there = far_end(answers={"/no/": 403})
    here = listener()

    def descriptors() -> int:
        return sum(
            1
            for c in psutil.Process().net_connections("tcp")
            if c.raddr and c.raddr.port == there.port
        )

    for n in range(10):
        here.connect(there.url + ("/no/" if n % 2 else "/a/"))
        here.wait(Lost if n % 2 else Opened)
    here.link.hang_up(here.dial)
    assert here.silent()
    assert descriptors() == 0
