"""Dials that fail, on real sockets: each tells why, within its deadline."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest
from far_ends import hold, read_request
from rude_ends import (
    FarEnds,
    Links,
    RawFarEnds,
    a_drip,
    connected,
    endless_headers,
    half_a_handshake,
    lost,
    silence,
)

from agent.adapters.roads.patience import Patience
from agent.adapters.roads.road import Place
from agent.rules.link import Lost
from tracking.errors import Blocked, Refused, Throttled, Unreachable


def test_a_closed_port_is_a_refused_connection(listener: Links) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    fault = lost(listener, f"ws://127.0.0.1:{port}/a/").fault
    assert isinstance(fault, Unreachable)
    assert "connection refused" in str(fault)


def test_localhost_tries_both_loopbacks_and_asks_nobody(listener: Links, far_end: FarEnds) -> None:
    def resolver(host: str, port: int, patience: Patience) -> list[Place]:
        raise AssertionError(f"asked for {host}")

    there = far_end()
    connected(listener, f"ws://localhost:{there.port}/a/", resolve=resolver)


@pytest.mark.parametrize("behave", [silence, half_a_handshake, a_drip])
def test_a_handshake_without_end_is_ended_by_the_dials_deadline(
    listener: Links, raw_far_end: RawFarEnds, behave: Callable[[socket.socket], None]
) -> None:
    started = time.monotonic()
    fault = lost(listener, raw_far_end(behave).url + "/a/", dial_s=0.5).fault
    assert isinstance(fault, Unreachable)
    assert "longer than 0.5 s" in str(fault)
    assert 0.4 < time.monotonic() - started < 1.5


def garbage(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b"\x00\xff\x13SSH-2.0-nonsense\r\n\r\n")


def a_wrong_key(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: bm90IHRoZSBrZXkgeW91IHNlbnQ=\r\n\r\n"
    )
    hold(sock)


def no_upgrade(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")


def not_utf8(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b"HTTP/1.1 101 \xff\xfe\r\n\xff: \xfe\r\nno colon\r\n\r\n")


def a_bad_status(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b"HTTP/1.1 999999999999999999999 huge\r\n\r\n")


def a_hangup(sock: socket.socket) -> None:
    read_request(sock)
    sock.close()


@pytest.mark.parametrize(
    "behave", [garbage, endless_headers, a_wrong_key, no_upgrade, not_utf8, a_hangup]
)
def test_a_handshake_of_nonsense_says_that_no_websocket_gets_through_and_is_no_crash(
    listener: Links, raw_far_end: RawFarEnds, behave: Callable[[socket.socket], None]
) -> None:
    fault = lost(listener, raw_far_end(behave).url + "/a/").fault
    assert type(fault) is Blocked
    assert len(str(fault)) < 300


def test_a_status_of_nonsense_is_unreachable_not_a_crash(
    listener: Links, raw_far_end: RawFarEnds
) -> None:
    fault = lost(listener, raw_far_end(a_bad_status).url + "/a/").fault
    assert type(fault) is Unreachable
    assert len(str(fault)) < 300


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "501 Not Implemented"])
def test_an_answer_of_somebody_on_the_way_says_that_no_websocket_gets_through(
    listener: Links, raw_far_end: RawFarEnds, status: str
) -> None:
    def behave(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    assert type(lost(listener, raw_far_end(behave).url + "/a/").fault) is Blocked


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Refused), (403, Refused), (404, Refused), (451, Refused), (500, Unreachable),
     (502, Unreachable), (408, Unreachable), (503, Unreachable), (429, Throttled)],
)  # fmt: skip
def test_a_status_decides_what_happens_next(
    listener: Links, far_end: FarEnds, status: int, kind: type
) -> None:
    there = far_end(answers={"/a/": status})
    fault = lost(listener, there.url + "/a/").fault
    assert type(fault) is kind
    assert f"answered {status}: not today" in str(fault)
    if isinstance(fault, Refused):
        assert fault.status == status
        assert fault.advice
    if isinstance(fault, Throttled):
        assert fault.retry_after_s == 60


@pytest.mark.parametrize(
    ("status", "said", "delay_s"), [(429, "17", 17), (503, "9", 9), (429, "99999999", 86_400)]
)
def test_a_named_delay_is_kept_and_capped(
    listener: Links, far_end: FarEnds, status: int, said: str, delay_s: float
) -> None:
    there = far_end(answers={"/a/": status}, extra={"Retry-After": said})
    fault = lost(listener, there.url + "/a/").fault
    assert isinstance(fault, Throttled)
    assert fault.retry_after_s == delay_s


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(listener: Links, raw_far_end: RawFarEnds, status: int) -> None:
    elsewhere = raw_far_end(hold)

    def away(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(f"HTTP/1.1 {status} Away\r\nLocation: {elsewhere.url}/b/\r\n\r\n".encode())
        hold(sock)

    fault = lost(listener, raw_far_end(away).url + "/a/").fault
    assert isinstance(fault, Refused)
    assert fault.status == status
    assert "edirects are not followed" in fault.advice
    assert elsewhere.accepted == 0


def test_a_refusal_with_a_body_of_any_length_is_read_to_its_first_words(
    listener: Links, raw_far_end: RawFarEnds
) -> None:
    def wordy(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 999999999\r\n\r\n<h1>Sorry</h1>\x1b[31m ")
        while True:
            sock.sendall(b"sorry " * 10_000)

    fault = lost(listener, raw_far_end(wordy).url + "/a/").fault
    assert isinstance(fault, Refused)
    assert "Sorry" in str(fault)
    assert "\x1b" not in str(fault)
    assert "<h1>" not in str(fault)
    assert len(str(fault)) < 300


def test_a_cookie_is_not_brought_back(listener: Links, raw_far_end: RawFarEnds) -> None:
    asked: list[bytes] = []

    def baker(sock: socket.socket) -> None:
        asked.append(read_request(sock))
        sock.sendall(
            b"HTTP/1.1 302 Away\r\nLocation: /\r\n"
            b"Set-Cookie: who=you; Domain=127.0.0.1; Path=/\r\n\r\n"
        )

    there = raw_far_end(baker)
    here = listener()
    for _ in range(2):
        here.connect(there.url + "/a/")
        here.wait(Lost)
    assert len(asked) == 2
    assert b"ookie" not in asked[1]


def test_a_resolver_that_hangs_is_left_behind(listener: Links) -> None:
    release = threading.Event()

    def resolver(host: str, port: int, patience: Patience) -> list[Place]:
        release.wait(5)
        raise OSError("too late")

    try:
        started = time.monotonic()
        fault = lost(listener, "wss://slow.example/a/", resolve=resolver, dial_s=0.3).fault
        assert "looking up slow.example" in str(fault)
        assert time.monotonic() - started < 1
    finally:
        release.set()
