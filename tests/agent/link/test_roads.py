"""Names, addresses and patience: the road before anyone speaks WebSocket on it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import pytest
from far_ends import FarEnd, Listener, RawFarEnd

from agent.adapters.roads import road as roads
from agent.adapters.roads.connecting import connect, in_turn, look_up, require_loopback
from agent.adapters.roads.patience import Abandoned, Patience, as_fault, words
from agent.adapters.roads.refusals import parse_retry_after, refusal
from agent.adapters.roads.road import Place, open_road
from agent.adapters.roads.tls import client_context
from agent.rules.endpoints import parse_address
from tracking.errors import Fault, NoName, Refused, Silent, Throttled, Unreachable

Links = Callable[..., Listener]
FarEnds = Callable[..., FarEnd]
RawFarEnds = Callable[..., RawFarEnd]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


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
        assert 0.2 < time.monotonic() - started < 0.6, "RFC 8305: a quarter of a second"
        sock.close()


def test_the_families_of_a_name_take_turns() -> None:
    four = [(socket.AF_INET, (f"10.0.0.{n}", 1)) for n in range(3)]
    six = [(socket.AF_INET6, (f"fd00::{n}", 1)) for n in range(2)]
    assert in_turn([*six, *four]) == [six[0], four[0], six[1], four[1], four[2]]
    assert in_turn(four) == four
    assert in_turn([]) == []


def test_a_silent_name_is_told_before_the_time_is_over() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        started = time.monotonic()
        with pytest.raises(Silent, match=r"no answer from silent\.example"):
            connect(
                "silent.example",
                1,
                Patience(0.6),
                lambda *_: [(socket.AF_INET, full.getsockname())] * 3,
            )
        assert 0.3 < time.monotonic() - started < 0.55, "what is left is for asking why"


def test_a_resolver_that_does_not_answer_is_a_missing_name_not_a_black_hole() -> None:
    def silent(host: str, port: int, patience: Patience) -> list[Place]:
        while True:
            patience.wait(None)

    with pytest.raises(NoName, match=r"the resolver does not answer: looking up far\.example"):
        connect("far.example", 1, Patience(0.1), silent)


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
