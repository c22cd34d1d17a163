"""Far ends that talk without end, break the rules or do not listen, on real sockets."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from far_ends import frame, hold, upgrade
from rude_ends import HEARTBEAT, FarEnds, Links, RawFarEnds, connected, endless_headers

from agent.adapters.links import websocket_wire
from agent.rules.link import Lost, Received
from tracking.errors import Unreachable

READ_S = 0.4
PONG_BYTES = 8  #: A masked pong with two bytes.


class HeldClock:
    """Stands in for the module ``time``: moments pass when a far end says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


def read_exactly(sock: socket.socket, count: int) -> None:
    while count:
        part = sock.recv(count)
        assert part, "the link hung up"
        count -= len(part)


def a_frame_of_400_mib(sock: socket.socket) -> None:
    upgrade(sock, frame(b"", length=400 * 1024 * 1024))
    while True:
        sock.sendall(b"x" * 65536)


def a_frame_one_byte_too_long(sock: socket.socket) -> None:
    upgrade(sock, frame(b"x" * 65537))
    hold(sock)


def endless_fragments(sock: socket.socket) -> None:
    upgrade(sock, frame(b"{", 1, fin=False))
    while True:
        sock.sendall(frame(b" " * 60_000, 0, fin=False))


def endless_empty_fragments(sock: socket.socket) -> None:
    upgrade(sock, frame(b"", 1, fin=False))
    while True:
        sock.sendall(frame(b"", 0, fin=False) * 1000)


def a_frame_that_drips(sock: socket.socket) -> None:
    upgrade(sock, frame(b"", length=1000))
    while True:
        sock.sendall(b" ")
        time.sleep(0.02)


def a_message_that_never_ends(sock: socket.socket) -> None:
    upgrade(sock)
    sock.sendall(frame(b"{", 1, fin=False))
    while True:
        sock.sendall(frame(b"still here", 10))
        time.sleep(0.02)


def half_a_header(sock: socket.socket) -> None:
    upgrade(sock, b"\x81")
    hold(sock)


def reserved_bits(sock: socket.socket) -> None:
    upgrade(sock, b"\xf1\x00")
    hold(sock)


def an_unknown_opcode(sock: socket.socket) -> None:
    upgrade(sock, frame(b"", 5))
    hold(sock)


def a_long_ping(sock: socket.socket) -> None:
    upgrade(sock, frame(b"p" * 200, 9))
    hold(sock)


def a_continuation_of_nothing(sock: socket.socket) -> None:
    upgrade(sock, frame(b"more", 0))
    hold(sock)


def a_bad_close(sock: socket.socket) -> None:
    upgrade(sock, frame(b"\x03", 8))
    hold(sock)


