"""Names, addresses, proxies: the road before anyone speaks WebSocket on it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import pytest
from far_ends import Authority, FarEnd, Listener, RawFarEnd, hold, read_request

from agent.adapters import roads
from agent.adapters.patience import Abandoned, Patience, as_fault, ready_of, words
from agent.adapters.refusals import parse_retry_after, refusal
from agent.adapters.roads import Place, connect, look_up, open_road, proxy_for, require_loopback
from agent.adapters.tls import client_context
from agent.rules.endpoints import parse_address
from agent.rules.link import Lost, Opened, Received
from tracking.errors import Fault, Refused, Throttled, Unreachable

Links = Callable[..., Listener]
FarEnds = Callable[..., FarEnd]
RawFarEnds = Callable[..., RawFarEnd]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def tunnel(sock: socket.socket, asked: list[bytes]) -> None:
    """An honest proxy that lays every road to 127.0.0.1."""
    request = read_request(sock)
    asked.append(request)
    port = int(request.split(b" ")[1].rsplit(b":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as onward:
        sock.sendall(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        ends = {sock: onward, onward: sock}
        while True:
            for ready in ready_of(list(ends), [], 5):
                data = ready.recv(65536)
                if not data:
                    return
                ends[ready].sendall(data)


# --- proxies -----------------------------------------------------------------------------------


def test_a_far_end_behind_a_proxy_is_reached_by_connect_and_proved_through_it(
    listener: Links,
    far_end: FarEnds,
    raw_far_end: RawFarEnds,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes] = []
    proxy = raw_far_end(lambda sock: tunnel(sock, asked))
    there = far_end(tls=authority.server(("far.example",)))
    monkeypatch.setenv("https_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
    here = listener(ca_file=authority.ca_file)
    here.connect(f"wss://far.example:{there.port}/a/")
    assert here.next() == Opened(1)
    here.link.send(1, b'{"data":[{"id":"a1"}]}')
    assert here.wait(Received).ids == ("a1",)
    assert asked[0].startswith(f"CONNECT far.example:{there.port} HTTP/1.1\r\n".encode())
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==\r\n" in asked[0]  # me:p@ss


def test_loopback_never_goes_through_a_proxy(
    listener: Links,
    far_end: FarEnds,
    authority: Authority,
    raw_far_end: RawFarEnds,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = raw_far_end(hold)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    plain, secure = far_end(), far_end(tls=authority.server())
    here = listener(ca_file=authority.ca_file)
    here.connect(plain.url + "/a/")
    assert here.next() == Opened(1)
    here.connect(f"wss://localhost:{secure.port}/a/")
    assert here.next() == Opened(2)
    assert proxy.accepted == 0


def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert proxy_for(parse_address("wss://far.example")) is not None
    monkeypatch.setenv("no_proxy", "other.example,far.example")
    assert proxy_for(parse_address("wss://far.example")) is None
    assert proxy_for(parse_address("wss://near.example")) is not None


def test_a_proxy_is_understood_with_and_without_scheme_and_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = parse_address("wss://far.example")
    for written, host, port in [
        ("http://proxy.example:3128/", "proxy.example", 3128),
        ("proxy.example:3128", "proxy.example", 3128),
        ("http://proxy.example", "proxy.example", 80),
    ]:
        monkeypatch.setenv("https_proxy", written)
        proxy = proxy_for(address)
        assert proxy is not None
        assert (proxy.host, proxy.port, proxy.credentials) == (host, port, "")


@pytest.mark.parametrize("written", ["socks5://127.0.0.1:1", "https://127.0.0.1:1", "http://h:x"])
def test_a_proxy_that_is_not_spoken_to_is_a_fault_not_plain_http(
    monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("https_proxy", written)
    with pytest.raises(Unreachable) as caught:
        proxy_for(parse_address("wss://far.example"))
    assert "https_proxy" in caught.value.advice


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "answered 407"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "answered 502"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "answered nonsense"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "talks when it should be silent"),
        (b"HTTP/1.1 200 O", "hung up before it answered"),
    ],
)
def test_a_proxy_that_will_not_is_told_apart_from_the_far_end(
    raw_far_end: RawFarEnds, monkeypatch: pytest.MonkeyPatch, answer: bytes, said: str
) -> None:
    def refuse(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(answer)
        sock.shutdown(socket.SHUT_WR)
        hold(sock)

    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{raw_far_end(refuse).port}")
    with pytest.raises(Unreachable, match=said):
        open_road(parse_address("wss://far.example"), Patience(1), context=client_context)


def test_a_proxy_that_dies_in_the_middle_of_a_frame_is_a_lost_link(
    listener: Links,
    far_end: FarEnds,
    raw_far_end: RawFarEnds,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes] = []
    proxy = raw_far_end(lambda sock: tunnel(sock, asked))
    there = far_end(tls=authority.server(("far.example",)))
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
    here = listener(ca_file=authority.ca_file)
    here.connect(f"wss://far.example:{there.port}/a/")
    assert here.next() == Opened(1)
    here.link.send(1, b'{"data":[]}' + b" " * 200_000)
    proxy.stop()
    assert isinstance(here.wait(Lost).fault, Unreachable)


# --- names and places --------------------------------------------------------------------------


def test_the_next_place_of_a_name_is_tried_when_one_is_silent(far_end: FarEnds) -> None:
    there = far_end()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(3):  # the queue of a listener that accepts nothing fills
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        places: list[Place] = [
            (socket.AF_INET, full.getsockname()),
            (socket.AF_INET, ("127.0.0.1", there.port)),
        ]
        started = time.monotonic()
        sock = connect("two.example", 1, Patience(1.0), lambda *_: places)
        assert sock.getpeername()[1] == there.port
        assert 0.4 < time.monotonic() - started < 0.9
        sock.close()


def test_a_name_without_a_place_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="no address"):
        connect("nowhere.example", 1, Patience(1.0), lambda *_: [])


@pytest.mark.parametrize("name", ["no-such-name.invalid", "a" * 64 + ".example", "\udcff"])
def test_a_name_that_nobody_knows_is_unreachable(name: str) -> None:
    with pytest.raises(Unreachable):
        look_up(name, 1, Patience(1.0))


@pytest.mark.parametrize("peer", ["10.0.0.7", "192.168.1.1", "0.0.0.0", "::", "fe80::1"])
def test_plain_text_goes_to_this_machine_only_whatever_a_name_leads_to(peer: str) -> None:
    with pytest.raises(Unreachable, match="not this machine"):
        require_loopback("localhost", peer)
    require_loopback("localhost", "127.0.0.1")
    require_loopback("localhost", "::1")


def test_the_peer_that_answered_is_asked_about_not_the_name(
    far_end: FarEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(roads, "require_loopback", lambda *pair: asked.append(pair))
    open_road(parse_address(far_end().url), Patience(1.0), context=client_context).close()
    assert asked == [("127.0.0.1", "127.0.0.1")]


# --- patience ----------------------------------------------------------------------------------


def test_patience_ends_for_a_letter_that_gives_up() -> None:
    wake_in, wake_out = socket.socketpair()
    wake_out.setblocking(False)
    silent, other = socket.socketpair()
    given_up = threading.Event()
    patience = Patience(30.0, wake_out, given_up.is_set)
    wake_in.send(b"!")
    patience.wait(silent)  # a letter about something else
    given_up.set()
    wake_in.send(b"!")
    with pytest.raises(Abandoned):
        patience.wait(silent)
    for sock in (wake_in, wake_out, silent, other):
        sock.close()


def wait_for_ever(patience: Patience, sock: socket.socket) -> None:
    while True:
        patience.wait(sock)


def test_patience_is_one_deadline_over_all_waits() -> None:
    silent, other = socket.socketpair()
    patience = Patience(0.2)
    patience.doing = "the test"
    other.send(b"x")
    patience.wait(silent)
    silent.recv(10)
    started = time.monotonic()
    with pytest.raises(Unreachable, match=r"the test took longer than 0\.2 s"):
        wait_for_ever(patience, silent)
    assert time.monotonic() - started < 0.5
    silent.close()
    other.close()


# --- words and refusals ------------------------------------------------------------------------


def test_a_strangers_words_are_one_printable_line_of_200_characters() -> None:
    assert words(b"a\r\n\tb\x00\x1b[2J\xff") == "a b\\x00\\x1b[2J\N{REPLACEMENT CHARACTER}"
    assert words("\u202eevil") == "\\u202eevil"
    assert len(words("\u202e" * 10**6)) == 200


def test_a_bug_is_not_taken_for_the_networks_doing() -> None:
    with pytest.raises(ZeroDivisionError):
        as_fault(ZeroDivisionError(), "there")


@pytest.mark.parametrize(
    ("said", "delay_s"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("86400", 86_400),
        ("999999999999999999999", 86_400),
        ("Thu, 01 Jan 1970 00:16:40 GMT", 100),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("\u0661\u0662", None),
        ("", None),
        ("Thu, 99 Jan 1970 00:00:00 GMT", None),
    ],
)
def test_retry_after_in_all_its_forms(said: str, delay_s: float | None) -> None:
    assert parse_retry_after(said, now_s=900.0) == delay_s


@pytest.mark.parametrize(
    ("status", "after", "kind"),
    [
        (429, None, Throttled),
        (429, "soon", Throttled),
        (503, "5", Throttled),
        (503, None, Unreachable),
        (503, "soon", Unreachable),
        (500, "5", Unreachable),
        (425, None, Unreachable),
        (400, None, Refused),
        (302, None, Refused),
        (200, None, Refused),
    ],
)
def test_a_status_has_one_meaning(status: int, after: str | None, kind: type[Fault]) -> None:
    assert type(refusal(status, after, b"")) is kind
