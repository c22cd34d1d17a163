"""The thread that asks over HTTP, before far ends that mean it ill or break."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest
from far_ends import RawFarEnd, hold
from http_ends import SUCCESS, Answers, Asker, read_question, response
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.adapters.links.http_link import Answered
from agent.adapters.links.http_wire import BODY_BYTES
from agent.rules.notices import Lost

Askers = Callable[..., Asker]
RawFarEnds = Callable[..., RawFarEnd]


def drip(sock: socket.socket) -> None:
    read_question(sock)
    for byte in response(b"x" * 1000):
        sock.sendall(bytes([byte]))
        time.sleep(0.02)


def test_a_drip_ends_with_the_deadline(asker: Askers, raw_far_end: RawFarEnds) -> None:
    since = time.monotonic()
    assert "took longer than 0.5 s" in asker(raw_far_end(drip), answer_s=0.5).lost()
    assert time.monotonic() - since < 2


def test_silence_ends_with_the_deadline(asker: Askers, raw_far_end: RawFarEnds) -> None:
    assert "took longer than 0.5 s" in asker(raw_far_end(hold), answer_s=0.5).lost()


def test_a_body_without_end_is_cut_and_the_status_counts(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    def behave(sock: socket.socket) -> None:
        read_question(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            sock.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    here = asker(raw_far_end(behave), answer_s=5.0)
    answer = here.answered().answer
    assert (answer.status, len(answer.body), answer.whole) == (200, BODY_BYTES, False)


def test_a_body_in_ever_smaller_chunks_is_cut_by_what_it_weighs(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    def behave(sock: socket.socket) -> None:
        read_question(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            sock.sendall(b"1;ext=" + b"y" * 500 + b"\r\nx\r\n")

    answer = asker(raw_far_end(behave), answer_s=10.0).answered().answer
    assert not answer.whole


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 20, "1xx without end", id="a 1xx flood"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            "breaks the HTTP protocol",
            id="another protocol unasked",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"X-Padding: " + b"p" * 40_000,
            "has no end",
            id="a head without end",
        ),
        pytest.param(b"+OK POP3 ready\r\n", "breaks the HTTP protocol", id="another language"),
        pytest.param(
            response(SUCCESS, length=100), "breaks the HTTP protocol", id="closed in mid-body"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            "breaks the HTTP protocol",
            id="a length below nothing",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\nContent-Length: 3\r\n\r\n" + SUCCESS,
            "breaks the HTTP protocol",
            id="two lengths",
        ),
    ],
)
def test_what_is_no_answer_is_lost_with_a_sentence(
    asker: Askers, raw_far_end: RawFarEnds, behaviour: bytes, sentence: str
) -> None:
    def behave(sock: socket.socket) -> None:
        read_question(sock)
        sock.sendall(behaviour)
        sock.shutdown(socket.SHUT_WR)
        hold(sock)

    assert sentence in asker(raw_far_end(behave)).lost()


def test_interim_answers_within_reason_are_passed_over(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    there = raw_far_end(Answers([b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + response()]))
    assert asker(there).answered().answer.status == 200


def test_more_than_was_announced_ends_the_connection_not_the_answer(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    there = raw_far_end(Answers([response(SUCCESS + b"HTTP/1.1 200 OK\r\n", length=16)]))
    here = asker(there)
    assert here.answered().answer.body == SUCCESS
    assert here.answered().answer.body == SUCCESS
    assert there.accepted == 2


def test_a_redirect_is_an_answer_and_nobody_goes_there(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    elsewhere = raw_far_end(hold)
    moved = f"Location: http://127.0.0.1:{elsewhere.port}/bulk"
    here = asker(raw_far_end(Answers([response(b"", "301 Moved Permanently", moved)])))
    assert here.answered().answer.status == 301
    assert elsewhere.accepted == 0


def test_a_body_in_a_coding_nobody_asked_for_is_not_read(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    there = raw_far_end(Answers([response(b"\x1f\x8b", "200 OK", "Content-Encoding: gzip")]))
    assert asker(there).answered().answer.body == b""


def test_an_answer_before_the_question_was_read_is_an_answer(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    def behave(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(response(b"{}", "413 Content Too Large", "Connection: close"))
        sock.shutdown(socket.SHUT_WR)
        hold(sock)

    here = asker(raw_far_end(behave), answer_s=5.0)
    assert here.answered(b"x" * 1_000_000).answer.status == 413


def test_a_far_end_that_reads_nothing_is_lost_with_the_deadline(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    gate = threading.Event()

    def behave(sock: socket.socket) -> None:
        gate.wait(3)

    here = asker(raw_far_end(behave), answer_s=0.5)
    said = here.lost(b"x" * 16_000_000)
    gate.set()
    assert said == "sending took longer than 0.5 s"


def test_unasked_words_on_an_idle_connection_are_never_taken_for_an_answer(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    poisoned = threading.Event()
    bodies: list[bytes] = []

    def behave(sock: socket.socket) -> None:
        while (request := read_question(sock)) is not None:
            bodies.append(request.body)
            sock.sendall(response(b'{"success":true,"for":%d}' % len(bodies)))
            if len(bodies) == 1:
                time.sleep(0.05)
                sock.sendall(response(b'{"success":true,"for":99}'))
                poisoned.set()

    here = asker(raw_far_end(behave))
    here.answered()
    assert poisoned.wait(2)
    assert here.answered().answer.body == b'{"success":true,"for":2}'


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Connection: close\r\n",
        b"Retry-After: \xff\r\n",
        b"\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"\0\0\0\0",
        b" folded: yes\r\n",
        b"{}",
    ]
)


def test_whatever_a_far_end_says_is_an_answer_or_a_fault_and_never_the_threads_end(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    said: list[bytes] = [b""]

    def behave(sock: socket.socket) -> None:
        if read_question(sock) is not None:
            sock.sendall(said[0])
            sock.shutdown(socket.SHUT_WR)
            hold(sock)

    here = asker(raw_far_end(behave))

    @settings(max_examples=200, deadline=None)
    @given(st.lists(PIECES | st.binary(max_size=20), max_size=10).map(b"".join))
    def say(words: bytes) -> None:
        said[0] = words
        here.ask()
        assert isinstance(here.next(), (Answered, Lost))

    say()
