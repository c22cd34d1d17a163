"""The link's thread against far ends of every temper, on real sockets."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from far_ends import FarEnd, Listener, RawFarEnd, frame, hold, read_request, upgrade
from websockets.sync.server import ServerConnection

from agent.adapters import websocket_wire
from agent.adapters.patience import Patience
from agent.adapters.roads import Place
from agent.adapters.websocket_link import Died, WebSocketLink
from agent.rules.link import Heard, Lost, Opened, Received
from tracking.errors import Refused, Throttled, Unreachable

Links = Callable[..., Listener]
FarEnds = Callable[..., FarEnd]
RawFarEnds = Callable[..., RawFarEnd]

HEARTBEAT = b'{"data":[{"type":"heartbeat"}]}'


def connected(listener: Links, url: str, **limits: Any) -> Listener:
    made = listener(**limits)
    made.connect(url)
    assert made.next() == Opened(1)
    return made


def lost(listener: Links, url: str, **limits: Any) -> Lost:
    """Dial and return why it ended, with nothing posted after."""
    made = listener(**limits)
    made.connect(url)
    fault: Lost = made.wait(Lost)
    assert fault.dial == 1
    assert made.silent()
    return fault


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


# --- dials that fail ---------------------------------------------------------------------------


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


def silence(sock: socket.socket) -> None:
    hold(sock)


def half_a_handshake(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websock")
    hold(sock)


def a_drip(sock: socket.socket) -> None:
    read_request(sock)
    for byte in b"HTTP/1.1 101 Switching Protocols\r\n" + b"X-Drip: 1\r\n" * 1000:
        sock.sendall(bytes([byte]))
        time.sleep(0.02)


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


def endless_headers(sock: socket.socket) -> None:
    read_request(sock)
    while True:
        sock.sendall(b"X-Padding: " + b"p" * 1000 + b"\r\n")


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
    "behave",
    [garbage, endless_headers, a_wrong_key, no_upgrade, not_utf8, a_bad_status, a_hangup],
)
def test_a_handshake_of_nonsense_is_unreachable_not_a_crash(
    listener: Links, raw_far_end: RawFarEnds, behave: Callable[[socket.socket], None]
) -> None:
    fault = lost(listener, raw_far_end(behave).url + "/a/").fault
    assert type(fault) is Unreachable
    assert len(str(fault)) < 300


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


# --- talk without end --------------------------------------------------------------------------


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
    fault = here.wait(Lost, within_s=3).fault
    assert type(fault) is Unreachable
    assert here.silent(0.05)


def test_frames_that_are_always_cut_in_the_middle_are_no_message_without_end(
    listener: Links, raw_far_end: RawFarEnds
) -> None:
    def offbeat(sock: socket.socket) -> None:
        ping = frame(b"12", 9)
        upgrade(sock, ping[:2])
        for _ in range(20):  # longer than read_s, and never between two frames
            time.sleep(0.03)
            sock.sendall(ping[2:] + ping[:2])
        sock.sendall(ping[2:] + frame(b'{"reportedIds":["x"]}'))
        hold(sock)

    here = connected(listener, raw_far_end(offbeat).url + "/a/", read_s=0.4)
    notice = here.next()
    assert isinstance(notice, Received), notice


def test_a_frame_of_64_kib_is_not_too_long(listener: Links, raw_far_end: RawFarEnds) -> None:
    def large(sock: socket.socket) -> None:
        upgrade(sock, frame(b" " * 65536) + frame(b"b" * 60_000, 1, fin=False))
        sock.sendall(frame(b"b" * 60_000, 0))
        hold(sock)

    here = connected(listener, raw_far_end(large).url + "/a/")
    assert len(here.wait(Received).raw) == 65536
    assert len(here.wait(Received).raw) == 120_000


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
        done.wait(5)

    here = connected(listener, raw_far_end(deaf).url + "/a/", send_s=send_s)
    for _ in range(frames):
        here.link.send(1, b" " * 256_000)
    fault = here.wait(Lost).fault
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
    fault = here.wait(Lost, within_s=10).fault
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
    assert seen.wait(2)
    assert here.link.stop()


CHILD = """
import queue, resource, sys
from agent.adapters.websocket_link import WebSocketLink
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