def a_reset(sock: socket.socket) -> None:
    upgrade(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    sock.close()


@pytest.mark.parametrize(
    "behave",
    [
        a_frame_of_400_mib,
        a_frame_one_byte_too_long,
        endless_fragments,
        endless_empty_fragments,
        a_frame_that_drips,
        a_message_that_never_ends,
        half_a_header,
        reserved_bits,
        an_unknown_opcode,
        a_long_ping,
        a_continuation_of_nothing,
        a_bad_close,
        a_reset,
    ],
)
def test_talk_that_breaks_the_rules_ends_the_dial(
    listener: Links, raw_far_end: RawFarEnds, behave: Callable[[socket.socket], None]
) -> None:
    here = connected(listener, raw_far_end(behave).url + "/a/")
    fault = here.wait(Lost, within_s=20).fault
    assert type(fault) is Unreachable
    assert here.silent(0.05)


def test_frames_that_are_always_cut_in_the_middle_are_no_message_without_end(
    listener: Links, raw_far_end: RawFarEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HeldClock()
    monkeypatch.setattr(websocket_wire, "time", clock)

    def offbeat(sock: socket.socket) -> None:
        ping = frame(b"12", 9)
        upgrade(sock, ping[:2])
        for _ in range(20):  # in all longer than read_s, and never between two frames
            clock.now_s += READ_S / 8
            sock.sendall(ping[2:] + ping[:2])
            read_exactly(sock, PONG_BYTES)  # so it has read that, and begun to wait for the rest
        sock.sendall(ping[2:] + frame(b'{"reportedIds":["x"]}'))
        hold(sock)

    here = connected(listener, raw_far_end(offbeat).url + "/a/", read_s=READ_S)
    notice = here.next(within_s=20)
    assert isinstance(notice, Received), notice


def test_a_frame_of_64_kib_is_not_too_long(listener: Links, raw_far_end: RawFarEnds) -> None:
    def large(sock: socket.socket) -> None:
        upgrade(sock, frame(b" " * 65536) + frame(b"b" * 60_000, 1, fin=False))
        sock.sendall(frame(b"b" * 60_000, 0))
        hold(sock)

    here = connected(listener, raw_far_end(large).url + "/a/", read_s=30.0)
    assert len(here.wait(Received, within_s=20).raw) == 65536
    assert len(here.wait(Received, within_s=20).raw) == 120_000


def test_a_close_frame_is_told_with_its_code_and_words(listener: Links, far_end: FarEnds) -> None:
    there = far_end(lambda _, ws: ws.close(1008, "not \u202eyou"))
    here = connected(listener, there.url + "/a/")
    fault = here.wait(Lost).fault
    assert isinstance(fault, Unreachable)
    assert "code 1008: not \\u202eyou" in str(fault)


@pytest.mark.parametrize(
    ("send_s", "frames", "said"), [(0.3, 26, "took nothing"), (30.0, 60, "does not listen")]
)
def test_a_far_end_that_reads_nothing_is_left(
    listener: Links, raw_far_end: RawFarEnds, send_s: float, frames: int, said: str
) -> None:
    done = threading.Event()

    def deaf(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        upgrade(sock)
        done.wait(60)

    here = connected(listener, raw_far_end(deaf).url + "/a/", send_s=send_s)
    for _ in range(frames):
        here.link.send(1, b" " * 256_000)
    fault = here.wait(Lost, within_s=60).fault
    done.set()
    assert said in str(fault)


def test_a_far_end_that_talks_but_does_not_listen_cannot_fill_memory(
    listener: Links, raw_far_end: RawFarEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_wire, "FRAMES_PER_S", 100_000.0)  # or it takes too long here

    def pinging(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        upgrade(sock)
        while True:
            sock.sendall(frame(b"p" * 120, 9) * 500)

    here = connected(listener, raw_far_end(pinging).url + "/a/", send_s=0.5)
    fault = here.wait(Lost, within_s=60).fault
    assert "took nothing" in str(fault) or "does not listen" in str(fault)


def test_a_flood_of_replies_is_read_slowly_and_letters_still_pass(
    listener: Links, raw_far_end: RawFarEnds
) -> None:
    seen = threading.Event()

    def flood(sock: socket.socket) -> None:
        upgrade(sock)
        sock.settimeout(0)
        chatter = frame(b"{}") * 1000
        while True:
            try:
                sock.send(chatter)
            except BlockingIOError:
                time.sleep(0.001)
            try:
                if b"{" not in sock.recv(10):
                    seen.set()  # something of ours arrived, masked
            except BlockingIOError:
                pass

    here = connected(listener, raw_far_end(flood).url + "/a/")
    started, count = time.monotonic(), 0
    while time.monotonic() - started < 1:
        here.next()
        count += 1
    assert count < 12_000, "5,000 a second, and as many to begin with"
    here.link.send(1, HEARTBEAT)
    assert seen.wait(20)
    assert here.link.stop()


CHILD = """
import queue, resource, sys
from agent.adapters.links.websocket_link import WebSocketLink
from agent.rules.link import Lost
notices = queue.Queue()
link = WebSocketLink("rss", notices.put, read_s=5.0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
link.dial(1, sys.argv[1])
while not isinstance(notices.get(timeout=20), Lost):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
link.stop()
"""


@pytest.mark.parametrize("behave", [a_frame_of_400_mib, endless_fragments, endless_headers])
def test_a_swollen_far_end_costs_less_than_20_mib(
    raw_far_end: RawFarEnds, behave: Callable[[socket.socket], None]
) -> None:
    url = raw_far_end(behave).url + "/a/"
    grown_kib = subprocess.check_output([sys.executable, "-c", CHILD, url], text=True, timeout=30)
    assert int(grown_kib) < 20 * 1024
